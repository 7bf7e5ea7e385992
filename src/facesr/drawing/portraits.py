"""Drawn portraits: a person in clothes before a background, aligned as the faces of FFHQ are."""

import numpy as np

from facesr.drawing.brushes import Array, blur, fractal_noise, lens_blur, resize, rgb
from facesr.drawing.clothes import draw_clothes, draw_hat, draw_neck
from facesr.drawing.dead_leaves import Palette, blurred_backdrop
from facesr.drawing.features import draw_brows, draw_glasses
from facesr.drawing.hair import draw_back_hair, draw_beard, draw_front_hair
from facesr.drawing.heads import draw_head
from facesr.drawing.people import draw_frame, draw_person
from facesr.images import LUMA


def draw_portrait(rng: np.random.Generator, size: int) -> Array:
    """Draw a portrait.

    Args:
        rng: Source of all randomness.
        size: Side in pixels, at least 96: with fewer, draw larger and reduce.

    Returns:
        (3, size, size) float32 RGB, near [0, 1].
    """
    person = draw_person(rng)
    frame = draw_frame(rng, size)
    canvas = _draw_backdrop(rng, size)
    draw_back_hair(canvas, rng, person, frame)
    draw_neck(canvas, person, frame)
    draw_clothes(canvas, rng, person, frame)
    draw_head(canvas, rng, person, frame)
    draw_brows(canvas, rng, person, frame)
    draw_beard(canvas, rng, person, frame)
    if person.has_glasses:
        draw_glasses(canvas, rng, person, frame)
    draw_front_hair(canvas, rng, person, frame)
    if person.has_hat:
        draw_hat(canvas, rng, person, frame)
    return _develop(canvas, rng)


def _draw_backdrop(rng: np.random.Generator, size: int) -> Array:
    kind = rng.choice(["studio", "mottled", "scene", "panels"], p=(0.2, 0.2, 0.38, 0.22))
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    palette = Palette(rng)
    if kind == "scene":
        sigma = float(np.exp(rng.uniform(np.log(0.003), np.log(0.05)))) * size
        return blurred_backdrop(rng, size, sigma, palette)
    first, second = palette.colour(rng), palette.colour(rng)
    second = np.float32(0.6) * first + np.float32(0.4) * second
    if kind == "panels":
        return _draw_panels(rng, size, palette)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.float32(np.cos(angle)) * axis[:, None] + np.float32(np.sin(angle)) * axis[None, :]
    if kind == "mottled":
        noise = fractal_noise(
            rng, (size, size), coarsest=size / 3, finest=size / 150, persistence=0.6
        )
        ramp = ramp * np.float32(0.4) + noise * np.float32(0.5)
    else:
        middle = rng.uniform(-0.3, 0.5), rng.normal(0, 0.3)
        glow = np.hypot(axis[:, None] - np.float32(middle[0]), axis - np.float32(middle[1]))
        ramp = ramp * np.float32(0.5) + np.float32(0.8) * glow - np.float32(0.5)
    weight = np.clip(0.5 + 0.5 * ramp, 0, 1)
    return np.asarray(first + weight * (second - first), np.float32)


def _draw_panels(rng: np.random.Generator, size: int, palette: Palette) -> Array:
    """Upright bands: boards, books, flags, curtains, door frames."""
    number = int(rng.integers(3, 14))
    edges = np.sort(rng.uniform(0, size, number))
    lean = np.arange(size, dtype=np.float32)[:, None] * np.float32(rng.normal(0, 0.15))
    band = np.searchsorted(edges, np.arange(size, dtype=np.float32)[None, :] + lean)
    base = palette.colours(rng, 1)
    colours = np.float32(0.4) * base + np.float32(0.6) * palette.colours(rng, number + 1)
    canvas = np.stack([colours[:, channel][band] for channel in range(3)])
    # Light on folds or round edges.
    folds = np.sin(np.linspace(-1, 1, size) * rng.uniform(2, 40) + rng.uniform(0, 6))
    canvas *= (1 + rng.uniform(0, 0.3) * folds).astype(np.float32)
    return blur(canvas, float(np.exp(rng.uniform(np.log(0.0015), np.log(0.02)))) * size)


def _develop(canvas: Array, rng: np.random.Generator) -> Array:
    """Apply a camera's exposure, contrast, white balance and, seldom, a loss of colour."""
    exposure = np.exp(rng.normal(0.1, 0.14))
    balance = np.exp(rng.normal(0, 0.022, 3)) * exposure
    image = np.clip(canvas, 0, None) * rgb(*balance)
    # Light is nowhere quite even.
    half = (image.shape[1] // 2, image.shape[2] // 2)
    light = fractal_noise(rng, half, coarsest=half[0] / 2, finest=2, persistence=0.62)
    image *= 1 + np.float32(rng.uniform(0.02, 0.07)) * resize(light, image.shape[1:])
    # Highlights roll off above 0.75 instead of clipping.
    image = np.minimum(image, 0.75 + 0.25 * np.tanh(4 * np.clip(image - 0.75, 0, None)))
    bounded = np.clip(image, 0, 1)
    curve = bounded * bounded * (3 - 2 * bounded) - bounded
    image += np.float32(rng.uniform(0.0, 0.7)) * curve
    if rng.random() < 0.05:
        image[:] = (image * rgb(*LUMA)).sum(0)
    image = lens_blur(rng, image)
    # A sensor's grain, as faint as a reduced photograph's.
    grain = np.float32(rng.uniform(0, 0.006)) * rng.standard_normal(image.shape[1:], np.float32)
    return np.asarray(image + grain, np.float32)
