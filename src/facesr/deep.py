"""Pictures of 16 bits a channel in colour or with transparency, which Pillow reads as 8.

Pillow opens their files first, so that damage is told as for all others; imagecodecs and tifffile
give the values, and lcms, through imagecodecs, converts colours.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from facesr import images

Pixels = NDArray[np.uint16]
"""(H, W, C): grey, grey and alpha, RGB, or RGB and alpha."""

OPAQUE = 65535
_BITS_PER_SAMPLE = 0x0102
_SEPARATE_PLANES, _MULTIPLIED_ALPHA = 2, 1
_METRES_PER_INCH = 0.0254


def is_deep(picture: Image.Image) -> bool:
    """Whether `decode` takes a file that is opened and not yet loaded.

    Grey and printing colours are left to Pillow.
    """
    return picture.mode in ("RGB", "RGBA", "LA") and holds_16_bits(picture)


def holds_16_bits(picture: Image.Image) -> bool:
    """Whether a file that is opened and not yet loaded has them, whatever Pillow makes of it."""
    if picture.format == "TIFF":
        return 16 in picture.tag_v2.get(_BITS_PER_SAMPLE, ())  # type: ignore[attr-defined]
    # The decoder's arguments name the layout of a PNG, such as RGB;16B.
    tiles = getattr(picture, "tile", ())
    return picture.format == "PNG" and any(";16" in str(tile[3]) for tile in tiles)


def decode(data: bytes, picture: Image.Image) -> Pixels:
    """Gives the values of a file that `is_deep`.

    Args:
        data: The file.
        picture: As Pillow opened it.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        pixels = _decode_tiff(data) if picture.format == "TIFF" else _decode_png(data)
    # tifffile and imagecodecs have no common class for what damage does to them.
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    # Pillow may have turned a TIFF already.
    if pixels.dtype != np.uint16 or sorted(pixels.shape[:2]) != sorted(picture.size):
        raise ValueError(f"it holds {pixels.shape} values of {pixels.dtype}")
    return pixels


def _decode_png(data: bytes) -> NDArray[Any]:
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    return pixels


def _decode_tiff(data: bytes) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page: Any = file.pages[0]
        pixels: NDArray[Any] = page.asarray()
        if page.planarconfig == _SEPARATE_PLANES and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        if page.extrasamples and page.extrasamples[0] == _MULTIPLIED_ALPHA:
            alpha = np.maximum(pixels[..., 3:4], 1) / OPAQUE
            colours = np.minimum(np.rint(pixels[..., :3] / alpha), OPAQUE).astype(np.uint16)
            return np.concatenate([colours, pixels[..., 3:4]], -1)
        # Pillow takes a channel of no said meaning for none.
        return pixels[..., :3] if page.extrasamples == (0,) else pixels


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Turns a picture upright; `orientation` is EXIF's, from 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def to_srgb(colours: Pixels, profile: bytes) -> Pixels:
    """Converts (H, W, 3) from a profile's colours.

    Raises:
        ValueError: The profile cannot be read, or is not one of RGB.
    """
    return _convert(colours, profile, srgb())


def from_srgb(colours: Pixels, profile: bytes) -> Pixels:
    """Converts (H, W, 3) back."""
    return _convert(colours, srgb(), profile)


def srgb() -> bytes:
    """The profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _convert(colours: Pixels, source: bytes, target: bytes) -> Pixels:
    import imagecodecs

    try:
        converted: Pixels = imagecodecs.cms_transform(
            colours, source, target, colorspace="rgb", outcolorspace="rgb"
        )
    except (imagecodecs.CmsError, ValueError) as error:
        raise ValueError(str(error)) from error
    return converted


def encode_png(
    pixels: Pixels,
    *,
    exif: bytes = b"",
    xmp: bytes = b"",
    profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Encodes as PNG of 16 bits a channel.

    Args:
        pixels: The picture.
        exif: As `Image.Exif.tobytes` gives it.
        xmp: A packet.
        profile: ICC.
        dpi: Pixels per inch to the right and down.
    """
    import imagecodecs

    encoded = imagecodecs.png_encode(
        pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, level=images.PNG_COMPRESSION
    )
    chunks = b""
    if profile:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    if dpi:
        per_metre = (round(value / _METRES_PER_INCH) for value in dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if exif:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if xmp:
        chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    # After the signature and the header, whose length is fixed.
    header = 8 + 25
    return bytes(encoded[:header]) + chunks + bytes(encoded[header:])


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)
