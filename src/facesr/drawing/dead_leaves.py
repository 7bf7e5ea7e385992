"""Dead leaves: images of occluding shapes whose sizes follow a power law, as in photographs.

Achddou, Gousseau, Ladjal, "Synthetic images as a regularity prior for image restoration neural
networks", SSVM 2021, and "Fully synthetic training for image restoration tasks", CVIU 2023: a
restoration network trained on such images carries over to photographs. Textures, relief,
shadows, blur and strands are additions for hair, cloth and skin.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from facesr.drawing.brushes import (
    Array,
    blur,
    emboss,
    fractal_noise,
    lens_blur,
    planes_of,
    resize,
    rgb,
    smooth_curve,
)

# Ids are drawn this many times finer than the image and reduced by Lanczos, as a photograph is
# reduced from a larger original.
SUPERSAMPLING = 2
Ids: TypeAlias = npt.NDArray[np.int32]
_OUTLINE = 24  # points of a smooth outline
_LEAVES_AT_MOST = 2400
_PLAIN, _NOISE, _STRIPES, _WEAVE, _GRAIN = range(5)


def draw_dead_leaves(rng: np.random.Generator, size: int) -> Array:
    """Draw an image of dead leaves in up to two depths, strands among them.

    Args:
        rng: Source of all randomness.
        size: Side in pixels.

    Returns:
        (3, size, size) float32 RGB, near [0, 1].
    """
    palette = Palette(rng)
    smallest = float(np.exp(rng.uniform(np.log(1.5), np.log(max(2.0, size / 16)))))
    has_front = rng.random() < 0.5
    is_blurred = has_front and rng.random() < 0.6
    if is_blurred:
        image = blurred_backdrop(rng, size, float(rng.uniform(0.002, 0.03)) * size, palette)
    else:
        image, _ = leaves(rng, size, palette, smallest=smallest)
    if rng.random() < 0.3:
        _lay_strands(rng, image, palette)
    if has_front:
        cover = float(rng.uniform(0.2, 0.8))
        front, mask = leaves(rng, size, palette, smallest=smallest, cover=cover)
        step = rng.integers(-size // 40, size // 40 + 1, 2)
        shadow = blur(np.roll(mask, step, (0, 1)), float(rng.uniform(0.004, 0.03)) * size)
        image *= 1 - np.float32(rng.uniform(0.2, 0.6)) * shadow
        if rng.random() < 0.2:
            edge = float(rng.uniform(0.4, 2.0))
            front, mask = blur(front, edge), blur(mask, edge)
        image += mask * (front - image)
    if rng.random() < 0.4:
        _lay_strands(rng, image, palette)
    light = fractal_noise(rng, (size, size), coarsest=size / 1.5, finest=size / 3)
    image *= 1 + np.float32(rng.uniform(0, 0.15)) * light
    return lens_blur(rng, image)


class Palette:
    """Colours with the statistics of natural images, drawn from a model and no photograph.

    Encoded luminance is a squashed normal variable (log-luminance of scenes is near normal),
    chroma is heavy-tailed, wider along blue-yellow than along red-green, and shares a cast.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        """Choose the image's exposure, contrast, cast and saturation."""
        self._exposure = rng.normal(-0.3, 0.5)
        self._contrast = rng.uniform(0.6, 1.5)
        self._cast = rng.normal((0.02, 0.01), (0.035, 0.02))
        self._saturation = rng.gamma(2.0, 0.5)

    def colours(
        self, rng: np.random.Generator, count: int, *, weights: Array | None = None
    ) -> Array:
        """Return (count, 3) colours in [0, 1].

        Args:
            rng: Source of randomness.
            count: Number of colours.
            weights: How far each may stray from the image's mean colour; 1 where left out.
        """
        weight = np.ones(count) if weights is None else weights
        luminance = 1 / (
            1 + np.exp(-1.3 * (self._exposure + weight * self._contrast * rng.normal(0, 1, count)))
        )
        spread = weight[:, None] * self._saturation * np.array([0.05, 0.045])
        chroma = self._cast + spread * rng.laplace(0, 1, (count, 2))
        # Colours are faint near black and near white.
        chroma *= (4 * luminance * (1 - luminance))[:, None] ** 0.5
        blue_yellow, red_green = chroma.T
        red = luminance + blue_yellow + red_green
        green = luminance + 0.15 * blue_yellow - 0.7 * red_green
        blue = luminance - 1.6 * blue_yellow + 0.1 * red_green
        colours = np.stack([red, green, blue], -1)
        return np.asarray(np.clip(colours, 0.01, 0.99), np.float32)

    def colour(self, rng: np.random.Generator) -> Array:
        """Return one colour, (3, 1, 1) in [0, 1]."""
        return rgb(*self.colours(rng, 1)[0])


def leaves(
    rng: np.random.Generator, size: int, palette: Palette, *, smallest: float, cover: float = 1.0
) -> tuple[Array, Array]:
    """Draw one layer of leaves.

    Args:
        rng: Source of randomness.
        size: Side in pixels.
        palette: Gives the leaves' colours.
        smallest: Radius of the smallest leaf, in pixels.
        cover: Area of all leaves relative to the image's; below 1 the layer has holes.

    Returns:
        Colours (3, size, size) and coverage (size, size) in [0, 1].
    """
    fine = size * SUPERSAMPLING
    has_holes = cover < 1
    radii = _radii(rng, size, smallest, cover if has_holes else 2.5) * SUPERSAMPLING
    ids = _draw_ids(rng, radii, fine, nothing=0 if has_holes else 1)
    count = len(radii) + 1
    shade = _shading(rng, ids, count)
    colours = np.zeros((count, 3), np.float32)
    colours[1:] = palette.colours(rng, count - 1, weights=_weights(radii / fine))
    layer = np.empty((fine, fine, 4 if has_holes else 3), np.uint8)
    for channel in range(3):
        plane = np.take(colours[:, channel] * np.float32(255), ids)
        plane *= shade
        layer[..., channel] = np.minimum(plane, 255, out=plane)
    if has_holes:
        layer[..., 3] = 255 * (ids > 0)
    # Pillow reduces RGBA by coverage: the gaps leave no dark rim on the leaves.
    image = Image.fromarray(layer).resize((size, size), Image.Resampling.LANCZOS)
    planes = planes_of(image)
    return planes[:3], planes[3] if has_holes else np.ones((size, size), np.float32)


def _radii(rng: np.random.Generator, size: int, smallest: float, cover: float) -> Array:
    largest = max(size * rng.uniform(0.25, 0.6), 2 * smallest)
    # Inverse of the cumulative distribution of r^-3 between both radii.
    low, high = smallest**-2.0, largest**-2.0
    radii = (low + rng.random(_LEAVES_AT_MOST) * (high - low)) ** -0.5
    enough = np.searchsorted(np.cumsum(np.pi * radii**2), cover * size * size) + 1
    return np.asarray(radii[:enough], np.float32)


def _weights(radii: npt.NDArray[np.floating]) -> Array:
    """Contrast of leaves by their radius, relative to the image's side.

    With equal contrast at every size the spectrum falls as 1/f^2.2; portraits fall as 1/f^3.
    """
    return np.asarray(np.clip(radii / 0.15, 0.03, 1) ** 0.4, np.float32)


def _draw_ids(rng: np.random.Generator, radii: Array, fine: int, *, nothing: int) -> Ids:
    """Return (fine, fine) numbers of the topmost leaves, `nothing` where there is none."""
    image = Image.new("I", (fine, fine), nothing)
    drawing = ImageDraw.Draw(image)
    count = len(radii)
    angle = np.linspace(0, 2 * np.pi, _OUTLINE, endpoint=False, dtype=np.float32)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)  # (K, 2)
    # Blobs: low harmonics on the radius.
    wobble = rng.normal(0, 1, (count, 4, 1)).astype(np.float32) * rng.gamma(1, 0.09, (count, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (count, 4, 1))
    harmonics = np.arange(2, 6)[None, :, None]
    radius = 1 + (wobble * np.cos(harmonics * angle + phase) / harmonics**0.5).sum(1)
    shapes = circle[None] * np.clip(radius, 0.3, 2)[..., None]  # (N, K, 2)
    kind = rng.choice(4, count, p=(0.25, 0.35, 0.2, 0.2))
    shapes[kind == 0] = circle
    aspect = np.exp(rng.normal(0, 0.45, count))
    aspect[kind == 0] = 1
    shapes *= np.stack([aspect**0.5, aspect**-0.5], -1)[:, None]
    turn = rng.uniform(0, 2 * np.pi, count)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    corners = np.sort(rng.random((count, 8)), -1)
    centres = rng.uniform(0, fine, (count, 1, 2))
    shapes = shapes @ rotation.transpose(0, 2, 1) * radii[:, None, None] + centres
    sides = rng.integers(3, 8, count)
    for i in range(count):
        outline = shapes[i]
        if kind[i] == 2:  # a rectangle in the leaf's own frame
            outline = outline[[3, 9, 15, 21]]
        elif kind[i] == 3:  # an irregular polygon
            outline = outline[np.unique((corners[i, : sides[i]] * _OUTLINE).astype(int))]
            if len(outline) < 3:
                continue
        drawing.polygon(outline.ravel().tolist(), fill=i + 1)
    return np.asarray(image)


def _shading(rng: np.random.Generator, ids: Ids, count: int) -> Array:
    """Return factors of the shape of `ids`: each leaf's linear gradient and texture."""
    fine = ids.shape[0]
    axis = np.arange(fine, dtype=np.float32) - np.float32(fine / 2)
    y, x = axis[:, None], axis[None, :]
    slope = rng.normal(0, 0.5 / fine, (2, count)).astype(np.float32)
    shade = np.take(slope[0], ids)
    shade *= x
    along = np.take(slope[1], ids)
    along *= y
    shade += along
    shade += 1
    np.clip(shade, 0.5, 1.5, out=shade)

    kind = rng.choice(5, count, p=(0.3, 0.25, 0.12, 0.08, 0.25)).astype(np.uint8)
    strength = rng.gamma(1.5, 0.06, count).astype(np.float32)
    strength[kind == _PLAIN] *= 0.15
    # Noise is made at the image's own resolution: finer grain would not survive the reduction.
    half = (fine // SUPERSAMPLING, fine // SUPERSAMPLING)
    rough = fractal_noise(rng, half, coarsest=fine / 12, finest=1.0, persistence=0.75)
    grain = fractal_noise(rng, half, coarsest=3, finest=1.0, persistence=0.9)
    relief = emboss(grain, rng.normal(0, 0.7, 2).tolist())
    where = np.take(kind, ids)
    texture = np.where(where == _GRAIN, _enlarge(relief), _enlarge(rough))

    rows, columns = np.nonzero((where == _STRIPES) | (where == _WEAVE))
    if len(rows):
        own = ids[rows, columns]
        # Waves between 2.5 pixels of the reduced image and a tenth of its side.
        longest = max(fine / 10, 12.0)
        wave = np.exp(rng.uniform(np.log(2.5 * SUPERSAMPLING), np.log(longest), count))
        turn = rng.uniform(0, np.pi, count)
        kx = (2 * np.pi / wave * np.cos(turn)).astype(np.float32)
        ky = (2 * np.pi / wave * np.sin(turn)).astype(np.float32)
        bend = texture[rows, columns] * np.float32(0.4)
        pattern = np.sin(kx[own] * columns + ky[own] * rows + bend)
        woven = where[rows, columns] == _WEAVE
        crossing = np.sin(kx[own[woven]] * rows[woven] - ky[own[woven]] * columns[woven])
        pattern[woven] *= crossing * np.float32(1.4)
        is_sharp = own % 2 == 0
        pattern[is_sharp] = np.clip(pattern[is_sharp] * 3, -1, 1)
        texture[rows, columns] = pattern + bend
    texture *= np.take(strength, ids)
    texture += 1
    np.clip(texture, 0.1, 2.5, out=texture)
    shade *= texture
    return shade


def _enlarge(plane: Array) -> Array:
    return plane.repeat(SUPERSAMPLING, 0).repeat(SUPERSAMPLING, 1)


def _lay_strands(rng: np.random.Generator, image: Array, palette: Palette) -> None:
    """Draw bundles of thin curved lines, in place."""
    size = image.shape[-1]
    for _ in range(int(rng.integers(1, 4))):
        fine = size * SUPERSAMPLING
        number = int(rng.integers(30, 160) * max(1.0, size / 384))
        start, middle, end = rng.uniform(-0.2, 1.2, (3, 2)) * fine
        spread = rng.uniform(0.02, 0.12) * fine
        knots = np.stack([start, middle, end])[None] + np.concatenate(
            [
                rng.normal(0, spread, (number, 1, 2)),
                rng.normal(0, spread, (number, 1, 2)),
                rng.normal(0, spread * rng.uniform(0.2, 2), (number, 1, 2)),
            ],
            axis=1,
        )
        curves = smooth_curve(knots, 28)
        base = palette.colours(rng, 1)[0]
        tone = base * np.exp(rng.normal(0, 0.25, (number, 1)))
        tone = np.clip(tone * 255, 0, 255).astype(int)
        colour = Image.new("RGB", (fine, fine))
        cover = Image.new("L", (fine, fine))
        widths = rng.choice([1, 1, 2, 2, 3], number).tolist()
        lines = curves.reshape(number, -1).tolist()
        drawings = ImageDraw.Draw(colour), ImageDraw.Draw(cover)
        for line, fill, width in zip(lines, tone.tolist(), widths, strict=True):
            drawings[0].line(line, fill=tuple(fill), width=width)
            drawings[1].line(line, fill=255, width=width)
        mask = np.asarray(cover.reduce(SUPERSAMPLING), np.float32) / np.float32(255)
        ink = planes_of(colour.reduce(SUPERSAMPLING))
        # `ink` is already weighted by its coverage.
        image += ink - mask * image


def blurred_backdrop(
    rng: np.random.Generator, size: int, sigma: float, palette: Palette | None = None
) -> Array:
    """Draw dead leaves out of focus, at the resolution that the blur leaves.

    Args:
        rng: Source of randomness.
        size: Side of the result in pixels.
        sigma: Blur in pixels of the result.
        palette: Of the leaves; its own where left out.

    Returns:
        (3, size, size) float32 RGB, near [0, 1].
    """
    reduction = max(1, min(int(sigma / 1.5), size // 32))
    small = -(-size // reduction)
    smallest = max(1.5, small / 30)
    image, _ = leaves(rng, small, palette or Palette(rng), smallest=smallest)
    return resize(blur(image, max(0.3, sigma / reduction)), (size, size))
