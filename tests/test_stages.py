"""The whole pipeline on the smoke profile, in a copy of the project, as a user runs it."""

import csv
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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

    def repro(self, target: str = "") -> set[str]:
        """Run the pipeline, or it up to one stage, and return the stages that ran."""
        output = self.run(sys.executable, "-m", "dvc", "repro", *filter(None, [target]))
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
def copies(tmp_path_factory):
    """Two copies in which the pipeline has run, side by side: each keeps to one core."""
    copies = [Project(tmp_path_factory.mktemp("project")) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(Project.repro, copies))
    copies[0].first_run = runs[0]
    return copies


@pytest.fixture(scope="module")
def project(copies):
    return copies[0]


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


def test_other_evaluation_parameters_run_the_evaluation_only_and_back_runs_nothing(project):
    before = project.weights()
    project.set("evaluate.sheet_images", 1)
    assert project.repro() == {"evaluate", "publish"}
    assert project.count("runs") == 11  # a parent and the evaluation
    assert project.count("model_versions") == 1
    project.set("evaluate.sheet_images", 2)
    assert project.repro() <= {"publish"}
    assert project.count("runs") == 11
    assert project.weights() == before


def test_other_training_parameters_and_back_restore_the_weights_without_training(project):
    before = project.weights()
    project.set("train_upsampler.weight_decay", 0.002)
    assert project.repro() & TRAININGS == {"train_upsampler"}
    assert project.weights() != before
    project.set("train_upsampler.weight_decay", 0.001)
    assert not project.repro() & TRAININGS
    assert project.weights() == before


def test_a_deleted_store_is_built_again_with_all_that_was_published(project):
    tables = ("runs", "model_versions", "registered_model_aliases")
    before = [project.count(table) for table in tables]
    assert before[:2] == [14, 2]
    (project.root / "mlflow.db").unlink()
    shutil.rmtree(project.root / "mlruns")
    assert not project.repro() & TRAININGS
    assert [project.count(table) for table in tables] == before


def test_a_second_copy_trains_the_same_weights(copies):
    project, other = copies
    assert other.weights() == project.weights()
    command = (sys.executable, "-c", "from facesr.cli import main; main()", "data")
    assert "data/faces: 10 images in the manifest, 0 faults" in other.run(*command, "check")
    with (other.root / "data" / "faces" / "manifest.csv").open() as file:
        image = next(row for row in csv.DictReader(file) if row["split"] == "train")
    output = other.run(*command, "remove", image["sha256"])
    assert f"removed {image['file']} (train, from {image['origin']})" in output
    assert "facesr/1 was trained with it (train)" in output
    assert "data/faces: 9 images in the manifest, 0 faults" in other.run(*command, "check")
    # DVC's cache still has the folder with the image; the list keeps it out all the same.
    assert "fetch_faces" in other.repro(target="fetch_faces")
    assert image["sha256"] not in (other.root / "data" / "faces" / "manifest.csv").read_text()


def test_a_wrong_parameter_stops_before_anything_runs(tmp_path):
    project = Project(tmp_path)
    project.set("train_gan.batch_sise", 4)
    output = project.run(sys.executable, "-m", "stages.fetch_faces", status=1)
    assert "train_gan.batch_sise: Extra inputs are not permitted" in output
    assert "Traceback" not in output
    assert not (tmp_path / "data").exists()


def test_images_of_a_folder_go_the_same_way(project, tmp_path):
    other = Project(tmp_path)
    # Photographs of any folder: here the images that the first copy has drawn.
    photographs = tmp_path / "photographs"
    shutil.copytree(project.root / "data" / "faces", photographs / "mine")
    (photographs / "broken.jpg").write_bytes(b"not an image")
    other.set("fetch_faces.source", "folder")
    for stage in ("fetch_faces", "fetch_selfies", "degrade"):
        other.run(sys.executable, "-m", f"stages.{stage}")
    set_aside = (tmp_path / "reports" / "fetch_faces" / "set_aside.csv").read_text()
    assert "broken.jpg" in set_aside
    assert "is not an image" in set_aside
    assert len((tmp_path / "data/pairs/train/lr/stems.txt").read_text().splitlines()) == 6
