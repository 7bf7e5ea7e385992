import csv
import os

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage
from shipped import ROOT, write_params

from facesr import cli, images
from facesr.config import BicubicParams, FirstOrderParams, read_yaml
from facesr.enhance.enhancer import Enhancer
from facesr.errors import DataError, ParamsError
from facesr.evaluation import perceptual
from facesr.evaluation.baselines import build_baselines
from facesr.evaluation.scoreboard.board import score, write_board
from facesr.evaluation.scoreboard.inputs import choose_files, make_inputs
from facesr.evaluation.scoreboard.settings import ScoreboardParams, load_scoreboard
from facesr.evaluation.scoreboard.sheets import (
    CROP_SIDE,
    write_hardest,
    write_samples,
    write_worst,
)
from facesr.evaluation.scores import column, enhanced_by
from facesr.names import BICUBIC
from facesr.reports.sheets import CAPTION, MARGIN

RECIPES = {
    "clean": BicubicParams(kind="bicubic", base_scale=2),
    "noisy": FirstOrderParams(
        kind="first_order",
        base_scale=2,
        clean_probability=0.0,
        blur_probability=0.0,
        anisotropic_probability=0.0,
        blur_sigma=(0.0, 0.0),
        reduction=(2.0, 2.0),
        filters=("bicubic",),
        noise_probability=1.0,
        noise_sigma=(5.0, 5.0),
        jpeg_probability=0.0,
        jpeg_quality=(95, 95),
    ),
}
PARAMS = ScoreboardParams.model_validate(
    {
        "sources": {
            "faces": {"path": "faces", "pattern": "a*", "hr_size": 48, "count": 2, "faces": True},
            "tests": {"path": "tests", "pattern": "*", "hr_size": 0, "count": 9, "faces": False},
        },
        "folder": {"hr_size": 32, "count": 9, "conditions": ["noisy"]},
        "conditions": {
            "clean": {"scale": 2, "recipe": "clean"},
            "noisy": {"scale": 2, "recipe": "noisy"},
        },
        "back_projections": 1,
        "multiple": 16,
        "ms_ssim_above": 160,
        "shown": ["faces"],
        "crops": {
            "condition": "noisy",
            "side": 16,
            "count": 1,
            "parts": {
                "all": {"across": [0, 1], "down": [0, 1]},
                "top": {"across": [0, 1], "down": [0, 0.25]},
            },
        },
        "samples": {"conditions": ["noisy", "clean"], "side": 32},
        "strengths": [0.0, 1.0],
        "recipes": RECIPES,
    }
)


def photograph(seed, height, width):
    image = ndimage.gaussian_filter(
        np.random.default_rng(seed).random((3, height, width)), (0, 2, 2)
    )
    return torch.from_numpy((image - image.min()) / np.ptp(image)).float()


@pytest.fixture
def root(tmp_path):
    for number in range(3):
        images.write(tmp_path / "faces" / f"a{number}.png", photograph(number, 60, 60))
    images.write(tmp_path / "faces" / "b.png", photograph(7, 60, 60))
    images.write(tmp_path / "tests" / "wide.png", photograph(8, 71, 90))
    return tmp_path


def inputs(root, params=PARAMS):
    return make_inputs(params, root=root, folder=root / "inputs", seed=3)


def test_inputs_are_made_once_and_made_again_when_their_definition_changes(root):
    first = inputs(root)
    made = {path: path.stat().st_mtime_ns for path in images.find(root / "inputs")}
    assert inputs(root) == first
    assert {path: path.stat().st_mtime_ns for path in images.find(root / "inputs")} == made
    fewer = PARAMS.model_copy(update={"sources": {"tests": PARAMS.sources["tests"]}})
    assert inputs(root, fewer) != first
    assert not (root / "inputs" / "faces").exists()
    assert inputs(root) == first


def test_inputs_are_made_again_when_a_photograph_changes(root):
    first = inputs(root)
    images.write(root / "tests" / "wide.png", photograph(11, 71, 90))
    assert inputs(root) != first


def test_a_folder_without_the_sources_is_a_source_itself(root):
    assert PARAMS.at(root) == PARAMS
    own = PARAMS.at(root / "faces", "a*")
    inputs(root / "faces", own)
    assert {
        path.relative_to(root / "faces" / "inputs").as_posix()
        for path in images.find(root)
        if "inputs" in path.parts
    } == {f"faces/noisy/{kind}/a{number}.png" for kind in ("hr", "lr") for number in range(3)}


def test_images_in_folders_of_a_folder_keep_apart(root):
    files = PARAMS.at(root / "none").sources["none"]
    assert list(choose_files(files, root, 1)) == [
        "faces_a0",
        "faces_a1",
        "faces_a2",
        "faces_b",
        "tests_wide",
    ]
    images.write(root / "faces" / "a0.jpg", photograph(1, 60, 60))
    with pytest.raises(DataError, match=r"a0\.jpg and .*a0\.png differ in their endings only"):
        choose_files(files, root, 1)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project without a registry whose scoreboard takes small photographs."""
    content = read_yaml(ROOT / "scoreboard.yaml")
    content["folder"]["hr_size"] = 64
    (tmp_path / "scoreboard.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    (tmp_path / "holiday").mkdir()
    return tmp_path


def test_the_command_measures_the_starter_on_any_folder(project, capsys):
    for number in range(3):
        images.write(project / "holiday" / f"{number}.png", photograph(number, 70, 90))
    cli.main(["scoreboard", "--root", "holiday"])
    printed = capsys.readouterr().out
    assert printed.startswith((project / ".scoreboard" / "table.md").read_text())
    assert "3 photographs" in printed
    assert [line for line in printed.splitlines() if line.startswith("## ")] == [
        "## clean x4",
        "## JPEG x4",
        "## blur noise JPEG x4",
    ]
    with (project / ".scoreboard" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    starters = [row for row in rows if row["method"].startswith("starter.safetensors")]
    assert len(starters) == 2 * 3 * 3  # faithful and crisp
    written = {path.name for path in (project / ".scoreboard").iterdir()}
    assert written == {"inputs", "scores.csv", "table.md", "worst.png", "samples.jpg"}


@pytest.mark.parametrize(
    ("size", "arguments", "message"),
    [
        (None, "--root holiday", "holiday holds no image named *."),
        (None, "--root nowhere", "nowhere is not a folder."),
        (90, "--root holiday --pattern *.tif", "holiday holds no image named *.tif."),
        (60, "--root holiday", "holiday/a.png has a side of 60 px where 64 px are needed."),
    ],
)
def test_a_folder_that_cannot_be_measured_is_refused_in_one_line(
    project, capsys, size, arguments, message
):
    if size:
        images.write(project / "holiday" / "a.png", photograph(1, size, 90))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["scoreboard", "bicubic", *arguments.split()])
    [line] = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert line.startswith(f"error: {message}")
    assert not list((project / ".scoreboard").rglob("*"))


def test_a_changed_input_changes_the_digest(root):
    first = inputs(root)
    victim = images.find(root / "inputs")[0]
    images.write(victim, 1 - images.read(victim))
    assert inputs(root) != first


def test_test_images_keep_their_pixels_and_faces_are_reduced(root):
    inputs(root)
    kept = images.read(root / "inputs" / "tests" / "clean" / "hr" / "wide.png")
    whole = images.read(root / "tests" / "wide.png")
    assert kept.shape == (3, 64, 64)
    assert torch.equal(kept, images.centre_square(whole)[:, :64, :64])
    assert images.read(root / "inputs" / "tests" / "clean" / "lr" / "wide.png").shape[-1] == 32
    faces = images.find(root / "inputs" / "faces" / "clean" / "hr")
    assert len(faces) == 2
    assert images.read(faces[0]).shape == (3, 48, 48)


def test_a_square_is_cut_from_the_middle_and_never_larger_than_the_image():
    image = photograph(1, 20, 30)
    assert torch.equal(images.centre_square(image, 8), image[:, 6:14, 11:19])
    assert torch.equal(images.centre_square(image, 99), image[:, :, 5:25])


def test_every_method_is_measured_under_every_condition_and_bicubic_gains_nothing(root):
    digest = inputs(root)
    models = {"mine": enhanced_by(Enhancer.bicubic())}
    scores = score(root / "inputs", PARAMS, {**build_baselines(2), **models})
    count = sum(map(len, scores.values()))
    assert count == 3 * 2 * 5  # images, conditions, methods
    text = write_board(scores, PARAMS, digest=digest, inputs=root / "inputs", output=root / "out")
    assert digest in text
    gains = [line.split("|")[2].strip() for line in text.splitlines() if ", bicubic" in line]
    assert [gain.split()[0] for gain in gains] == ["+0.00"] * 4
    tones = [line for line in text.splitlines() if line.startswith("| clean, mine")]
    assert len(tones) == 5  # of PSNR, LPIPS, identity, eyes' and skin's colours
    assert tones[0].count("+0.00 ± 0.00") == 2  # all, and the one tone that there is
    assert "| all (2) |" in " ".join(text.split())
    clean, noisy = (
        np.mean(column(scores["faces", name] + scores["tests", name], BICUBIC, "psnr"))
        for name in ("clean", "noisy")
    )
    assert noisy < clean - 1
    with (root / "out" / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == count
    write_worst(scores, models, PARAMS, inputs=root / "inputs", output=root / "out")
    assert images.read(root / "out" / "worst.png").shape[0] == 3


def test_networks_metrics_stand_beside_psnr_or_say_that_they_are_not_available(root, monkeypatch):
    monkeypatch.setitem(
        perceptual.LOADERS, "lpips", lambda _: lambda sr, hr: (sr - hr).abs().mean((1, 2, 3))
    )
    digest = inputs(root)
    scores = score(root / "inputs", PARAMS, build_baselines(1))
    text = write_board(scores, PARAMS, digest=digest, inputs=root / "inputs", output=root / "out")
    header, _, *rows = [line for line in text.split("## noisy")[1].splitlines() if "|" in line]
    names = [cell.strip() for cell in header.split("|")]
    cells = dict(zip(names, [cell.strip() for cell in rows[0].split("|")], strict=True))
    values = column(scores["faces", "noisy"], BICUBIC, "lpips")
    expected = f"{np.mean(values):.4f} ± {np.std(values, ddof=1) / 2**0.5:.2g}"
    assert cells["LPIPS ↓"] == expected
    # These images show no face.
    assert cells["identity ↑"] == "not available"
    groups = text.split("### LPIPS ↓")[1].split("### identity ↑")
    assert "not available" not in groups[0]
    assert "not available" in groups[1]
    with (root / "out" / "scores.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["lpips"]) > 0
    assert row["identity"] == ""


def test_a_source_without_images_is_named(root):
    source = PARAMS.sources["faces"].model_copy(update={"pattern": "*.tif"})
    with pytest.raises(DataError, match=r"holds no image named \*\.tif"):
        inputs(root, PARAMS.model_copy(update={"sources": {"faces": source}}))


def test_the_hardest_places_of_each_part_are_those_where_the_first_method_errs(root):
    inputs(root)

    def spoil(lr, side):
        sr = images.resize(lr, (side, side), "bicubic")
        sr[:, 16:32, 24:40] += 1
        sr[:, :8, 5:21] += 0.9
        return sr

    write_hardest({"spoils": spoil}, PARAMS, inputs=root / "inputs", output=root / "out")
    top, left = 2 * CAPTION, MARGIN + 2 * (CROP_SIDE + MARGIN)  # after original and bicubic
    shown = {
        part: images.read(root / "out" / "hardest" / f"{part}.jpg")[
            :, top : top + CROP_SIDE, left : left + CROP_SIDE
        ]
        for part in ("all", "top")
    }
    assert float(shown["all"].min()) > 0.95
    # Its middle may lie at 12 px at most: all of the smaller spot is seen, then 8 rows of neither.
    assert float(shown["top"][:, : CROP_SIDE // 2 - 12].min()) > 0.85
    assert float(shown["top"][:, CROP_SIDE // 2 + 12 :].mean()) < 0.8
    assert shown["all"].shape == shown["top"].shape
    sheet = images.read(root / "out" / "hardest" / "top.jpg")
    assert sheet.shape[1] == 2 * CAPTION + MARGIN + CROP_SIDE + MARGIN + CAPTION  # one row


def test_samples_are_the_middles_of_the_first_images(root):
    inputs(root)
    models = {"mine": enhanced_by(Enhancer.bicubic())}
    write_samples(models, PARAMS, inputs=root / "inputs", output=root / "out")
    sheet = images.read(root / "out" / "samples.jpg")
    for row, condition in enumerate(["noisy", "clean"]):
        original = images.read(images.find(root / "inputs" / "faces" / condition / "hr")[row])
        top = sheet.shape[-2] - MARGIN - (2 - row) * (32 + MARGIN + CAPTION)
        left = MARGIN + 3 * (32 + MARGIN)
        shown = sheet[:, top : top + 32, left : left + 32]
        assert (shown - original[:, 8:40, 8:40]).abs().mean() < 0.04  # JPEG
        assert (shown - original[:, 6:38, 8:40]).abs().mean() > 0.04


def test_the_settings_load():
    assert "london" in load_scoreboard(ROOT / "scoreboard.yaml").sources


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shown", ["everybody"], r"shown: 'everybody' is not one of london"),
        ("crops.condition", "rain", r"crops\.condition: 'rain' is not one of clean x2"),
        ("crops.parts.eyes.down", [0.5, 0.4], "the lower bound 0.5 is above the upper bound 0.4"),
        ("samples.conditions", ["fog"], r"samples\.conditions: 'fog' is not one of clean x2"),
    ],
)
def test_a_scoreboard_shows_what_it_has(tmp_path, key, value, message):
    *parents, last = key.split(".")
    content = section = read_yaml(ROOT / "scoreboard.yaml")
    for parent in parents:
        section = section[parent]
    section[last] = value
    write_params(tmp_path)
    (tmp_path / "scoreboard.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ParamsError, match=message):
        load_scoreboard(tmp_path / "scoreboard.yaml")
