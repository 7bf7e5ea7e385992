"""The drawn head: skin in its light, ears, eyes, nose, mouth and glasses."""

import numpy as np

from facesr.sources.brushes import (
    Array,
    Stencil,
    blur,
    box_around,
    draw_strokes,
    emboss,
    encode,
    fractal_noise,
    lambert,
    lay,
    paint,
    resize,
    smooth_curve,
    whole,
)
from facesr.sources.people import Frame, Person

# Shading is smooth: it is computed on a grid of at most this side and enlarged.
_SHADING_SIDE = 160
# Bumps of the face: u, v, extent in u, extent in v, height; all in units of the eye distance.
_NOSE = ((0.0, 0.1, 0.1, 0.3, 0.1), (0.0, 0.42, 0.11, 0.2, 0.13), (0.0, 0.6, 0.14, 0.11, 0.19))
_PAIRS = (
    (0.2, 0.66, 0.085, 0.07, 0.09),  # wings of the nose
    (0.47, -0.04, 0.2, 0.12, -0.12),  # sockets
    (0.5, 0.0, 0.16, 0.1, 0.075),  # eyeballs under their lids
    (0.45, -0.33, 0.3, 0.09, 0.05),  # brow ridges
    (0.62, 0.5, 0.26, 0.22, 0.08),  # cheeks
)
_MIDDLE = (
    (0.0, 1.05, 0.38, 0.22, 0.1),
    (0.0, 0.99, 0.22, 0.045, 0.025),
    (0.0, 1.2, 0.2, 0.055, 0.045),
    (0.0, 1.36, 0.22, 0.06, -0.05),
    (0.0, 1.6, 0.24, 0.15, 0.1),
)


def draw_head(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> Array:
    """Draws ears, skin and features, hair excepted, in place.

    Returns:
        The head's mask, (H, W) in [0, 1].
    """
    for side in (-1, 1):
        _draw_ear(canvas, rng, person, frame, side)
    stencil = Stencil(whole(canvas), 3).polygon(frame.place(person.head_outline()))
    mask = stencil.mask()
    skin = _skin(rng, person, frame)
    lay(canvas, whole(canvas), mask, skin)
    _draw_nose(canvas, person, frame)
    _draw_mouth(canvas, rng, person, frame)
    for side in (-1, 1):
        _draw_eye(canvas, rng, person, frame, side)
    return mask


def _bump(u: Array, v: Array, bump: tuple[float, ...], frame: Frame, side: int = 1) -> Array:
    """A Gaussian hill; its centre follows the turn of the head."""
    x, y, extent_u, extent_v, height = bump
    depth = 0.85 * float(np.sqrt(max(0.0, 1 - (x / 1.2) ** 2)))
    x, y = side * x + depth * frame.yaw, y + depth * frame.pitch
    return np.float32(height) * np.exp(
        -0.5 * (((u - x) / extent_u) ** 2 + ((v - y) / extent_v) ** 2)
    )


def _relief(person: Person, frame: Frame, side: int) -> Array:
    """Returns the head's depth, (side, side), in pixels of the grid."""
    u, v = frame.grid(side)
    outline = person.head_outline()
    right = outline[: len(outline) // 2 + 1]
    half_width = np.interp(v, right[:, 1], right[:, 0] * 1.04, left=0, right=0)
    relief = 0.85 * np.sqrt(np.clip(half_width**2 - u**2, 0, None)).astype(np.float32)
    relief = blur(relief, 0.06 * frame.unit * side / frame.size)
    strength = 1.1 if person.is_masculine else 0.85
    for bump in _NOSE + _MIDDLE:
        relief += _bump(u, v, bump, frame)
    for bump in _PAIRS:
        lift = 1 + max(person.smile, 0) if bump[0] == 0.62 else strength
        for s in (-1, 1):
            relief += np.float32(lift) * _bump(u, v, bump, frame, s)
    return relief * np.float32(frame.unit * side / frame.size)


def _skin(rng: np.random.Generator, person: Person, frame: Frame) -> Array:
    """Returns lit skin for the whole picture, (size, size, 3)."""
    size, unit = frame.size, frame.unit
    side = min(size, _SHADING_SIDE)
    u, v = frame.grid(side)
    relief = _relief(person, frame, side)
    shade = lambert(relief, person.light, person.ambient)
    # Creases that light reaches badly.
    hollows: list[tuple[float, float, float, float, float]] = [
        (0.0, 0.8, 0.25, 0.05, 0.22),
        (0.0, 1.37, 0.2, 0.06, 0.1),
        (-np.sign(person.light[0]) * 0.32, 0.5, 0.12, 0.25, 0.25 * abs(person.light[0])),
    ]
    for hollow in hollows:
        shade *= 1 - _bump(u, v, hollow, frame)
    for s in (-1, 1):
        shade *= 1 - _bump(u, v, (0.42, -0.1, 0.18, 0.1, 0.3), frame, s)
        shade *= 1 - _bump(u, v, (0.47, 0.2, 0.2, 0.05, 0.06 + 0.15 * person.age), frame, s)
    colour = person.skin * np.ones((side, side, 1), np.float32)
    _redden(colour, u, v, rng, person, frame)
    colour *= encode(shade * np.float32(1.05))[..., None]
    colour = resize(colour, (size, size))

    # Gloss: Blinn's half vector, broken up by the pores.
    slope_y, slope_x = np.gradient(relief)
    half = np.array(person.light) + (0, 0, 1)
    half /= np.linalg.norm(half)
    facing = (half[2] - slope_x * half[0] - slope_y * half[1]) / np.sqrt(
        1 + slope_x**2 + slope_y**2
    )
    gloss = resize(np.clip(facing, 0, 1).astype(np.float32) ** 24, (size, size))

    pores = fractal_noise(
        rng, (size, size), coarsest=max(2.0, 0.035 * unit), finest=max(1.0, 0.008 * unit),
        persistence=0.8,
    )  # fmt: skip
    mottle = fractal_noise(rng, (size // 2, size // 2), coarsest=0.15 * unit, finest=2.0)
    roughness = rng.uniform(0.01, 0.03) + 0.02 * person.age
    wrinkles = _wrinkles(rng, person, frame)
    detail = 1 + np.float32(roughness) * (emboss(pores, person.light) - 0.3 * pores)
    detail += np.float32(0.5) * emboss(wrinkles, person.light) - np.float32(0.12) * wrinkles
    detail += np.float32(0.018) * resize(mottle, (size, size))
    colour *= detail[..., None]
    shine = np.float32(rng.uniform(0.03, 0.16)) * gloss * (1 + np.float32(0.35) * pores)
    colour += np.clip(shine, 0, None)[..., None] * np.float32([1.0, 0.97, 0.93])
    _freckle(colour, rng, person, frame)
    return colour


def _redden(
    colour: Array, u: Array, v: Array, rng: np.random.Generator, person: Person, frame: Frame
) -> None:
    """Tints cheeks, nose, ears with blood, and a shaved beard with blue; in place."""
    blood = float(rng.uniform(0.04, 0.16)) * (1 - 0.6 * person.darkness)
    flush = _bump(u, v, (0.0, 0.55, 0.2, 0.16, blood), frame)
    for s in (-1, 1):
        flush += _bump(u, v, (0.65, 0.5, 0.28, 0.22, blood * 1.2), frame, s)
        flush += _bump(u, v, (0.47, 0.12, 0.22, 0.1, blood * 0.6), frame, s)
    colour *= 1 + flush[..., None] * np.float32([0.15, -1.0, -0.9])
    if person.is_masculine and person.beard in ("none", "stubble"):
        depth = float(rng.uniform(0.0, 0.2))
        shadow = _bump(u, v, (0.0, 1.45, 0.6, 0.35, depth), frame)
        colour *= 1 - shadow[..., None] * np.float32([1.0, 0.85, 0.7])


def _wrinkles(rng: np.random.Generator, person: Person, frame: Frame) -> Array:
    """Returns furrows, (size, size) in [0, 1]: deep is 1."""
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
        fold = 0.25 + 0.5 * age + 0.3 * max(person.smile, 0)
        furrow([(s * 0.27, 0.62), (s * 0.42, 0.8), (s * 0.55, 1.05), (s * 0.52, 1.2)], fold)
        furrow([(s * 0.3, 0.12), (s * 0.5, 0.19), (s * 0.7, 0.13)], 0.15 + 0.7 * age)
        for _ in range(3):
            end = rng.uniform(-0.12, 0.2)
            start = (s * 0.78, 0.3 * end)
            furrow([start, (s * 0.88, 0.6 * end), (s * 1.0, end)], age * 0.9 - 0.1)
        furrow([(s * 0.07, -0.35), (s * 0.09, -0.25), (s * 0.08, -0.15)], age * 0.8 - 0.1)
    return blur(stencil.mask(), max(0.4, 0.007 * frame.unit))


def _freckle(colour: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    count = int(rng.integers(0, 5))
    if rng.random() < 0.25 * (1 - person.darkness) + 0.15 * person.age:
        count += int(rng.integers(40, 220))
    stencil = Stencil(whole(colour), 3)
    spots = rng.normal(0, 1, (count, 2)) * (0.55, 0.45) + (0, 0.25)
    for spot in spots:
        radius = float(rng.gamma(2, 0.004)) * frame.unit
        stencil.disc(frame.on_face(spot), max(0.3, radius), int(rng.integers(40, 160)))
    paint(colour, stencil, person.skin * np.float32([0.5, 0.36, 0.3]))


def _draw_ear(
    canvas: Array, rng: np.random.Generator, person: Person, frame: Frame, side: int
) -> None:
    turned = side * frame.yaw
    reach = 1.0 - 1.2 * max(turned, 0.0)
    points = [
        (1.02, -0.28),
        (1.02 + 0.16 * reach, -0.34),
        (1.05 + 0.27 * reach, -0.18),
        (1.05 + 0.25 * reach, 0.12),
        (1.05 + 0.16 * reach, 0.4),
        (1.05 + 0.1 * reach, 0.62),
        (1.0, 0.6),
    ]
    outline = frame.place(np.array(points) * (side, 1), -0.1)
    box = box_around(outline, 4, canvas.shape)
    if box is None:
        return
    facing = 0.72 + 0.28 * np.clip(0.6 + 0.6 * side * person.light[0], 0, 1)
    tone = person.skin * np.float32([1.0, 0.9, 0.88]) * np.float32(facing)
    paint(canvas, Stencil(box).polygon(smooth_curve(outline, 40, closed=True)), tone)
    inner = [(1.06, -0.16), (1.06 + 0.15 * reach, -0.2), (1.06 + 0.14 * reach, 0.1), (1.07, 0.32)]
    groove = smooth_curve(frame.place(np.array(inner) * (side, 1), -0.1), 20)
    soft = 0.012 * frame.unit
    paint(canvas, Stencil(box).line(groove, 0.05 * frame.unit), tone * 0.62, softness=soft)
    hole = frame.place(np.array([(1.04, 0.1), (1.12, 0.16), (1.06, 0.3)]) * (side, 1), -0.1)
    paint(canvas, Stencil(box).polygon(hole), tone * 0.4, softness=2 * soft, opacity=0.8)
    if person.has_earrings:
        lobe = frame.place(np.array([(1.05 + 0.06 * reach) * side, 0.64]), -0.1)
        metal = np.float32([(0.9, 0.76, 0.4), (0.85, 0.87, 0.9)][int(rng.integers(2))])
        radius = max(0.7, float(rng.uniform(0.025, 0.06)) * frame.unit)
        around = box_around(lobe, 2 * radius + 2, canvas.shape)
        if around:
            paint(canvas, Stencil(around).disc(lobe, radius), metal * 0.7)
            glint = lobe + np.array(person.light[:2]) * radius * 0.4
            paint(canvas, Stencil(around).disc(glint, radius * 0.4), (1.0, 1.0, 0.97))


def _draw_nose(canvas: Array, person: Person, frame: Frame) -> None:
    unit = frame.unit
    box = box_around(frame.on_face([(-0.4, 0.3), (0.4, 0.95)]), 0.4 * unit, canvas.shape)
    if box is None:
        return
    dark = person.skin * np.float32([0.42, 0.28, 0.26])
    for s in (-1, 1):
        wing = np.array([(0.2, 0.5), (0.28, 0.58), (0.29, 0.68), (0.22, 0.745), (0.14, 0.74)])
        curve = smooth_curve(frame.on_face(wing * (s, 1)), 20)
        line = Stencil(box).line(curve[6:], 0.022 * unit)
        paint(canvas, line, dark, opacity=0.4, softness=0.012 * unit)
        nostril = np.array([(0.045, 0.745), (0.1, 0.7), (0.18, 0.715), (0.17, 0.75), (0.1, 0.76)])
        hole = smooth_curve(frame.on_face(nostril * (s, 1)), 24, closed=True)
        paint(canvas, Stencil(box).polygon(hole), dark * 0.4, opacity=0.85, softness=0.01 * unit)


def _draw_mouth(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    unit, smile, gap = frame.unit, max(person.smile, -0.2), person.mouth_gap
    half = 0.36 + 0.13 * smile
    lift = 0.1 * smile
    full = float(rng.uniform(0.6, 1.25)) * (1 - 0.25 * max(smile, 0)) * (1 - 0.3 * person.age)
    full += 0.25 * person.darkness
    corner = (half, 1.08 - lift)
    line = 1.07 + 0.03 * smile
    top = [(0.28, 0.985 - 0.5 * lift), (0.09, 0.945), (0.0, 0.965)]
    top = [(u, line - (line - v) * full) for u, v in top]

    def mirrored(right: list[tuple[float, float]]) -> Array:
        """A curve from the left corner over `right`, (K, 2) from outside to the middle."""
        points = [corner, *right]
        return np.array([(-u, v) for u, v in points] + points[-2::-1])

    upper = mirrored(top)
    inner_top = mirrored([(0.25, line - 0.35 * lift - 0.1 * gap), (0.0, line - 0.1 * gap)])
    inner_bottom = mirrored([(0.25, line + 0.75 * gap - 0.3 * lift), (0.0, line + gap)])
    lower = mirrored(
        [(0.26, line + 0.1 * full + 0.8 * gap - 0.2 * lift), (0.0, line + 0.15 * full + gap)]
    )
    box = box_around(frame.on_face(np.concatenate([upper, lower])), 0.1 * unit, canvas.shape)
    if box is None:
        return
    curves = [smooth_curve(frame.on_face(c), 40) for c in (upper, inner_top, inner_bottom, lower)]
    under = canvas[box[1] : box[3], box[0] : box[2]].mean(axis=(0, 1)) / person.skin
    light = np.float32(np.clip(under.mean(), 0.3, 1.1))
    lip = person.skin * np.float32([0.86, 0.62, 0.62]) * light
    if person.has_makeup:
        stick = np.float32(rng.choice([(0.7, 0.1, 0.15), (0.75, 0.32, 0.36), (0.5, 0.12, 0.2)]))
        lip = lip * 0.35 + 0.65 * stick * light
    if gap > 0:
        inside = np.concatenate([curves[1], curves[2][::-1]])
        paint(canvas, Stencil(box).polygon(inside), np.float32([0.2, 0.07, 0.07]) * light)
        _draw_teeth(canvas, rng, person, frame, inside, light, (half, line, gap))
    wide = (box[3] - box[1], box[2] - box[0])
    creases = fractal_noise(rng, wide, coarsest=max(2, 0.03 * unit), finest=1.0, persistence=0.9)
    creases = blur(creases, 0.3) + np.roll(creases, 1, 0) + np.roll(creases, -1, 0)
    texture = 1 + np.float32(0.035) * creases[..., None]
    shapes = ((curves[0], curves[1], 0.86), (curves[2], curves[3], 1.06))
    for outer, inner, brightness in shapes:
        outline = np.concatenate([outer, inner[::-1]])
        colour = lip * np.float32(brightness) * texture
        paint(canvas, Stencil(box).polygon(outline), colour, softness=0.008 * unit, opacity=0.92)
    shine = smooth_curve(frame.on_face([(-0.14, line + gap + 0.07), (0.14, line + gap + 0.07)]), 8)
    glossy = float(rng.uniform(0.05, 0.3 if person.has_makeup else 0.15))
    paint(canvas, Stencil(box).line(shine, 0.035 * unit), (1, 0.95, 0.93), opacity=glossy,
          softness=0.02 * unit)  # fmt: skip
    seam = Stencil(box).line(curves[1], 0.022 * unit)
    if gap > 0:
        seam.line(curves[2], 0.012 * unit, 130)
    paint(canvas, seam, lip * np.float32([0.38, 0.3, 0.3]), softness=0.006 * unit, opacity=0.85)
    for s in (-1, 1):
        pit = frame.on_face((s * corner[0], corner[1]))
        dot = Stencil(box).disc(pit, 0.03 * unit)
        paint(canvas, dot, person.skin * 0.4 * light, opacity=0.4, softness=0.02 * unit)


def _draw_teeth(
    canvas: Array,
    rng: np.random.Generator,
    person: Person,
    frame: Frame,
    inside: Array,
    light: np.float32,
    mouth: tuple[float, float, float],
) -> None:
    half, line, gap = mouth
    box = box_around(inside, 2, canvas.shape)
    if box is None or gap < 0.04:
        return
    unit = frame.unit
    edge = [(-half, line - 0.03), (-0.2, line + 0.62 * gap), (0, line + 0.72 * gap),
            (0.2, line + 0.62 * gap), (half, line - 0.03)]  # fmt: skip
    bottom = smooth_curve(frame.on_face(edge), 30)
    top = smooth_curve(
        frame.on_face([(-half, line - 0.3), (0, line - 0.3), (half, line - 0.3)]), 10
    )
    visible = Stencil(box).polygon(inside).mask()
    row = Stencil(box).polygon(np.concatenate([top, bottom[::-1]]))
    gaps = Stencil(box)
    widths = np.cumsum([0.0, 0.13, 0.1, 0.115, 0.09, 0.085])
    for u in np.concatenate([widths, -widths[1:]]) * rng.uniform(0.9, 1.05):
        start, end = (u, line - 0.2), (u * 0.99, line + 0.8 * gap)
        gaps.line(frame.on_face([start, end]), max(0.25, 0.008 * unit))
    y, x = np.mgrid[box[1] : box[3], box[0] : box[2]]
    middle = frame.on_face((0.0, line))
    away = np.hypot(x - middle[0], y - middle[1]) / (half * unit)
    white = np.float32([0.95, 0.92, 0.86]) * np.float32(light * rng.uniform(0.85, 1.02))
    ivory = white * (1 - 0.5 * np.clip(away, 0, 1)[..., None] ** 2).astype(np.float32)
    ivory = ivory * (1 - 0.35 * gaps.mask()[..., None])
    lay(canvas, box, visible * blur(row.mask(), 0.004 * unit), ivory)


def _draw_eye(
    canvas: Array, rng: np.random.Generator, person: Person, frame: Frame, side: int
) -> None:
    unit, opening = frame.unit, person.eye_opening
    # From the inner to the outer corner.
    top = np.array([(0.27, 0.035), (0.35, -0.055), (0.49, -0.1), (0.63, -0.065), (0.74, 0.0)])
    bottom = np.array([(0.27, 0.035), (0.37, 0.07), (0.51, 0.085), (0.65, 0.06), (0.74, 0.0)])
    top, bottom = top * (1, opening), bottom * (1, 0.4 + 0.6 * opening)
    upper = smooth_curve(frame.on_face(top * (side, 1)), 28)
    lower = smooth_curve(frame.on_face(bottom * (side, 1)), 28)
    box = box_around(np.concatenate([upper, lower]), 0.25 * unit, canvas.shape)
    if box is None:
        return
    left, head, right, foot = box
    y, x = np.mgrid[head:foot, left:right].astype(np.float32) + np.float32(0.5)
    opened = Stencil(box).polygon(np.concatenate([upper, lower[::-1]])).mask()
    light = np.float32(0.72 + 0.28 * person.ambient + 0.12 * side * person.light[0])
    centre = frame.on_face((side * 0.5 + 0.02 * frame.yaw, -0.012))

    # The eyeball: white, shaded by the lid and towards the corners.
    depth = (y - upper[:, 1].min()) / (0.2 * unit)
    shade = np.clip(0.62 + 0.5 * depth, 0.5, 1.0) * light
    sideways = np.clip(np.abs(x - centre[0]) / (0.26 * unit), 0, 1) ** 2
    white = np.float32([0.93, 0.9, 0.88]) * np.float32(1 - 0.1 * person.darkness)
    ball = white * (shade * (1 - 0.25 * sideways))[..., None]
    ball[..., 1:] -= (0.06 * sideways * shade)[..., None]
    radius = np.hypot(x - centre[0], y - centre[1]) / unit  # in eye distances
    pixel = 1 / unit
    iris = np.clip((0.098 - radius) / pixel + 0.5, 0, 1)
    ball += iris[..., None] * (_iris(rng, person, x, y, centre, radius, shade) - ball)
    pupil = np.clip((rng.uniform(0.03, 0.045) - radius) / pixel + 0.5, 0, 1)
    ball += pupil[..., None] * (np.float32(0.02) - ball)
    lay(canvas, box, opened, ball)
    glint = centre + np.array([person.light[0] * 0.05, -0.04]) * unit
    spark = Stencil(box)
    if rng.random() < 0.5:
        spark.disc(glint, max(0.6, 0.022 * unit))
    else:
        corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.02 * unit
        spark.polygon(glint + corner)
    lay(canvas, box, spark.mask() * opened, np.float32([0.98, 0.98, 1.0]))

    # Lids and lashes.
    dark = person.skin * np.float32([0.35, 0.24, 0.22]) * light
    wet = Stencil(box).line(lower[3:-2] + (0, 0.012 * unit), 0.022 * unit)
    paint(canvas, wet, person.skin * np.float32([1.02, 0.82, 0.8]) * light, opacity=0.55,
          softness=0.005 * unit)  # fmt: skip
    crease = upper + np.array([0, -0.065 * unit * (1.1 - 0.3 * person.age)])
    paint(canvas, Stencil(box).line(crease[2:-1], 0.018 * unit), dark, opacity=0.5,
          softness=0.009 * unit)  # fmt: skip
    if person.has_makeup:
        lid = np.concatenate([crease, upper[::-1]])
        shadow = rng.uniform(0.15, 0.6, 3).astype(np.float32)
        paint(canvas, Stencil(box).polygon(lid), shadow * light, opacity=0.35, softness=0.02 * unit)
    ink = np.float32([0.06, 0.045, 0.04]) + 0.25 * dark
    thick = 0.034 if person.has_makeup else 0.022
    lash_line = Stencil(box).line(upper[1:], thick * unit)
    lash_line.line(lower[14:], 0.01 * unit, 150)
    _lash(lash_line, rng, upper, side * unit * (0.085 if person.has_makeup else 0.055), -1)
    _lash(lash_line, rng, lower, side * unit * 0.03, 1)
    paint(canvas, lash_line, ink, opacity=0.9)


def _iris(
    rng: np.random.Generator,
    person: Person,
    x: Array,
    y: Array,
    centre: Array,
    radius: Array,
    shade: Array,
) -> Array:
    fibres = rng.normal(0, 1, 72)
    angle = np.arctan2(y - centre[1], x - centre[0])
    position = (angle / (2 * np.pi) % 1) * 72
    radial = np.interp(position, np.arange(73), np.append(fibres, fibres[0]))
    tone = 1 + 0.22 * radial
    tone *= np.interp(radius, [0.0, 0.04, 0.055, 0.078, 0.098], [0.7, 0.75, 1.25, 1.1, 0.4])
    # Light that enters above leaves below.
    tone *= 1 + 2.5 * np.clip(y - centre[1], 0, None) / (np.ptp(y) + 1e-6)
    return np.asarray(person.eyes * (tone * shade * 1.25)[..., None], np.float32)


def _lash(
    stencil: Stencil, rng: np.random.Generator, lid: Array, length: float, direction: int
) -> None:
    for position in np.linspace(6, len(lid) - 1, 22):
        i = int(position)
        out = (position / len(lid) - 0.35) * length * rng.uniform(0.7, 1.3)
        rise = direction * abs(length) * rng.uniform(0.5, 1.0)
        start = lid[i]
        curve = [start, start + (0.5 * out, 0.75 * rise), start + (1.2 * out, rise)]
        stencil.line(curve, 0.008 * abs(length) / 0.07, int(rng.integers(140, 256)))


def draw_brows(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draws the eyebrows as strands, in place."""
    height = float(rng.uniform(-0.4, -0.3)) - 0.04 * person.smile
    arch = float(rng.uniform(0.02, 0.12))
    thick = float(rng.uniform(0.05, 0.09)) * (1.2 if person.is_masculine else 0.75)
    ink = person.hair * np.float32(0.6) + 0.1 * person.skin
    for s in (-1, 1):
        spine = np.array(
            [(0.2, height + 0.05), (0.4, height), (0.62, height - arch), (0.9, height + 0.06)]
        )
        count = int(150 * max(0.6, frame.size / 384))
        along = rng.random(count)
        line = smooth_curve(spine, 64)
        root = line[(along * 63).astype(int)]
        taper = np.interp(along, [0, 0.15, 0.6, 1], [0.6, 1, 0.8, 0.15])
        root = root + np.stack([np.zeros(count), rng.uniform(-1, 1, count) * thick * taper], -1)
        rise = np.interp(along, [0, 0.3, 1], [1.2, 0.5, -0.4]) + rng.normal(0, 0.2, count)
        run = rng.uniform(0.08, 0.14, count)
        tip = root + np.stack([run, -rise * run], -1)
        middle = (root + tip) / 2 - np.stack([np.zeros(count), 0.01 * np.ones(count)], -1)
        strokes = frame.on_face(np.stack([root, middle, tip], 1) * (s, 1))
        box = box_around(strokes, 4, canvas.shape)
        if box is None:
            continue
        outline = np.concatenate([line - (0, thick * 0.8), (line + (0, thick * 0.8))[::-1]])
        bed = Stencil(box).polygon(frame.on_face(outline * (s, 1)))
        paint(canvas, bed, ink, opacity=0.35, softness=0.03 * frame.unit)
        stencil = Stencil(box, 3)
        draw_strokes(stencil, strokes, rng.integers(110, 255, count), 0.011 * frame.unit)
        paint(canvas, stencil, ink)


def draw_glasses(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draws spectacles with their shadow and reflections, in place."""
    unit = frame.unit
    half_width, half_height = rng.uniform(0.36, 0.44), rng.uniform(0.22, 0.36)
    squareness = float(rng.uniform(2.0, 4.5))
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    rim = np.stack(
        [
            np.sign(cos) * np.abs(cos) ** (2 / squareness) * half_width,
            np.sign(sin) * np.abs(sin) ** (2 / squareness) * half_height,
        ],
        -1,
    )
    frames = [(0.05, 0.05, 0.06), (0.25, 0.14, 0.08), (0.6, 0.6, 0.62), (0.7, 0.55, 0.3)]
    colour = np.float32(frames[int(rng.integers(4))]) * np.float32(rng.uniform(0.7, 1.2))
    width = float(rng.choice([0.02, 0.03, 0.06])) * unit
    lenses = [frame.on_face(rim + (s * 0.52, 0.06)) for s in (-1, 1)]
    ends = [frame.place((s * 1.14, -0.05), -0.1) for s in (-1, 1)]
    outer = [frame.on_face((s * (0.5 + half_width), -0.02)) for s in (-1, 1)]
    inner = [(s * (0.53 - half_width), 0.0) for s in (-1, 1)]
    bridge = smooth_curve(frame.on_face([inner[0], (0.0, -0.05), inner[1]]), 12)
    box = box_around(np.concatenate(lenses + [np.stack(ends)]), 0.2 * unit, canvas.shape)
    if box is None:
        return

    def wires(shift: float) -> Stencil:
        stencil = Stencil(box)
        offset = np.array([-person.light[0], 1.0]) * shift * unit
        for lens in lenses:
            stencil.line(np.concatenate([lens, lens[:2]]) + offset, width)
        for start, end in zip(outer, ends, strict=True):
            stencil.line(np.stack([start, end]) + offset, width * 1.2)
        return stencil.line(bridge + offset, width)

    paint(canvas, wires(0.05), person.skin * 0.35, opacity=0.35, softness=0.025 * unit)
    if rng.random() < 0.5:
        y, x = np.mgrid[box[1] : box[3], box[0] : box[2]].astype(np.float32) / np.float32(unit)
        sheen = np.clip(np.sin(3 * (x + y) + rng.uniform(0, 6)) - 0.4, 0, None)
        for lens in lenses:
            glass = Stencil(box).polygon(lens).mask()
            lay(canvas, box, glass * np.asarray(sheen, np.float32) * 0.25, (0.85, 0.9, 0.95))
    paint(canvas, wires(0.0), colour)
    paint(canvas, wires(-0.006), np.clip(colour + 0.4, 0, 1), opacity=0.25, softness=0.3)
