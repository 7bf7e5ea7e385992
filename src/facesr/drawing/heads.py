"""The drawn head: skin in its light, with pores, furrows and freckles."""

import numpy as np

from facesr.drawing.brushes import (
    Array,
    Stencil,
    blur,
    box_around,
    emboss,
    encode,
    facing,
    fractal_noise,
    lambert,
    lay,
    resize,
    rgb,
    smooth_curve,
)
from facesr.drawing.features import draw_ear, draw_eye, draw_mouth, draw_nose
from facesr.drawing.people import Frame, Person

# Shading is smooth: it is computed on a grid of at most this side and enlarged.
_SHADING_SIDE = 160
# Bumps of the face: u, v, extent in u, extent in v, height; all in units of the eye distance.
_MIDDLE = (
    (0.0, 0.0, 0.12, 0.26, 0.11),  # bridge of the nose
    (0.0, 0.36, 0.12, 0.2, 0.15),
    (0.0, 0.6, 0.13, 0.1, 0.24),  # tip
    (0.0, 1.05, 0.38, 0.22, 0.12),  # mouth over the teeth
    (0.0, 0.98, 0.22, 0.045, 0.03),
    (0.0, 1.2, 0.2, 0.055, 0.05),
    (0.0, 1.38, 0.24, 0.07, -0.08),  # below the lip
    (0.0, 1.62, 0.26, 0.14, 0.12),  # chin
    (0.0, -0.75, 0.6, 0.3, 0.06),  # forehead
)
_PAIRS = (
    (0.19, 0.66, 0.08, 0.07, 0.12),  # wings of the nose
    (0.46, -0.06, 0.2, 0.12, -0.17),  # sockets
    (0.5, 0.0, 0.15, 0.09, 0.1),  # eyeballs under their lids
    (0.42, -0.36, 0.3, 0.09, 0.07),  # brow ridges
    (0.64, 0.45, 0.26, 0.2, 0.1),  # cheeks
    (0.38, 0.85, 0.09, 0.14, -0.04),  # folds from nose to mouth
)
_CHEEK = _PAIRS[4]


def draw_head(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw ears, skin, eyes, nose and mouth, in place."""
    for side in (-1, 1):
        draw_ear(canvas, person, frame, side)
    outline = frame.place(person.head_outline())
    box = box_around(outline, 2, canvas.shape)
    if box is None:
        return
    lay(canvas, box, Stencil(box, 3).polygon(outline).mask(), _skin(rng, person, frame))
    draw_nose(canvas, person, frame)
    draw_mouth(canvas, rng, person, frame)
    for side in (-1, 1):
        draw_eye(canvas, rng, person, frame, side)


def _bump(u: Array, v: Array, bump: tuple[float, ...], frame: Frame, side: int = 1) -> Array:
    """A Gaussian hill; its centre follows the turn of the head."""
    x, y, extent_u, extent_v, height = bump
    depth = 0.85 * float(np.sqrt(max(0.0, 1 - (x / 1.2) ** 2)))
    x, y = side * x + depth * frame.yaw, y + depth * frame.pitch
    exponent = ((u - np.float32(x)) / np.float32(extent_u)) ** 2
    exponent += ((v - np.float32(y)) / np.float32(extent_v)) ** 2
    return np.asarray(np.float32(height) * np.exp(np.float32(-0.5) * exponent), np.float32)


def _relief(person: Person, frame: Frame, side: int) -> Array:
    """Return the head's depth, (side, side), in pixels of the grid."""
    u, v = frame.grid(side)
    outline = person.head_outline()
    right = outline[: len(outline) // 2 + 1]
    half_width = np.interp(v, right[:, 1], right[:, 0] * 1.04, left=0, right=0)
    relief = 0.85 * np.sqrt(np.clip(half_width**2 - u**2, 0, None)).astype(np.float32)
    relief = blur(relief, 0.06 * frame.unit * side / frame.size)
    strength = 1.15 if person.is_masculine else 0.85
    for u0, v0, extent_u, extent_v, height in _MIDDLE:
        wide = person.nose_width if v0 < 0.8 else 1.0
        relief += _bump(u, v, (u0, v0, extent_u * wide, extent_v, height), frame)
    for bump in _PAIRS:
        lift = 1 + max(person.smile, 0) if bump is _CHEEK else strength
        for s in (-1, 1):
            relief += np.float32(lift) * _bump(u, v, bump, frame, s)
    return relief * np.float32(frame.unit * side / frame.size)


def _skin(rng: np.random.Generator, person: Person, frame: Frame) -> Array:
    """Return lit skin for the whole image, (3, size, size)."""
    size, unit = frame.size, frame.unit
    side = min(size, _SHADING_SIDE)
    u, v = frame.grid(side)
    relief = _relief(person, frame, side)
    shade = lambert(relief, person.light, person.ambient)
    away = -float(np.sign(person.light[0]))
    # Where light reaches badly: under nose and lip, the nose's shadow, sockets, under the eyes.
    for hollow in (
        (0.0, 0.8, 0.22, 0.05, 0.3),
        (0.0, 1.38, 0.2, 0.06, 0.15),
        (away * 0.3, 0.55, 0.12, 0.22, 0.5 * abs(person.light[0])),
    ):
        shade *= 1 - _bump(u, v, hollow, frame)
    for s in (-1, 1):
        shade *= 1 - _bump(u, v, (0.4, -0.1, 0.18, 0.1, 0.3), frame, s)
        shade *= 1 - _bump(u, v, (0.47, 0.2, 0.2, 0.05, 0.06 + 0.15 * person.age), frame, s)
    tinted = person.skin * _tint(u, v, rng, person, frame) * encode(shade * np.float32(1.05))
    colour = resize(tinted, (size, size))

    # Gloss along Blinn's half vector, broken up by the pores.
    half = np.array(person.light) + (0, 0, 1)
    half /= np.linalg.norm(half)
    gloss = np.clip(facing(relief, half.tolist()), 0, 1) ** 24
    pores = fractal_noise(
        rng,
        (size, size),
        coarsest=max(2.0, 0.035 * unit),
        finest=max(1.0, 0.008 * unit),
        persistence=0.8,
    )
    mottle = fractal_noise(rng, (side, side), coarsest=0.15 * unit * side / size, finest=1.0)
    roughness = rng.uniform(0.01, 0.03) + 0.02 * person.age
    furrows = _furrows(rng, person, frame)
    detail = np.float32(roughness) * (emboss(pores, person.light) - np.float32(0.3) * pores)
    detail += np.float32(0.5) * emboss(furrows, person.light) - np.float32(0.15) * furrows
    detail += resize(np.float32(rng.uniform(0.012, 0.035)) * mottle, (size, size)) + 1
    colour *= detail
    shine = resize(np.float32(rng.uniform(0.03, 0.18)) * gloss, (size, size))
    colour += np.clip(shine * (1 + np.float32(0.25) * pores), 0, None) * rgb(1.0, 0.97, 0.93)
    _freckle(colour, rng, person, frame)
    return colour


def _tint(u: Array, v: Array, rng: np.random.Generator, person: Person, frame: Frame) -> Array:
    """Return factors (3, h, w): blood in cheeks and nose, blue of a shaved beard."""
    blood = float(rng.uniform(0.02, 0.1)) * (1 - 0.6 * person.darkness)
    flush = _bump(u, v, (0.0, 0.55, 0.2, 0.16, blood), frame)
    for s in (-1, 1):
        flush += _bump(u, v, (0.65, 0.5, 0.28, 0.22, blood * 1.2), frame, s)
        flush += _bump(u, v, (0.47, 0.12, 0.22, 0.1, blood * 0.8), frame, s)
    tint = 1 + flush * rgb(0.15, -1.0, -0.9)
    if person.is_masculine and person.beard in ("none", "stubble"):
        depth = float(rng.uniform(0.0, 0.2))
        tint *= 1 - _bump(u, v, (0.0, 1.45, 0.6, 0.35, depth), frame) * rgb(1.0, 0.85, 0.7)
    return np.asarray(tint, np.float32)


def _furrows(rng: np.random.Generator, person: Person, frame: Frame) -> Array:
    """Return wrinkles, (size, size) in [0, 1]: deep is 1."""
    stencil = Stencil((0, 0, frame.size, frame.size), 2)
    width = 0.014 * frame.unit

    def furrow(points: list[tuple[float, float]], depth: float) -> None:
        shaken = np.array(points) + rng.normal(0, 0.012, (len(points), 2))
        curve = smooth_curve(frame.on_face(shaken), 16)
        value = int(np.clip(depth, 0, 1) * 255)
        if value > 8:
            stencil.line(curve[2:-2], width, value // 2)
            stencil.line(curve[4:-4], width * 1.4, value)

    age = person.age
    for i in range(int(rng.integers(2, 5))):
        v = -0.62 - 0.13 * i
        left, right = -rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
        furrow([(left, v), (left / 2, v - 0.04), (0, v), (right / 2, v - 0.04), (right, v)], age)
    for s in (-1, 1):
        fold = 0.2 + 0.5 * age + 0.35 * max(person.smile, 0)
        out = 0.53 + 0.1 * max(person.smile, 0)
        furrow([(s * 0.27, 0.62), (s * 0.42, 0.8), (s * out, 1.02), (s * out, 1.2)], fold)
        furrow([(s * 0.3, 0.12), (s * 0.5, 0.19), (s * 0.7, 0.13)], 0.15 + 0.7 * age)
        for _ in range(3):
            end = rng.uniform(-0.12, 0.2)
            start = (s * 0.78, 0.3 * end)
            furrow([start, (s * 0.88, 0.6 * end), (s * 1.0, end)], age * 0.9 - 0.1)
        furrow([(s * 0.07, -0.35), (s * 0.09, -0.25), (s * 0.08, -0.15)], age * 0.8 - 0.1)
    return stencil.mask(max(0.4, 0.007 * frame.unit))


def _freckle(colour: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    count = int(rng.integers(1, 5))
    if rng.random() < 0.25 * (1 - person.darkness) + 0.15 * person.age:
        count += int(rng.integers(40, 220))
    spots = frame.on_face(rng.normal(0, 1, (count, 2)) * (0.55, 0.45) + (0, 0.25))
    radii = np.clip(rng.gamma(2, 0.004, count) * frame.unit, 0.3, 0.022 * frame.unit)
    box = box_around(spots, 3, colour.shape)
    if box is None:
        return
    mask = Stencil(box, 3).discs(spots, radii, int(rng.integers(60, 150))).mask()
    lay(colour, box, mask, person.skin * rgb(0.5, 0.36, 0.3))
