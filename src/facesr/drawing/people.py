"""Who is drawn and how the camera sees them: the random traits of a portrait, and its geometry.

Face coordinates (u, v) have their origin between the eyes and the distance of the pupils as unit;
u points to the right of the image, v down. Proportions follow adult anthropometry (Farkas,
"Anthropometry of the Head and Face", 1994): mouth at v = 1.1, chin at 1.85, crown at -1.85.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from facesr.drawing.brushes import Array, smooth_curve

# Encoded RGB from the lightest to the darkest skin, in even perceptual steps.
_SKIN = np.array(
    [
        (243, 213, 198),
        (234, 195, 174),
        (222, 174, 147),
        (202, 150, 119),
        (174, 122, 92),
        (144, 98, 73),
        (114, 77, 59),
        (88, 60, 50),
    ]
)
_HAIR = {
    "black": (26, 22, 22),
    "dark brown": (52, 36, 28),
    "brown": (88, 60, 42),
    "auburn": (110, 56, 34),
    "red": (160, 82, 42),
    "dark blond": (142, 108, 70),
    "blond": (196, 162, 108),
    "grey": (140, 138, 136),
    "white": (178, 176, 172),
}
_EYES = {
    "brown": (84, 52, 32),
    "dark brown": (48, 30, 22),
    "hazel": (122, 94, 52),
    "green": (104, 122, 84),
    "blue": (92, 130, 160),
    "grey": (128, 138, 144),
}
_STYLES = ("swept", "parted", "long", "fringe", "curly", "cropped", "tied", "bald")


@dataclass(frozen=True)
class Frame:
    """Where the face lies in the image."""

    size: int
    """Side of the image in pixels."""
    centre: tuple[float, float]
    """Pixel of the point between the eyes, for a head seen from the front."""
    unit: float
    """Distance of the pupils in pixels."""
    tilt: float
    """Roll of the head in radians."""
    yaw: float
    """Sine of the turn to the side; features in front of the head's axis move by it."""
    pitch: float
    """Sine of the nod."""

    def place(self, points: npt.ArrayLike, depth: npt.ArrayLike = 0.0) -> Array:
        """Return the pixels, (..., 2), of points in face coordinates at a depth (towards us)."""
        uv = np.asarray(points, np.float32)
        u = uv[..., 0] * np.sqrt(1 - self.yaw**2) + np.asarray(depth) * self.yaw
        v = uv[..., 1] + np.asarray(depth) * self.pitch
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        x = self.centre[0] + self.unit * (u * cos - v * sin)
        y = self.centre[1] + self.unit * (u * sin + v * cos)
        return np.stack([x, y], -1).astype(np.float32)

    def on_face(self, points: npt.ArrayLike) -> Array:
        """Return the pixels of points on the face's front, which bulges like a cylinder."""
        uv = np.asarray(points, np.float32)
        depth = 0.85 * np.sqrt(np.clip(1 - (uv[..., 0] / 1.2) ** 2, 0, 1))
        return self.place(uv, depth)

    def grid(self, side: int) -> tuple[Array, Array]:
        """Return the face coordinates u and v, (side, side), of a reduced image's pixels."""
        pixel = (np.arange(side, dtype=np.float32) + 0.5) * (self.size / side)
        x = (pixel[None, :] - self.centre[0]) / self.unit
        y = (pixel[:, None] - self.centre[1]) / self.unit
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        u = (x * cos + y * sin) / np.sqrt(1 - self.yaw**2)
        return u.astype(np.float32), (y * cos - x * sin).astype(np.float32)


@dataclass(frozen=True)
class Person:
    """Traits of one drawn person, and the light that falls on them."""

    is_masculine: bool
    age: float
    """0 young, 1 old."""
    skin: Array = field(repr=False)
    """Encoded RGB in full light, (3, 1, 1), as the other colours."""
    darkness: float
    """0 the lightest skin, 1 the darkest."""
    hair: Array = field(repr=False)
    eyes: Array = field(repr=False)
    style: str
    beard: str
    smile: float
    """-0.2 earnest to 1 laughing."""
    mouth_gap: float
    """Opening of the lips in units."""
    eye_opening: float
    eye_size: float
    """Relative to the average, as the nose, mouth, jaw and face length."""
    eye_tilt: float
    """How much higher the outer corner lies than the inner, per unit."""
    nose_width: float
    mouth_width: float
    jaw: float
    face_length: float
    has_glasses: bool
    has_makeup: bool
    earrings: str
    """none, gold or silver."""
    has_hat: bool
    light: tuple[float, float, float]
    """Unit vector to the key light, y down, z to the viewer."""
    ambient: float

    def head_outline(self) -> Array:
        """Return the head's outline in face coordinates, (K, 2), clockwise from the crown."""
        length, jaw = self.face_length, self.jaw
        right = [
            (0.0, -1.88),
            (0.52, -1.8),
            (0.92, -1.46),
            (1.12, -0.9),
            (1.14, -0.3),
            (1.09, 0.3),
            (1.02 * (0.4 + 0.6 * jaw), 0.8 * length),
            (0.87 * jaw, 1.24 * length),
            (0.63 * jaw, 1.58 * length),
            (0.33 * jaw, 1.8 * length),
            (0.0, 1.86 * length),
        ]
        left = [(-u, v) for u, v in right[-2:0:-1]]
        return smooth_curve(right + left, 96, closed=True)


def draw_person(rng: np.random.Generator) -> Person:
    """Draw the traits of a person."""
    darkness = float(rng.random())
    is_masculine = bool(rng.random() < 0.5)
    age = float(rng.beta(1.4, 1.6))
    smile = float(np.clip(rng.normal(0.5, 0.4), -0.1, 1.0))
    is_laughing = smile > 0.35 and rng.random() < 0.75
    style = _draw_style(rng, is_masculine, darkness)
    beard = "none"
    if is_masculine and rng.random() < 0.5:
        kinds = ["stubble", "full", "goatee", "moustache"]
        beard = str(rng.choice(kinds, p=(0.45, 0.25, 0.15, 0.15)))
    angle = rng.uniform(-1.2, 1.2)
    height = rng.uniform(0.15, 0.8)
    light = np.array([np.sin(angle) * np.cos(height), -np.sin(height), 0.0])
    light[2] = np.sqrt(max(0.12, 1 - light @ light))
    light /= np.linalg.norm(light)
    return Person(
        is_masculine=is_masculine,
        age=age,
        skin=_draw_skin(rng, darkness),
        darkness=darkness,
        hair=_draw_hair_colour(rng, darkness, age),
        eyes=_draw_eye_colour(rng, darkness),
        style=style,
        beard=beard,
        smile=smile,
        mouth_gap=float(rng.uniform(0.08, 0.2)) * max(smile, 0.5) if is_laughing else 0.0,
        eye_opening=float(rng.uniform(0.7, 1.1) - 0.2 * max(smile, 0.0)),
        eye_size=float(rng.normal(1.0, 0.06)),
        eye_tilt=float(rng.normal(0.04, 0.07)),
        nose_width=float(rng.normal(0.95 + 0.2 * darkness, 0.08)),
        mouth_width=float(rng.normal(1.0, 0.07)),
        jaw=float(rng.normal(1.04 if is_masculine else 0.95, 0.05)),
        face_length=float(rng.normal(1.0, 0.04)),
        has_glasses=bool(rng.random() < 0.25),
        has_makeup=bool(not is_masculine and rng.random() < 0.6),
        earrings=_draw_earrings(rng, is_masculine),
        has_hat=bool(rng.random() < 0.1 and style not in ("curly", "tied")),
        light=(float(light[0]), float(light[1]), float(light[2])),
        ambient=float(rng.uniform(0.2, 0.5)),
    )


def draw_frame(rng: np.random.Generator, size: int) -> Frame:
    """Draw the head's place: FFHQ's alignment (eyes at 47.5 % of the height) with jitter."""
    tilt, yaw, pitch = rng.normal(0, (0.06, 0.14, 0.06))
    unit = size * float(np.clip(rng.normal(0.232, 0.02), 0.18, 0.28))
    yaw, pitch = float(np.clip(yaw, -0.35, 0.35)), float(np.clip(pitch, -0.15, 0.15))
    x = size * (0.5 + rng.normal(0, 0.02)) - 0.6 * yaw * unit
    y = size * (0.475 + rng.normal(0, 0.02)) - 0.75 * pitch * unit
    return Frame(size, (float(x), float(y)), unit, float(tilt), yaw, pitch)


def _draw_earrings(rng: np.random.Generator, is_masculine: bool) -> str:
    if rng.random() > (0.05 if is_masculine else 0.4):
        return "none"
    return "gold" if rng.random() < 0.5 else "silver"


def _draw_skin(rng: np.random.Generator, darkness: float) -> Array:
    position = darkness * (len(_SKIN) - 1)
    steps = np.arange(len(_SKIN))
    colour = np.array([np.interp(position, steps, _SKIN[:, c]) for c in range(3)]) / 255
    warmth, redness = np.clip(rng.normal((0.012, 0.018), 0.015), (-0.005, 0.003), 0.05)
    colour *= 1 + np.array([warmth + redness, -redness, -1.5 * warmth - redness])
    return _as_colour(colour)


def _as_colour(values: npt.NDArray[np.float64]) -> Array:
    return values.astype(np.float32)[:, None, None]


def _draw_hair_colour(rng: np.random.Generator, darkness: float, age: float) -> Array:
    if rng.random() < 1.1 * (age - 0.35):
        name = rng.choice(["grey", "white"], p=(0.65, 0.35))
    elif darkness > 0.4:
        name = rng.choice(["black", "dark brown", "brown"], p=(0.65, 0.27, 0.08))
    else:
        names = ["black", "dark brown", "brown", "auburn", "red", "dark blond", "blond"]
        name = rng.choice(names, p=(0.17, 0.2, 0.2, 0.1, 0.08, 0.12, 0.13))
    colour = np.array(_HAIR[str(name)]) / 255
    colour *= np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.015, 3))
    return _as_colour(np.clip(colour, 0.02, 0.9))


def _draw_eye_colour(rng: np.random.Generator, darkness: float) -> Array:
    if darkness > 0.4:
        name = rng.choice(["dark brown", "brown", "hazel"], p=(0.6, 0.35, 0.05))
    else:
        names = ["brown", "dark brown", "hazel", "green", "blue", "grey"]
        name = rng.choice(names, p=(0.25, 0.15, 0.15, 0.12, 0.23, 0.1))
    colour = np.array(_EYES[str(name)]) / 255
    return _as_colour(np.clip(colour * np.exp(rng.normal(0, 0.1, 3)), 0.02, 0.95))


def _draw_style(rng: np.random.Generator, is_masculine: bool, darkness: float) -> str:
    if is_masculine:
        weights = np.array([0.28, 0.26, 0.05, 0.05, 0.06, 0.16, 0.02, 0.12])
    else:
        weights = np.array([0.06, 0.05, 0.4, 0.2, 0.1, 0.03, 0.15, 0.01])
    if darkness > 0.6:
        weights = weights * np.array([0.5, 0.4, 0.7, 0.6, 5.0, 2.0, 1.5, 1.5])
    return str(rng.choice(_STYLES, p=weights / weights.sum()))
