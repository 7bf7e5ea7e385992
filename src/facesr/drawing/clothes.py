"""Neck, clothes and hats of the drawn portraits."""

import numpy as np

from facesr.drawing.brushes import (
    Array,
    Box,
    Stencil,
    box_around,
    encode,
    fill,
    fractal_noise,
    lambert,
    lay,
    resize,
    rgb,
    smooth_curve,
    stroke,
)
from facesr.drawing.dead_leaves import Palette
from facesr.drawing.people import Frame, Person

_SHADING_SIDE = 96


def draw_neck(canvas: Array, person: Person, frame: Frame) -> None:
    """Draw the neck under the head's shadow, in place."""
    width = (0.82 if person.is_masculine else 0.68) * person.jaw
    right = [(width, 0.9), (width, 1.6), (width * 1.04, 1.95), (width * 1.5, 2.25), (2.4, 2.6)]
    points = [(-u, v) for u, v in right] + [(-2.4, 4.0), (2.4, 4.0)] + right[::-1]
    outline = frame.place(points)
    box = box_around(outline, 2, canvas.shape)
    if box is None:
        return
    cast = person.head_outline() + (-0.25 * person.light[0], 0.22)
    shadow = Stencil(box, 1).polygon(frame.place(cast)).mask(0.1 * frame.unit)
    tone = _rounded(frame, person, 1.0, depth=0.8)[box[1] : box[3], box[0] : box[2]]
    tone = tone * (1 - np.float32(0.5) * shadow)
    lay(
        canvas,
        box,
        Stencil(box).polygon(outline).mask(),
        person.skin * rgb(0.97, 0.93, 0.92) * tone,
    )


def draw_clothes(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw a suit, a shirt, a round neck or a high collar, in place."""
    palette = Palette(rng)
    outer, inner, accent = (palette.colour(rng) * np.float32(0.95) for _ in range(3))
    kind = str(rng.choice(["suit", "round", "open", "high"], p=(0.4, 0.3, 0.15, 0.15)))
    if kind == "suit":
        outer = outer * np.float32(rng.uniform(0.2, 0.6))
        inner = rgb(0.95, 0.96, 0.98) if rng.random() < 0.6 else np.float32(0.5) + inner / 2
    shoulder = float(rng.uniform(1.75, 2.05))
    box = box_around(frame.place([(-3.4, 1.5), (3.4, 1.5), (0, 1.5), (0, 6)]), 2, canvas.shape)
    if box is None:
        return
    fabric = np.ones(canvas.shape[1:], np.float32)
    window = fabric[box[1] : box[3], box[0] : box[2]]
    window *= _fabric(rng, box, frame.unit)
    shaded = fabric * _rounded(frame, person, 3.0, depth=0.9)
    right = [(0.85, shoulder), (1.4, shoulder + 0.18), (2.3, shoulder + 0.45), (3.1, shoulder + 1)]
    neckline = {
        "suit": [(0.7, shoulder), (0.45, 2.3), (0.05, 3.2)],
        "round": [(0.8, shoulder + 0.08), (0.55, 2.25), (0.0, 2.42)],
        "open": [(0.78, shoulder), (0.5, 2.2), (0.1, 2.7)],
        "high": [(0.8, 1.7), (0.5, 1.82), (0.0, 1.9)],
    }[kind]
    line = np.array([(-u, v) for u, v in neckline] + neckline[::-1], np.float32)
    line = smooth_curve(line, 40) if kind in ("round", "high") else line
    left = [(-u, v) for u, v in right[::-1]]
    body = np.concatenate([[(-3.3, 6), *left], line, [*right, (3.3, 6)]])
    if kind == "suit":
        _draw_shirt(canvas, rng, person, frame, inner, accent, shoulder)
    fill(canvas, frame.place(body), outer * shaded)
    if kind == "suit":
        for s in (-1, 1):
            lapel = [(0.78, shoulder), (1.25, 2.25), (1.05, 2.4), (1.15, 2.5), (0.1, 3.3)]
            edge = frame.place(np.array(lapel) * (s, 1))
            soft = 0.018 * frame.unit
            stroke(canvas, edge, 0.04 * frame.unit, outer * 0.4, opacity=0.6, softness=soft)
            fill(canvas, edge, outer * shaded * np.float32(1.08))
    elif kind == "open":
        _draw_collar(canvas, frame, outer * np.float32(1.05) * shaded, shoulder)
    else:
        seam = frame.place(line + (0, 0.07))
        stroke(canvas, seam, 0.015 * frame.unit, outer * 0.5, opacity=0.6)


def _draw_shirt(
    canvas: Array,
    rng: np.random.Generator,
    person: Person,
    frame: Frame,
    colour: Array,
    accent: Array,
    shoulder: float,
) -> None:
    shaded = colour * _rounded(frame, person, 1.6, depth=0.7)
    shirt = [(-0.95, shoulder - 0.05), (-0.3, 2.15), (0, 2.3), (0.3, 2.15)]
    shirt += [(0.95, shoulder - 0.05), (1.2, 5), (-1.2, 5)]
    fill(canvas, frame.place(shirt), shaded)
    if rng.random() < 0.75:
        tie = frame.place(
            [(-0.16, 2.22), (0.16, 2.22), (0.11, 2.5), (0.25, 4), (-0.25, 4), (-0.11, 2.5)]
        )
        box = box_around(tie, 2, canvas.shape)
        if box:
            silk = accent * _fabric(rng, box, frame.unit)
            lay(canvas, box, Stencil(box).polygon(tie).mask(), silk)
    _draw_collar(canvas, frame, shaded * np.float32(1.03), shoulder)


def _draw_collar(canvas: Array, frame: Frame, colour: Array, shoulder: float) -> None:
    soft = 0.03 * frame.unit
    for s in (-1, 1):
        wing = [(0.9, shoulder - 0.15), (0.1, 2.2), (0.38, 2.55), (1.0, shoulder + 0.15)]
        points = frame.place(np.array(wing) * (s, 1))
        fill(
            canvas,
            points + np.array([0, soft], np.float32),
            colour * 0.35,
            opacity=0.5,
            softness=soft,
        )
        fill(canvas, points, colour)


def draw_hat(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw a knitted cap, in place."""
    colour = Palette(rng).colour(rng) * np.float32(0.8)
    brim = float(rng.uniform(-0.95, -0.7))
    dome = [(-1.34, brim), (-1.38, -1.4), (-0.9, -2.15), (0, -2.4), (0.9, -2.15), (1.38, -1.4)]
    dome += [(1.34, brim), (0.7, brim - 0.1), (0, brim - 0.14), (-0.7, brim - 0.1)]
    outline = smooth_curve(frame.place(dome), 60, closed=True)
    box = box_around(outline, 0.3 * frame.unit, canvas.shape)
    if box is None:
        return
    left, top, right, bottom = box
    shadow = Stencil(box, 1).polygon(outline + (0, 0.1 * frame.unit))
    lay(canvas, box, np.float32(0.35) * shadow.mask(0.06 * frame.unit), rgb(0, 0, 0))
    u, _ = frame.grid(frame.size)
    ribs = 1 + np.float32(0.12) * np.sin(u * np.float32(rng.uniform(20, 60)))
    shade = (ribs * _rounded(frame, person, 1.5, depth=1.0))[top:bottom, left:right]
    knit = colour * shade * _fabric(rng, box, frame.unit)
    lay(canvas, box, Stencil(box).polygon(outline).mask(), knit)


def _rounded(frame: Frame, person: Person, half_width: float, *, depth: float) -> Array:
    """Return the light on an upright cylinder, (size, size) factors for encoded colours."""
    side = min(frame.size, _SHADING_SIDE)
    u, v = frame.grid(side)
    relief = depth * np.sqrt(np.clip(half_width**2 - u**2, 0.02, None)) - 0.1 * v
    relief = np.asarray(relief * frame.unit * side / frame.size, np.float32)
    shade = encode(lambert(relief, person.light, person.ambient))
    return resize(shade, (frame.size, frame.size))


def _fabric(rng: np.random.Generator, box: Box, unit: float) -> Array:
    """Return the texture of a cloth with its folds, (h, w) factors."""
    left, top, right, bottom = box
    shape = (bottom - top, right - left)
    folds = fractal_noise(rng, shape, coarsest=0.9 * unit, finest=0.1 * unit)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    bend = np.float32(0.06 * unit) * folds
    turn = rng.uniform(-0.4, 0.4)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, along = cos * x + sin * y + bend, cos * y - sin * x + bend
    kinds = ["plain", "weave", "stripes", "checks", "knit"]
    kind = str(rng.choice(kinds, p=(0.3, 0.25, 0.2, 0.1, 0.15)))
    thread = np.float32(2 * np.pi / max(2.4, unit * rng.uniform(0.025, 0.05)))
    wide = np.float32(2 * np.pi / max(5.0, unit * rng.uniform(0.08, 0.3)))
    texture = np.float32(0.03) * rng.standard_normal(shape, dtype=np.float32)
    if kind == "weave":
        texture += np.float32(0.06) * np.sin(thread * across) * np.sin(thread * along)
    elif kind == "stripes":
        bands = np.clip(4 * np.sin(wide * across) - 2, -1, 1)
        texture += np.float32(rng.uniform(0.05, 0.4)) * bands
    elif kind == "checks":
        bands = np.clip(4 * np.sin(wide * across), -1, 1) + np.clip(4 * np.sin(wide * along), -1, 1)
        texture += np.float32(rng.uniform(0.05, 0.2)) * bands
    elif kind == "knit":
        loops = np.sin(thread * across)
        texture += np.float32(0.12) * loops * np.sin(thread * along + 2 * loops)
    return np.asarray(np.clip(1 + texture + np.float32(0.16) * folds, 0.2, 2), np.float32)
