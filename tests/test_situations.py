"""Content of MLflow after all events of a pipeline, one after the other."""

import re
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

import pytest
from test_stages import TRAININGS, Project

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Situation:
    """What happens, and what the store holds then."""

    name: str
    happen: Callable[[Project], set[str]]
    """Gives the stages that ran."""
    trainings: int | None
    """None where DVC does not say what ran."""
    parents: int
    stages: Collection[int]
    versions: int


def repro(project: Project) -> set[str]:
    return project.repro()


def switch_profile(project: Project) -> set[str]:
    project.set("data_seed", 8)
    project.set("profile", "small")
    return project.repro()


def switch_back(project: Project) -> set[str]:
    project.set("data_seed", 7)
    project.set("profile", "smoke")
    return project.repro()


def lose_the_store(project: Project) -> set[str]:
    (project.root / "mlflow.db").unlink()
    shutil.rmtree(project.root / "mlruns")
    return project.repro()


def pull_on_another_machine(project: Project) -> set[str]:
    remote, elsewhere = (project.root.parent / name for name in ("remote", "elsewhere"))
    project.run(sys.executable, "-m", "dvc", "remote", "add", "--default", "shared", str(remote))
    project.run(sys.executable, "-m", "dvc", "push", "--quiet")
    commit(project)
    project.run("git", "clone", "--quiet", ".", str(elsewhere))
    project.root = elsewhere
    project.run(sys.executable, "-m", "dvc", "pull", "--quiet")
    return project.repro()


def experiment_in_a_temporary_folder(project: Project) -> set[str]:
    change = "train_upsampler.weight_decay=0.004"
    output = project.run(
        sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", "warm", "-S", change
    )
    return set(re.findall(r"Running stage '(\w+)'", output))


def fail_in_the_middle(project: Project) -> set[str]:
    project.set("train_upsampler.weight_decay", 0.005)
    project.set("evaluate.minimum_psnr", 99.0)
    output = project.run(sys.executable, "-m", "dvc", "repro", status=255)
    assert "mis-matched" in output
    return set(re.findall(r"Running stage '(\w+)'", output))


def go_on_after_the_failure(project: Project) -> set[str]:
    project.set("evaluate.minimum_psnr", 14.0)
    return project.repro()


def queue(project: Project) -> set[str]:
    (project.root / "mlflow.db").unlink()
    shutil.rmtree(project.root / "mlruns")
    project.queue("fresh", "train_upsampler.weight_decay=0.006,0.007", jobs=2)
    return set()


def commit(project: Project) -> None:
    project.run("git", "add", "--all")
    project.run(
        *("git", "-c", "user.name=test", "-c", "user.email=test@example.org"),
        *("commit", "--quiet", "--message", "results"),
    )


SITUATIONS = (
    Situation("the first run", repro, 4, 1, {8}, 1),
    Situation("the same again", repro, 0, 1, {8}, 1),
    Situation("another profile", switch_profile, 4, 2, {16}, 2),
    Situation("and back", switch_back, 0, 2, {16}, 2),
    Situation("everything cached, the store deleted", lose_the_store, 0, 2, {16}, 2),
    Situation("dvc pull on another machine", pull_on_another_machine, 0, 1, {8}, 1),
    Situation("a temporary folder", experiment_in_a_temporary_folder, 1, 2, {10}, 2),
    Situation("a stage fails", fail_in_the_middle, 1, 2, {10}, 2),
    Situation("and the next run completes it", go_on_after_the_failure, 0, 3, {12}, 3),
    # The store is restored from Git once, whichever worker comes first.
    Situation("two workers on a fresh store", queue, None, 5, {16}, 5),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("situations") / "project"
    root.mkdir()
    return Project(root)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_the_store_holds_what_happened_once(project: Project, situation: Situation) -> None:
    ran = situation.happen(project)
    assert situation.trainings in (None, len(ran & TRAININGS))
    parents = project.count(
        "runs", "run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'dvc.pipeline_key')"
    )
    assert parents == situation.parents
    assert project.count("runs") - parents in situation.stages
    assert project.count("model_versions") == situation.versions
    # No network of this size is ahead of the starter.
    assert project.count("registered_model_aliases", "alias = 'challenger'") == 1
    assert project.count("registered_model_aliases") == 1
