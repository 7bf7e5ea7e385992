"""The whole pipeline on the smoke profile, in a copy of the project, as a user runs it."""

import csv
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from shipped import copy_project

TRAININGS = {"train_generator", "train_critic", "train_gan", "train_upsampler"}


class Project:
    """A copy of the project with a Git history, a DVC cache and an MLflow store of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        copy_project(root)
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run(
            *("git", "-c", "user.name=test", "-c", "user.email=test@example.org"),
            *("commit", "--quiet", "--message", "start"),
        )

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            # The stages must write __pycache__ here, or .dvcignore would go untested.
            if not name.startswith(("MLFLOW_", "DVC_", "PYTHONDONTWRITEBYTECODE"))
        }
        return kept | {
            "PYTHONPATH": str(self.root / "src"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root / ".dvc" / "tmp" / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(self.root / ".dvc" / "tmp" / "config"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str, status: int = 0) -> str:
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        return output

    def repro(self, *arguments: str) -> set[str]:
        """Run the pipeline, or it up to the named stages, and return the stages that ran."""
        output = self.run(sys.executable, "-m", "dvc", "repro", *arguments)
        return set(re.findall(r"Running stage '(\w+)'", output))

    def queue(self, name: str, *changes: str, jobs: int) -> str:
        """Run DVC's grid of changes as experiments NAME-1, NAME-2 and so on."""
        dvc_exp_run = (sys.executable, "-m", "dvc", "exp", "run")
        sets = [part for change in changes for part in ("-S", change)]
        self.run(*dvc_exp_run, "--queue", "--name", name, *sets)
        return self.run(*dvc_exp_run, "--run-all", "--jobs", str(jobs))

    def set(self, key: str, value: object) -> None:
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        *parents, last = key.split(".")
        section = params
        for parent in parents:
            section = section[parent]
        section[last] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def weights(self) -> dict[str, str]:
        return {
            path.name: hashlib.md5(path.read_bytes()).hexdigest()
            for path in sorted((self.root / "models").glob("*.safetensors"))
        }

    def count(self, table: str, where: str = "1") -> int:
        with sqlite3.connect(self.root / "mlflow.db") as database:
            return database.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy in which the pipeline has run."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.first_run = project.repro()
    return project


def test_the_first_run_makes_everything(project):
    stages = set(yaml.safe_load((project.root / "dvc.yaml").read_text())["stages"])
    assert project.first_run == stages
    assert sorted(project.weights()) == [
        "critic.safetensors",
        "gan.safetensors",
        "generator.safetensors",
        "upsampler.safetensors",
    ]
    for name in (
        "evaluate/tables.md",
        "evaluate/gains.png",
        "evaluate/groups.md",
        "evaluate/per_image.csv",
        "evaluate/sheets/faces.png",
        "evaluate/sheets/selfies.png",
        "evaluate/sheets/valid.png",
        "train_gan/probabilities.png",
        "fetch_faces/sheet.png",
        "metrics.json",
    ):
        assert (project.root / "reports" / name).stat().st_size > 0, name


def test_the_tables_put_bicubic_first_and_say_what_the_study_measured(project):
    text = (project.root / "reports" / "evaluate" / "tables.md").read_text()
    tables = re.findall(r"^\| method .*\n\|[-:| ]+\n\| (\S+)", text, flags=re.MULTILINE)
    assert tables == ["bicubic"] * 6
    assert "two unrelated faces" in " ".join(text.split())


def test_the_first_run_registers_a_challenger_which_the_starter_is_ahead_of(project):
    assert project.count("model_versions") == 1
    assert project.count("registered_model_aliases", "alias = 'challenger' AND version = 1") == 1
    assert project.count("registered_model_aliases") == 1
    assert project.count("runs") == 9  # the parent, and one for each stage but publish


def test_a_second_run_trains_and_records_nothing(project):
    assert project.repro() <= {"publish"}
    assert project.count("runs") == 9
    assert project.count("model_versions") == 1


def test_status_is_clean_but_for_publish(project):
    output = project.run(sys.executable, "-m", "dvc", "status")
    assert set(re.findall(r"^(\w+):", output, flags=re.MULTILINE)) == {"publish"}


def test_other_evaluation_parameters_ask_for_the_evaluation_only(project):
    project.set("evaluate.sheet_images", 1)
    assert project.repro("--dry") == {"evaluate", "publish"}
    project.set("evaluate.sheet_images", 2)
    assert project.repro("--dry") == {"publish"}


def test_other_training_parameters_and_back_restore_the_weights_without_training(project):
    before = project.weights()
    project.set("train_upsampler.weight_decay", 0.002)
    assert project.repro() == {"train_upsampler", "evaluate", "publish"}
    assert project.weights() != before
    assert project.count("runs") == 12  # a parent, the training and the evaluation
    assert project.count("model_versions") == 2
    project.set("train_upsampler.weight_decay", 0.001)
    assert not project.repro() & TRAININGS
    assert project.weights() == before
    assert project.count("runs") == 12


def test_a_deleted_store_is_built_again_with_all_that_was_published(project):
    tables = ("runs", "model_versions", "registered_model_aliases")
    before = [project.count(table) for table in tables]
    assert before[:2] == [12, 2]
    (project.root / "mlflow.db").unlink()
    shutil.rmtree(project.root / "mlruns")
    assert not project.repro() & TRAININGS
    assert [project.count(table) for table in tables] == before


@pytest.mark.parametrize(
    "last", ["fetch_faces", pytest.param("train_upsampler", marks=pytest.mark.slow)]
)
def test_a_second_copy_draws_the_same_images_and_trains_the_same_weights(project, tmp_path, last):
    other = Project(tmp_path)
    assert last in other.repro(last)
    manifests = [one.root / "data" / "faces" / "manifest.csv" for one in (project, other)]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
    assert other.weights() == (project.weights() if last == "train_upsampler" else {})


def test_a_wrong_parameter_stops_before_anything_runs(tmp_path):
    project = Project(tmp_path)
    project.set("train_gan.batch_sise", 4)
    output = project.run(sys.executable, "-m", "stages.fetch_faces", status=1)
    assert "train_gan.batch_sise: Extra inputs are not permitted" in output
    assert "Traceback" not in output
    assert not (tmp_path / "data").exists()


def test_images_of_a_folder_go_the_same_way(project, tmp_path):
    other = Project(tmp_path)
    # Photographs of any folder: here the images that the pipeline has fetched.
    photographs = tmp_path / "photographs"
    shutil.copytree(project.root / "data" / "faces", photographs / "mine")
    (photographs / "broken.jpg").write_bytes(b"not an image")
    other.set("fetch_faces.source", "folder")
    other.set("fetch_faces.path", "photographs")
    other.run(sys.executable, "-m", "stages.fetch_faces")
    set_aside = (tmp_path / "reports" / "fetch_faces" / "set_aside.csv").read_text()
    assert "broken.jpg" in set_aside
    assert "is not an image" in set_aside
    with (tmp_path / "data" / "faces" / "manifest.csv").open() as file:
        splits = Counter(row["split"] for row in csv.DictReader(file))
    assert splits.total() == 10
    assert set(splits) == {"train", "valid", "test"}


def test_a_removed_image_is_named_with_the_versions_it_trained_and_comes_no_more(project):
    command = (sys.executable, "-c", "from facesr.cli import main; main()", "data")
    assert "data/faces: 10 images in the manifest, 0 faults" in project.run(*command, "check")
    with (project.root / "data" / "faces" / "manifest.csv").open() as file:
        image = next(row for row in csv.DictReader(file) if row["split"] == "train")
    output = project.run(*command, "remove", image["sha256"])
    assert f"removed {image['file']} (train, from {image['origin']})" in output
    for version in range(1, project.count("model_versions") + 1):
        assert f"facesr/{version} was trained with it (train)" in output
    assert "data/faces: 9 images in the manifest, 0 faults" in project.run(*command, "check")
    # DVC's cache still has the folder with the image; the list keeps it out all the same.
    assert "fetch_faces" in project.repro("fetch_faces")
    assert image["sha256"] not in (project.root / "data" / "faces" / "manifest.csv").read_text()
