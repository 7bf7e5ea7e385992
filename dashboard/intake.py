"""Checks of files from visitors before a pixel is decoded.

Streamlit checks file names only. Here the content decides, and an image's size is read from its
header, so that decompression bombs are not decoded.
"""

import io
import re
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, UnidentifiedImageError

from facesr.errors import FaceSRError

if TYPE_CHECKING:
    from torch import Tensor

MEGABYTE = 1024 * 1024
MAX_BYTES = 10 * MEGABYTE
MAX_PIXELS = 16_000_000
MAX_SIDE = 8192
MIN_SIDE = 16
MAX_FILES = 20
FORMATS = ("JPEG", "PNG", "WEBP")
# The limits here are lower than Pillow's, which warns: filters of warnings are not for threads.
Image.MAX_IMAGE_PIXELS = None
FIRST_ONLY = "The file is animated or has several pages; only its first image is taken."

# Bytes 4 to 12 of what phones and browsers write beside JPEG.
_BRANDS = {
    b"ftypheic": "an Apple HEIC image",
    b"ftypheix": "an Apple HEIC image",
    b"ftypmif1": "a HEIF image",
    b"ftypavif": "an AVIF image",
}
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


class RefusedError(FaceSRError):
    """Refused image or request.

    Attributes:
        code: `too_big`, `damaged`, `no_model`, `busy` and others, for programs.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Header(NamedTuple):
    """Facts in a file about its image."""

    width: int
    """Width in pixels of the upright image."""
    height: int
    format: str
    has_more: bool = False
    """True if the file is animated or holds further images; the first one is taken."""

    @property
    def note(self) -> str:
        """Message on what is not taken of the file, or ""."""
        return FIRST_ONLY if self.has_more else ""


def check(data: bytes) -> Header:
    """Check an image's header against the limits; raise RefusedError if it breaks one."""
    if not data:
        raise RefusedError("empty", "It is empty.")
    if len(data) > MAX_BYTES:
        raise RefusedError(
            "too_big",
            f"It has {len(data) / MEGABYTE:.1f} MB; the limit is {MAX_BYTES // MEGABYTE} MB. "
            "Make it smaller and try again.",
        )
    if brand := _BRANDS.get(data[4:12]):
        raise RefusedError("not_an_image", f"It is {brand}. Export it as JPEG and try again.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            _check_size(width, height)
            if _orientation(image.info.get("exif")) in _LYING:
                width, height = height, width
            # A phone's JPEG (MPO) holds a preview or a depth map beside its image.
            frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
            return Header(width, height, image.format or "", frames > 1)
    except RefusedError:
        raise
    except UnidentifiedImageError:
        raise RefusedError("not_an_image", "It is not a JPEG, PNG or WebP image.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RefusedError(
            "too_many_pixels",
            f"It is too large; the limit is {MAX_PIXELS // 1_000_000} megapixels. Make it smaller "
            "and try again.",
        ) from None
    except Exception as error:
        # Pillow's readers let through whatever a damaged file makes of them.
        raise _damaged() from error


def decode(data: bytes) -> "Tensor":
    """Decode an image that passes `check`, upright, in sRGB, without its metadata.

    Returns:
        (3, H, W) float32 RGB in [0, 1], composited on white.

    Raises:
        RefusedError: As `check`; or the pixels are damaged.
    """
    check(data)
    from facesr import images

    try:
        return images.read(data)
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged() from error


def plain(name: str) -> str:
    """Escape a file name for Markdown, where `![](address)` would load an image."""
    return _MARKDOWN.sub(r"\\\1", " ".join(name.split()))


def stem(name: str) -> str:
    """Return a file name without folder and ending, in characters that every system allows."""
    bare = re.split(r"[/\\]", name)[-1].rsplit(".", 1)[0]
    return re.sub(r"[^\w.-]+", "_", bare)[:60].strip("._") or "image"


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise RefusedError(
            "too_many_pixels",
            f"It is {width} x {height} ({width * height / 1e6:.3g} megapixels); the limit is "
            f"{MAX_PIXELS // 1_000_000} megapixels. Make it smaller and try again.",
        )
    if max(width, height) > MAX_SIDE:
        raise RefusedError(
            "too_many_pixels",
            f"It is {width} x {height}; no side may be longer than {MAX_SIDE} pixels. "
            "Make it smaller and try again.",
        )
    if min(width, height) < MIN_SIDE:
        raise RefusedError(
            "too_small",
            f"It is {width} x {height}; the smallest side must be at least {MIN_SIDE} pixels.",
        )


def _damaged() -> RefusedError:
    return RefusedError("damaged", "It is damaged and could not be read.")


def _orientation(exif: object) -> int:
    if not isinstance(exif, bytes):
        return 1
    tags = Image.Exif()
    tags.load(exif)
    return int(tags.get(_ORIENTATION, 1))
