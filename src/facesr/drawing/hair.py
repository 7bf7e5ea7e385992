"""Hair and beards as bundles of strands."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from facesr.drawing.brushes import (
    Array,
    Box,
    Stencil,
    blur,
    box_around,
    encode,
    facing,
    lambert,
    lay,
    planes_of,
    resize,
)
from facesr.drawing.hairstyles import POINTS, curls, guides_of, hanging, scalp_fuzz
from facesr.drawing.people import Frame, Person

# Strands are drawn this many times finer than the image and reduced by Lanczos.
SUPERSAMPLING = 2
_SHADING_SIDE = 96


def draw_back_hair(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw what hangs behind the head and neck, in place."""
    if person.style in ("long", "fringe"):
        _draw_locks(canvas, rng, person, frame, hanging(rng), 14, 0.06, brightness=0.6)


def draw_front_hair(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw the hair on and around the head, in place."""
    if person.style == "cropped":
        count = round(2600 * max(0.5, frame.size / 384))
        _draw_short(canvas, rng, person, frame, scalp_fuzz(rng, count), under=0.8)
    elif person.style == "curly":
        guides = curls(rng, round(750 * max(0.6, frame.size / 384)))
        _draw_locks(canvas, rng, person, frame, guides, 2, 0.015, bed=0.07, casts=True)
    else:
        guides = guides_of(person.style, rng)
        if len(guides):
            wave = float(rng.gamma(1.0, 0.02)) if person.style in ("long", "fringe") else 0.005
            _draw_locks(canvas, rng, person, frame, guides, 20, 0.06, curl=wave, casts=True)


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
    curl: float = 0.0,
    bed: float = 0.06,
    casts: bool = False,
) -> None:
    """Draw locks over a dark bed, in place.

    Args:
        canvas: The image.
        rng: Source of randomness.
        person: Gives colour and light.
        frame: Place of the head.
        guides: (G, K, 2) in face coordinates; each becomes a lock.
        strands: Strands of a lock, in an image of 384 pixels.
        spread: Standard deviation of a lock's width at its root, in units.
        brightness: Of the whole layer.
        curl: Amplitude of the waves at the tips, in units.
        bed: Width of the dark lines under each lock, in units.
        casts: Whether the hair throws a shadow on what is below.
    """
    number = len(guides)
    strands = max(2, round(strands * max(0.5, frame.size / 384)))
    along = np.linspace(0, 1, POINTS, dtype=np.float32)[None, None, :, None]
    offset = rng.normal(0, spread, (number, strands, 1, 2))
    stray = rng.random((number, strands, 1, 1)) < 0.03
    offset = np.where(stray, 1.7 * offset, offset)
    # Strands of a lock meet near its tip.
    bundle = offset * (1 - 0.55 * along) + rng.normal(0, 0.012, (number, strands, 1, 2)) * along
    phase = rng.uniform(0, 2 * np.pi, (number, 1, 1, 1))
    phase = phase + rng.normal(0, 0.4, (number, strands, 1, 1))
    waves = np.sin(rng.uniform(8, 14) * along + phase + np.array([0, 1.6]))
    lines = frame.place(guides[:, None] + bundle + curl * along * waves)  # (G, M, K, 2)

    lock_tone = np.exp(rng.normal(0, 0.16, (number, 1)))
    tones = lock_tone * np.exp(rng.normal(0, 0.22, (number, strands))) * brightness
    # Later locks lie above earlier ones, bright strands above dark ones.
    order = np.argsort(np.arange(number)[:, None] + 6 * tones, axis=None)
    _draw_layer(
        canvas,
        person,
        frame,
        lines.reshape(number * strands, POINTS, 2)[order],
        np.ravel(tones)[order, None] * person.hair.ravel(),
        rng.choice([1, 1, 2], number * strands),
        bed=(frame.place(guides), bed * frame.unit, 0.5 * brightness),
        casts=casts,
    )


def draw_beard(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw stubble, moustache, goatee or full beard, in place."""
    if person.beard == "none":
        return
    u, v = rng.uniform(-1.1, 1.1, 7000), rng.uniform(0.6, 1.95, 7000)
    chin = 1.84 * person.face_length
    jaw = np.abs(u) / person.jaw
    cheek_line = 1.0 + 0.45 * np.clip(0.75 - jaw, 0, 1) - 1.6 * np.clip(jaw - 0.8, 0, 1)
    # Density fades towards the cheeks, as beards do.
    on_jaw = v > cheek_line + rng.gamma(1.0, 0.05, len(v))
    on_jaw &= v < chin - 0.62 * jaw**2.4
    open_mouth = person.mouth_gap
    mouth = (np.abs(u) < 0.45) & (v > 0.9) & (v < 1.27 + open_mouth)
    soul_patch = (np.abs(u) < 0.1) & (v > 1.26 + open_mouth)
    above = np.clip(1 - (u / 0.46) ** 2, 0, None)
    moustache = (v > 0.96 - 0.13 * above) & (v < 1.02 - 0.1 * above) & (np.abs(u) < 0.46)
    round_chin = (u / 0.42) ** 2 + ((v - 1.6) / 0.28) ** 2 < rng.uniform(0.7, 1.1, len(v))
    region = {
        "stubble": (on_jaw & ~mouth) | moustache,
        "full": (on_jaw & ~mouth) | moustache,
        "goatee": round_chin | soul_patch & (v < chin) | moustache,
        "moustache": moustache,
    }[person.beard]
    is_stubble = person.beard == "stubble"
    root = np.stack([u, v], -1)[region]
    share = (0.4 if is_stubble else 1.0) * min(1.5, max(0.4, frame.size / 384))
    root = root[: int(len(root) * share)]
    if not len(root):
        return
    length = float(rng.uniform(0.015, 0.03) if is_stubble else rng.uniform(0.06, 0.13))
    way = np.stack([0.4 * root[:, 0], np.ones(len(root))], -1)
    on_lip = root[:, 1] < 1.05
    way[on_lip, 0] = 1.6 * root[on_lip, 0]
    way[on_lip, 1] = 0.5
    way += rng.normal(0, 0.2, way.shape)
    reach = length * rng.uniform(0.6, 1.1, (len(root), 1)) * np.where(on_lip, 0.8, 1)[:, None]
    points = np.stack([root, root + 0.55 * reach * way + (0, 0.01), root + reach * way], 1)
    _draw_short(canvas, rng, person, frame, points, under=0.15 if is_stubble else 0.65)


def _draw_short(
    canvas: Array,
    rng: np.random.Generator,
    person: Person,
    frame: Frame,
    points: npt.NDArray[np.float64],
    *,
    under: float,
) -> None:
    """Draw short strokes, (N, K, 2) in face coordinates, over a tint of the skin below."""
    lines = frame.place(points)
    box = box_around(lines, 0.15 * frame.unit, canvas.shape)
    if box is None:
        return
    shadow = Stencil(box, 1).discs(lines[:, 0], 0.03 * frame.unit).mask(0.025 * frame.unit)
    dark = person.hair * np.float32(0.5 + 0.3 * person.ambient)
    lay(canvas, box, np.float32(under) * shadow, dark)
    tones = np.exp(rng.normal(0, 0.25, (len(points), 1)))
    colours = tones * person.hair.ravel()
    is_grey = rng.random(len(points)) < 0.5 * max(0.0, person.age - 0.35)
    colours[is_grey] = 0.5 * colours[is_grey] + 0.25
    _draw_layer(canvas, person, frame, lines, colours, np.ones(len(points), int))


def _draw_layer(
    canvas: Array,
    person: Person,
    frame: Frame,
    lines: Array,
    colours: npt.NDArray[np.floating],
    widths: npt.NDArray[np.int_],
    *,
    bed: tuple[Array, float, float] | None = None,
    casts: bool = False,
) -> None:
    """Draw strands, lights them as one rounded mass and lay them on the canvas, in place.

    Args:
        canvas: The image.
        person: Gives the light.
        frame: Place of the head.
        lines: (N, K, 2) pixels.
        colours: (N, 3).
        widths: (N,) in fine pixels.
        bed: Lines below the strands, (G, K, 2) pixels, with their width in pixels and their
            brightness.
        casts: Whether the hair throws a shadow.
    """
    box = box_around(lines, 2, canvas.shape)
    if box is None:
        return
    corner = np.array(box[:2], np.float32)
    side = ((box[2] - box[0]) * SUPERSAMPLING, (box[3] - box[1]) * SUPERSAMPLING)
    image = Image.new("RGBA", side)
    drawing = ImageDraw.Draw(image)
    if bed:
        guides, width, brightness = bed
        dark = np.clip(person.hair.ravel() * brightness * 255, 0, 255).astype(int).tolist()
        fine = (guides - corner) * SUPERSAMPLING - np.float32(0.5)
        for line in fine.reshape(len(guides), -1).tolist():
            drawing.line(line, fill=(*dark, 255), width=max(2, round(width * SUPERSAMPLING)))
    fine = (lines - corner) * SUPERSAMPLING - np.float32(0.5)
    flat = fine.reshape(len(lines), -1).tolist()
    fills = np.clip(colours * 255, 0, 255).astype(int).tolist()
    for line, fill, width in zip(flat, fills, widths.tolist(), strict=True):
        drawing.line(line, fill=(*fill, 255), width=width)
    reduced = (box[2] - box[0], box[3] - box[1])
    planes = planes_of(image.resize(reduced, Image.Resampling.LANCZOS))
    hair, mask = planes[:3], planes[3]
    hair *= _light(person, frame)[box[1] : box[3], box[0] : box[2]]
    if casts:
        _cast(canvas, box, mask, frame)
    lay(canvas, box, mask, hair)


def _cast(canvas: Array, box: Box, mask: Array, frame: Frame) -> None:
    """Darkens what lies a little below the hair, in place."""
    step = max(1, round(0.04 * frame.unit))
    left, top, right, bottom = box
    shadow = np.zeros(canvas.shape[1:], np.float32)
    shadow[top + step : bottom + step, left:right] = mask[: canvas.shape[1] - top - step]
    canvas *= 1 - np.float32(0.45) * blur(shadow, 0.06 * frame.unit)


def _light(person: Person, frame: Frame) -> Array:
    """Return the light on the hair's mass, (size, size) factors for encoded colours."""
    side = min(frame.size, _SHADING_SIDE)
    u, v = frame.grid(side)
    dome = 1.7**2 - u**2 - (0.85 * np.clip(v + 0.4, None, 0)) ** 2
    relief = np.sqrt(np.clip(dome, 0.05, None)) * np.float32(frame.unit * side / frame.size)
    relief = relief.astype(np.float32)
    shade = lambert(relief, person.light, min(1.0, person.ambient + 0.1))
    # A band of gloss across the strands, a little above where a ball would shine.
    half = np.array(person.light) + (0, -0.5, 1)
    half /= np.linalg.norm(half)
    gloss = np.clip(facing(relief, half.tolist()), 0, 1) ** 14
    # Dark hair shines more, for its size, than light hair.
    shine = np.float32(max(0.0, 1.25 - 1.6 * float(person.hair.mean())))
    return resize(encode(shade) * (1 + shine * gloss), (frame.size, frame.size))
