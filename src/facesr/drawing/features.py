"""Features of the drawn face: ears, eyes, brows, nose, mouth, glasses."""

import numpy as np

from facesr.drawing.brushes import (
    Array,
    Box,
    Stencil,
    box_around,
    fill,
    fractal_noise,
    lay,
    paint,
    rgb,
    smooth_curve,
    stroke,
)
from facesr.drawing.people import Frame, Person


def _light_at(canvas: Array, box: Box, person: Person) -> np.float32:
    """How bright the skin in a box is, relative to skin in full light."""
    left, top, right, bottom = box
    mean = canvas[:, top:bottom, left:right].mean()
    return np.float32(np.clip(mean / person.skin.mean(), 0.25, 1.15))


def draw_ear(canvas: Array, person: Person, frame: Frame, side: int) -> None:
    """Draw one ear, side -1 or 1, behind the head's outline, in place."""
    reach = 0.85 - 1.2 * max(side * frame.yaw, 0.0)

    def place(points: list[tuple[float, float]]) -> Array:
        scaled = [(side * (1.05 + (u - 1.05) * reach), v) for u, v in points]
        return frame.place(scaled, -0.1)

    outline = place(
        [
            (0.98, -0.2),
            (1.2, -0.3),
            (1.32, -0.15),
            (1.29, 0.15),
            (1.2, 0.42),
            (1.12, 0.62),
            (0.98, 0.6),
        ]
    )
    box = box_around(outline, 4, canvas.shape)
    if box is None:
        return
    lit = np.clip(0.55 + 0.6 * side * person.light[0], 0, 1)
    tone = person.skin * rgb(1.0, 0.93, 0.92) * np.float32(0.6 + 0.35 * lit)
    fill(canvas, smooth_curve(outline, 40, closed=True), tone)
    soft = 0.015 * frame.unit
    rim = smooth_curve(place([(1.06, -0.16), (1.21, -0.22), (1.25, 0.02), (1.17, 0.3)]), 20)
    stroke(canvas, rim + (1.5 * soft * side, -soft), 0.03 * frame.unit,
           np.minimum(tone * 1.2, 1), opacity=0.5, softness=soft)  # fmt: skip
    stroke(canvas, rim, 0.04 * frame.unit, tone * 0.62, opacity=0.8, softness=soft)
    hole = smooth_curve(place([(1.02, 0.02), (1.13, 0.1), (1.1, 0.28), (1.03, 0.3)]), 16)
    fill(canvas, hole, tone * 0.42, opacity=0.8, softness=2 * soft)
    if person.earrings != "none":
        metal = rgb(0.9, 0.76, 0.4) if person.earrings == "gold" else rgb(0.85, 0.87, 0.9)
        radius = max(0.7, 0.04 * frame.unit)
        lobe = place([(1.14, 0.6)]) + (0, radius)
        around = box_around(lobe, 2 * radius + 2, canvas.shape)
        if around:
            paint(canvas, Stencil(around).discs(lobe, radius), metal * 0.7)
            glint = lobe + np.array(person.light[:2]) * radius * 0.4
            paint(canvas, Stencil(around).discs(glint, radius * 0.4), rgb(1.0, 1.0, 0.97))


def draw_nose(canvas: Array, person: Person, frame: Frame) -> None:
    """Draw the wings' creases and the nostrils, in place; the relief is the skin's."""
    unit = frame.unit
    dark = person.skin * rgb(0.4, 0.26, 0.24) * np.float32(0.7 + 0.3 * person.ambient)
    for s in (-1, 1):
        scale = (s * person.nose_width, 1)
        wing = np.array([(0.24, 0.54), (0.285, 0.62), (0.27, 0.71), (0.2, 0.75), (0.13, 0.745)])
        curve = smooth_curve(frame.on_face(wing * scale), 20)
        stroke(canvas, curve[2:], 0.02 * unit, dark, opacity=0.45, softness=0.012 * unit)
        nostril = np.array([(0.05, 0.745), (0.1, 0.705), (0.17, 0.71), (0.17, 0.75), (0.1, 0.76)])
        hole = smooth_curve(frame.on_face(nostril * scale), 24, closed=True)
        fill(canvas, hole, dark * 0.4, opacity=0.85, softness=0.009 * unit)


def draw_mouth(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw lips, and teeth where the mouth is open, in place."""
    unit, smile, gap = frame.unit, person.smile, person.mouth_gap
    half = (0.38 + 0.12 * max(smile, 0)) * person.mouth_width
    lift = 0.12 * smile
    full = float(rng.uniform(0.65, 1.2)) * (1 - 0.3 * max(smile, 0)) * (1 - 0.3 * person.age)
    full += 0.3 * person.darkness
    line = 1.06 + 0.03 * smile
    corner = (half, line - lift)
    scale = half / 0.38

    def across(right: list[tuple[float, float]]) -> Array:
        """A curve from the left corner over the mirrored points to the right one, in pixels."""
        points = [corner, *((u * scale, v) for u, v in right)]
        curve = np.array([(-u, v) for u, v in points] + points[-2::-1])
        return smooth_curve(frame.on_face(curve), 40)

    upper = across(
        [
            (0.24, line - 0.085 * full - 0.45 * lift),
            (0.085, line - 0.135 * full),
            (0, line - 0.11 * full),
        ]
    )
    inner_top = across([(0.22, line - 0.5 * lift - 0.05 * gap), (0.0, line - 0.05 * gap)])
    inner_bottom = across([(0.23, line + 0.75 * gap - 0.35 * lift), (0.0, line + gap)])
    lower = across(
        [(0.22, line + 0.11 * full + 0.85 * gap - 0.25 * lift), (0.0, line + 0.17 * full + gap)]
    )
    box = box_around(np.concatenate([upper, lower]), 0.1 * unit, canvas.shape)
    if box is None:
        return
    light = _light_at(canvas, box, person)
    lip = person.skin * rgb(0.88, 0.66, 0.66) * light
    if person.has_makeup:
        sticks = rgb(0.68, 0.12, 0.16), rgb(0.75, 0.36, 0.38), rgb(0.5, 0.14, 0.2)
        weight = np.float32(rng.uniform(0.3, 0.7))
        lip = lip * (1 - weight) + weight * sticks[int(rng.integers(3))] * light
    if gap > 0:
        inside = np.concatenate([inner_top, inner_bottom[::-1]])
        fill(canvas, inside, rgb(0.2, 0.07, 0.07) * light)
        _draw_teeth(canvas, rng, frame, inside, light, (half, line, gap))
    sides = (box[3] - box[1], box[2] - box[0])
    creases = fractal_noise(rng, sides, coarsest=max(2, 0.03 * unit), finest=1.0, persistence=0.9)
    creases += np.roll(creases, 1, 0) + np.roll(creases, -1, 0)
    texture = 1 + np.float32(0.03) * creases
    for outer, inner, brightness in ((upper, inner_top, 0.88), (inner_bottom, lower, 1.05)):
        lips = Stencil(box).polygon(np.concatenate([outer, inner[::-1]]))
        colour = lip * np.float32(brightness) * texture
        paint(canvas, lips, colour, softness=0.009 * unit, opacity=0.88)
    shine = across([(0.1, line + gap + 0.085 * full), (0.0, line + gap + 0.09 * full)])[14:26]
    glossy = float(rng.uniform(0.05, 0.35 if person.has_makeup else 0.2))
    stroke(canvas, shine, 0.03 * unit, rgb(1, 0.95, 0.93), opacity=glossy, softness=0.02 * unit)
    seam = Stencil(box).line(inner_top, 0.02 * unit)
    if gap > 0:
        seam.line(inner_bottom, 0.012 * unit, 130)
    paint(canvas, seam, lip * rgb(0.4, 0.3, 0.3), softness=0.006 * unit, opacity=0.85)
    pits = Stencil(box).discs(frame.on_face([(s * half, corner[1]) for s in (-1, 1)]), 0.03 * unit)
    paint(canvas, pits, person.skin * 0.4 * light, opacity=0.45, softness=0.02 * unit)


def _draw_teeth(
    canvas: Array,
    rng: np.random.Generator,
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
    reach = rng.uniform(0.7, 1.0) * gap
    edge = [(-half, line - 0.05), (-0.22, line + 0.85 * reach), (0, line + reach)]
    edge += [(0.22, line + 0.85 * reach), (half, line - 0.05)]
    bottom = smooth_curve(frame.on_face(edge), 30)
    top = frame.on_face([(-half, line - 0.3), (half, line - 0.3)])
    visible = Stencil(box).polygon(inside).mask()
    row = Stencil(box).polygon(np.concatenate([top, bottom[::-1]])).mask(0.004 * unit)
    widths = np.cumsum([0.0, 0.13, 0.1, 0.115, 0.09, 0.085])
    gaps = Stencil(box)
    for u in np.concatenate([widths, -widths[1:]]) * rng.uniform(0.9, 1.05):
        ends = [(u, line - 0.2), (u * 0.99, line + gap)]
        gaps.line(frame.on_face(ends), max(0.25, 0.008 * unit))
    y, x = np.mgrid[box[1] : box[3], box[0] : box[2]].astype(np.float32)
    middle = frame.on_face((0.0, line))
    away = np.clip(np.hypot(x - middle[0], y - middle[1]) / (half * unit), 0, 1)
    white = rgb(0.96, 0.93, 0.87) * np.float32(min(1.0, float(light) * rng.uniform(0.95, 1.15)))
    ivory = white * (1 - np.float32(0.45) * away**2) * (1 - np.float32(0.22) * gaps.mask())
    lay(canvas, box, visible * row, ivory)


def draw_eye(
    canvas: Array, rng: np.random.Generator, person: Person, frame: Frame, side: int
) -> None:
    """Draw one eye, side -1 or 1, with its lids and lashes, in place."""
    unit, opening, size = frame.unit, person.eye_opening, person.eye_size
    # From the inner to the outer corner, relative to the pupil.
    top = np.array([(-0.23, 0.04), (-0.15, -0.055), (-0.01, -0.1), (0.13, -0.065), (0.24, 0.01)])
    bottom = np.array([(-0.23, 0.04), (-0.13, 0.07), (0.01, 0.085), (0.15, 0.065), (0.24, 0.01)])
    top, bottom = top * (size, size * opening), bottom * (size, size * (0.4 + 0.6 * opening))
    for lid in (top, bottom):
        lid[:, 1] -= person.eye_tilt * lid[:, 0]
    upper = smooth_curve(frame.on_face((top + (0.5, 0)) * (side, 1)), 28)
    lower = smooth_curve(frame.on_face((bottom + (0.5, 0)) * (side, 1)), 28)
    box = box_around(np.concatenate([upper, lower]), 0.25 * unit, canvas.shape)
    if box is None:
        return
    left, head, right, foot = box
    y, x = np.mgrid[head:foot, left:right].astype(np.float32) + np.float32(0.5)
    opened = Stencil(box).polygon(np.concatenate([upper, lower[::-1]])).mask()
    light = _light_at(canvas, box, person)
    centre = frame.on_face((side * 0.5 + 0.02 * frame.yaw, -0.012))

    # The eyeball: white, shaded by the lid and towards the corners.
    depth = (y - upper[:, 1].min()) / np.float32(0.2 * unit)
    shade = np.clip(0.6 + 0.55 * depth, 0.5, 1.0) * light
    sideways = np.clip(np.abs(x - centre[0]) / np.float32(0.26 * unit), 0, 1) ** 2
    white = rgb(0.93, 0.89, 0.87) * np.float32(1 - 0.08 * person.darkness)
    ball = white * (shade * (1 - np.float32(0.3) * sideways))
    ball[1:] -= np.float32(0.06) * sideways * shade
    radius = np.hypot(x - centre[0], y - centre[1]) / np.float32(unit * size)
    edge = np.float32(unit * size)
    iris = np.clip((np.float32(0.1) - radius) * edge + np.float32(0.5), 0, 1)
    ball += iris * (_iris(rng, person, x - centre[0], y - centre[1], radius, shade) - ball)
    pupil = np.clip((np.float32(rng.uniform(0.03, 0.045)) - radius) * edge + np.float32(0.5), 0, 1)
    ball += pupil * (np.float32(0.02) - ball)
    lay(canvas, box, opened, np.asarray(ball, np.float32))
    glint = centre + np.array([person.light[0] * 0.05, -0.04]) * unit
    spark = Stencil(box)
    if rng.random() < 0.5:
        spark.discs(glint, max(0.6, 0.02 * unit))
    else:
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.018 * unit
        spark.polygon(glint + corners)
    lay(canvas, box, spark.mask() * opened, rgb(0.98, 0.98, 1.0))
    _draw_lids(canvas, rng, person, box, upper, lower, (unit, light, side))


def _iris(
    rng: np.random.Generator, person: Person, x: Array, y: Array, radius: Array, shade: Array
) -> Array:
    """Return the iris' colours: radial fibres, a dark rim, light gathered below."""
    fibres = rng.normal(0, 1, 72)
    position = (np.arctan2(y, x) / (2 * np.pi) % 1) * 72
    radial = np.interp(position, np.arange(73), np.append(fibres, fibres[0]))
    tone = 1 + 0.22 * radial
    tone *= np.interp(radius, [0.0, 0.04, 0.055, 0.078, 0.1], [0.7, 0.75, 1.25, 1.1, 0.4])
    tone *= 1 + 2.0 * np.clip(y, 0, None) / (np.ptp(y) + 1e-6)
    return np.asarray(person.eyes * (tone * shade * 0.95), np.float32)


def _draw_lids(
    canvas: Array,
    rng: np.random.Generator,
    person: Person,
    box: Box,
    upper: Array,
    lower: Array,
    setting: tuple[float, np.float32, int],
) -> None:
    unit, light, side = setting
    dark = person.skin * rgb(0.36, 0.25, 0.23) * light
    wet = Stencil(box).line(lower[3:-2] + (0, 0.012 * unit), 0.02 * unit)
    pink = person.skin * rgb(1.02, 0.84, 0.82) * light
    paint(canvas, wet, pink, opacity=0.5, softness=0.005 * unit)
    # The fold of the upper lid follows the lid from afar.
    crease = upper * (1, 0.85) + (0, 0.15 * upper[:, 1].max() - 0.055 * unit)
    fold = Stencil(box).line(crease[3:-1], 0.018 * unit)
    paint(canvas, fold, dark, opacity=0.5, softness=0.009 * unit)
    if person.has_makeup:
        shade = Stencil(box).polygon(np.concatenate([crease, upper[::-1]]))
        shadow = person.skin * rgb(*rng.uniform(0.3, 0.8, 3)) * light
        paint(canvas, shade, shadow, opacity=0.5, softness=0.02 * unit)
    ink = rgb(0.06, 0.045, 0.04) + np.float32(0.25) * dark
    thick = 0.032 if person.has_makeup else 0.02
    lashes = Stencil(box).line(upper[1:], thick * unit)
    lashes.line(lower[14:], 0.008 * unit, 130)
    for lid, length, direction in (
        (upper, 0.085 if person.has_makeup else 0.045, -1),
        (lower, 0.025, 1),
    ):
        for i in np.linspace(6, len(lid) - 1, 22).astype(int).tolist():
            out = side * (i / len(lid) - 0.35) * length * unit * rng.uniform(0.7, 1.3)
            rise = direction * length * unit * rng.uniform(0.5, 1.0)
            curve = lid[i] + np.array([(0, 0), (0.5 * out, 0.75 * rise), (1.2 * out, rise)])
            lashes.line(curve, 0.008 * unit, int(rng.integers(110, 240)))
    paint(canvas, lashes, ink, opacity=0.9)


def draw_brows(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw the eyebrows as strands, in place."""
    height = float(rng.uniform(-0.36, -0.27))
    arch = float(rng.uniform(0.0, 0.07))
    start = float(rng.uniform(0.16, 0.25))
    thick = float(rng.uniform(0.04, 0.07)) * (1.25 if person.is_masculine else 0.8)
    density = float(rng.uniform(0.5, 1.0))
    ink = person.hair * np.float32(0.55) + np.float32(0.15) * person.skin
    spine = [(start, height + 0.03), (0.38, height), (0.62, height - arch), (0.88, height + 0.07)]
    line = smooth_curve(spine, 64)
    for s in (-1, 1):
        count = int(200 * density * max(0.6, frame.size / 384))
        along = rng.random(count)
        taper = np.interp(along, [0, 0.15, 0.6, 1], [0.6, 1, 0.8, 0.15])
        root = line[(along * 63).astype(int)]
        root = root + np.stack([0 * along, rng.uniform(-1, 1, count) * thick * taper], -1)
        rise = np.interp(along, [0, 0.3, 1], [1.2, 0.4, -0.45]) + rng.normal(0, 0.2, count)
        run = rng.uniform(0.06, 0.12, count)
        tip = root + np.stack([run, -rise * run], -1)
        strokes = frame.on_face(np.stack([root, (root + tip) / 2 - (0, 0.01), tip], 1) * (s, 1))
        box = box_around(strokes, 4, canvas.shape)
        if box is None:
            continue
        ribbon = np.concatenate(
            [line[4:-8] - (0, thick * 0.5), line[4:-8][::-1] + (0, thick * 0.7)]
        )
        bed = Stencil(box).polygon(frame.on_face(ribbon * (s, 1)))
        paint(canvas, bed, ink, opacity=0.4 * density, softness=0.035 * frame.unit)
        values = rng.integers(70, 230, count).tolist()
        paint(canvas, Stencil(box, 3).lines(strokes, 0.01 * frame.unit, values), ink)


def draw_glasses(canvas: Array, rng: np.random.Generator, person: Person, frame: Frame) -> None:
    """Draw spectacles with their shadow and reflections, in place."""
    unit = frame.unit
    half_width, half_height = rng.uniform(0.36, 0.44), rng.uniform(0.2, 0.33)
    squareness = float(rng.uniform(2.0, 4.5))
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    # A superellipse: 2 is round, larger is squarer.
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2 / squareness
    rim = np.stack(
        [
            np.sign(cos) * np.abs(cos) ** power * half_width,
            np.sign(sin) * np.abs(sin) ** power * half_height,
        ],
        -1,
    )
    materials = (
        rgb(0.05, 0.05, 0.06),
        rgb(0.25, 0.14, 0.08),
        rgb(0.55, 0.55, 0.57),
        rgb(0.6, 0.48, 0.27),
    )
    colour = materials[int(rng.integers(4))] * np.float32(rng.uniform(0.7, 1.2))
    width = float(rng.choice([0.02, 0.03, 0.06])) * unit
    lenses = [frame.on_face(rim + (s * 0.52, 0.05)) for s in (-1, 1)]
    temples = [
        np.stack(
            [frame.on_face((s * (0.5 + half_width), -0.03)), frame.place((s * 1.14, -0.08), -0.1)]
        )
        for s in (-1, 1)
    ]
    nose = 0.53 - half_width
    bridge = smooth_curve(frame.on_face([(-nose, -0.02), (0.0, -0.07), (nose, -0.02)]), 12)
    box = box_around(np.concatenate([*lenses, *temples]), 0.2 * unit, canvas.shape)
    if box is None:
        return

    def wires(offset: Array) -> Stencil:
        stencil = Stencil(box)
        for lens in lenses:
            stencil.line(np.concatenate([lens, lens[:2]]) + offset, width)
        for temple in temples:
            stencil.line(temple + offset, width * 1.2)
        return stencil.line(bridge + offset, width)

    cast = np.array([-person.light[0], 1.0], np.float32) * np.float32(0.05 * unit)
    paint(canvas, wires(cast), person.skin * 0.35, opacity=0.35, softness=0.025 * unit)
    if rng.random() < 0.5:
        y, x = np.mgrid[box[1] : box[3], box[0] : box[2]].astype(np.float32) / np.float32(unit)
        sheen = np.clip(np.sin(3 * (x + y) + np.float32(rng.uniform(0, 6))) - 0.4, 0, None)
        for lens in lenses:
            glass = Stencil(box).polygon(lens).mask() * np.asarray(0.25 * sheen, np.float32)
            lay(canvas, box, glass, rgb(0.85, 0.9, 0.95))
    paint(canvas, wires(np.zeros(2, np.float32)), colour)
    glint = np.array(person.light[:2]) * 0.25 * width
    bright = Stencil(box)
    for lens in lenses:
        bright.line(np.concatenate([lens, lens[:2]]) + glint, 0.3 * width)
    paint(canvas, bright, np.minimum(colour + 0.5, 1), opacity=0.45)
