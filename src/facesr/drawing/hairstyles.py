"""Hairstyles: where locks start on the head and how they run, in face coordinates."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from facesr.drawing.brushes import Array, smooth_curve

POINTS = 18
"""Points of every guide."""

_Floats = npt.NDArray[np.float64]


def guides_of(style: str, rng: np.random.Generator) -> Array:
    """Return the locks of a style, (G, POINTS, 2); later ones lie above; bald has few or none."""
    return _STYLES[style](rng)


def hanging(rng: np.random.Generator) -> Array:
    """Return the locks behind head and neck, (G, POINTS, 2)."""
    length, bulge = rng.uniform(1.0, 3.2), rng.uniform(0.1, 0.35)
    t = np.linspace(-1, 1, 46)
    return _locks(
        (t, -1.6 + 0.5 * t**2),
        ((1.12 + bulge) * t, -0.4),
        ((1.15 + bulge) * t, 0.8),
        ((1.05 + bulge) * t, length + rng.normal(0, 0.08, 46)),
    )


def curls(rng: np.random.Generator, count: int) -> Array:
    """Return small coils over the scalp and around it, the outer ones first."""
    volume, drop = rng.uniform(0.1, 0.55), rng.uniform(-0.1, 1.2)
    angle = rng.uniform(-np.pi - drop * 0.6, drop * 0.6, 2 * count)
    radius = np.sqrt(rng.uniform(0.1, 1, 2 * count))
    u = (1.16 + volume) * radius * np.cos(angle)
    v = -0.6 + (1.28 + volume) * radius * np.sin(angle)
    hairline = -1.13 + 0.3 * u**2
    on_head = (v < hairline) | (np.abs(u) > 1.04 - 0.1 * np.clip(v, -1, 1))
    root = np.stack([u, v], -1)[on_head][:count]
    root = root[np.argsort(-np.hypot(root[:, 0], root[:, 1] + 0.6))]
    number = len(root)
    t = np.linspace(0, 1, POINTS)[None, :]
    coil = rng.uniform(0.03, 0.09)
    turn = rng.uniform(4, 9, (number, 1)) * t + rng.uniform(0, 2 * np.pi, (number, 1))
    x = root[:, :1] + coil * np.cos(turn) + rng.normal(0, 0.07, (number, 1)) * t
    y = root[:, 1:] + coil * np.sin(turn) + 0.12 * t
    return np.stack([x, y], -1).astype(np.float32)


def scalp_fuzz(rng: np.random.Generator, count: int) -> _Floats:
    """Return very short strokes over the scalp, (N, 2, 2)."""
    length = rng.uniform(0.04, 0.12)
    angle = rng.uniform(-np.pi, 0.0, count)
    radius = np.sqrt(rng.uniform(0.0, 1, count))
    u = 1.15 * radius * np.cos(angle)
    v = -0.85 + 1.06 * radius * np.sin(angle)
    is_side = rng.random(count) < 0.22
    v = np.where(is_side, rng.uniform(-0.95, 0.0, count), v)
    inner = 1.0 + 0.1 * np.clip(v + 0.5, 0, 1)
    u = np.where(is_side, np.sign(u) * rng.uniform(inner, 1.16), u)
    hairline = -1.17 + 0.4 * u**2 + rng.normal(0, 0.025, count)
    root = np.stack([u, v], -1)[(v < hairline) | is_side]
    way = root + (0, 0.7)
    way = way / np.linalg.norm(way, axis=-1, keepdims=True) + rng.normal(0, 0.35, way.shape)
    return np.stack([root, root + length * way], 1)


def _locks(*stations: tuple[npt.ArrayLike, npt.ArrayLike]) -> Array:
    """Lay smooth guides through stations (u, v), each of G values or one for all."""
    points = [np.stack(np.broadcast_arrays(u, v), -1) for u, v in stations]
    return smooth_curve(np.stack(np.broadcast_arrays(*points), -2), POINTS)


def _swept(rng: np.random.Generator) -> Array:
    """Combed back from the forehead."""
    count = 76
    u = rng.uniform(-1.0, 1.0, count)
    recession, volume, lean = rng.uniform(0, 0.3), rng.uniform(0.02, 0.22), rng.normal(0, 0.25)
    line = -1.22 + 0.35 * u**2 - recession * np.exp(-(((np.abs(u) - 0.6) / 0.2) ** 2))
    line = line + rng.normal(0, 0.025, count)
    crown = -0.85 - (1.05 + volume) * np.sqrt(np.clip(1 - (u / 1.12) ** 2, 0, 1))
    # Those at the back first, so that the front lies above.
    order = np.argsort(np.abs(u) + rng.normal(0, 0.3, count))[::-1]
    top = _locks(
        (u, line),
        (u * 1.05 + 0.4 * lean, 0.55 * line + 0.45 * crown - 0.5 * volume),
        (u * 1.1 + lean, crown - 0.3 * volume),
        (u * 1.08 + 1.3 * lean, crown + 0.1),
    )
    return np.concatenate([_sides(rng, 50), top[order]])


def _sides(rng: np.random.Generator, count: int = 50) -> Array:
    """Short hair above the ears, from the temples back."""
    s = np.where(np.arange(count) % 2 == 0, -1.0, 1.0)
    v = rng.uniform(-1.15, 0.0, count)
    skull = 1.14 - 0.3 * np.clip(-v - 0.85, 0, 1)
    inset = rng.uniform(0, 0.16, count) * np.clip(-v + 0.25, 0.15, 1)
    u, run = s * (skull - inset - 0.03), rng.uniform(0.12, 0.28, count)
    back = s * rng.uniform(0.02, 0.09, count)
    return _locks((u, v - 0.1), (u + 0.6 * back, v - 0.1 + 0.5 * run), (u + back, v - 0.1 + run))


def _parted(rng: np.random.Generator) -> Array:
    """Short, combed to both sides of a side part."""
    part = float(rng.choice([-0.5, 0.5]) * rng.uniform(0.7, 1.1))
    volume = rng.uniform(0.02, 0.2)
    halves = []
    for s in (-1.0, 1.0):
        t = np.sort(rng.random(40))[::-1]  # from the crown to the forehead
        rise = volume * abs(s - part)
        halves.append(
            _locks(
                (part, -1.24 - 0.66 * t),
                (part + (s - part) * 0.35, -1.3 - 0.64 * t - rise),
                (part + (s - part) * 0.75, -1.2 - 0.52 * t - 0.7 * rise),
                (s * (1.04 + 0.1 * t), -0.88 - 0.42 * t),
                (s * (1.1 + 0.1 * t), -0.5 - 0.4 * t + rng.normal(0, 0.06, 40)),
            )
        )
    return np.concatenate([_sides(rng), *halves])


def _long(rng: np.random.Generator) -> Array:
    """Hanging down on both sides of a part."""
    part = float(rng.uniform(-0.55, 0.55))
    volume, length = rng.uniform(0.05, 0.32), rng.uniform(0.7, 3.2)
    cover, flick = rng.uniform(0.88, 1.08), rng.normal(0, 0.12)
    halves = []
    for s in (-1.0, 1.0):
        t = np.sort(rng.random(48))[::-1]
        out = (0.22 + volume) * t
        ends = length + rng.normal(0, 0.1, 48)
        halves.append(
            _locks(
                (part, -1.22 - 0.7 * t),
                (part + (s - part) * 0.4, -1.27 - (0.66 + volume) * t),
                (part + (s * cover - part) * 0.82 + s * out * 0.6, -1.02 - 0.58 * t - volume * t),
                (s * (cover + 0.05 + out), -0.45 - 0.2 * t),
                (s * (cover + 0.07 + 1.1 * out), 0.25 * ends),
                (s * (cover + 0.03 + 1.2 * out), 0.65 * ends),
                (s * (cover + flick + out), ends),
            )
        )
    return np.concatenate(halves)


def _fringe(rng: np.random.Generator) -> Array:
    """Long sides with locks over the forehead."""
    u = rng.uniform(-0.98, 0.98, 50)
    u = u[np.argsort(-np.abs(u) + rng.normal(0, 0.15, 50))]
    ends = rng.uniform(-0.6, -0.38) + 0.12 * u**2 + rng.normal(0, 0.05, 50)
    lean = rng.normal(0, 0.12)
    front = _locks(
        (u * 0.3, -1.93),
        (u * 0.75, -1.72 + 0.2 * u**2),
        (u * 0.97, -1.2 + 0.1 * u**2),
        (u + lean, ends),
    )
    return np.concatenate([_long(rng), front])


def _tied(rng: np.random.Generator) -> Array:
    """Drawn back tightly to a knot."""
    u = np.linspace(-1.1, 1.1, 84) + rng.normal(0, 0.03, 84)
    line = -1.2 + 0.78 * (np.abs(u) / 1.1) ** 3 + rng.normal(0, 0.02, 84)
    knot = _locks(
        (rng.uniform(-0.35, 0.35, 24), -1.9),
        (rng.uniform(-0.4, 0.4, 24), rng.uniform(-2.5, -2.1)),
        (rng.uniform(-0.3, 0.3, 24), -1.95),
    )
    cap = _locks(
        (u, line),
        (u * 1.0, 0.6 * line - 0.65),
        (u * 0.76, 0.18 * line - 1.6),
        (u * 0.4, -1.93 - 0.05 * rng.random(84)),
    )
    return np.concatenate([knot, cap])


def _bald(rng: np.random.Generator) -> Array:
    """Nothing, or a wreath above the ears."""
    wreath = _sides(rng, 40)
    return wreath[wreath[:, 0, 1] > -0.8] if rng.random() < 0.6 else wreath[:0]


_STYLES: dict[str, Callable[[np.random.Generator], Array]] = {
    "swept": _swept,
    "parted": _parted,
    "long": _long,
    "fringe": _fringe,
    "tied": _tied,
    "bald": _bald,
}
