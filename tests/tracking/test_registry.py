"""The registry's commands and MLflow's projection on the real pipeline, as a user runs them."""

import json
import re
import sqlite3
import sys

import pytest
from test_stages import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    project.repro()
    return project


def facesr(project, *arguments, status=0):
    script = "from facesr.cli import main; main()"
    return project.run(sys.executable, "-c", script, *arguments, status=status)


def counts(project):
    """Parents, stage runs and versions."""
    parents = project.count(
        "runs", "run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'dvc.pipeline_key')"
    )
    return parents, project.count("runs") - parents, project.count("model_versions")


def test_verify_measures_the_registered_numbers_again(project):
    answer = facesr(project, "verify")
    assert "The challenger is facesr/1" in answer
    assert "numbers are as registered" in answer


def test_verify_fails_when_one_weight_is_changed(project):
    [weights] = (project.root / "mlruns").rglob("weights.safetensors")
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        assert "not those that were registered" in facesr(project, "verify", status=1)
    finally:
        weights.write_bytes(kept)


def test_verify_fails_when_one_evaluation_image_is_changed(project):
    image = next(
        path for path in sorted((project.root / "data/pairs/test/lr").iterdir()) if path.is_file()
    )
    kept = image.read_bytes()
    image.unlink()  # DVC may have linked it into its cache
    image.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        assert "does not hold the images" in facesr(project, "verify", status=1)
    finally:
        image.write_bytes(kept)


def test_verify_fails_when_one_metric_is_changed(project):
    change = "UPDATE latest_metrics SET value = value + ? WHERE key LIKE ?"
    key = "selfies/psnr"
    with sqlite3.connect(project.root / "mlflow.db") as database:
        assert database.execute(change, (0.01, key)).rowcount
    try:
        answer = facesr(project, "verify", status=1)
        assert f"MLflow's {key}" in answer
        assert "1 of" in answer
    finally:
        with sqlite3.connect(project.root / "mlflow.db") as database:
            database.execute(change, (-0.01, key))


def test_a_version_is_made_again_with_equal_weights(project):
    answer = facesr(project, "reproduce", "1")
    assert "metrics came out the same" in answer
    assert "OTHER" not in answer
    assert len(re.findall(r"^equal  models/", answer, flags=re.MULTILINE)) == 3
    assert "worktree" not in project.run("git", "worktree", "list")


def test_a_grid_on_dvcs_queue_leaves_experiments_that_can_be_compared(project, tmp_path):
    before = counts(project)
    answer = project.queue("decay", "train_upsampler.weight_decay=0.001,0.002,none", jobs=2)
    assert "decay-3" in answer
    parents, _, versions = (new - old for new, old in zip(counts(project), before, strict=True))
    # The first value is that of params.yaml, whose state is published already.
    assert (parents, versions) == (1, 1)
    answer = facesr(project, "compare", "--over-seeds", "decay-1", "decay-2")
    assert "train_upsampler.weight_decay=0.002" in answer
    assert "decay-3 is no version" in facesr(project, "compare", "decay-1", "decay-3", status=1)

    lineage = json.loads(facesr(project, "lineage", "decay-2", "--json"))
    assert lineage["experiment"] == "decay-2"

    page = tmp_path / "page.html"
    answer = facesr(project, "compare", "1", "decay-2", "--html", str(page))
    assert "train_upsampler.weight_decay" in answer
    assert page.read_text().count("data:image/png") == 2
