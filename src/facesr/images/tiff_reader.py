"""TIFF files read by tifffile: Pillow misreads or refuses many layouts of 8 and 16 bits."""

from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from facesr.errors import import_extra

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NEW_SUBFILE, _OLD_SUBFILE, _ORIENTATION = 254, 255, 274
_IS_REDUCED, _IS_MASK, _OLD_REDUCED = 1, 4, 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
# None, LZW, Deflate (two numbers), PackBits, LZMA, Zstandard: those that keep every value.
_LOSSLESS = (1, 5, 8, 32946, 32773, 34925, 50000)
_SEPARATE_PLANES, _UNSPECIFIED, _MULTIPLIED_ALPHA = 2, 0, 1
_UNSIGNED = 1
_NUMBERS = {1: "integers", 2: "signed integers", 3: "floating-point numbers"}
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _XMP, _ICC = 282, 283, 296, 700, 34675
_TEXTS = (270, 271, 272, 306, 315, 33432)
_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3
# In the `info` of an image that Pillow does not know.
_PAGE = "tiff page"


def is_tiff(start: bytes) -> bool:
    """Return whether a file with this start is a TIFF file."""
    return start[:4] in _MAGIC


def go_to_image(image: Image.Image) -> None:
    """Skip previews and masks before the image; raise SyntaxError if Pillow does not know it."""
    full = full_pages(image)
    _go_to(image, full[0] if full else 0)


def full_pages(image: Image.Image) -> list[int]:
    """Return the numbers of the pages that are images, not previews or masks."""
    here, full = image.tell(), []
    for page in range(getattr(image, "n_frames", 1)):
        with suppress(SyntaxError):
            _go_to(image, page)
        if _is_full(getattr(image, "tag_v2", {})):
            full.append(page)
    with suppress(SyntaxError):
        _go_to(image, here)
    return full


def page_of(image: Image.Image) -> int:
    """Return the number of the open page."""
    return int(image.info.get(_PAGE, image.tell()))


def _is_full(tags: Mapping[int, Any]) -> bool:
    kind = tags.get(_NEW_SUBFILE, 0)
    return not kind & (_IS_REDUCED | _IS_MASK) and tags.get(_OLD_SUBFILE) != _OLD_REDUCED


def _go_to(image: Image.Image, page: int) -> None:
    if image.tell() != page:
        # Pillow would keep what only another page has, such as its profile.
        image.info.clear()
        image.seek(page)


def apply_orientation(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W, C) upright; `orientation` is EXIF's, from 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def read_pixels(file: IO[bytes], number: int) -> Pixels | None:
    """Read a page of 8 to 16 bits a channel.

    Returns:
        (H, W, C) as stored, not turned upright: grey, grey and alpha, RGB, or RGB and alpha, where
        0 is black and colours are not multiplied by alpha. None for other numbers, colours or
        compressions.

    Raises:
        ValueError: It breaks off.
    """
    tifffile = import_extra("tifffile")

    file.seek(0)
    with tifffile.TiffFile(file) as opened:
        page: Any = opened.pages[number]
        if not _is_read(page):
            return None
        end = file.seek(0, 2)
        parts = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(offset + count > end for offset, count in parts):
            raise ValueError("it breaks off")
        pixels: NDArray[Any] = page.asarray()
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif page.planarconfig == _SEPARATE_PLANES:
        pixels = np.moveaxis(pixels, 0, -1)
    colours = 3 if page.photometric == _RGB else 1
    extra = page.extrasamples[0] if page.extrasamples else _UNSPECIFIED
    # A channel of no said meaning is none.
    pixels = pixels[..., : colours + (extra != _UNSPECIFIED)]
    highest = (1 << page.bitspersample) - 1
    if page.photometric == _WHITE_IS_ZERO:
        pixels = np.concatenate([highest - pixels[..., :1], pixels[..., 1:]], -1)
    if extra == _MULTIPLIED_ALPHA:
        alpha = np.maximum(pixels[..., -1:], 1) / highest
        freed = np.minimum(np.rint(pixels[..., :-1] / alpha), highest).astype(pixels.dtype)
        pixels = np.concatenate([freed, pixels[..., -1:]], -1)
    if page.bitspersample not in (8, 16):
        pixels = (pixels.astype(np.uint32) * 0xFFFF // highest).astype(np.uint16)
    return np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("=")))


def _is_read(page: Any) -> bool:
    return (
        page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        and page.bitspersample in (8, 10, 12, 14, 16)
        and page.sampleformat == _UNSIGNED
        and page.compression in _LOSSLESS
        and page.samplesperpixel >= (3 if page.photometric == _RGB else 1)
        and not page.is_subsampled
        and page.imagedepth == 1
    )


def open_unknown(file: IO[bytes]) -> Image.Image | None:
    """Return size, mode and metadata of a file for `read_pixels` that Pillow does not know."""
    tifffile = import_extra("tifffile")

    file.seek(0)
    try:
        with tifffile.TiffFile(file) as opened:
            pages: list[Any] = list(opened.pages)
            tags = [{tag.code: tag.value for tag in page.tags} for page in pages]
    # tifffile has no common class for what damage does to it; `describe` says which it was.
    except Exception:
        return None
    number = next((number for number, own in enumerate(tags) if _is_full(own)), 0)
    page, own = pages[number], tags[number]
    if not _is_read(page):
        return None
    image = Image.Image()
    image._mode = "RGB" if page.photometric == _RGB else "L"
    image._size = (page.imagewidth, page.imagelength)
    image.format = "TIFF"
    image.info = {_PAGE: number}
    image.getexif().update({tag: own[tag] for tag in (_ORIENTATION, *_TEXTS) if tag in own})
    for tag, name in ((_XMP, "xmp"), (_ICC, "icc_profile")):
        if isinstance(own.get(tag), bytes):
            image.info[name] = own[tag]
    if own.get(_UNIT, _INCH) != _NO_UNIT and _X_RESOLUTION in own and _Y_RESOLUTION in own:
        to_inch = 2.54 if own.get(_UNIT) == _CENTIMETRE else 1
        both = (IFDRational(*own[tag]) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
        image.info["dpi"] = tuple(float(one) * to_inch for one in both)
    return image


def describe(file: IO[bytes], number: int = 0) -> str:
    """Return the kind of an unsupported page, and what to do."""
    tifffile = import_extra("tifffile")

    try:
        file.seek(0)
        with tifffile.TiffFile(file) as opened:
            page: Any = opened.pages[number]
            kind = _NUMBERS.get(page.sampleformat, "numbers")
            held = (
                f"{page.samplesperpixel} x {page.bitspersample}-bit {kind} a pixel "
                f"({page.photometric.name}, compression {page.compression.name})"
            )
    except Exception as error:
        return f"is a damaged TIFF file ({error}). Replace it with an intact copy."
    return f"is a TIFF file of {held}, which is not read. Save it as RGB or grey of 8 or 16 bits."
