"""`facesr verify` on tiny networks: across number formats, and on changed weights and images."""

import json
import math
import os
import shutil

import pytest
import torch
import yaml
from test_evaluation import face
from test_tracking import (
    FIDELITY,
    NETWORKS,
    make_project,
    migrated_database,
    networks,
    publish_project,
)
from tiny import network

from facesr import cli, images
from facesr.audit import reproduction
from facesr.audit.verification import agree, folder_md5, verify
from facesr.data.pairs import HR, LR, load_pairs
from facesr.enhance.enhancer import Enhancer
from facesr.errors import DataError, RegistryError
from facesr.evaluation import perceptual
from facesr.evaluation.baselines import build_baselines
from facesr.evaluation.evaluate import _write_measurement
from facesr.evaluation.remeasure import write_scores
from facesr.evaluation.scores import (
    MEASUREMENT,
    enhanced_by,
    score,
    score_image,
    write_table,
)
from facesr.models.checkpoints import load_network, save_networks
from facesr.names import BICUBIC, FULL_SIZE, STARTER, UPSAMPLED, EvaluationSet
from facesr.paths import EVALUATION_SETS
from facesr.reports import write_json
from facesr.stats import read_table
from facesr.tracking import download

pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")
FIXTURES = (migrated_database, networks)
SIDE = 48


@pytest.fixture(scope="module")
def start(tmp_path_factory, migrated_database, networks):
    """A project with visible networks and pairs, not evaluated yet; only to be copied."""
    root = make_project(tmp_path_factory.mktemp("start") / "project", migrated_database, networks)
    for path, scale in zip((FIDELITY, *NETWORKS), (1, 1, 2), strict=True):
        save_networks(root / path, [network(scale=scale, visible=0.05)])
    for number, (folder, _) in enumerate(EVALUATION_SETS.values()):
        for stem in range(3):
            hr = face(10 * number + stem, size=SIDE)
            images.write(root / folder / HR / f"{stem}.png", hr)
            images.write(root / folder / LR / f"{stem}.png", images.resize(hr, (24, 24), "bicubic"))
    return root


@pytest.fixture
def publish(start, tmp_path, monkeypatch):
    """Evaluate and publish a copy of the project."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def publish(precision, *, recorded=None, evaluated=()):
        root = tmp_path / "project"
        shutil.copytree(start, root)
        paths = evaluated or [root / path for path in NETWORKS]
        chain = enhanced_by(Enhancer.from_files(paths, device="cpu", precision=precision))
        bicubic = build_baselines(1)[BICUBIC]
        rows = []
        for name, (folder, _) in EVALUATION_SETS.items():
            pairs = load_pairs(root / folder / LR, root / folder / HR, hr_size=SIDE)
            methods = {BICUBIC: bicubic, STARTER: bicubic, UPSAMPLED: chain}
            scores = score(methods, pairs, label=name)
            rows += [(name, FULL_SIZE, each) for each in scores]
        write_table(root / "reports/evaluate/per_image.csv", rows)
        if recorded:
            measurement = {"device": "cpu", "precision": recorded}
            write_json(root / "reports/evaluate" / MEASUREMENT, measurement)
        lock = yaml.safe_load((root / "dvc.lock").read_text())
        evaluate = lock["stages"]["evaluate"]
        for dependency in evaluate["deps"]:
            if (root / dependency["path"]).is_dir():
                dependency["md5"] = folder_md5(root / dependency["path"])
        evaluate["params"]["params.yaml"]["sizes"] = {"hr_size": SIDE}
        (root / "dvc.lock").write_text(yaml.safe_dump(lock))
        publish_project(root)
        return root

    return publish


@pytest.mark.parametrize(
    ("precision", "recorded"),
    [("float32", "float32"), ("bfloat16", None), ("bfloat16", "bfloat16")],
)
def test_a_version_verifies_whatever_number_format_it_was_evaluated_in(
    publish, precision, recorded
):
    result = verify(publish(precision, recorded=recorded), "1", EVALUATION_SETS)
    assert result.compared > 100
    assert result.deviations == []
    # Neither then nor now: these images show no face.
    assert "identity on faces" in result.unmeasured


def distance(sr, hr):
    """In place of LPIPS, whose weights a test has not."""
    return (sr - hr).abs().mean((1, 2, 3))


def missing(sr, hr):
    return torch.full((len(sr),), math.nan)


@pytest.mark.parametrize(("then", "now"), [(distance, missing), (missing, distance)])
def test_a_metric_whose_weights_only_one_computer_has_is_no_deviation(
    publish, monkeypatch, capsys, then, now
):
    monkeypatch.setitem(perceptual.LOADERS, "lpips", lambda _: then)
    root = publish("float32", recorded="float32")
    monkeypatch.setitem(perceptual.LOADERS, "lpips", lambda _: now)
    result = verify(root, "1", EVALUATION_SETS)
    assert result.deviations == []
    assert {"lpips on faces", "lpips on selfies"} <= set(result.unmeasured)
    monkeypatch.chdir(root)
    cli.main(["verify", "1"])
    assert "Not compared, as it is not available here or was not then: lpips on faces" in (
        capsys.readouterr().out
    )


def test_a_metric_that_both_computers_have_is_compared(publish, monkeypatch):
    monkeypatch.setitem(perceptual.LOADERS, "lpips", lambda _: distance)
    root = publish("float32", recorded="float32")
    result = verify(root, "1", EVALUATION_SETS)
    assert result.deviations == []
    assert not any("lpips" in metric for metric in result.unmeasured)
    monkeypatch.setitem(
        perceptual.LOADERS, "lpips", lambda _: lambda sr, hr: distance(sr, hr) + 0.01
    )
    changed = verify(root, "1", EVALUATION_SETS)
    assert changed.compared == result.compared
    # Of 2 sets: 3 images by 2 methods, and the chain's mean.
    assert len(changed.deviations) == 2 * (3 * 2 + 1)
    assert all("lpips" in deviation.what for deviation in changed.deviations)


def test_numbers_of_bfloat16_are_none_of_float32(publish):
    root = publish("bfloat16", recorded="float32")
    assert verify(root, "1", EVALUATION_SETS)[1]


def test_numbers_of_slightly_other_weights_do_not_verify_in_any_format(publish, start, tmp_path):
    other = load_network(start / NETWORKS[1])
    with torch.no_grad():
        other.module.head[-2].weight.mul_(1.1)
    changed = tmp_path / "changed.safetensors"
    save_networks(changed, [other])
    root = publish("bfloat16", evaluated=[start / NETWORKS[0], changed])
    assert any("psnr" in deviation.what for deviation in verify(root, "1", EVALUATION_SETS)[1])


def test_networks_of_metrics_in_float16_and_float32_agree():
    assert agree("faces, a, bicubic, lpips", 0.2571, 0.2575, is_exact=True)
    assert not agree("faces, a, bicubic, lpips", 0.2571, 0.2591, is_exact=True)
    assert not agree("faces, a, bicubic, ssim", 0.2571, 0.2575, is_exact=True)


def test_a_changed_weight_does_not_verify(publish):
    root = publish("bfloat16")
    weights = download(root, "facesr/1")
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(RegistryError, match="not those that were registered"):
        verify(root, "1", EVALUATION_SETS)


def test_a_changed_image_does_not_verify(publish):
    root = publish("bfloat16")
    path = root / EVALUATION_SETS["faces"].pairs / LR / "0.png"
    image = images.read(path)
    image[0, 0, 0] = 1 - image[0, 0, 0]
    images.write(path, image)
    with pytest.raises(DataError, match="does not hold the images that 1 was measured on"):
        verify(root, "1", EVALUATION_SETS)


def test_a_champion_that_is_measured_anew_gets_the_numbers_of_its_evaluation(publish, tmp_path):
    root = publish("float32")
    table = tmp_path / "anew.csv"
    sets = {
        name: EvaluationSet(root / pairs, root / images)
        for name, (pairs, images) in EVALUATION_SETS.items()
    }
    write_scores(download(root, "facesr/1"), "selfies", table, sets=sets, side=SIDE)
    row = ("selfies", FULL_SIZE, UPSAMPLED)
    evaluated = read_table((root / "reports/evaluate/per_image.csv").read_text())
    anew = read_table(table.read_text())
    assert list(anew) == [row]
    assert anew[row] == evaluated[row]


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        ("NVIDIA H200", "It was made on NVIDIA H200, and this is cpu"),
        ("cpu", "promised for the same computer"),
    ],
)
def test_reproducing_on_another_kind_of_device_says_so(monkeypatch, made, cause):
    files = [("models/gan.safetensors", "a", "b")]
    result = reproduction.Reproduction(files, [], 3, False, (made, "cpu"))
    monkeypatch.setattr(reproduction, "reproduce", lambda *_, **__: result)
    parsed = cli.build_parser().parse_args(["reproduce", "1"])
    with pytest.raises(RegistryError, match=cause):
        parsed.command(parsed)


def test_a_measurement_is_free_of_tf32(monkeypatch):
    seen = []

    def method(lr, side):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return torch.zeros(3, side, side)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    score_image("a", torch.zeros(3, 24, 24), torch.zeros(3, 48, 48), {BICUBIC: method}, ("psnr",))
    assert seen == [(False, False)]
    assert torch.backends.cudnn.allow_tf32


def test_the_evaluation_records_its_number_format(tmp_path):
    path = tmp_path / MEASUREMENT
    _write_measurement(Enhancer([network()], "cpu", precision="bfloat16"), path)
    assert json.loads(path.read_text()) == {
        "device": "cpu",
        "precision": "float32",
        "served_precision": "bfloat16",
    }
