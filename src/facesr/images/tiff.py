"""TIFF files of 8 or 16 bits a channel, compressed, with all metadata.

Pillow writes 16 bits in grey only, and camera data into files without compression only.
https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from facesr.images.metadata import CAMERA, GPS, Metadata

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES = 273, 277, 278, 279
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_PREDICTOR, _EXTRA_SAMPLES, _XMP, _IPTC, _ICC = 317, 338, 700, 33723, 34675
_DEFLATE, _HORIZONTAL, _BLACK_IS_ZERO, _RGB, _ALPHA, _INCH = 8, 2, 1, 2, 2, 2
_BYTE, _UNDEFINED = 1, 7
_STRIP_BYTES = 1 << 20
_LARGEST_FILE = 2**32 - 1


def encode(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    metadata: Metadata,
    *,
    profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Encode an image; raise ValueError if the file would be larger than TIFF can be.

    Args:
        pixels: (H, W, C): grey, grey and alpha, RGB, or RGB and alpha.
        metadata: Its EXIF is written as it is.
        dpi: Pixels per inch to the right and down.
    """
    height, width, channels = pixels.shape
    rows = max(1, _STRIP_BYTES // (width * channels * pixels.itemsize))
    strips = [_compress(pixels[top : top + rows]) for top in range(0, height, rows)]
    sizes = tuple(len(strip) for strip in strips)
    if sum(sizes) + _STRIP_BYTES > _LARGEST_FILE:
        raise ValueError("a TIFF file holds 4 GB at most")
    directory = ImageFileDirectory_v2(b"II\x2a\x00\x00\x00\x00\x00")
    tags: dict[int, Any] = {
        _WIDTH: width,
        _HEIGHT: height,
        _BITS: (8 * pixels.itemsize,) * channels,
        _COMPRESSION: _DEFLATE,
        _PREDICTOR: _HORIZONTAL,
        _PHOTOMETRIC: _RGB if channels > 2 else _BLACK_IS_ZERO,
        _SAMPLES: channels,
        _ROWS_PER_STRIP: rows,
        # From the directory's end: Pillow adds where that is.
        _STRIP_OFFSETS: tuple(int(start) for start in np.cumsum((0, *sizes[:-1]))),
        _STRIP_SIZES: sizes,
    }
    if channels in (2, 4):
        tags[_EXTRA_SAMPLES] = _ALPHA
    if dpi:
        tags |= {_X_RESOLUTION: dpi[0], _Y_RESOLUTION: dpi[1], _RESOLUTION_UNIT: _INCH}
    for tag, kind, block in (
        (_ICC, _UNDEFINED, profile),
        (_XMP, _BYTE, metadata.xmp),
        (_IPTC, _UNDEFINED, metadata.iptc),
    ):
        if block:
            directory.tagtype[tag] = kind
            tags[tag] = block
    tags |= {tag: value for tag, value in metadata.exif.items() if tag not in (CAMERA, GPS)}
    for tag in (CAMERA, GPS):
        if values := metadata.exif.get_ifd(tag):
            tags[tag] = dict(values)
    for tag, value in tags.items():
        directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)
    return b"".join([buffer.getvalue(), *strips])


def _compress(rows: NDArray[Any]) -> bytes:
    """Compress differences to the pixel on the left (TIFF 6.0, section 14), which are smaller."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(rows.dtype.newbyteorder("<")).tobytes())
