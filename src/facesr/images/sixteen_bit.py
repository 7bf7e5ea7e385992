"""Images of 16 bits a channel in colour or with transparency, which Pillow reads as 8.

Pillow opens their files first, so that damage is reported as for all others; imagecodecs and
tifffile read the values, and lcms, through imagecodecs, converts colours.
"""

import struct
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor

from facesr import images
from facesr.errors import import_extra

Pixels = NDArray[np.uint16]
"""(H, W, C): grey, grey and alpha, RGB, or RGB and alpha."""

OPAQUE = 65535
_BITS_PER_SAMPLE = 0x0102
_METRES_PER_INCH = 0.0254


def is_16_bit_png(image: Image.Image) -> bool:
    """Return whether `decode_png` reads an opened, unloaded file; Pillow reads grey."""
    is_coloured = image.mode in ("RGB", "RGBA", "LA")
    return image.format == "PNG" and is_coloured and holds_16_bits(image)


def holds_16_bits(image: Image.Image) -> bool:
    """Return whether an opened, unloaded file has 16 bits, whatever Pillow makes of it."""
    if image.format == "TIFF":
        tags: dict[int, Any] = getattr(image, "tag_v2", {})
        return 16 in tags.get(_BITS_PER_SAMPLE, ())
    # The decoder's arguments name the layout of a PNG, such as RGB;16B.
    tiles = getattr(image, "tile", ())
    return image.format == "PNG" and any(";16" in str(tile[3]) for tile in tiles)


def decode_png(data: bytes, image: Image.Image) -> Pixels:
    """Return the values of a file that `is_16_bit_png`; raise ValueError if it is damaged."""
    imagecodecs = import_extra("imagecodecs")

    # Of what damage does to a file imagecodecs says little.
    pixels = imagecodecs.png_decode(data)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint16 or pixels.shape[1::-1] != image.size:
        raise ValueError(f"it holds {pixels.shape} values of {pixels.dtype}")
    return np.asarray(pixels)


def to_tensor(pixels: Pixels) -> Tensor:
    """Convert (H, W, C) to (C, H, W) in [0, 1]."""
    return torch.from_numpy(np.moveaxis(pixels, -1, 0).astype(np.float32)).div_(OPAQUE)


def from_tensor(planes: Tensor) -> Pixels:
    """Convert (C, H, W) in [0, 1] to (H, W, C)."""
    pixels = np.empty((*planes.shape[-2:], len(planes)), np.uint16)
    for channel, plane in enumerate(planes):
        pixels[..., channel] = (plane.clamp(0, 1) * OPAQUE).round().numpy()
    return pixels


def to_srgb(colours: Pixels, profile: bytes) -> Pixels:
    """Convert (H, W, 3) from a profile's colours; raise ValueError if it is no RGB profile."""
    return _convert(colours, profile, srgb())


def from_srgb(colours: Pixels, profile: bytes) -> Pixels:
    """Convert (H, W, 3) back."""
    return _convert(colours, srgb(), profile)


def srgb() -> bytes:
    """Return the profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _convert(colours: Pixels, source: bytes, target: bytes) -> Pixels:
    imagecodecs = import_extra("imagecodecs")

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
    """Encode as PNG of 16 bits a channel; `dpi` is to the right and down."""
    imagecodecs = import_extra("imagecodecs")

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
