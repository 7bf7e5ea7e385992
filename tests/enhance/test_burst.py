"""Bursts: shifts are found, and together the shots hold more than the best of them."""

import math

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from facesr import cli, images
from facesr.enhance import burst
from facesr.errors import DataError

SHIFTS = [(0.0, 0.0), (0.5, 0.25), (-1.25, 0.75), (2.3, -1.6), (0.25, -0.5), (-0.7, -0.2)]


def psnr(first: Tensor, second: Tensor) -> float:
    return -10 * math.log10(float((first - second).square().mean()))


def scene() -> Tensor:
    """A photograph of (3, 300, 300) that scikit-image ships."""
    return images.from_uint8(torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1))[
        :, :300, 80:380
    ]


def shoot(shifts, *, noise: float = 0.01, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Shots of the scene reduced to half, 128 px wide, and the truth at 256 px."""
    rng = np.random.default_rng(seed)
    shots = []
    for down, right in shifts:
        top, left = 22 + 2 * down, 22 + 2 * right
        shot = images.resize(scene(), (128, 128), "bicubic", box=(left, top, left + 256, top + 256))
        shots.append(
            (shot + torch.from_numpy(rng.normal(0, noise, shot.shape)).float()).clamp(0, 1)
        )
    return shots, scene()[:, 22:278, 22:278]


def inside(image: Tensor) -> Tensor:
    return image[:, 8:-8, 8:-8]


def test_shifts_are_found_to_a_tenth_of_a_pixel():
    shots, _ = shoot(SHIFTS)
    found = burst.register(shots, [str(index) for index in range(len(shots))])
    base = SHIFTS[found.reference]
    for (down, right), (true_down, true_right) in zip(found.shifts, SHIFTS, strict=True):
        assert down == pytest.approx(true_down - base[0], abs=0.1)
        assert right == pytest.approx(true_right - base[1], abs=0.1)


def test_a_fused_burst_beats_the_enlarged_best_shot_by_two_decibels():
    shots, truth = shoot(SHIFTS)
    found = burst.register(shots, [str(index) for index in range(len(shots))])
    # The truth lies where the first shot does; the shifts are relative to it.
    base = found.shifts[0]
    shifts = [(down - base[0], right - base[1]) for down, right in found.shifts]
    fused = burst.fuse(shots, shifts, 2)
    single = images.resize(shots[0], (256, 256), "lanczos").clamp(0, 1)
    assert psnr(inside(fused), inside(truth)) > psnr(inside(single), inside(truth)) + 2


def test_what_moved_in_one_shot_leaves_no_ghost():
    shots, truth = shoot(SHIFTS, noise=0)
    clean = burst.fuse(shots, SHIFTS, 2)
    shots[3][:, 40:60, 40:60] = 1
    disturbed = burst.fuse(shots, SHIFTS, 2)
    assert psnr(inside(disturbed), inside(truth)) > psnr(inside(clean), inside(truth)) - 1


def test_a_single_frame_is_no_burst():
    with pytest.raises(DataError, match="two frames"):
        burst.register([torch.zeros(3, 8, 8)], ["a.png"])


def test_a_frame_of_another_size_is_named():
    with pytest.raises(DataError, match=r"b\.png has 9 x 8 pixels and a\.png has 8 x 8"):
        burst.register([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)], ["a.png", "b.png"])


@pytest.mark.parametrize("other", [scene().flip(1, 2)[:, :128, :128], torch.ones(3, 128, 128)])
def test_a_frame_of_another_scene_is_named(other):
    shots, _ = shoot(SHIFTS[:2])
    with pytest.raises(DataError, match=r"stranger\.png cannot be registered"):
        burst.register([*shots, other], ["a.png", "b.png", "stranger.png"])


def test_the_command_writes_one_image_of_the_wanted_scale(tmp_path, capsys):
    shots, _ = shoot(SHIFTS[:4])
    for index, shot in enumerate(shots):
        images.write(tmp_path / f"{index}.png", shot)
    names = [str(tmp_path / f"{index}.png") for index in range(4)]
    out = tmp_path / "out.png"
    cli.main(["burst", *names, "-o", str(out), "--scale", "3", "--model", "bicubic"])
    assert images.read(out).shape == (3, 384, 384)
    assert "4 frames" in capsys.readouterr().out


def test_the_command_does_not_write_over_an_image(tmp_path, capsys):
    images.write(tmp_path / "a.png", torch.zeros(3, 8, 8))
    with pytest.raises(SystemExit):
        cli.main(["burst", str(tmp_path / "a.png"), "-o", str(tmp_path / "a.png")])
    assert "already exists" in capsys.readouterr().err
