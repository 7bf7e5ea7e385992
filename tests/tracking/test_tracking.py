import base64
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from shipped import write_params
from tiny import network

from facesr import choice, cli, tracking
from facesr.config import PublishParams, load_params
from facesr.errors import DataError, NoChampionError, NotRegisteredError, RegistryError
from facesr.models.checkpoints import save_networks
from facesr.paths import EVALUATION_SETS
from facesr.tracking import (
    Published,
    champion,
    champion_or_challenger,
    download,
    find_version,
    projection,
    promote,
    provenance,
    publish,
    read_record,
    registration,
    rollback,
    store,
    versions,
)
from facesr.tracking.aliases import Measure

# Warnings about MLflow's own code.
pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")

STAGES = (
    "fetch_faces",
    "fetch_selfies",
    "degrade",
    "train_generator",
    "train_critic",
    "train_gan",
    "train_upsampler",
    "evaluate",
)
GATE = PublishParams(metric="psnr", evaluation_set="selfies", confidence=0.9975)
TRAINED = {"git.rev": "a" * 40, "git.dirty": "false", "device": "NVIDIA H200"}
PROVENANCE = {**TRAINED, "torch": "2.9.0", "began": "1000.5", "ended": "1090.5"}
NETWORKS = (Path("models/gan.safetensors"), Path("models/upsampler.safetensors"))
FIDELITY = Path("models/generator.safetensors")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without an experiment; building one takes seconds."""
    database = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    store.create_database(database)
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]
    return database


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny networks: x1 before and after the adversarial training, x2."""
    folder = tmp_path_factory.mktemp("networks")
    for path, scale in zip(NETWORKS, (1, 2), strict=True):
        write_network(folder / path.name, scale=scale, seed=0)
    write_network(folder / FIDELITY.name, scale=1, seed=1)
    return folder


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def project(
    tmp_path: Path, migrated_database: Path, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project after `dvc repro` of its first eight stages, with an empty MLflow database."""
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path / "project", migrated_database, networks)


@pytest.fixture(scope="module")
def published_project(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path, networks: Path
) -> Path:
    """A project after its first publish, in a DVC experiment; only to be read."""
    folder = tmp_path_factory.mktemp("published")
    root = make_project(folder / "project", migrated_database, networks)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_EXP_NAME", "brisk-otter")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        first = publish_project(root)
    assert first.created_version
    assert (first.created_runs, first.model_version, first.champion) == (9, 1, 1)
    return root


def make_project(root: Path, database: Path, networks: Path) -> Path:
    shutil.copytree(networks, root / "models")
    shutil.copy(database, root / "mlflow.db")
    write_reports(root / "reports")
    write_lock(root)
    return root


def write_network(path: Path, *, scale: int, seed: int) -> None:
    save_networks(path, [network(scale=scale, seed=seed, visible=0)])


def write_reports(reports: Path) -> None:
    for stage in STAGES:
        (reports / stage).mkdir(parents=True)
        if stage.startswith("train_"):
            (reports / stage / "provenance.json").write_text(json.dumps(PROVENANCE))
    curves = reports / "train_gan"
    (curves / "curves.csv").write_text("step,loss,critic_loss\n1,0.5,\n2,0.25,inf\n3,0.125,0.75\n")
    (curves / "valid.csv").write_text("step,psnr\n3,21.5\n")
    (curves / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(curves / "samples" / "step000003.png")
    evaluation = reports / "evaluate"
    write_scores(reports, [24.0, 25.0, 26.5])
    (evaluation / "tables.md").write_text("| method | PSNR |\n")
    (evaluation / "sheets").mkdir()
    Image.new("RGB", (8, 8)).save(evaluation / "sheets" / "test.png")
    (evaluation / "images" / "faces").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(evaluation / "images" / "faces" / "1.png")
    (reports / "metrics.json").write_text("{}")


def write_scores(reports: Path, psnr: Sequence[float]) -> None:
    """Write the chain's PSNR image by image, beside that of bicubic and of the starter."""
    rows = ["set,size,method,stem,psnr"]
    for number, (value, starter) in enumerate(zip(psnr, (23.0, 24.0, 25.5), strict=True)):
        rows.append(f"selfies,full size,bicubic,{number},23.0")
        rows.append(f"selfies,full size,starter,{number},{starter}")
        rows.append(f"selfies,full size,GAN + up-sampler,{number},{value}")
    (reports / "evaluate" / "per_image.csv").write_text("\n".join(rows) + "\n")


def write_lock(root: Path, *, loss: str = "l1", test_pairs: str = "a" * 32 + ".dir") -> None:
    """Write dvc.lock as DVC does; `loss` is a parameter of the last training."""
    stages: dict[str, Any] = {
        stage: {
            "cmd": f"python -m stages.{stage}",
            "deps": [dependency(f"stages/{stage}.py")],
            "params": {"params.yaml": {f"{stage}": {"batch": 4}, "training_seed": 0}},
            "outs": [dependency(f"reports/{stage}")],
        }
        for stage in STAGES
    }
    stages["fetch_faces"]["params"]["params.yaml"]["fetch_faces"]["path"] = ""
    stages["train_gan"]["deps"].append(dependency("data/pairs/train"))
    stages["train_upsampler"]["params"]["params.yaml"]["train_upsampler"] = {
        "loss": loss,
        "phases": [{"epochs": 2}, {"epochs": 3}],
        "note": "x" * 9000,
    }
    trained = zip(
        ("train_generator", "train_gan", "train_upsampler"), (FIDELITY, *NETWORKS), strict=True
    )
    for stage, weights in trained:
        md5 = hashlib.md5((root / weights).read_bytes()).hexdigest()
        stages[stage]["outs"].append(dependency(str(weights), md5))
    stages["evaluate"]["deps"] += [
        dependency("data/pairs/test", test_pairs),
        dependency("data/pairs/selfies"),
    ]
    stages["evaluate"]["outs"].append(dependency("reports/metrics.json"))
    stages["publish"] = {"cmd": "python -m stages.publish"}
    (root / "dvc.lock").write_text(
        yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)
    )


def dependency(path: str, md5: str = "") -> dict[str, Any]:
    md5 = md5 or hashlib.md5(path.encode()).hexdigest()
    return {"path": path, "hash": "md5", "md5": md5, "size": 1}


def refuse_to_measure(weights: Path, set_name: str, table: Path) -> None:
    raise AssertionError("the champion has been measured on these images")


def publish_project(
    root: Path, *, profile: str = "small", measure: Measure = refuse_to_measure
) -> Published:
    return publish(
        root,
        lock=Path("dvc.lock"),
        reports=Path("reports"),
        metrics=Path("reports/metrics.json"),
        scores=Path("reports/evaluate/per_image.csv"),
        networks=NETWORKS,
        fidelity=FIDELITY,
        profile=profile,
        gate=GATE,
        sets=EVALUATION_SETS,
        measure=measure,
    )


def find_runs(root: Path, condition: str = "") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.tracking_uri(root))
    experiment = client.get_experiment_by_name("facesr")
    return list(client.search_runs([experiment.experiment_id], condition))


def png(side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "grey").save(buffer, "PNG")
    return buffer.getvalue()


def test_the_default_store_is_an_absolute_address_inside_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking.tracking_uri(Path()) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.tracking_uri(Path()) == "http://127.0.0.1:5000"


def test_the_first_publish_records_every_stage_under_one_parent(published_project: Path) -> None:
    runs = {run.info.run_name: run for run in find_runs(published_project)}
    assert set(runs) == {"brisk-otter", *STAGES}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs["brisk-otter"].info.run_id
    for stage in STAGES:
        assert runs[stage].data.tags["mlflow.parentRunId"] == parent
        assert runs[stage].data.tags["dvc.stage"] == stage


def test_runs_hold_curves_images_parameters_and_data(published_project: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.tracking_uri(published_project))
    runs = {run.info.run_name: run for run in find_runs(published_project)}
    gan, evaluate = runs["train_gan"], runs["evaluate"]
    losses = client.get_metric_history(gan.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in losses] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert gan.data.metrics == {"loss": 0.125, "critic_loss": 0.75, "valid.psnr": 21.5}
    assert gan.data.params == {"train_gan.batch": "4", "training_seed": "0"}
    assert [item.dataset.name for item in gan.inputs.dataset_inputs] == ["data/pairs/train"]
    assert client.list_artifacts(gan.info.run_id, "images")
    assert {file.path for file in client.list_artifacts(evaluate.info.run_id)} == {
        "per_image.csv",
        "tables.md",
        "sheets",
        "images",
    }
    parent = runs["brisk-otter"]
    # 24, 25 and 26.5 dB against 23 dB; no other metric is in the table.
    expected = {
        "selfies/psnr": 25.1667,
        "selfies/psnr_gain": 2.16667,
    }
    assert parent.data.metrics == expected
    assert evaluate.data.metrics == {}
    # Without a preset of the profile all parameters are its own.
    params = parent.data.params
    assert params["profile"] == "small"
    assert params["train_upsampler.phases.1.epochs"] == "3"
    assert params["fetch_faces.path"] == ""
    assert len(params["train_upsampler.note"]) == 6000
    [version] = client.search_model_versions("name = 'facesr'")
    model = client.get_logged_model(version.source.rpartition("/")[2])
    assert {metric.key: metric.value for metric in model.metrics} == expected


def test_the_run_of_a_state_has_a_verdict_images_and_the_times_of_its_trainings(
    published_project: Path,
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.tracking_uri(published_project))
    runs = {run.info.run_name: run for run in find_runs(published_project)}
    parent, gan = runs["brisk-otter"], runs["train_gan"]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("facesr/1 is champion. Better than the starter: psnr on selfies")
    assert note.count(". ") == 1
    [version] = client.search_model_versions("name = 'facesr'")
    assert note.endswith(version.description)
    images = client.list_artifacts(parent.info.run_id, "images")
    keys = {Path(file.path).name.partition("+step")[0].replace("~", "/") for file in images}
    assert keys == {"faces/1", "test/sheet"}
    for run in (parent, gan):
        assert (run.info.start_time, run.info.end_time) == (1000500, 1090500)
    losses = client.get_metric_history(gan.info.run_id, "loss")
    assert [one.timestamp for one in losses] == [1030500, 1060500, 1090500]
    assert len(find_version(published_project, "facesr/1").tags) <= 16
    assert len([tag for tag in parent.data.tags if not tag.startswith("mlflow.")]) <= 12


def test_the_run_of_a_state_names_only_parameters_that_differ_from_its_profile(
    project: Path,
) -> None:
    preset: dict[str, Any] = {stage: {"batch": 4} for stage in STAGES}
    preset["fetch_faces"]["path"] = ""
    preset |= {
        "training_seed": 7,
        "train_upsampler": {"loss": "l1", "phases": [{"epochs": 2}, {"epochs": 4}]},
    }
    preset["train_upsampler"]["note"] = "x" * 9000
    (project / "profiles").mkdir()
    (project / "profiles" / "small.yaml").write_text(yaml.safe_dump(preset))

    published = publish_project(project)

    [run] = [run for run in find_runs(project) if run.info.run_id == published.parent_run_id]
    assert run.data.params == {
        "profile": "small",
        "training_seed": "0",
        "train_upsampler.phases.1.epochs": "3",
    }
    assert read_record(project, "1").params["train_gan.batch"] == "4"


def test_publishing_again_adds_nothing(published_project: Path) -> None:
    again = publish_project(published_project)

    assert (again.created_runs, again.created_version) == (0, False)
    assert (again.model_version, again.champion) == (1, 1)
    assert len(find_runs(published_project)) == 9


def test_a_state_is_recognised_without_the_note_of_the_last_publish(
    published_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = publish_project(published_project)
    # As on a server.
    monkeypatch.setattr(projection, "read_note", lambda root, key: None)

    assert publish_project(published_project) == known


def test_a_repeated_publish_imports_neither_mlflow_nor_torch(published_project: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from facesr.tracking import publish\n"
        "from facesr.config import PublishParams\n"
        "from facesr.paths import EVALUATION_SETS\n"
        "publish(Path(), lock=Path('dvc.lock'), reports=Path('reports'),"
        " metrics=Path('reports/metrics.json'), profile='small',"
        " scores=Path('reports/evaluate/per_image.csv'), gate=PublishParams("
        "metric='psnr', evaluation_set='selfies', confidence=0.9975),"
        " sets=EVALUATION_SETS, measure=print,"
        " networks=[Path('models/gan.safetensors'), Path('models/upsampler.safetensors')],"
        " fidelity=Path('models/generator.safetensors'))\n"
        "print({'mlflow', 'torch'} & set(sys.modules))"
    )
    source = str(Path(tracking.__file__).parents[2])
    answer = run_python(script, cwd=published_project, PYTHONPATH=source)
    assert answer.strip() == "set()"


def test_only_a_changed_stage_gets_a_new_run_and_the_others_are_linked(project: Path) -> None:
    publish_project(project)
    earlier = {run.info.run_name: run.info.run_id for run in find_runs(project)}
    write_lock(project, loss="mse")

    second = publish_project(project)

    assert second.created_runs == 2
    [stage] = find_runs(project, f"tags.`mlflow.parentRunId` = '{second.parent_run_id}'")
    assert stage.info.run_name == "train_upsampler"
    [parent] = [r for r in find_runs(project) if r.info.run_id == second.parent_run_id]
    linked = {
        tag.removeprefix("dvc.reused."): value
        for tag, value in parent.data.tags.items()
        if tag.startswith("dvc.reused.")
    }
    assert linked == {stage: earlier[stage] for stage in STAGES if stage != "train_upsampler"}


def test_going_back_to_an_earlier_state_adds_nothing(project: Path) -> None:
    first = publish_project(project)
    write_lock(project, loss="mse")
    publish_project(project)
    write_lock(project)

    assert publish_project(project) == Published(first.parent_run_id, 0, 1, False, 1)
    assert len(find_runs(project)) == 11


def test_equal_weights_are_one_version_and_other_weights_the_next(project: Path) -> None:
    publish_project(project)
    write_lock(project, test_pairs="b" * 32 + ".dir")
    measured_again = publish_project(project)
    assert (measured_again.model_version, measured_again.created_version) == (1, False)
    assert find_version(project, "facesr/1").tags["dvc.md5.data/pairs/test"] == "b" * 32 + ".dir"

    write_network(project / NETWORKS[0], scale=1, seed=1)
    write_lock(project)
    trained_again = publish_project(project)
    assert (trained_again.model_version, trained_again.created_version) == (2, True)
    assert trained_again.champion == 1


def train_again(root: Path, psnr: Sequence[float], *, seed: int) -> None:
    """Stands for a training with other parameters and its evaluation on the same images."""
    write_network(root / NETWORKS[0], scale=1, seed=seed)
    write_lock(root)
    write_scores(root / "reports", psnr)


def test_a_better_version_becomes_champion_and_a_worse_one_challenger_with_the_reason(
    project: Path,
) -> None:
    assert "Better than the starter" in publish_project(project).decision.reason
    train_again(project, [24.5, 25.6, 27.0], seed=1)
    better = publish_project(project)
    assert (better.model_version, better.champion) == (2, 2)
    train_again(project, [24.0, 25.0, 26.5], seed=2)

    worse = publish_project(project)

    assert (worse.model_version, worse.champion) == (3, 2)
    challenger = find_version(project, "facesr@challenger")
    assert challenger.number == 3
    assert challenger.tags["gate.decision"] == "challenger"
    assert (
        "over 3 images: +2.167 ± 0.73 dB against bicubic, +1 ± 0 dB against the starter, "
        "-0.5333 ± 0.033 dB against version 2" in (challenger.tags["gate.reason"])
    )
    assert "Better" in champion(project).tags["gate.reason"]
    # Known states move nothing.
    assert publish_project(project).decision is None


def test_the_challenger_is_the_best_of_those_that_did_not_pass_and_not_the_last(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scores(project / "reports", [23.0, 24.3, 25.4])
    publish_project(project)
    train_again(project, [23.0, 24.1, 25.4], seed=1)

    last = publish_project(project)

    assert last.model_version == 2
    assert last.decision.rival == find_version(project, "facesr@challenger").number == 1
    note = find_runs(project, f"attributes.run_id = '{last.parent_run_id}'")[0].data.tags
    assert "facesr/2 is behind the challenger, version 1" in note["mlflow.note.content"]
    train_again(project, [23.0, 24.5, 25.4], seed=2)
    assert publish_project(project).decision.rival is None
    assert find_version(project, "facesr@challenger").number == 3

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        cli.main(["versions"])
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
    ]
    # The mean of 0, 1.5 and 2.4 dB over bicubic; these images are selfies.
    assert rows[2][:6] == ["3", "challenger", "-", "small", "-", "+1.300"]
    assert [row[0] for row in rows[3:]] == ["2", "1"]


def test_a_first_version_that_is_not_better_than_the_starter_stays_challenger(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="facesr")
    write_scores(project / "reports", [23.0, 24.1, 25.4])

    first = publish_project(project)

    assert (first.model_version, first.champion) == (1, None)
    assert find_version(project, "facesr@challenger").number == 1
    assert "no champion: the starter serves" in caplog.text
    assert "Not better than the starter by more than chance" in caplog.text
    with pytest.raises(NoChampionError, match=r"the starter serves.*challenger is facesr/1"):
        champion(project)
    assert champion_or_challenger(project) == "facesr/1"
    assert choice.load(None, root=project, device="cpu").model.startswith("starter")
    assert "The challenger is facesr/1" in caplog.text
    # A known state asks nobody again.
    caplog.clear()
    assert publish_project(project).decision is None
    assert "no champion: the starter serves" in caplog.text

    train_again(project, [24.0, 25.0, 26.5], seed=1)
    better = publish_project(project)
    assert (better.model_version, better.champion) == (2, 2)


def test_a_version_that_is_worse_than_the_starter_at_small_scales_stays_challenger(
    project: Path,
) -> None:
    table = project / "reports/evaluate/per_image.csv"
    rows = [
        f"selfies,generator size,{method},{number},{psnr}"
        for number in range(3)
        for method, psnr in (("starter", 28.0 + number), ("GAN", 27.9 + number))
    ]
    table.write_text(table.read_text() + "\n".join(rows) + "\n")
    published = publish_project(project)
    assert published.champion is None
    assert "first network" in published.decision.reason


def other_images(root: Path) -> None:
    """Stands for evaluation images that the champion has not been measured on."""
    lock = (root / "dvc.lock").read_text()
    md5 = dependency("data/pairs/selfies")["md5"]
    assert md5 in lock
    (root / "dvc.lock").write_text(lock.replace(md5, "d" * 32))


@pytest.mark.parametrize("profile", ["small", "smoke"])
def test_the_champion_is_measured_anew_on_other_images_once(project: Path, profile: str) -> None:
    publish_project(project)
    measured = []

    def measure(weights: Path, set_name: str, table: Path) -> None:
        measured.append(weights.read_bytes() == download(project, "facesr/1").read_bytes())
        rows = [f"{set_name},full size,GAN + up-sampler,{n},{24 + n}" for n in range(3)]
        table.write_text("\n".join(["set,size,method,stem,psnr", *rows]) + "\n")

    train_again(project, [23.5, 24.6, 25.5], seed=1)
    other_images(project)
    worse = publish_project(project, profile=profile, measure=measure)
    assert (worse.model_version, worse.champion) == (2, 1)
    assert "-0.4667 ± 0.033 dB against version 1" in worse.decision.reason
    assert publish_project(project, profile=profile).decision is None
    train_again(project, [24.9, 26.0, 27.0], seed=2)
    other_images(project)
    # What was measured is in the store.
    better = publish_project(project, profile=profile)
    assert (better.model_version, better.champion) == (3, 3)
    assert measured == [True]


def test_an_evaluation_of_before_the_starter_was_measured_moves_no_alias(project: Path) -> None:
    table = project / "reports/evaluate/per_image.csv"
    rows = [row for row in table.read_text().splitlines() if ",starter," not in row]
    table.write_text("\n".join(rows) + "\n")
    published = publish_project(project)
    assert (published.model_version, published.champion, published.decision) == (1, None, None)
    reason = find_version(project, "facesr/1").tags["gate.reason"]
    assert reason.startswith("It was not compared with the starter, on selfies: per_image.csv has")


def test_no_alias_changes_where_the_champions_weights_are_lost(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish_project(project)
    weights = download(project, "facesr/1")
    kept = weights.read_bytes()
    weights.unlink()
    train_again(project, [44.5, 45.6, 47.0], seed=1)
    other_images(project)

    published = publish_project(project)

    assert (published.model_version, published.champion, published.decision) == (2, 1, None)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "\n" not in line
    assert "It was not compared with the champion, version 1, on selfies" in line
    assert "not in the artifact store" in find_version(project, "facesr/2").tags["gate.reason"]
    with pytest.raises(NotRegisteredError):
        find_version(project, "facesr@challenger")
    # It is asked again once they are back.
    weights.write_bytes(kept)
    rows = [f"selfies,full size,GAN + up-sampler,{n},{24 + n}" for n in range(3)]
    table = "\n".join(["set,size,method,stem,psnr", *rows])
    again = publish_project(project, measure=lambda _, __, path: path.write_text(table) and None)
    assert (again.model_version, again.champion) == (2, 2)


def test_a_person_promotes_and_takes_back_and_the_gate_does_not_undo_it(project: Path) -> None:
    publish_project(project)
    train_again(project, [24.5, 25.6, 27.0], seed=1)
    publish_project(project)

    assert rollback(project, reason="teeth").number == 1
    assert champion(project).number == 1
    assert find_version(project, "facesr/2").tags["withdrawn.reason"] == "teeth"
    # Before the first version the starter served.
    assert rollback(project, reason="again") is None
    with pytest.raises(NoChampionError, match="the starter serves"):
        rollback(project, reason="and again")
    assert promote(project, "facesr/1", reason="not so bad").number == 1
    write_lock(project, loss="mse")
    measured_again = publish_project(project)
    assert (measured_again.model_version, measured_again.champion) == (2, 1)

    assert promote(project, "facesr/2", reason="teeth are fine").number == 2
    tags = champion(project).tags
    assert tags["promoted.reason"] == "teeth are fine"
    assert "withdrawn.reason" not in tags
    assert rollback(project, reason="no, they are not").number == 1


def test_a_challenger_that_is_promoted_is_no_challenger_any_more(project: Path) -> None:
    write_scores(project / "reports", [23.0, 24.1, 25.4])
    publish_project(project)
    assert find_version(project, "facesr@challenger").number == 1
    promote(project, "facesr/1", reason="looks better")
    with pytest.raises(NotRegisteredError):
        find_version(project, "facesr@challenger")


def test_promoting_needs_a_reason_and_weights(project: Path) -> None:
    publish_project(project)
    with pytest.raises(RegistryError, match="needs a reason"):
        promote(project, "facesr/1", reason=" ")
    with pytest.raises(RegistryError, match="facesr/5 is not registered"):
        promote(project, "facesr/5", reason="best")
    with pytest.raises(RegistryError, match="needs a reason"):
        rollback(project, reason="")
    weights = download(project, "facesr/1")
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(RegistryError, match="not those that were registered"):
        promote(project, "facesr/1", reason="best")


def test_another_projects_model_of_the_same_name_is_refused_and_stays_as_it_was(
    project: Path,
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.tracking_uri(project))
    client.create_registered_model("facesr")
    client.create_model_version("facesr", source=(project / "models").as_uri())

    with pytest.raises(RegistryError, match="not this project's: its version 1 has no tag dvc.md5"):
        publish_project(project)

    assert find_runs(project) == []
    assert client.get_registered_model("facesr").aliases == {}
    with pytest.raises(RegistryError):
        download(project, "facesr/1")


def test_networks_with_other_md5_and_equal_weights_are_one_version(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_project(project)
    lock = (project / "dvc.lock").read_text()
    md5 = hashlib.md5((project / NETWORKS[0]).read_bytes()).hexdigest()
    (project / "dvc.lock").write_text(lock.replace(md5, "c" * 32))

    published = publish_project(project)

    assert (published.model_version, published.created_version) == (1, False)


def test_an_experiment_that_another_worker_has_just_made_is_used(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    asked = MlflowClient.get_experiment_by_name
    answers = []

    def answer_too_early(client: MlflowClient, name: str) -> Any:
        answers.append(asked(client, name))
        if len(answers) == 1:
            MlflowClient(tracking_uri=tracking.tracking_uri(project)).create_experiment(
                name, store.artifact_location(project)
            )
        return answers[-1]

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", answer_too_early)
    assert publish_project(project).created_runs == 9
    assert answers[0] is None


def test_a_project_with_an_empty_database_is_rebuilt_from_files(
    published_project: Path, migrated_database: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(published_project, clone, ignore=shutil.ignore_patterns("mlflow.db*", "mlruns"))
    shutil.copy(migrated_database, clone / "mlflow.db")

    rebuilt = publish_project(clone)

    assert (rebuilt.created_runs, rebuilt.model_version, rebuilt.champion) == (9, 1, 1)


def test_a_database_from_another_folder_is_refused(published_project: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(published_project, moved)

    with pytest.raises(RegistryError, match="written in another folder"):
        publish_project(moved)


@pytest.mark.parametrize("schema", ["bd07f7e963c5", "ffffffffffff"])
def test_a_store_of_another_mlflow_gets_the_same_advice_from_publish_and_readers(
    published_project: Path, tmp_path: Path, schema: str
) -> None:
    root = tmp_path / "project"
    shutil.copytree(published_project, root)
    with sqlite3.connect(root / "mlflow.db") as database:
        # As in the folder that it was written in.
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            (str(published_project), str(root)),
        )
        database.execute("UPDATE alembic_version SET version_num = ?", (schema,))
    for ask in (publish_project, champion):
        with pytest.raises(RegistryError) as caught:
            ask(root)
        assert f"mlflow db upgrade sqlite:///{root}/mlflow.db" in str(caught.value)
        assert "builds them again" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_publish_that_died_is_completed_by_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(projection, "read_curves", die_at("train_gan"))
        with pytest.raises(KeyboardInterrupt):
            publish_project(project)
    states = {run.info.run_name: run.info.status for run in find_runs(project)}
    assert states["repro"] == states["train_gan"] == "FAILED"
    assert "evaluate" not in states
    with pytest.raises(RegistryError, match="not registered"):
        champion(project)

    completed = publish_project(project)

    assert completed.created_version
    [parent] = find_runs(
        project, "tags.`dvc.pipeline_key` LIKE '%' and attributes.status = 'FINISHED'"
    )
    assert parent.info.run_id == completed.parent_run_id
    own = {
        run.info.run_name
        for run in find_runs(project, f"tags.`mlflow.parentRunId` = '{completed.parent_run_id}'")
    }
    linked = {tag.removeprefix("dvc.reused.") for tag in parent.data.tags if "reused" in tag}
    assert own | linked == set(STAGES)
    assert publish_project(project).created_runs == 0


def die_at(stage: str) -> Any:
    original = projection.read_curves

    def read_curves(folder: Path) -> Iterator[tuple[str, float, int]]:
        if folder.name == stage:
            raise KeyboardInterrupt
        return original(folder)

    return read_curves


def test_a_registration_that_failed_is_completed_by_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Any:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(registration, "_input_example", refuse)
        with pytest.raises(RegistryError, match="No space left on device"):
            publish_project(project)

    completed = publish_project(project)

    assert (completed.created_runs, completed.model_version) == (1, 1)


def test_a_run_id_in_the_environment_does_not_receive_the_parent(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish_project(project)
    before = find_runs(project, "attributes.run_name = 'repro'")[0].data.tags
    monkeypatch.setenv("MLFLOW_RUN_ID", first.parent_run_id)
    write_lock(project, loss="mse")

    second = publish_project(project)

    assert second.parent_run_id != first.parent_run_id
    [kept] = [r for r in find_runs(project) if r.info.run_id == first.parent_run_id]
    assert kept.data.tags == before
    assert "MLFLOW_RUN_ID" not in os.environ


def test_tags_hold_provenance_and_neither_secrets_nor_paths_of_this_computer(
    published_project: Path,
) -> None:
    runs = {run.info.run_name: run.data.tags for run in find_runs(published_project)}
    version = find_version(published_project, "facesr/1").tags
    assert runs["brisk-otter"]["dvc.exp_name"] == "brisk-otter"
    assert runs["brisk-otter"]["profile"] == version["profile"] == "small"
    assert version["dvc.md5.data/pairs/selfies"]
    everything = json.dumps([*runs.values(), dict(version)])
    for secret in ("hunter2", str(published_project), "mlflow.user", "mlflow.source"):
        assert secret not in everything


def test_the_code_is_dirty_by_changes_of_its_own_and_not_by_parameters_and_results(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    assert "git.rev" not in provenance.environment(project)
    (project / "src").mkdir()
    for name in ("params.yaml", "src/model.py"):
        (project / name).write_text("")
    identity = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=project, check=True)
    write_lock(project, loss="mse")
    (project / "reports/metrics.json").write_text("{ }")
    (project / "params.yaml").write_text("training_seed: 1\n")
    found = provenance.environment(project)
    assert (len(found["git.rev"]), found["git.dirty"]) == (40, "false")
    assert found["torch"] == torch.__version__.partition("+")[0]
    (project / "src/model.py").write_text("depth = 3\n")
    assert provenance.environment(project)["git.dirty"] == "true"


def test_a_training_records_what_trained_it_beside_its_report(tmp_path: Path) -> None:
    params = load_params(write_params(tmp_path), any_device=True)
    with tracking.live_run(tmp_path, tmp_path / "train_gan", params) as report:
        assert provenance.read_environment(report) == {}
    assert provenance.read_environment(report)["torch"] == torch.__version__.partition("+")[0]


def test_a_version_names_what_trained_it_and_not_who_publishes(published_project: Path) -> None:
    runs = {run.info.run_name: run.data.tags for run in find_runs(published_project)}
    version = find_version(published_project, "facesr/1").tags
    for tags in (runs["brisk-otter"], runs["train_gan"], version):
        assert {tag: tags.get(tag) for tag in TRAINED} == TRAINED
    # Nothing has been recorded of what drew the images.
    assert not TRAINED.keys() & runs["fetch_faces"].keys()


def test_weights_are_found_by_alias_and_number_and_equal_the_tagged_md5(
    published_project: Path,
) -> None:
    assert (
        champion(published_project).number
        == find_version(published_project, "facesr/1").number
        == 1
    )
    weights = download(published_project, "facesr@champion")
    assert weights.name == "weights.safetensors"
    assert (
        hashlib.md5(weights.read_bytes()).hexdigest() == champion(published_project).tags["dvc.md5"]
    )


def test_a_missing_version_names_the_next_command(published_project: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RegistryError, match=r"facesr/7 is not registered in .*\. There is version 1\."
    ):
        download(published_project, "facesr/7")
    with pytest.raises(RegistryError, match="facesr@rival is not registered"):
        find_version(published_project, "facesr@rival")
    with pytest.raises(RegistryError, match="Write facesr@champion or facesr/3"):
        find_version(published_project, "other@champion")
    with pytest.raises(RegistryError, match="Run: dvc repro"):
        champion(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_lost_weights_are_reported_and_registered_again_once_their_version_is_deleted(
    project: Path,
) -> None:
    from mlflow import MlflowClient

    publish_project(project)
    download(project, "facesr@champion").unlink()
    with pytest.raises(RegistryError, match=r"not in the artifact store .* Delete that version"):
        download(project, "facesr@champion")
    MlflowClient(tracking_uri=tracking.tracking_uri(project)).delete_model_version("facesr", "1")

    again = publish_project(project)

    assert (again.created_runs, again.created_version) == (0, True)
    assert download(project, "facesr@champion").is_file()


def test_missing_or_damaged_files_are_reported(project: Path) -> None:
    (project / "reports/evaluate/per_image.csv").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"per_image\.csv is damaged .* Run: dvc repro"):
        publish_project(project)
    (project / "dvc.lock").unlink()
    with pytest.raises(DataError, match=r"dvc\.lock does not exist. Run: dvc repro"):
        publish_project(project)


def test_a_server_that_does_not_answer_is_reported_within_seconds(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:hunter2@127.0.0.1:{port}")
    start = time.monotonic()

    with pytest.raises(RegistryError, match=rf"MLflow at http://127\.0\.0\.1:{port} ") as caught:
        publish_project(project)

    assert time.monotonic() - start < 8
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_a_server_that_accepts_and_stays_silent_is_reported_within_seconds(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        start = time.monotonic()
        with pytest.raises(RegistryError, match="Start the server"):
            champion(project)
        assert time.monotonic() - start < 8


def test_weights_from_a_server_leave_two_copies_at_most_and_none_after_the_process(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched = []

    def fetch(artifact_uri: str, tracking_uri: str, dst_path: str | None = None) -> str:
        fetched.append(artifact_uri)
        path = Path(dst_path or tempfile.mkdtemp(), "weights.safetensors")
        path.write_text(artifact_uri)
        return str(path)

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", fetch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    versions._copies.cache_clear()
    found = []
    for number in (1, 2, 1, 3, 1):
        uri = f"mlflow-artifacts:/{number}/weights.safetensors"
        tags = {"dvc.md5": hashlib.md5(uri.encode()).hexdigest()}
        path = download(project, tracking.RegisteredVersion(number, "", tags, uri))
        assert path.read_text() == uri
        found.append(path)
    assert found[0] == found[2] == found[4]
    assert [int(uri.split("/")[1]) for uri in fetched] == [1, 2, 3]
    left = [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()]
    assert set(left) == {found[0], found[3]}
    versions._copies()[0].cleanup()
    versions._copies.cache_clear()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_threads_that_connect_at_once_share_the_short_timeouts_and_leave_none(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    timeout, retries = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    for name in (timeout, retries):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(store, "impatience", store._Impatience())
    both_inside, first_left = threading.Barrier(2), threading.Event()
    seen = {}

    def ask(self: MlflowClient, name: str) -> None:
        both_inside.wait(20)
        if threading.current_thread().name == "second":
            first_left.wait(20)
        seen[threading.current_thread().name] = (os.environ.get(timeout), os.environ.get(retries))

    def connect() -> None:
        store.connect(project, create=False)
        first_left.set()

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", ask)
    threads = [threading.Thread(target=connect, name=name) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The second one still waits for its answer when the first has its own.
    assert seen == {"first": ("3", "0"), "second": ("3", "0")}
    assert (os.environ.get(timeout), os.environ.get(retries)) == (None, "1")


def test_the_registered_model_works_elsewhere_and_answers_a_bad_image_with_a_sentence(
    published_project: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "good.png").write_bytes(png(8))

    # Without PYTHONPATH facesr comes from the model itself.
    script = (
        "import io, json, mlflow, pandas\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "model = mlflow.pyfunc.load_model('models:/facesr@champion')\n"
        "import facesr\n"
        "rows = pandas.DataFrame({'image': [Path('good.png').read_bytes(), b'no image']})\n"
        "answer = model.predict(rows, params={'size': 24})\n"
        "good, bad = answer.to_dict(orient='records')\n"
        "[large] = model.predict(rows[:1], params={'size': 10**6})['error']\n"
        "[wrong] = model.predict(rows[:1], params={'strength': 2.0})['error']\n"
        "[faithful] = model.predict(rows[:1], params={'size': 24, 'strength': 0.0})['error']\n"
        "print(json.dumps({'size': Image.open(io.BytesIO(good['image'])).size,"
        " 'format': Image.open(io.BytesIO(good['image'])).format, 'error': good['error'],"
        " 'bad': [len(bad['image']), bad['error']], 'large': large, 'wrong': wrong,"
        " 'faithful': faithful, 'code': facesr.__file__}))"
    )
    answer = json.loads(
        run_python(
            script, cwd=elsewhere, MLFLOW_TRACKING_URI=tracking.tracking_uri(published_project)
        )
    )
    assert answer["size"] == [24, 24]
    assert (answer["format"], answer["error"]) == ("PNG", "")
    assert answer["bad"][0] == 0
    assert "not an image" in answer["bad"][1]
    assert "too large" in answer["large"]
    assert "between 0 and 1" in answer["wrong"]
    assert answer["faithful"] == ""
    assert Path(answer["code"]).is_relative_to(published_project / "mlruns")


@pytest.mark.slow
def test_the_registered_model_is_served_over_http(published_project: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    uri = tracking.tracking_uri(published_project)
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "models", "serve", "--no-conda"),
                *("--model-uri", "models:/facesr@champion", "--port", str(port)),
            ],
            # The server is started through the name `uvicorn`.
            env={
                **inherited,
                "MLFLOW_TRACKING_URI": uri,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}",
            },
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        rows = [[base64.b64encode(png(8)).decode()], [base64.b64encode(b"no image").decode()]]
        body = {
            "dataframe_split": {"columns": ["image"], "data": rows},
            "params": {"size": 24, "strength": 0.5},
        }
        answer = post(f"http://127.0.0.1:{port}/invocations", body, patience=120)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    good, bad = answer["predictions"]
    with Image.open(io.BytesIO(base64.b64decode(good["image"]))) as image:
        assert (image.format, image.size) == ("PNG", (24, 24))
    assert good["error"] == ""
    assert "not an image" in bad["error"]


def post(url: str, body: dict[str, Any], *, patience: float) -> Any:
    """Sends JSON to a server that may still be starting."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    give_up = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except OSError:
            assert time.monotonic() < give_up, "the server does not answer"
            time.sleep(0.5)


def run_python(script: str, *, cwd: Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
