"""A store that was lost comes back from Git and DVC's cache."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from test_tracking import (
    STAGES,
    die_at,
    make_project,
    migrated_database,
    networks,
    publish_project,
    train_again,
)

from facesr.errors import RegistryError
from facesr.tracking import (
    download,
    find_version,
    history,
    list_runs,
    list_versions,
    projection,
    promote,
    read_record,
    rollback,
)
from facesr.tracking.lockfile import key_of, read_lock

pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")
FIXTURES = (migrated_database, networks)
IDENTITY = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")


@pytest.fixture(scope="module", autouse=True)
def _plain_models():
    """Versions hold their weights only: packing the code takes seconds and is tested elsewhere."""

    def save_model(folder, *, artifacts, **_):
        for path in artifacts.values():
            Path(folder, "artifacts").mkdir(exist_ok=True)
            shutil.copy(path, Path(folder, "artifacts"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlflow.pyfunc.save_model", save_model)
        yield


@pytest.fixture(scope="module")
def published(tmp_path_factory, migrated_database, networks):
    """Three versions; the second of experiment quick, the third promoted and withdrawn."""
    folder = tmp_path_factory.mktemp("restoring")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
            patch.delenv(name)
        patch.chdir(folder)
        root = make_project(folder / "project", migrated_database, networks)
        (root / "params.yaml").write_text("profile: small\n")
        (root / ".gitignore").write_text("/mlflow.db*\n/mlruns/\n/.dvc/\n/models/\n/reports/*/\n")
        git(root, "init", "-q")
        cache(root)
        commit(root)
        publish_project(root)
        next_state(root, [24.5, 25.6, 27.0], 1, "quick")
        next_state(root, [24.0, 25.0, 26.5], 2)
        promote(root, "facesr/3", reason="eyes")
        rollback(root, reason="teeth")
    return root


@pytest.fixture
def lost(published, migrated_database, tmp_path, monkeypatch):
    """The same without mlflow.db and mlruns."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    root = tmp_path / "project"
    ignored = shutil.ignore_patterns("mlflow.db*", "mlruns")
    shutil.copytree(published, root, ignore=ignored)
    shutil.copy(migrated_database, root / "mlflow.db")
    monkeypatch.chdir(root)
    return root


def git(root, *arguments):
    return subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(root):
    git(root, "add", "-A")
    git(root, "commit", "-qm", "state")
    return git(root, "rev-parse", "HEAD")


def cache(root):
    """Store the outs in DVC's cache and write their md5s into dvc.lock, as DVC does."""
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    for stage in lock["stages"].values():
        for out in stage.get("outs", ()):
            path = root / out["path"]
            if path.is_dir():
                files = sorted(one for one in path.rglob("*") if one.is_file())
                listed = [
                    {"md5": keep(root, one.read_bytes()), "relpath": str(one.relative_to(path))}
                    for one in files
                ]
                out["md5"] = keep(root, json.dumps(listed).encode(), ".dir")
            elif path.is_file():
                out["md5"] = keep(root, path.read_bytes())
    (root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def keep(root, content, suffix=""):
    md5 = hashlib.md5(content).hexdigest() + suffix
    path = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5


def next_state(root, psnr, seed, name=""):
    train_again(root, psnr, seed=seed)
    cache(root)
    with pytest.MonkeyPatch.context() as patch:
        if name:
            patch.setenv("DVC_EXP_NAME", name)
        return publish_project(root)


def known(root):
    """Everything of the versions but the ids of runs."""
    return [
        (
            version.number,
            version.aliases,
            {tag: text for tag, text in version.tags.items() if tag != "evaluation.run"},
            version.metrics,
        )
        for version in list_versions(root)
    ]


def add_experiment(root, name):
    """Commit the present files as DVC does for an experiment, or as `dvc exp pull` brings one."""
    git(root, "add", "-A")
    tree = git(root, "write-tree")
    git(root, "reset", "-q")
    commit = git(root, "commit-tree", tree, "-p", "HEAD", "-m", "experiment")
    git(root, "update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/{name}", commit)


def test_versions_decisions_reasons_aliases_and_experiments_come_back(published, lost, caplog):
    before = known(published)
    # The newest first; the third was the challenger until its promotion.
    assert [version[1] for version in before] == [(), ("champion",), ()]

    with caplog.at_level("INFO"):
        again = publish_project(lost)

    assert (again.model_version, again.champion) == (3, 2)
    assert known(lost) == before
    experiment = read_record(lost, "quick")
    assert experiment.version.number == 2
    assert experiment.params == read_record(published, "quick").params
    assert find_version(lost, "facesr/3").tags["withdrawn.reason"] == "teeth"
    assert find_version(lost, "facesr/3").tags["promoted.reason"] == "eyes"
    assert download(lost, "facesr/1").is_file()
    assert "Restored 3 states" in caplog.text
    # What is restored counts as published, and the store takes the next decision as before.
    assert publish_project(lost).created_runs == 0
    assert promote(lost, "facesr/1", reason="still the best").number == 1


def test_two_workers_restore_a_lost_store_once(published, lost):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(publish_project, [lost, lost])
    assert first.parent_run_id == second.parent_run_id
    assert known(lost) == known(published)
    assert len(list_runs(lost)) == len(list_runs(published)) == 3


def test_the_history_is_readable_in_git_and_touches_nothing_else(published):
    log = git(published, "log", "--format=%s", history.REF).splitlines()
    assert log == [
        "facesr/3 was withdrawn, facesr/2 serves",
        "facesr/3 was promoted",
        "facesr/3 is challenger",
        "facesr/2 is champion",
        "facesr/1 is champion",
    ]
    assert git(published, "log", "-1", "--format=%b", history.REF) == "teeth"
    assert git(published, "branch", "--list").count("\n") == 0
    changed = git(published, "status", "--porcelain").splitlines()
    assert {line.split()[-1] for line in changed} == {"dvc.lock"}


def test_what_the_cache_has_lost_is_named_and_keeps_its_number_free(published, lost, caplog):
    # Versions 2 and 3 have other weights than the first.
    tags = find_version(published, "facesr/1").tags
    md5 = tags["dvc.md5.models/gan.safetensors"]
    (lost / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()

    assert publish_project(lost).champion == 2

    assert "Not restored, as DVC's cache does not hold their files: facesr/1" in caplog.text
    assert known(lost) == known(published)[:2]


def test_a_restoration_that_was_interrupted_is_completed_by_the_next_publish(
    published, lost, monkeypatch
):
    with monkeypatch.context() as patch:
        calls = []
        original, dying = projection.read_curves, die_at("evaluate")

        def read_curves(folder):
            calls.append(folder)
            # The first state has a run for each of the stages.
            return (dying if len(calls) > len(STAGES) else original)(folder)

        patch.setattr(projection, "read_curves", read_curves)
        with pytest.raises(KeyboardInterrupt):
            publish_project(lost)
    assert [version.number for version in list_versions(lost)] == [1]

    publish_project(lost)

    assert known(lost) == known(published)


def test_states_of_commits_and_experiments_come_back_without_a_history(lost):
    train_again(lost, [24.5, 25.6, 27.0], seed=1)
    cache(lost)
    add_experiment(lost, "slow")
    git(lost, "update-ref", "-d", history.REF)
    train_again(lost, [24.0, 25.0, 26.5], seed=2)
    cache(lost)

    again = publish_project(lost)

    assert (again.model_version, again.champion) == (3, 2)
    assert read_record(lost, "slow").version.number == 2


def test_a_pulled_experiment_has_its_name_though_its_state_was_known_before(published):
    add_experiment(published, "pulled")
    try:
        assert read_record(published, "pulled").version.number == 3
        with pytest.raises(RegistryError, match="slow is no version"):
            read_record(published, "slow")
        assert history.names_of(published, key_of(read_lock(published / "dvc.lock"))) == ["pulled"]
    finally:
        git(published, "update-ref", "-d", history.experiments(published)[0].ref)


def test_without_git_the_present_state_comes_back_and_it_is_reported(lost, caplog):
    shutil.rmtree(lost / ".git")
    with caplog.at_level("INFO"):
        again = publish_project(lost)
    assert (again.model_version, again.champion) == (1, 1)
    assert "not under Git, so only the present state is known" in caplog.text


def test_events_of_many_writers_are_all_kept(lost):
    def note(number):
        history.note(lost, f"event {number}", {"number": number}, with_state=False)

    files = history.noted(lost)[-1].files
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(note, range(8)))
    kept = history.noted(lost)
    assert {state.registry.get("number") for state in kept} >= set(range(8))
    assert kept[-1].files == files


def test_another_working_tree_has_a_history_of_its_own(lost, tmp_path):
    git(lost, "worktree", "add", "-q", str(tmp_path / "other"))
    assert history.noted(lost)
    assert history.noted(tmp_path / "other") == []


def test_a_promotion_is_noted_where_a_run_was_deleted_for_good(lost):
    publish_project(lost)
    with sqlite3.connect(lost / "mlflow.db") as database:
        database.execute(
            "UPDATE model_version_tags SET value = ? WHERE key = 'evaluation.run' AND version = 3",
            ("0" * 32,),
        )
    promote(lost, "facesr/1", reason="best")
    assert history.noted(lost)[-1].registry["aliases"]["champion"] == 1


def test_nothing_is_noted_of_a_promotion_that_failed(published):
    before = len(history.noted(published))
    with pytest.raises(RegistryError):
        promote(published, "facesr/7", reason="best")
    assert len(history.noted(published)) == before
