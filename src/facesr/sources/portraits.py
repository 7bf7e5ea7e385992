"""Drawn portraits: a person in clothes before a background, aligned as the faces of FFHQ are."""

import numpy as np

from facesr.sources.brushes import (
    Array,
    Stencil,
    blur,
    encode,
    fractal_noise,
    lambert,
    paint,
    resize,
    smooth_curve,
    whole,
)
from facesr.sources.dead_leaves import Palette, blurred_backdrop
from facesr.sources.faces import draw_brows, draw_glasses, draw_head
from facesr.sources.hair import draw_back_hair, draw_beard, draw_front_hair
from facesr.sources.people import Frame, Person, draw_frame, draw_person


def draw_portrait(rng: np.random.Generator, size: int) -> Array:
    """Draws a portrait.

    Args:
        rng: Source of all randomness.
        size: Side in pixels, at least 96: finer details than that are reduced, not drawn.

    Returns:
        (size, size, 3) float32 RGB, near [0, 1].
    """
    person = draw_person(rng)
    frame = draw_frame(rng, size)
    canvas = _backdrop(rng, size)
    draw_back_hair(canvas, rng, person, frame)
    _draw_neck(canvas, rng, person, frame)
    _draw_clothes(canvas, rng, person, frame)
    draw_head(canvas, rng, person, frame)
    draw_brows(canvas, rng, person, frame)
    draw_beard(canvas, rng, person, frame)
    if person.has_glasses:
        draw_glasses(canvas, rng, person, frame)
    draw_front_hair(canvas, rng, person, frame)
    if person.has_hat:
        _draw_hat(canvas, rng, person, frame)
    return _develop(canvas, rng)


def _backdrop(rng: np.random.Generator, size: int) -> Array:
    kind = rng.choice(["studio", "mottled", "scene", "panels"], p=(0.3, 0.2, 0.35, 0.15))
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    palette = Palette(rng)
    if kind == "scene":
        return blurred_backdrop(rng, size, float(rng.uniform(0.002, 0.05)) * size, palette)
    first, second = palette.colours(rng, 2)
    second = first * np.float32(0.6) + second * np.float32(0.4)
    if kind == "panels":
        # Upright boards, books, curtains or door frames.
        edges = np.sort(rng.uniform(0, size, int(rng.integers(3, 14)))).astype(int)
        tones = palette.colours(rng, len(edges) + 1)[np.searchsorted(edges, np.arange(size))]
        tones = first * 0.5 + tones * 0.5
        canvas = np.repeat(tones[None], size, 0).astype(np.float32)
        canvas *= (1 + 0.25 * np.sin(axis * rng.uniform(2, 40)))[None, :, None].astype(np.float32)
        return blur(canvas, float(rng.uniform(0.001, 0.02)) * size)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * axis[:, None] + np.sin(angle) * axis[None, :]
    if kind == "mottled":
        noise = fractal_noise(rng, (size, size), coarsest=size / 3, finest=size / 40)
        ramp = ramp * np.float32(0.4) + noise * np.float32(0.5)
    else:
        glow = np.hypot(axis[:, None] - rng.uniform(-0.3, 0.5), axis[None, :] - rng.normal(0, 0.3))
        ramp = ramp * np.float32(0.5) + np.float32(0.8) * glow - np.float32(0.5)
    weight = np.clip(0.5 + 0.5 * ramp, 0, 1).astype(np.float32)[..., None]
    return np.asarray(first + weight * (second - first), np.float32)


def _rounded(
    frame: Frame, person: Person, half_width: float, *, depth: float, shift: float = 0.0
) -> Array:
    """Returns the shade of an upright cylinder, (size, size, 1) factors for encoded colours."""
    side = min(frame.size, 96)
    u, v = frame.grid(side)
    relief = depth * np.sqrt(np.clip(half_width**2 - (u - shift) ** 2, 0.02, None)) - 0.1 * v
    shade = lambert(
        (relief * frame.unit * side / frame.size).astype(np.float32), person.light, person.ambient
    )
    return resize(encode(shade), (frame.size, frame.size))[..., None]


def _draw_neck(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    width = (0.82 if person.is_masculine else 0.66) * person.jaw
    right = [(width, 0.9), (width, 1.6), (width * 1.04, 1.95), (width * 1.5, 2.25), (2.4, 2.6)]
    points = [(-u, v) for u, v in right] + [(-2.4, 4.0), (2.4, 4.0)] + right[::-1]
    stencil = Stencil(whole(canvas), 2).polygon(frame.place(points))
    shade = _rounded(frame, person, 1.0, depth=0.8)
    size = frame.size
    # The head's shadow, softer away from the jaw.
    cast = Stencil(whole(canvas), 1).polygon(
        frame.place(person.head_outline() + (-0.25 * person.light[0], 0.22))
    )
    shadow = blur(cast.mask(), 0.1 * frame.unit)
    grain = fractal_noise(rng, (size, size), coarsest=0.03 * frame.unit, finest=1.2)
    tone = (1 - np.float32(0.42) * shadow) * (1 + np.float32(0.015) * grain)
    paint(canvas, stencil, person.skin * np.float32([0.97, 0.93, 0.92]) * shade * tone[..., None])


def _draw_clothes(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    palette = Palette(rng)
    outer, inner, accent = palette.colours(rng, 3) * np.float32(0.9)
    kind = rng.choice(["suit", "round", "open", "high"], p=(0.4, 0.3, 0.15, 0.15))
    if kind == "suit":
        outer = outer * np.float32(0.35)
        inner = np.float32([0.93, 0.94, 0.96]) if rng.random() < 0.6 else 0.5 + 0.5 * inner
    fabric = _fabric(rng, frame) * _rounded(frame, person, 3.0, depth=0.9)
    second = _fabric(rng, frame) * _rounded(frame, person, 1.6, depth=0.8)
    shoulder = rng.uniform(1.75, 2.05)
    right = [(0.85, shoulder), (1.4, shoulder + 0.18), (2.3, shoulder + 0.45), (3.1, shoulder + 1)]
    neckline = {
        "suit": [(0.7, shoulder), (0.45, 2.3), (0.05, 3.2)],
        "round": [(0.8, shoulder + 0.08), (0.55, 2.25), (0.0, 2.42)],
        "open": [(0.78, shoulder), (0.5, 2.2), (0.1, 2.7)],
        "high": [(0.8, 1.7), (0.5, 1.82), (0.0, 1.9)],
    }[str(kind)]
    line = np.array([(-u, v) for u, v in neckline] + neckline[::-1])
    line = smooth_curve(line, 40) if kind in ("round", "high") else line.astype(np.float32)
    body = np.concatenate(
        [[(-3.3, 6), *((-u, v) for u, v in right[::-1])], line, [*right, (3.3, 6)]]
    )
    soft = 0.006 * frame.unit
    if kind == "suit":
        shirt = [(-0.95, shoulder - 0.05), (-0.3, 2.15), (0, 2.3), (0.3, 2.15)]
        shirt += [(0.95, shoulder - 0.05), (1.2, 5), (-1.2, 5)]
        paint(canvas, Stencil(whole(canvas), 2).polygon(frame.place(shirt)), inner * second)
        if rng.random() < 0.75:
            tie = [(-0.16, 2.22), (0.16, 2.22), (0.11, 2.5), (0.25, 4), (-0.25, 4), (-0.11, 2.5)]
            silk = accent * _fabric(rng, frame)
            paint(canvas, Stencil(whole(canvas), 3).polygon(frame.place(tie)), silk)
        _draw_collar(canvas, frame, inner, second, shoulder)
    paint(canvas, Stencil(whole(canvas), 2).polygon(frame.place(body)), outer * fabric)
    if kind == "suit":
        for s in (-1, 1):
            lapel = np.array([(0.78, shoulder), (1.25, 2.25), (1.05, 2.4), (1.15, 2.5), (0.1, 3.3)])
            edge = frame.place(lapel * (s, 1))
            shadow = Stencil(whole(canvas), 2).line(edge, 0.04 * frame.unit)
            paint(canvas, shadow, outer * 0.4, opacity=0.6, softness=3 * soft)
            paint(canvas, Stencil(whole(canvas), 2).polygon(edge), outer * fabric * 1.08)
    elif kind == "open":
        _draw_collar(canvas, frame, outer * 1.05, fabric, shoulder)
    else:
        seam = frame.place(line + (0, 0.07))
        paint(canvas, Stencil(whole(canvas), 2).line(seam, 0.015 * frame.unit), outer * 0.5,
              opacity=0.6)  # fmt: skip


def _draw_collar(
    canvas: Array, frame: Frame, colour: Array, fabric: Array, shoulder: float
) -> None:
    for s in (-1, 1):
        wing = np.array([(0.9, shoulder - 0.15), (0.1, 2.2), (0.38, 2.55), (1.0, shoulder + 0.15)])
        points = frame.place(wing * (s, 1))
        shadow = Stencil(whole(canvas), 2).polygon(points + (0, 0.03 * frame.unit))
        paint(canvas, shadow, colour * 0.35, opacity=0.5, softness=0.03 * frame.unit)
        paint(
            canvas, Stencil(whole(canvas), 2).polygon(points), np.clip(colour * fabric * 1.03, 0, 1)
        )


def _fabric(rng: np.random.Generator, frame: Frame) -> Array:
    """Returns the texture of a cloth with its folds, (size, size, 1) factors or (size, size, 3)."""
    size, unit = frame.size, frame.unit
    folds = fractal_noise(rng, (size, size), coarsest=0.9 * unit, finest=0.1 * unit)
    axis = np.arange(size, dtype=np.float32)
    y, x = axis[:, None], axis[None, :]
    bend = np.float32(0.06 * unit) * folds
    turn = rng.uniform(-0.4, 0.4)
    across = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y + bend
    along = np.float32(np.cos(turn)) * y - np.float32(np.sin(turn)) * x + bend
    kind = rng.choice(
        ["plain", "weave", "stripes", "checks", "knit"], p=(0.3, 0.25, 0.2, 0.1, 0.15)
    )
    wave = 2 * np.pi / float(max(2.4, unit * rng.uniform(0.025, 0.05)))
    wide = 2 * np.pi / float(max(5.0, unit * rng.uniform(0.08, 0.3)))
    texture = np.float32(0.03) * rng.standard_normal((size, size), dtype=np.float32)
    if kind == "weave":
        texture += np.float32(0.06) * np.sin(wave * across) * np.sin(wave * along)
    elif kind == "stripes":
        texture += np.float32(rng.uniform(0.05, 0.4)) * np.clip(
            4 * np.sin(wide * across) - 2, -1, 1
        )
    elif kind == "checks":
        lines = np.clip(4 * np.sin(wide * across), -1, 1) + np.clip(4 * np.sin(wide * along), -1, 1)
        texture += np.float32(rng.uniform(0.05, 0.2)) * lines
    elif kind == "knit":
        texture += (
            np.float32(0.12)
            * np.sin(wave * across)
            * np.sin(wave * along + 2 * np.sin(wave * across))
        )
    return np.asarray(np.clip(1 + texture + 0.1 * folds, 0.2, 2), np.float32)[..., None]


def _draw_hat(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    colour = Palette(rng).colours(rng, 1)[0] * np.float32(0.8)
    brim = float(rng.uniform(-0.95, -0.7))
    dome = [(-1.28, brim), (-1.3, -1.4), (-0.85, -2.1), (0, -2.35), (0.85, -2.1), (1.3, -1.4)]
    dome += [(1.28, brim), (0.7, brim - 0.1), (0, brim - 0.14), (-0.7, brim - 0.1)]
    outline = smooth_curve(frame.place(dome), 60, closed=True)
    size = frame.size
    u, _ = frame.grid(min(size, 256))
    ribs = resize(1 + np.float32(0.12) * np.sin(u * np.float32(rng.uniform(20, 60))), (size, size))
    shade = _rounded(frame, person, 1.5, depth=1.0) * ribs[..., None]
    shadow = Stencil(whole(canvas), 1).polygon(outline + (0, 0.1 * frame.unit))
    canvas *= 1 - np.float32(0.35) * blur(shadow.mask(), 0.06 * frame.unit)[..., None]
    knit = colour * shade * _fabric(rng, frame)
    paint(canvas, Stencil(whole(canvas), 3).polygon(outline), knit)


def _develop(canvas: Array, rng: np.random.Generator) -> Array:
    """Gives the picture a camera's exposure, contrast, white balance and, seldom, no colour."""
    exposure = np.exp(rng.normal(0.02, 0.12))
    balance = np.exp(rng.normal(0, 0.03, 3))
    picture = np.clip(canvas, 0, None) * (exposure * balance).astype(np.float32)
    contrast = np.float32(rng.uniform(-0.1, 0.35))
    bounded = np.clip(picture, 0, 1)
    picture = picture + contrast * (bounded * bounded * (3 - 2 * bounded) - bounded)
    if rng.random() < 0.05:
        grey = picture @ np.float32([0.299, 0.587, 0.114])
        picture = np.repeat(grey[..., None], 3, -1)
    return np.asarray(picture, np.float32)
