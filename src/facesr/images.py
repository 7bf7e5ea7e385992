"""Pictures in files and in memory: the only place of 8-bit values.

In memory a picture is a float32 RGB tensor (3, H, W) in [0, 1].
"""

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from facesr.errors import DataError
from facesr.files import written_whole

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"}
    | {".png", ".apng", ".webp", ".tif", ".tiff", ".gif", ".bmp"}
)
# Pillow reads more, some of it by programs of its own that nobody expects here.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
# zlib's usual 6 takes three times as long and saves 4 % of the size (measured at 384 px).
PNG_COMPRESSION = 3

Filter = Literal["nearest", "area", "bilinear", "bicubic", "lanczos"]
_PILLOW_FILTERS: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def find(folder: Path) -> list[Path]:
    """Returns every file below `folder` whose name ends like a picture's, sorted by path.

    Raises:
        DataError: The folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Put the pictures there, or name another one.")
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def read(source: Path | bytes) -> Tensor:
    """Decodes a picture file, turned upright and converted to sRGB.

    Depth, palette and transparency are told by the file's mode, never by its values. Transparent
    parts are laid on white. `photos.read` keeps them, and all else that a file holds.

    Args:
        source: A path, or the encoded bytes of a picture.

    Returns:
        (3, H, W) float32 RGB in [0, 1].

    Raises:
        DataError: Not a picture, damaged, or so large that it looks like a decompression bomb.
    """
    with opened(source) as picture:
        picture.load()
        return from_pillow(ImageOps.exif_transpose(picture), _name(source))


@contextmanager
def opened(source: Path | bytes, name: str = "") -> Iterator[Image.Image]:
    """Opens a picture file; what goes wrong in the block is told as the file's fault.

    Raises:
        DataError: As `read`.
    """
    name = name or _name(source)
    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS
        ) as picture:
            yield picture
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} is not a picture. Give a JPEG, PNG, WebP, TIFF, GIF or BMP file."
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large to be opened safely. Reduce it first.") from error
    except FileNotFoundError as error:
        raise DataError(f"{name} does not exist. Check the path.") from error
    except PermissionError as error:
        raise DataError(f"{name} cannot be read. Check its permissions.") from error
    # Pillow's reader of TIFF raises a TypeError where a side is missing.
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise DataError(f"{name} is damaged ({error}). Replace it with an intact copy.") from error


def _name(source: Path | bytes) -> str:
    return "the picture" if isinstance(source, bytes) else str(source)


def read_square(path: Path, size: int) -> Tensor:
    """Reads a picture, cuts the middle square and reduces it to (3, size, size).

    Raises:
        DataError: The file cannot be read, or is smaller than `size`: enlarged pictures would
            teach a network to blur.
    """
    picture = centre_square(read(path))
    side = picture.shape[-1]
    if side < size:
        raise DataError(f"{path} has a side of {side} px where {size} px are needed.")
    return resize(picture, (size, size), "lanczos").clamp(0, 1)


def from_pillow(picture: Image.Image, name: str = "the picture") -> Tensor:
    """Converts any Pillow picture to (3, H, W) float32 sRGB in [0, 1]; `name` is for messages."""
    if picture.mode.startswith("I;16"):
        grey = np.asarray(picture, dtype=np.float32) / 65535
        return torch.from_numpy(np.repeat(grey[None], 3, axis=0))
    if picture.mode in ("I", "F"):
        raise DataError(f"{name} holds 32-bit values. Save it with 8 or 16 bits first.")
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "La", "RGBa"):
        picture = picture.convert("RGBA")
    picture = _to_srgb(picture, name)
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    rgb = torch.from_numpy(np.array(picture.convert("RGB")))  # (H, W, 3)
    # One pass and one new array: at 1024 px a third of the time of the obvious expression.
    planes = torch.empty(3, *rgb.shape[:2])
    planes.copy_(rgb.permute(2, 0, 1))
    return planes.div_(255)


def _to_srgb(picture: Image.Image, name: str) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    try:
        if picture.mode == "P":
            picture = picture.convert("RGB")
        converted = ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode=mode,
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("%s: colour profile cannot be read (%s), taken as sRGB", name, error)
        return picture
    return picture if converted is None else converted


def to_uint8(picture: Tensor) -> Tensor:
    """Rounds values in [0, 1] to 8 bits; anything outside is clamped first."""
    return _grey_levels(picture).to(torch.uint8)


def from_uint8(picture: Tensor) -> Tensor:
    """Turns 8-bit values into float32 in [0, 1]."""
    return picture.float() / 255


def round_to_8bit(picture: Tensor) -> Tensor:
    """Gives float values as a file with 8 bits would hold them."""
    return _grey_levels(picture).div_(255)


def _grey_levels(picture: Tensor) -> Tensor:
    # In place after the first copy: a new array for each step takes five times as long.
    return picture.detach().clamp(0, 1).mul_(255).round_()


def to_pillow(picture: Tensor) -> Image.Image:
    """Converts (3, H, W) in [0, 1] to an 8-bit RGB Pillow picture."""
    pixels = np.empty((*picture.shape[-2:], 3), np.uint8)
    for channel, plane in enumerate(picture):
        pixels[..., channel] = to_uint8(plane).cpu().numpy()
    return Image.fromarray(pixels)


def encode_png(picture: Tensor) -> bytes:
    """Encodes (3, H, W) in [0, 1] as 8-bit PNG."""
    buffer = io.BytesIO()
    to_pillow(picture).save(buffer, "PNG", compress_level=PNG_COMPRESSION)
    return buffer.getvalue()


def encode_jpeg(picture: Tensor, *, quality: int, chroma_halved: bool) -> bytes:
    """Encodes (3, H, W) in [0, 1] as JPEG.

    Args:
        picture: The picture.
        quality: 1 to 95.
        chroma_halved: Stores colour at half the resolution (4:2:0), as cameras do.
    """
    buffer = io.BytesIO()
    subsampling = "4:2:0" if chroma_halved else "4:4:4"
    to_pillow(picture).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def write(path: Path, picture: Tensor) -> None:
    """Writes (3, H, W) in [0, 1] as 8-bit PNG; the file appears whole or not at all."""
    with written_whole(path) as beside:
        beside.write_bytes(encode_png(picture))


def resize(
    picture: Tensor,
    size: tuple[int, int],
    method: Filter,
    *,
    box: tuple[float, float, float, float] | None = None,
) -> Tensor:
    """Resizes with Pillow's anti-aliased filters in float arithmetic.

    Pillow widens the filter when it reduces, as MATLAB's imresize does; un-anti-aliased reduction
    (OpenCV, `F.interpolate` without `antialias`) costs 0.9 dB at x4 and is used nowhere.

    Args:
        picture: (C, H, W) float32.
        size: Height and width of the result in pixels.
        method: The filter's name.
        box: Left, top, right and bottom of the part that becomes the result, in pixels, fractions
            allowed; the filter looks beyond them. All of the picture where it is None.

    Returns:
        (C, *size) float32; bicubic and Lanczos overshoot [0, 1] slightly.
    """
    if picture.shape[-2:] == size and box in (None, (0, 0, size[1], size[0])):
        return picture
    height, width = size
    # One channel at a time into its place: of a large picture nothing is held twice.
    result = np.empty((picture.shape[0], height, width), np.float32)
    for own, plane in zip(result, picture.cpu().numpy(), strict=True):
        resized = Image.fromarray(plane).resize((width, height), _PILLOW_FILTERS[method], box=box)
        own[:] = np.asarray(resized)
    return torch.from_numpy(result)


def centre_square(picture: Tensor, side: int | None = None) -> Tensor:
    """Cuts a square of `side` from the middle of a (3, H, W) picture, the largest at most."""
    height, width = picture.shape[-2:]
    side = min(height, width, side or height)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[:, top : top + side, left : left + side]


def stack(pictures: Iterable[Tensor]) -> Tensor:
    """Stacks pictures of one size to (N, 3, H, W)."""
    return torch.stack(list(pictures))
