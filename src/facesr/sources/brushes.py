"""Brushes of the drawn pictures: anti-aliased shapes, strands, smooth curves, noise, shading.

A canvas is an (H, W, 3) float32 array, gamma-encoded RGB, nominally in [0, 1]. Points are (x, y)
in pixels of the canvas, (0, 0) being the corner of its first pixel.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

Array: TypeAlias = npt.NDArray[np.float32]
Box: TypeAlias = tuple[int, int, int, int]

GAMMA = 2.2
# Blurs wider than this many pixels are made on a reduced picture: nobody can tell, and it is fast.
_WIDE_BLUR = 4.0


class Stencil:
    """A mask drawn with supersampling inside a box of the canvas.

    Pillow draws without anti-aliasing; drawing larger and averaging gives exact-looking coverage.
    """

    def __init__(self, box: Box, supersampling: int = 4, background: int = 0) -> None:
        """Opens an empty mask.

        Args:
            box: Left, top, right, bottom in pixels; at least one pixel each way.
            supersampling: Fine pixels per pixel, in each direction.
            background: Value of the untouched mask, 0 to 255.
        """
        self.box = box
        self.supersampling = supersampling
        side = ((box[2] - box[0]) * supersampling, (box[3] - box[1]) * supersampling)
        self._image = Image.new("L", side, background)
        self._draw = ImageDraw.Draw(self._image)

    def _fine(self, points: npt.ArrayLike) -> list[float]:
        corner = np.array(self.box[:2], np.float64)
        fine = (np.asarray(points, np.float64) - corner) * self.supersampling - 0.5
        flat: list[float] = fine.ravel().tolist()
        return flat

    def polygon(self, points: npt.ArrayLike, value: int = 255) -> "Stencil":
        """Fills the polygon through `points`, (K, 2)."""
        self._draw.polygon(self._fine(points), fill=value)
        return self

    def line(self, points: npt.ArrayLike, width: float, value: int = 255) -> "Stencil":
        """Draws a line of `width` pixels through `points`, (K, 2)."""
        fine_width = max(1, round(width * self.supersampling))
        joint = "curve" if fine_width > 3 else None
        self._draw.line(self._fine(points), fill=value, width=fine_width, joint=joint)
        return self

    def disc(self, centre: npt.ArrayLike, radius: float, value: int = 255) -> "Stencil":
        """Fills a disc."""
        middle = np.asarray(centre, np.float64)
        self._draw.ellipse(self._fine([middle - radius, middle + radius]), fill=value)
        return self

    def mask(self) -> Array:
        """Returns the coverage, (bottom - top, right - left) in [0, 1]."""
        return np.asarray(self._image.reduce(self.supersampling), np.float32) / np.float32(255)


def paint(
    canvas: Array, stencil: Stencil, colour: npt.ArrayLike, *, opacity: float = 1.0,
    softness: float = 0.0,
) -> None:  # fmt: skip
    """Lays a colour on the canvas, in place, where the stencil is open.

    Args:
        canvas: (H, W, 3), changed in place.
        stencil: Its box lies inside the canvas.
        colour: (3,) or (h, w, 3) with the box's sides.
        opacity: 0 leaves the canvas, 1 covers it.
        softness: Standard deviation, in pixels, of a blur of the stencil's edge.
    """
    mask = stencil.mask()
    if softness > 0:
        mask = blur(mask, softness)
    lay(canvas, stencil.box, mask * np.float32(opacity), colour)


def lay(canvas: Array, box: Box, mask: Array, colour: npt.ArrayLike) -> None:
    """Blends a colour, (3,) or (h, w, 3), into a box of the canvas by a mask, (h, w) in [0, 1]."""
    view = canvas[box[1] : box[3], box[0] : box[2]]
    view += mask[..., None] * (np.asarray(colour, np.float32) - view)


def whole(canvas: Array) -> Box:
    """Returns the box that covers the canvas."""
    return (0, 0, canvas.shape[1], canvas.shape[0])


def box_around(points: npt.ArrayLike, margin: float, shape: tuple[int, ...]) -> Box | None:
    """Returns the part of the canvas within `margin` pixels of the points; None where empty."""
    flat = np.asarray(points, np.float64).reshape(-1, 2)
    low = np.floor(flat.min(axis=0) - margin).astype(int)
    high = np.ceil(flat.max(axis=0) + margin).astype(int)
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(shape[1], int(high[0])), min(shape[0], int(high[1]))
    return (left, top, right, bottom) if right > left and bottom > top else None


def smooth_curve(points: npt.ArrayLike, count: int, *, closed: bool = False) -> Array:
    """Returns `count` points of a Catmull-Rom spline through the given ones.

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


def draw_strands(
    drawing: Sequence[ImageDraw.ImageDraw],
    points: Array,
    fills: Sequence[Sequence[int | tuple[int, int, int]]],
    widths: Sequence[int],
) -> None:
    """Draws many thin lines, each on several images at once.

    Args:
        drawing: The images' drawing objects.
        points: (N, K, 2), in pixels of the images.
        fills: For each image, N colours.
        widths: N widths in pixels of the images.
    """
    flat = points.reshape(len(points), -1).tolist()
    for image, colours in zip(drawing, fills, strict=True):
        line = image.line
        for strand, colour, width in zip(flat, colours, widths, strict=True):
            line(strand, fill=colour, width=width)


def resize(plane: Array, shape: tuple[int, int]) -> Array:
    """Resizes (h, w) or (h, w, C) by Pillow's bicubic filter to `shape`."""
    if plane.shape[:2] == shape:
        return plane
    if plane.ndim == 3:
        return np.stack(
            [resize(np.ascontiguousarray(one), shape) for one in np.moveaxis(plane, -1, 0)], -1
        )
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC), np.float32)


def blur(plane: Array, sigma: float) -> Array:
    """Blurs (h, w) or (h, w, C) by a Gaussian of `sigma` pixels."""
    height, width = plane.shape[:2]
    reduction = min(int(sigma / (_WIDE_BLUR / 2)), height // 4, width // 4)
    if sigma >= _WIDE_BLUR and reduction > 1:
        shape = (-(-height // reduction), -(-width // reduction))
        small = blur_directly(resize(plane, shape), sigma / reduction)
        return resize(small, (height, width))
    return blur_directly(plane, sigma)


def blur_directly(plane: Array, sigma: float) -> Array:
    """Blurs at full resolution."""
    sigmas = (sigma, sigma) + (0,) * (plane.ndim - 2)
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
    """Makes band-limited noise: octaves of smooth noise, the coarser the stronger.

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
    return np.asarray(total / (total.std() + 1e-6), np.float32)


def emboss(height: Array, light: Sequence[float]) -> Array:
    """Returns how much brighter a relief's slopes turned to the light are: about `height`'s slope.

    Args:
        height: (H, W), in pixels.
        light: Direction to the light, (x, y, ...), y pointing down.
    """
    result = np.zeros_like(height)
    result[:, 1:] -= np.float32(light[0]) * (height[:, 1:] - height[:, :-1])
    result[1:, :] -= np.float32(light[1]) * (height[1:, :] - height[:-1, :])
    return result


def lambert(height: Array, light: Sequence[float], ambient: float) -> Array:
    """Shades a surface by one distant light and an even fill.

    Args:
        height: (H, W), in pixels, towards the viewer.
        light: Unit vector to the light, y pointing down, z to the viewer.
        ambient: Share of the fill, 0 to 1.

    Returns:
        (H, W) linear light; a surface that faces the light gets 1.
    """
    slope_y, slope_x = np.gradient(height)
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (light[2] - slope_x * light[0] - slope_y * light[1]) / length
    # Half-way between a hard terminator and full wrap, as skin and cloth scatter light.
    lit = np.clip((facing + 0.25) / 1.25, 0, None)
    return np.asarray(ambient + (1 - ambient) * lit, np.float32)


def encode(linear: Array) -> Array:
    """Turns linear light into a factor for gamma-encoded colours."""
    return np.asarray(np.clip(linear, 0, None) ** np.float32(1 / GAMMA), np.float32)


def draw_strokes(stencil: Stencil, strokes: Array, values: npt.ArrayLike, width: float) -> None:
    """Draws many lines of one width on a stencil.

    Args:
        stencil: Where to draw.
        strokes: (N, K, 2) pixels.
        values: (N,) mask values, 0 to 255.
        width: In pixels.
    """
    for stroke, value in zip(strokes, np.asarray(values).tolist(), strict=True):
        stencil.line(stroke, width, int(value))
