"""Brushes of the drawn images: anti-aliased shapes, smooth curves, noise, shading.

A canvas is a (3, H, W) float32 array, gamma-encoded RGB, nominally in [0, 1]; a colour is (3, 1, 1)
or has the canvas's or the box's sides. Points are (x, y) in pixels, (0, 0) being the corner of the
canvas's first pixel.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

Array: TypeAlias = npt.NDArray[np.float32]
Box: TypeAlias = tuple[int, int, int, int]

GAMMA = 2.2
# Blurs of at least this many pixels are made on a reduced image: no visible difference, and fast.
_WIDE_BLUR = 4.0


def rgb(red: float, green: float, blue: float) -> Array:
    """Return a colour, (3, 1, 1)."""
    return np.array([red, green, blue], np.float32)[:, None, None]


class Stencil:
    """A mask drawn with supersampling inside a box of the canvas.

    Pillow draws without anti-aliasing; drawing larger and averaging gives the coverage.
    """

    def __init__(self, box: Box, supersampling: int = 4) -> None:
        """Open an empty mask.

        Args:
            box: Left, top, right, bottom in pixels; at least one pixel each way.
            supersampling: Fine pixels per pixel, in each direction.
        """
        self.box = box
        self.supersampling = supersampling
        side = ((box[2] - box[0]) * supersampling, (box[3] - box[1]) * supersampling)
        self._image = Image.new("L", side)
        self._draw = ImageDraw.Draw(self._image)

    def _fine(self, points: npt.ArrayLike) -> list[float]:
        corner = np.array(self.box[:2], np.float64)
        fine = (np.asarray(points, np.float64) - corner) * self.supersampling - 0.5
        flat: list[float] = fine.ravel().tolist()
        return flat

    def polygon(self, points: npt.ArrayLike, value: int = 255) -> "Stencil":
        """Fill the polygon through `points`, (K, 2)."""
        self._draw.polygon(self._fine(points), fill=value)
        return self

    def line(self, points: npt.ArrayLike, width: float, value: int = 255) -> "Stencil":
        """Draw a line of `width` pixels through `points`, (K, 2)."""
        fine_width = max(1, round(width * self.supersampling))
        joint = "curve" if fine_width > 3 else None
        self._draw.line(self._fine(points), fill=value, width=fine_width, joint=joint)
        return self

    def lines(self, strokes: Array, width: float, values: Iterable[int]) -> "Stencil":
        """Draw many thin lines, (N, K, 2), with a value each."""
        fine_width = max(1, round(width * self.supersampling))
        flat = self._fine(strokes)
        step = 2 * strokes.shape[1]
        for i, value in enumerate(values):
            self._draw.line(flat[i * step : (i + 1) * step], fill=value, width=fine_width)
        return self

    def discs(self, centres: npt.ArrayLike, radii: npt.ArrayLike, value: int = 255) -> "Stencil":
        """Fill discs, centres (N, 2) or (2,), radii (N,) or one for all, in pixels."""
        middle = np.asarray(centres, np.float64).reshape(-1, 2)
        radius = np.broadcast_to(np.asarray(radii, np.float64), (len(middle),))[:, None]
        flat = self._fine(np.stack([middle - radius, middle + radius], 1))
        for i in range(0, len(flat), 4):
            self._draw.ellipse(flat[i : i + 4], fill=value)
        return self

    def mask(self, softness: float = 0.0) -> Array:
        """Return the coverage, (bottom - top, right - left) in [0, 1].

        Args:
            softness: Standard deviation, in pixels, of a blur of the edges.
        """
        mask = np.asarray(self._image.reduce(self.supersampling), np.float32) / np.float32(255)
        return blur(mask, softness) if softness > 0 else mask


def lay(canvas: Array, box: Box, mask: Array, colour: Array) -> None:
    """Blends a colour into a box of the canvas, in place, by a mask (h, w) in [0, 1]."""
    left, top, right, bottom = box
    if colour.shape[1:] == canvas.shape[1:]:
        colour = colour[:, top:bottom, left:right]
    view = canvas[:, top:bottom, left:right]
    view += mask * (colour - view)


def paint(
    canvas: Array, stencil: Stencil, colour: Array, *, opacity: float = 1.0, softness: float = 0.0
) -> None:
    """Lay a colour on the canvas, in place, where the stencil is open.

    Args:
        canvas: Changed in place.
        stencil: Its box lies inside the canvas.
        colour: One colour, or one for each pixel of the canvas or of the box.
        opacity: 0 leaves the canvas, 1 covers it.
        softness: Standard deviation, in pixels, of a blur of the stencil's edges.
    """
    lay(canvas, stencil.box, stencil.mask(softness) * np.float32(opacity), colour)


def fill(
    canvas: Array, outline: Array, colour: Array, *, opacity: float = 1.0, softness: float = 0.0
) -> None:
    """Fill the polygon through `outline`, (K, 2); see `paint`."""
    box = box_around(outline, 2 + 3 * softness, canvas.shape)
    if box:
        paint(canvas, Stencil(box).polygon(outline), colour, opacity=opacity, softness=softness)


def stroke(
    canvas: Array,
    curve: Array,
    width: float,
    colour: Array,
    *,
    opacity: float = 1.0,
    softness: float = 0.0,
) -> None:
    """Draw a line of `width` pixels through `curve`, (K, 2); see `paint`."""
    box = box_around(curve, 2 + width + 3 * softness, canvas.shape)
    if box:
        paint(canvas, Stencil(box).line(curve, width), colour, opacity=opacity, softness=softness)


def whole(canvas: Array) -> Box:
    """Return the box that covers the canvas."""
    return (0, 0, canvas.shape[-1], canvas.shape[-2])


def box_around(points: npt.ArrayLike, margin: float, shape: tuple[int, ...]) -> Box | None:
    """Return the part of the canvas within `margin` pixels of the points; None where empty."""
    flat = np.asarray(points, np.float64).reshape(-1, 2)
    low = np.floor(flat.min(axis=0) - margin).astype(int)
    high = np.ceil(flat.max(axis=0) + margin).astype(int)
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(shape[-1], int(high[0])), min(shape[-2], int(high[1]))
    return (left, top, right, bottom) if right > left and bottom > top else None


def smooth_curve(points: npt.ArrayLike, count: int, *, closed: bool = False) -> Array:
    """Return `count` points of a Catmull-Rom spline through the given ones.

    Args:
        points: (..., K, 2); leading axes are separate curves.
        count: Points of the result.
        closed: The curve returns to its first point.

    Returns:
        (..., count, 2).
    """
    knots = np.asarray(points, np.float32)
    number = knots.shape[-2]
    if closed:
        order = np.arange(-1, number + 2) % number
        position = np.linspace(0, number, count, endpoint=False, dtype=np.float32)
    else:
        order = np.clip(np.arange(-1, number + 1), 0, number - 1)
        position = np.linspace(0, number - 1, count, dtype=np.float32)
    last = number - 1 if closed else number - 2
    start = np.clip(position.astype(int), 0, last)
    t = (position - start)[:, None]
    a, b, c, d = (knots[..., order[start + i], :] for i in range(4))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.asarray(curve, np.float32)


def planes_of(image: Image.Image) -> Array:
    """Return an 8-bit Pillow image's channels, (C, H, W) in [0, 1]."""
    return np.stack([np.asarray(band, np.float32) for band in image.split()]) / np.float32(255)


def resize(plane: Array, shape: tuple[int, int]) -> Array:
    """Resize (h, w) or (C, h, w) to (C,) + `shape` by Pillow's bicubic filter."""
    if plane.shape[-2:] == shape:
        return plane
    if plane.ndim == 3:
        return np.stack([resize(one, shape) for one in plane])
    size = (shape[1], shape[0])
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32)


def blur(plane: Array, sigma: float) -> Array:
    """Blur (h, w) or (C, h, w) by a Gaussian of `sigma` pixels."""
    height, width = plane.shape[-2:]
    reduction = min(int(sigma / (_WIDE_BLUR / 2)), height // 4, width // 4)
    if sigma >= _WIDE_BLUR and reduction > 1:
        shape = (-(-height // reduction), -(-width // reduction))
        small = _blur_directly(resize(plane, shape), sigma / reduction)
        return resize(small, (height, width))
    return _blur_directly(plane, sigma)


def lens_blur(rng: np.random.Generator, image: Array) -> Array:
    """Blur an image by less than a pixel, as lenses and reductions differ in sharpness."""
    sigma = float(rng.uniform(0, 0.65))
    # Below a quarter pixel the filter has one tap.
    return blur(image, sigma) if sigma > 0.25 else image


def _blur_directly(plane: Array, sigma: float) -> Array:
    sigmas = (0,) * (plane.ndim - 2) + (sigma, sigma)
    return np.asarray(
        ndimage.gaussian_filter(plane, sigmas, mode="nearest", truncate=3.0), np.float32
    )


def fractal_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    coarsest: float,
    finest: float = 1.0,
    persistence: float = 0.5,
) -> Array:
    """Make band-limited noise: octaves of smooth noise, the coarser the stronger.

    Args:
        rng: Source of randomness.
        shape: Of the result.
        coarsest: Grain of the coarsest octave, in pixels.
        finest: Grain of the finest octave, in pixels.
        persistence: Amplitude of each finer octave relative to the one above; 0.5 gives a power
            spectrum near 1/f^4 inside the band, 1 one near 1/f^2.

    Returns:
        `shape`, zero mean, unit variance.
    """
    total = np.zeros(shape, np.float32)
    grain, amplitude = max(coarsest, finest), 1.0
    while True:
        cells = (max(2, round(shape[0] / grain)), max(2, round(shape[1] / grain)))
        octave = rng.standard_normal(cells, dtype=np.float32)
        total += np.float32(amplitude) * resize(octave, shape)
        if grain <= finest:
            break
        grain, amplitude = max(grain / 2, finest), amplitude * persistence
    total -= total.mean()
    total /= total.std() + np.float32(1e-6)
    return total


def emboss(height: Array, light: Sequence[float]) -> Array:
    """Return how much brighter the slopes of a shallow relief are that face the light.

    Args:
        height: (H, W), in pixels.
        light: Direction to the light, (x, y, ...), y pointing down.
    """
    result = np.zeros_like(height)
    result[:, 1:] -= np.float32(light[0]) * (height[:, 1:] - height[:, :-1])
    result[1:, :] -= np.float32(light[1]) * (height[1:, :] - height[:-1, :])
    return result


def facing(height: Array, direction: Sequence[float]) -> Array:
    """Return the cosine between a surface's normals and a direction.

    Args:
        height: (H, W), in pixels, towards the viewer.
        direction: Unit vector, y pointing down, z to the viewer.
    """
    slope_y, slope_x = np.gradient(height)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    cosine = (direction[2] - slope_x * direction[0] - slope_y * direction[1]) / length
    return np.asarray(cosine, np.float32)


def lambert(height: Array, light: Sequence[float], ambient: float) -> Array:
    """Shades a surface by one distant light and an even fill.

    Args:
        height: (H, W), in pixels, towards the viewer.
        light: Unit vector to the light, y pointing down, z to the viewer.
        ambient: Share of the fill, 0 to 1.

    Returns:
        (H, W) linear light; a surface that faces the light gets 1.
    """
    # A little wrap, as skin and cloth scatter light past the terminator.
    lit = np.clip((facing(height, light) + 0.15) / 1.15, 0, None)
    return np.asarray(ambient + (1 - ambient) * lit, np.float32)


def encode(linear: Array) -> Array:
    """Turn linear light into a factor for gamma-encoded colours."""
    return np.asarray(np.clip(linear, 0, None) ** np.float32(1 / GAMMA), np.float32)
