"""Hair and beards as bundles of strands."""

import numpy as np
from PIL import Image, ImageDraw

from facesr.sources.brushes import (
    Array,
    Stencil,
    blur,
    encode,
    lambert,
    lay,
    resize,
    smooth_curve,
    whole,
)
from facesr.sources.people import Frame, Person

# Strands are drawn this many times finer than the picture and reduced by Lanczos.
SUPERSAMPLING = 2
_POINTS = 12  # per strand
_SHADING_SIDE = 96


def draw_back_hair(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draws what hangs behind the head and neck, in place."""
    if person.style not in ("long", "fringe") or person.has_hat and rng.random() < 0.3:
        return
    length = float(rng.uniform(1.0, 3.2))
    count = 46
    t = np.linspace(-1, 1, count)
    bulge = rng.uniform(0.15, 0.4)
    guides = np.stack(
        [
            np.stack([1.0 * t, np.full(count, -1.6) + 0.5 * t**2], -1),
            np.stack([(1.12 + bulge) * t, np.full(count, -0.4)], -1),
            np.stack([(1.15 + bulge) * t, np.full(count, 0.8)], -1),
            np.stack([(1.05 + bulge) * t, length + rng.normal(0, 0.08, count)], -1),
        ],
        1,
    )
    _draw_locks(canvas, rng, person, frame, guides, 14, 0.06, brightness=0.55)


def draw_front_hair(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draws the hair on and around the head, in place."""
    if person.style == "bald":
        if rng.random() < 0.6:
            _draw_locks(canvas, rng, person, frame, _sides(rng, 30), 14, 0.05, curl=0.0)
        return
    if person.style == "cropped":
        _draw_cropped(canvas, rng, person, frame)
        return
    if person.style == "curly":
        _draw_curls(canvas, rng, person, frame)
        return
    guides = {"swept": _swept, "parted": _parted, "long": _long, "fringe": _fringe, "tied": _tied}
    wave = float(rng.gamma(1.0, 0.02)) if person.style in ("long", "fringe") else 0.005
    _draw_locks(
        canvas, rng, person, frame, guides[person.style](rng), 20, 0.07, curl=wave, casts=True
    )


def _swept(rng: np.random.Generator) -> Array:
    count = 70
    u = rng.uniform(-0.98, 0.98, count)
    recession = rng.uniform(0, 0.3)
    line = -1.2 + 0.35 * u**2 - recession * np.exp(-(((np.abs(u) - 0.6) / 0.2) ** 2))
    lean, volume = rng.normal(0, 0.3), rng.uniform(0.02, 0.25)
    line += rng.normal(0, 0.02, count)
    crown = -1.9 - volume * np.sqrt(np.clip(1 - u**2, 0, 1))
    crown = np.where(np.abs(u) > 0.6, crown + 0.8 * (np.abs(u) - 0.6), crown)
    root = np.stack([u, line], -1)
    tip = np.stack([u * 1.02 + lean * 0.5, crown], -1)
    middle = (root + tip) / 2 + np.stack([0.12 * u, np.full(count, -0.05)], -1)
    top = np.stack([root, middle, tip], 1)
    sides = _sides(rng, 44)
    order = np.argsort(-top[:, 0, 1])
    return np.concatenate([_knots(sides), _knots(top[order[::-1]])])


def _sides(rng: np.random.Generator, count: int) -> Array:
    """Short hair above the ears, from the temples back."""
    s = np.where(np.arange(count) % 2 == 0, -1, 1)
    v = rng.uniform(-1.0, 0.05, count)
    skull = 1.16 - 0.25 * np.clip(-v - 0.8, 0, 1)
    inset = 0.16 * rng.random(count) * np.clip(-v + 0.4, 0.2, 1)
    root = np.stack([s * (skull - inset - 0.03), v - 0.1], -1)
    tip = root + np.stack([s * rng.uniform(0.02, 0.1, count), rng.uniform(0.1, 0.3, count)], -1)
    return np.stack([root, (root + tip) / 2 + np.stack([s * 0.03, 0 * v], -1), tip], 1)


def _parted(rng: np.random.Generator) -> Array:
    part = rng.choice([-0.5, 0.5]) * rng.uniform(0.7, 1.1)
    volume = rng.uniform(0.05, 0.25)
    guides = []
    for s, count in ((-1, 36), (1, 36)):
        t = np.sort(rng.random(count))[::-1]
        root = np.stack([np.full(count, part), -1.18 - 0.72 * t], -1)
        across = abs(s - part)
        middle = np.stack(
            [part + (s - part) * 0.55 + 0 * t, -1.3 - 0.62 * t - volume * across * 0.5], -1
        )
        far = np.stack([s * (1.03 + 0.12 * t), -0.95 - 0.35 * t], -1)
        tip = np.stack([s * (1.12 + 0.1 * t), -0.45 - 0.4 * t + rng.normal(0, 0.05, count)], -1)
        guides.append(np.stack([root, middle, far, tip], 1))
    return np.concatenate([_knots(_sides(rng, 44)), *(_knots(g) for g in guides)])


def _long(rng: np.random.Generator) -> Array:
    part = rng.uniform(-0.5, 0.5)
    volume, length = rng.uniform(0.08, 0.4), rng.uniform(0.6, 3.0)
    cover = rng.uniform(0.86, 1.05)
    guides = []
    for s in (-1, 1):
        count = 44
        t = np.sort(rng.random(count))[::-1]
        root = np.stack([np.full(count, part), -1.15 - 0.78 * t], -1)
        crest = np.stack([part + (s - part) * 0.5 + 0 * t, -1.35 - (0.6 + volume) * t], -1)
        temple = np.stack([s * (cover + (0.25 + volume) * t), -0.75 - 0.3 * t], -1)
        cheek = np.stack([s * (cover + 0.08 + (0.3 + volume) * t), 0.35 + 0 * t], -1)
        jaw = np.stack([s * (cover + 0.02 + (0.35 + volume) * t), np.full(count, 1.2)], -1)
        tip = np.stack([s * (cover + (0.25 + volume) * t), length + rng.normal(0, 0.1, count)], -1)
        stations = [root, crest, temple, cheek, jaw, tip] if length > 1.5 else [
            root, crest, temple, cheek, tip
        ]  # fmt: skip
        guides.append(_knots(np.stack(stations, 1)))
    return np.concatenate(guides)


def _fringe(rng: np.random.Generator) -> Array:
    count = 46
    u = rng.uniform(-0.95, 0.95, count)
    u = u[np.argsort(-np.abs(u))]
    height = rng.uniform(-0.6, -0.35)
    root = np.stack([u * 0.3, np.full(count, -1.95)], -1)
    middle = np.stack([u * 0.8, -1.6 + 0.2 * u**2], -1)
    brow = np.stack([u * 0.98, -1.0 + 0 * u], -1)
    tip = np.stack([u * 1.0, height + 0.15 * u**2 + rng.normal(0, 0.05, count)], -1)
    return np.concatenate([_long(rng), _knots(np.stack([root, middle, brow, tip], 1))])


def _tied(rng: np.random.Generator) -> Array:
    count = 80
    u = np.linspace(-1.1, 1.1, count) + rng.normal(0, 0.03, count)
    line = -1.18 + 0.75 * (np.abs(u) / 1.1) ** 3 + rng.normal(0, 0.02, count)
    root = np.stack([u * 1.0, line], -1)
    tip = np.stack([u * 0.35, -1.93 - 0.05 * rng.random(count)], -1)
    middle = np.stack([u * 0.98, (line - 1.9) / 2 - 0.08], -1)
    return _knots(np.stack([root, middle, tip], 1))


def _knots(guides: Array) -> Array:
    return smooth_curve(guides, _POINTS)


def _draw_locks(
    canvas: Array,
    rng: np.random.Generator,
    person: Person,
    frame: Frame,
    guides: Array,
    strands: int,
    spread: float,
    *,
    brightness: float = 1.0,
    curl: float = 0.01,
    casts: bool = False,
) -> None:
    """Draws locks: each guide, (G, K, 2) in face coordinates, becomes a bundle of strands."""
    guides = guides if guides.shape[1] == _POINTS else _knots(guides)
    number = len(guides)
    strands = max(4, round(strands * max(0.5, frame.size / 384)))
    along = np.linspace(0, 1, _POINTS, dtype=np.float32)[None, None, :, None]
    offset = rng.normal(0, spread, (number, strands, 1, 2))
    # Strands of a lock meet near its tip.
    bundle = offset * (1 - 0.55 * along) + rng.normal(0, 0.012, (number, strands, 1, 2)) * along
    phase = rng.uniform(0, 2 * np.pi, (number, 1, 1, 1)) + rng.normal(
        0, 0.4, (number, strands, 1, 1)
    )
    frequency = rng.uniform(8, 14)
    waves = curl * along * np.sin(frequency * along + phase + np.array([0, 1.6]))
    lines = frame.place(guides[:, None] + bundle + waves)  # (G, M, K, 2)

    side = frame.size * SUPERSAMPLING
    image = Image.new("RGBA", (side, side), (*_tone(person.hair * 0.35 * brightness), 0))
    drawing = ImageDraw.Draw(image)
    fine = lines * SUPERSAMPLING - 0.5
    bed = _tone(person.hair * 0.5 * brightness)
    thick = max(2, round(1.3 * spread * frame.unit * SUPERSAMPLING))
    for guide in (frame.place(guides) * SUPERSAMPLING - 0.5).reshape(number, -1).tolist():
        drawing.line(guide, fill=(*bed, 255), width=thick)
    lock_tone = np.exp(rng.normal(0, 0.16, (number, 1)))
    tones = lock_tone * np.exp(rng.normal(0, 0.25, (number, strands))) * brightness
    # Some grey hairs, and the brightest strands on top.
    colours = np.clip(tones[..., None] * person.hair * 255, 0, 255).astype(int)
    order = np.argsort(np.repeat(np.arange(number), strands) + 6 * tones.ravel())
    flat = fine.reshape(number * strands, -1)[order].tolist()
    fills = colours.reshape(-1, 3)[order].tolist()
    widths = rng.choice([1, 1, 2], number * strands).tolist()
    for line, (red, green, blue), width in zip(flat, fills, widths, strict=True):
        drawing.line(line, fill=(red, green, blue, 255), width=width)
    _lay_lit(canvas, image, person, frame, casts=casts)


def _tone(colour: Array) -> tuple[int, int, int]:
    red, green, blue = np.clip(colour * 255, 0, 255).astype(int).tolist()
    return red, green, blue


def _lay_lit(
    canvas: Array, image: Image.Image, person: Person, frame: Frame, *, casts: bool
) -> None:
    """Reduces a drawn layer of hair, lights it as a rounded mass and lays it on the canvas."""
    size = frame.size
    layer = np.asarray(
        image.resize((size, size), Image.Resampling.LANCZOS), np.float32
    ) / np.float32(255)
    hair, mask = layer[..., :3], layer[..., 3]
    side = min(size, _SHADING_SIDE)
    u, v = frame.grid(side)
    dome = np.sqrt(np.clip(1.6**2 - u**2 - (0.75 * np.clip(v + 0.2, -9, 0)) ** 2, 0.05, None))
    relief = (dome * frame.unit * side / size).astype(np.float32)
    shade = lambert(relief, person.light, min(1.0, person.ambient + 0.1))
    slope_y, slope_x = np.gradient(relief)
    facing = (1 - slope_x * person.light[0] - slope_y * (person.light[1] - 0.5)) / np.sqrt(
        (1 + slope_x**2 + slope_y**2) * 1.9
    )
    gloss = np.clip(facing, 0, 1).astype(np.float32) ** 10
    factor = encode(shade) * (1 + np.float32(0.7) * gloss)
    hair = hair * resize(factor, (size, size))[..., None]
    if casts:
        step = max(1, round(0.03 * frame.unit))
        shadow = blur(np.roll(mask, step, 0), 0.05 * frame.unit)
        canvas *= 1 - np.float32(0.4) * shadow[..., None]
    lay(canvas, whole(canvas), mask, hair)


def _draw_cropped(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Very short hair: dense short strokes over the scalp."""
    count = round(2600 * max(0.5, frame.size / 384))
    length = rng.uniform(0.04, 0.12)
    angle = rng.uniform(-np.pi, 0.0, count)
    radius = np.sqrt(rng.uniform(0.0, 1, count))
    u = 1.16 * radius * np.cos(angle)
    v = -0.85 + 1.07 * radius * np.sin(angle)
    sides = rng.random(count) < 0.22
    v = np.where(sides, rng.uniform(-0.9, -0.05, count), v)
    u = np.where(sides, np.sign(u) * rng.uniform(1.0, 1.17, count), u)
    line = -1.15 + 0.4 * u**2 + rng.normal(0, 0.02, count)
    keep = (v < line) | (np.abs(u) > 1.0)
    root = np.stack([u, v], -1)[keep]
    way = np.stack([root[:, 0], root[:, 1] + 0.7], -1)
    way = way / np.linalg.norm(way, axis=-1, keepdims=True) + rng.normal(0, 0.35, way.shape)
    points = np.stack([root, root + length * way], 1)
    _draw_short(canvas, rng, person, frame, points, under=0.75)


def _draw_curls(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    count = round(620 * max(0.6, frame.size / 384))
    volume = rng.uniform(0.15, 0.6)
    drop = rng.uniform(-0.1, 1.2)
    angle = rng.uniform(-np.pi - drop * 0.6, drop * 0.6, count)
    radius = np.sqrt(rng.uniform(0.55, 1, count))
    u = (1.18 + volume) * radius * np.cos(angle)
    v = -0.6 + (1.25 + volume) * radius * np.sin(angle)
    line = -1.12 + 0.35 * u**2
    keep = ((v < line) & (np.abs(u) < 1.05)) | (np.abs(u) >= 1.0)
    root = np.stack([u, v], -1)[keep]
    root = root[np.argsort(-np.hypot(root[:, 0], root[:, 1] + 0.6))]
    coil = rng.uniform(0.03, 0.1)
    t = np.linspace(0, 1, _POINTS)[None, :]
    turns = rng.uniform(4, 9, (len(root), 1))
    start = rng.uniform(0, 2 * np.pi, (len(root), 1))
    x = root[:, :1] + coil * np.cos(turns * t + start) + rng.normal(0, 0.07, (len(root), 1)) * t
    y = root[:, 1:] + coil * np.sin(turns * t + start) + 0.15 * t
    guides = np.stack([x, y], -1)
    _draw_locks(canvas, rng, person, frame, guides, 3, 0.02, curl=0.0, casts=True)


def draw_beard(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draws stubble, moustache, goatee or full beard, in place."""
    if person.beard == "none":
        return
    u, v = rng.uniform(-1.05, 1.05, 6000), rng.uniform(0.6, 1.95, 6000)
    jaw = np.abs(u) / (1.0 * person.jaw)
    cheek_line = 0.95 + 0.55 * np.clip(0.75 - jaw, 0, 1) - 1.3 * np.clip(jaw - 0.85, 0, 1)
    on_jaw = (v > cheek_line) & (v < 1.9 * person.face_length - 0.75 * jaw**2.2)
    mouth = (np.abs(u) < 0.42) & (np.abs(v - 1.1) < 0.17 + person.mouth_gap)
    moustache = (np.abs(u) < 0.44) & (v > 0.82 + 0.1 * np.abs(u)) & (v < 0.95 + 0.35 * u**2)
    chin = (np.abs(u) < 0.4) & (v > 1.25 + person.mouth_gap) & (v < 1.9 * person.face_length)
    region = {
        "stubble": (on_jaw & ~mouth) | moustache,
        "full": (on_jaw & ~mouth) | moustache,
        "goatee": chin | moustache,
        "moustache": moustache,
    }[person.beard]
    length = float(
        rng.uniform(0.015, 0.03) if person.beard == "stubble" else rng.uniform(0.08, 0.2)
    )
    root = np.stack([u, v], -1)[region].astype(np.float32)
    share = 0.35 if person.beard == "stubble" else 0.9
    root = root[: int(len(root) * share * min(1.0, max(0.4, frame.size / 384)))]
    way = np.stack([0.5 * root[:, 0], np.full(len(root), 1.0)], -1)
    above = root[:, 1] < 1.0
    way[above] = np.stack([np.sign(root[above, 0]) * 0.9, np.full(above.sum(), 0.5)], -1)
    way += rng.normal(0, 0.25, way.shape)
    points = np.stack([root, root + length * 0.55 * way + (0, 0.01), root + length * way], 1)
    _draw_short(canvas, rng, person, frame, points, under=0.1 if person.beard == "stubble" else 0.6)


def _draw_short(
    canvas: Array,
    rng: np.random.Generator,
    person: Person,
    frame: Frame,
    points: Array,
    *,
    under: float,
) -> None:
    """Draws short strokes, (N, K, 2) in face coordinates, over a tint of the skin below."""
    side = frame.size * SUPERSAMPLING
    image = Image.new("RGBA", (side, side), (*_tone(person.hair * 0.6), 0))
    drawing = ImageDraw.Draw(image)
    lines = frame.place(points) * SUPERSAMPLING - 0.5
    bed = Stencil(whole(canvas), 1)
    for root in frame.place(points[:, 0]):
        bed.disc(root, 0.035 * frame.unit)
    tint = np.float32(under) * blur(bed.mask(), 0.025 * frame.unit)
    lay(canvas, whole(canvas), tint, person.hair * 0.55 * np.float32(0.6 + 0.4 * person.ambient))
    tones = np.exp(rng.normal(0, 0.3, len(points)))
    grey = rng.random(len(points)) < 0.5 * max(0.0, person.age - 0.3)
    colours = np.where(grey[:, None], 0.7, person.hair * 0.9) * tones[:, None]
    fills = np.clip(colours * 255, 0, 255).astype(int).tolist()
    flat = lines.reshape(len(points), -1).tolist()
    for line, (red, green, blue) in zip(flat, fills, strict=True):
        drawing.line(line, fill=(red, green, blue, 255), width=1)
    _lay_lit(canvas, image, person, frame, casts=False)
