import time

import numpy as np
import pytest
import torch
from torch import Tensor

from facesr.drawing import describe, draw, people, portraits
from facesr.drawing.dead_leaves import draw_dead_leaves
from facesr.drawing.portraits import draw_portrait


def luminance(image: Tensor) -> np.ndarray:
    return np.asarray(image.mean(0))


def spectrum_slope(drawn: list[Tensor]) -> float:
    """Exponent of the radially averaged power spectrum, between 8 periods and half of Nyquist."""
    size = drawn[0].shape[-1]
    window = np.hanning(size)[:, None] * np.hanning(size)[None, :]
    power = np.mean(
        [np.abs(np.fft.fft2((luminance(p) - luminance(p).mean()) * window)) ** 2 for p in drawn],
        axis=0,
    )
    frequency = np.fft.fftfreq(size) * size
    radius = np.hypot(frequency[:, None], frequency[None, :]).round().astype(int)
    radial = np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())
    band = np.arange(8, size // 4)
    return float(np.polyfit(np.log(band), np.log(radial[band]), 1)[0])


@pytest.fixture(scope="module")
def drawn() -> list[Tensor]:
    return [draw(3, index, 128) for index in range(16)]


def test_one_seed_and_index_give_the_same_image():
    assert torch.equal(draw(5, 2, 48), draw(5, 2, 48))
    assert torch.equal(draw(5, 3, 48), draw(5, 3, 48))


def test_an_image_does_not_depend_on_those_drawn_before():
    alone = draw(5, 4, 32)
    draw(5, 1, 32)
    draw(6, 4, 64)
    np.random.default_rng().random()
    assert torch.equal(draw(5, 4, 32), alone)


def test_another_index_or_seed_gives_another_image():
    first = draw(1, 1, 32)
    assert (first - draw(1, 3, 32)).abs().mean() > 0.02
    assert (first - draw(2, 1, 32)).abs().mean() > 0.02


@pytest.mark.parametrize("size", [32, 64, 257])
@pytest.mark.parametrize("index", [0, 1])
def test_an_image_is_square_float32_rgb_in_range(size, index):
    image = draw(0, index, size)
    assert image.shape == (3, size, size)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert image.isfinite().all()
    assert image.min() >= 0
    assert image.max() <= 1


def test_the_power_spectrum_falls_as_in_photographs(drawn):
    # Photographs lie near -2; white noise at 0, blurred blobs below -4.
    assert -3.6 < spectrum_slope(drawn) < -1.6


@pytest.mark.parametrize(("index", "brush"), [(6, draw_dead_leaves), (7, draw_portrait)])
def test_even_indices_are_dead_leaves_and_odd_ones_portraits(drawn, index, brush):
    expected = np.clip(brush(np.random.default_rng((3, index)), 128), 0, 1)
    assert torch.equal(drawn[index], torch.from_numpy(expected))


def test_a_portrait_has_a_face_of_skin_in_the_middle():
    # Skin of every tone is redder than it is blue; cheeks lie below the middle.
    redder = 0
    for index in range(1, 16, 2):
        cheeks = draw(3, index, 128)[:, 64:84, 48:80].mean((1, 2))
        redder += bool(cheeks[0] > cheeks[2] + 0.02)
    assert redder >= 7  # one may be in black and white


def test_images_differ_in_brightness_and_carry_colour(drawn):
    means = torch.stack([image.mean() for image in drawn])
    assert means.std() > 0.05
    assert 0.2 < means.mean() < 0.7
    spread = torch.stack([(p.amax(0) - p.amin(0)).mean() for p in drawn])
    assert spread.median() > 0.05


def test_the_description_is_that_of_the_person_who_is_drawn(monkeypatch):
    drawn = []

    def draw_person(rng):
        drawn.append(people.draw_person(rng))
        return drawn[-1]

    monkeypatch.setattr(portraits, "draw_person", draw_person)
    for index in range(1, 17, 2):
        draw(11, index, 32)
        described = describe(11, index)
        assert described["kind"] == "portrait"
        assert described["hair"] == drawn[-1].style
        assert described["beard"] == drawn[-1].beard
        assert described["glasses"] == drawn[-1].has_glasses
        assert described["skin"] == ("light", "medium", "dark")[int(3 * drawn[-1].darkness)]
    assert len(drawn) == 8
    assert describe(11, 2) == {"kind": "dead leaves"}


def test_drawing_is_fast():
    start = time.process_time()
    for index in range(4):
        draw(9, index, 64)
    assert time.process_time() - start < 4
