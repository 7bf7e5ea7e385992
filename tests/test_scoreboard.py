import csv

import numpy as np
import pytest
import torch
from scipy import ndimage

from facesr import images
from facesr.config import BicubicParams, FirstOrderParams, ScoreboardParams
from facesr.enhancer import Enhancer
from facesr.errors import DataError
from facesr.scoreboard import (
    build_methods,
    make_inputs,
    restore_with,
    score,
    write_board,
    write_worst,
)
from facesr.tables import BICUBIC

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
            "faces": {"path": "faces", "names": "a*", "hr_size": 48, "count": 2},
            "tests": {"path": "tests", "names": "*", "hr_size": 0, "count": 9},
        },
        "conditions": {
            "clean": {"scale": 2, "recipe": "clean"},
            "noisy": {"scale": 2, "recipe": "noisy"},
        },
        "back_projections": 1,
        "multiple": 16,
        "ms_ssim_above": 160,
        "shown": ["faces"],
    }
)


def photograph(seed, height, width):
    picture = ndimage.gaussian_filter(
        np.random.default_rng(seed).random((3, height, width)), (0, 2, 2)
    )
    return torch.from_numpy((picture - picture.min()) / np.ptp(picture)).float()


@pytest.fixture
def root(tmp_path):
    for number in range(3):
        images.write(tmp_path / "faces" / f"a{number}.png", photograph(number, 60, 60))
    images.write(tmp_path / "faces" / "b.png", photograph(7, 60, 60))
    images.write(tmp_path / "tests" / "wide.png", photograph(8, 71, 90))
    return tmp_path


def inputs(root, params=PARAMS):
    return make_inputs(params, recipes=RECIPES, root=root, folder=root / "inputs", seed=3)


def test_inputs_are_made_once_and_made_again_when_their_definition_changes(root):
    first = inputs(root)
    made = {path: path.stat().st_mtime_ns for path in images.find(root / "inputs")}
    assert inputs(root) == first
    assert {path: path.stat().st_mtime_ns for path in images.find(root / "inputs")} == made
    fewer = PARAMS.model_copy(update={"sources": {"tests": PARAMS.sources["tests"]}})
    assert inputs(root, fewer) != first
    assert not (root / "inputs" / "faces").exists()
    assert inputs(root) == first


def test_a_changed_input_changes_the_digest(root):
    first = inputs(root)
    victim = images.find(root / "inputs")[0]
    images.write(victim, 1 - images.read(victim))
    assert inputs(root) != first


def test_test_pictures_keep_their_pixels_and_faces_are_reduced(root):
    inputs(root)
    kept = images.read(root / "inputs" / "tests" / "clean" / "hr" / "wide.png")
    whole = images.read(root / "tests" / "wide.png")
    assert kept.shape == (3, 64, 64)
    assert torch.equal(kept, images.centre_square(whole)[:, :64, :64])
    assert images.read(root / "inputs" / "tests" / "clean" / "lr" / "wide.png").shape[-1] == 32
    faces = images.find(root / "inputs" / "faces" / "clean" / "hr")
    assert len(faces) == 2
    assert images.read(faces[0]).shape == (3, 48, 48)


def test_every_method_is_measured_under_every_condition_and_bicubic_gains_nothing(root):
    digest = inputs(root)
    models = {"mine": restore_with(Enhancer.bicubic(), 1.0)}
    rows = score(root / "inputs", PARAMS, build_methods(2, models))
    assert len(rows) == 3 * 2 * 5  # pictures, conditions, methods
    text = write_board(rows, PARAMS, digest=digest, output=root / "out")
    assert digest in text
    gains = [line.split("|")[2].strip() for line in text.splitlines() if ", bicubic" in line]
    assert [gain.split()[0] for gain in gains] == ["+0.00"] * 4
    clean, noisy = (
        np.mean([r.values["psnr"] for r in rows if r[1] == name and r.method == BICUBIC])
        for name in ("clean", "noisy")
    )
    assert noisy < clean - 1
    with (root / "out" / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    write_worst(rows, models, PARAMS, inputs=root / "inputs", output=root / "out")
    assert images.read(root / "out" / "worst.png").shape[0] == 3


def test_a_source_without_pictures_is_named(root):
    source = PARAMS.sources["faces"].model_copy(update={"names": "*.tif"})
    with pytest.raises(DataError, match=r"holds no picture named \*\.tif"):
        inputs(root, PARAMS.model_copy(update={"sources": {"faces": source}}))
