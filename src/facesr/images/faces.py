"""Detection, cutting and pasting of faces in a photograph.

A face is a square as in FFHQ: the eyes a little above the middle, hair and chin inside (Karras et
al. 2019, https://arxiv.org/abs/1812.04948), upright and without rotation. Coordinates count pixel
*edges*, so that a square at (x, y) in the photograph lies at (s x, s y) in the one enlarged s
times. On pixel centres that is s x + (s - 1) / 2; restorers that shift by s / 2 instead place every
face half a pixel off.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from facesr import images
from facesr.errors import import_extra

if TYPE_CHECKING:
    import dlib

# Longer side in pixels of what the detector sees. It looks for faces of 40 px and more there.
DETECTION_SIDE = 2048
# Least score of a face: of 102 faces one falls below it, and so do most things that are none.
CONFIDENCE = 0.2
# The detector's box beside FFHQ's square, in sides of the square: medians over 122 faces of three
# sources at random sizes and places (docs/experiments.md).
BOX_SIDE = 0.593
BOX_CENTRE_X, BOX_CENTRE_Y = 0.496, 0.595
# Part of the square's side over which a pasted face fades into the photograph.
FEATHER = 0.12
# Mean square that a halving may lose where a face is blurred: 40 dB. Sharp faces lose 36 dB.
LOST_POWER = 1.0e-4
# Side in pixels below which no face is reduced further.
SMALLEST_FACE = 32

Restore = Callable[[Tensor], Tensor]
"""Function from (3, n, n) to (3, k n, k n), both float32 RGB in [0, 1]."""


class Box(NamedTuple):
    """Part of an image, in pixels from its left and upper edge; it may reach beyond them."""

    left: float
    top: float
    width: float
    height: float


def find_faces(image: Tensor) -> list[Box]:
    """Return squares around frontal and half-profile upright faces in (3, h, w), largest first.

    dlib's detector compares histograms of gradients (Dalal and Triggs 2005) with five templates,
    which are part of dlib, so nothing is downloaded (http://dlib.net/face_detector.py.html). Faces
    below about 35 px, or below 2 % of the longer side of a large photograph, are not found.
    """
    height, width = image.shape[-2:]
    reduction = max(1.0, max(height, width) / DETECTION_SIDE)
    small = images.resize(
        image, (max(1, round(height / reduction)), max(1, round(width / reduction))), "bilinear"
    )
    pixels = images.to_uint8(small).permute(1, 2, 0).contiguous().numpy()
    boxes = _detector().run(pixels, 1, CONFIDENCE)[0]
    return sorted((_around(box, reduction) for box in boxes), key=lambda face: -face.width)


@functools.cache
def _detector() -> "dlib.fhog_object_detector":
    dlib = import_extra("dlib")
    return dlib.get_frontal_face_detector()


def _around(box: "dlib.rectangle", reduction: float) -> Box:
    side = box.width() / BOX_SIDE
    left = (box.left() + box.right() + 1) / 2 - BOX_CENTRE_X * side
    top = (box.top() + box.bottom() + 1) / 2 - BOX_CENTRE_Y * side
    # On whole pixels a face is cut without resampling.
    left, top, side = (float(round(value * reduction)) for value in (left, top, side))
    return Box(left, top, side, side)


def cut(image: Tensor, box: Box, size: int) -> Tensor:
    """Cut a face and resize it to `size`, anti-aliased.

    Args:
        image: (3, h, w) in [0, 1].
        box: Square; beyond the image its edge is repeated.
        size: Side of the result in pixels.

    Returns:
        (3, size, size) in [0, 1].
    """
    # Some pixels more than the box, so that the filter sees what is around it.
    margin = 2 + round(3 * max(1.0, box.height / size))
    left, top = int(box.left) - margin, int(box.top) - margin
    right, bottom = int(box.left + box.width) + margin, int(box.top + box.height) + margin
    rows = torch.arange(top, bottom + 1).clamp(0, image.shape[-2] - 1)
    columns = torch.arange(left, right + 1).clamp(0, image.shape[-1] - 1)
    x, y = box.left - left, box.top - top
    part = images.resize(
        image[:, rows][:, :, columns],
        (size, size),
        "lanczos",
        box=(x, y, x + box.width, y + box.height),
    )
    return part.clamp(0, 1)


def paste(photograph: Tensor, crop: Tensor, box: Box) -> Tensor:
    """Paste a face, (3, n, n) shown by `box`, into the photograph, in place, fading out."""
    rows = _whole_pixels(box.top, box.height, photograph.shape[-2])
    columns = _whole_pixels(box.left, box.width, photograph.shape[-1])
    if not len(rows) or not len(columns):
        return photograph
    side = crop.shape[-1]
    part = (
        (columns.start - box.left) / box.width * side,
        (rows.start - box.top) / box.height * side,
        min((columns.stop - box.left) / box.width * side, side),
        min((rows.stop - box.top) / box.height * side, side),
    )
    face = images.resize(crop, (len(rows), len(columns)), "lanczos", box=part).clamp(0, 1)
    mask = (
        _fade(rows, box.top, box.height, photograph.shape[-2])[:, None]
        * _fade(columns, box.left, box.width, photograph.shape[-1])[None, :]
    )
    photograph[:, rows.start : rows.stop, columns.start : columns.stop].lerp_(face, mask)
    return photograph


def _whole_pixels(start: float, length: float, limit: int) -> range:
    """Return the pixels within both the box and the photograph."""
    return range(max(0, math.ceil(start)), min(limit, math.floor(start + length)))


def _fade(pixels: range, start: float, length: float, limit: int) -> Tensor:
    """Return the weights of a box's pixels: a raised cosine towards both ends.

    An end beyond the photograph does not fade.
    """
    position = (torch.arange(pixels.start, pixels.stop) + 0.5 - start) / length
    weight = torch.ones(len(pixels))
    for distance, inside in ((position, start > 0), (1 - position, start + length < limit)):
        if inside:
            weight *= torch.sin((distance / FEATHER).clamp(0, 1) * torch.pi / 2) ** 2
    return weight


def restore_faces(photograph: Tensor, image: Tensor, faces: Sequence[Box], restore: Restore) -> int:
    """Restore faces, paste them into the photograph, and return their number.

    A face goes to the networks in its own size. Only a blurred one, which a reduction does not
    harm, is reduced first: networks know sharp faces, and leave blur as it is. A sharp face that
    does not grow is left alone.

    Args:
        photograph: (3, H, W) in [0, 1]: `image`, enlarged in any way. Changed.
        image: (3, h, w) in [0, 1].
        faces: Squares in pixels of `image`.
        restore: Enlarges by a whole scale.
    """
    y, x = (new / old for new, old in zip(photograph.shape[-2:], image.shape[-2:], strict=True))
    restored = 0
    for face in faces:
        crop = cut(image, face, round(face.width))
        reduced = reduce_to_detail(crop)
        if reduced is crop and max(x, y) <= 1:
            continue
        place = Box(face.left * x, face.top * y, face.width * x, face.height * y)
        paste(photograph, restore(reduced), place)
        restored += 1
    return restored


def reduce_to_detail(crop: Tensor) -> Tensor:
    """Halve a (3, n, n) crop as long as it loses nothing by it."""
    size = crop.shape[-1]
    if size < 2 * SMALLEST_FACE:
        return crop
    half = images.resize(crop, (size // 2, size // 2), "lanczos").clamp(0, 1)
    lost = images.resize(half, (size, size), "lanczos") - crop
    if lost.square().mean() > LOST_POWER:
        return crop
    return reduce_to_detail(half)
