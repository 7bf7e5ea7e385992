"""Images in files and in memory.

In memory an image is a float32 RGB tensor (3, H, W) in [0, 1].
"""

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from facesr.errors import DataError
from facesr.files import atomic_write
from facesr.images import png, tiff_reader

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"}
    | {".png", ".apng", ".webp", ".tif", ".tiff", ".gif", ".bmp"}
)
# Pillow reads more, some of it by programs of its own that nobody expects here.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
# Pillow's own limit. `opened` holds to it instead, or to what its caller says.
MAX_PIXELS = 178_956_970
Image.MAX_IMAGE_PIXELS = None
_ORIENTATION = 274
# zlib's usual 6 takes three times as long and saves 4 % of the size (measured at 384 px).
PNG_COMPRESSION = 3
# Weights of red, green and blue in the luma of ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)

Filter = Literal["nearest", "area", "bilinear", "bicubic", "lanczos"]
_PILLOW_FILTERS: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def find(folder: Path) -> list[Path]:
    """Return all image files below `folder`, sorted; raise DataError if there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Put the images there, or name another one.")
    return sorted(
        path
        for path in folder.rglob("*")
        # macOS puts a file ._NAME beside each NAME on disks of other systems.
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and path.is_file()
    )


def read(source: Path | bytes) -> Tensor:
    """Decode an image file, turned upright and converted to sRGB.

    Depth, palette and transparency follow from the file's mode, never from its values. Transparent
    parts are composited on white; `photos.read` keeps them and everything else in a file.

    Args:
        source: A path, or the encoded bytes of an image.

    Returns:
        (3, H, W) float32 RGB in [0, 1].

    Raises:
        DataError: Not an image, damaged, or so large that it looks like a decompression bomb.
    """
    name = _name(source)
    with opened(source) as image:
        kind = image.format
        decoded = from_pillow(decode(image, source, name), name)
    if kind == "PNG" and (colours := png.read_colours(_content(source))):
        return png.to_srgb(decoded, colours)
    return decoded


@contextmanager
def opened(
    source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS
) -> Iterator[Image.Image]:
    """Open an image file, path or bytes, at its first full image, without decoding it.

    `name` is for messages, instead of the path. A larger image than `max_pixels` is refused.
    """
    name = name or _name(source)
    with ExitStack() as stack:
        with faults_of(name):
            # Never by its name: Pillow would map turned TIFF files into memory, and wrongly.
            file = stack.enter_context(_file(source))
            image = _open(file, name)
            if image.format == "TIFF":
                try:
                    tiff_reader.go_to_image(image)
                except SyntaxError:
                    image = _open_unknown(file, name)
        width, height = image.size
        if width * height > max_pixels:
            raise DataError(
                f"{name} has {width} x {height} pixels, more than {max_pixels}: it is too large to "
                "be opened safely. Reduce it, or raise --max-pixels."
            )
        yield image


@contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Turn Pillow's exceptions in the block, for a file only, into a DataError that names it."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{name} does not exist. Check the path.") from error
    except PermissionError as error:
        raise DataError(f"{name} cannot be read. Check its permissions.") from error
    # Pillow's readers let through whatever a damaged file makes of them.
    except Exception as error:
        raise DataError(f"{name} is damaged ({error}). Replace it with an intact copy.") from error


def decode(image: Image.Image, source: Path | bytes, name: str) -> Image.Image:
    """Decode an opened file, upright, to 8 bits a channel or 16 of grey, or raise DataError."""
    pixels = decode_tiff(image, source, name)
    if pixels is not None:
        return from_pixels(pixels, image)
    if image.mode in ("I", "F"):
        with _file(source) as file:
            raise DataError(f"{name} {tiff_reader.describe(file, image.tell())}")
    with faults_of(name):
        image.load()
        return ImageOps.exif_transpose(image)


def decode_tiff(image: Image.Image, source: Path | bytes, name: str) -> tiff_reader.Pixels | None:
    """Return an opened TIFF file's values, upright, if `tiff_reader` reads them."""
    if image.format != "TIFF":
        return None
    with faults_of(name), _file(source) as file:
        pixels = tiff_reader.read_pixels(file, tiff_reader.page_of(image))
        orientation = image.getexif().get(_ORIENTATION, 1)
        return None if pixels is None else tiff_reader.apply_orientation(pixels, orientation)


def from_pixels(pixels: tiff_reader.Pixels, opened: Image.Image) -> Image.Image:
    """Make a Pillow image of values, with the metadata of the opened file."""
    if pixels.dtype == np.uint16 and pixels.shape[-1] > 1:
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.info = opened.info
    return image


def _file(source: Path | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _open(file: IO[bytes], name: str) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        return _open_unknown(file, name)


def _open_unknown(file: IO[bytes], name: str) -> Image.Image:
    file.seek(0)
    image = tiff_reader.open_unknown(file) if tiff_reader.is_tiff(file.read(4)) else None
    if image is None:
        raise DataError(f"{name} {_what_it_is(file)}")
    return image


def _what_it_is(file: IO[bytes]) -> str:
    """Return the kind of an unsupported file, and what to do."""
    file.seek(0)
    start = file.read(64)
    if tiff_reader.is_tiff(start):
        return tiff_reader.describe(file)
    kind = next((kind for mark, kind in _FOREIGN if mark in start), "")
    if start[4:8] == b"ftyp":
        kind = next((kind for brand, kind in _BRANDS if brand in start), "a video")
    if kind:
        return f"is {kind}; convert it to JPEG, PNG, WebP or TIFF first."
    return "is not an image. Give a JPEG, PNG, WebP, TIFF, GIF or BMP file."


_BRANDS = ((b"avif", "AVIF"), (b"avis", "AVIF"), (b"crx ", "a camera's raw file")) + tuple(
    (brand, "HEIC") for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
)
_FOREIGN = (
    (b"JXL \r\n\x87\n", "JPEG XL"),
    (b"jP  \r\n\x87\n", "JPEG 2000"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
)


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _name(source: Path | bytes) -> str:
    return "the image" if isinstance(source, bytes) else str(source)


def from_pillow(image: Image.Image, name: str = "the image") -> Tensor:
    """Convert any Pillow image to (3, H, W) float32 sRGB in [0, 1]; `name` is for messages."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float32) / 65535
        return torch.from_numpy(np.repeat(grey[None], 3, axis=0))
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
    image = _to_srgb(image, name)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    rgb = torch.from_numpy(np.array(image.convert("RGB")))  # (H, W, 3)
    # One pass and one new array: at 1024 px a third of the time of the obvious expression.
    planes = torch.empty(3, *rgb.shape[:2])
    planes.copy_(rgb.permute(2, 0, 1))
    return planes.div_(255)


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        if image.mode == "P":
            image = image.convert("RGB")
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode=mode,
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("%s: colour profile cannot be read (%s), taken as sRGB", name, error)
        return image
    return image if converted is None else converted


def to_uint8(image: Tensor) -> Tensor:
    """Round values in [0, 1] to 8 bits; anything outside is clamped first."""
    return _grey_levels(image).to(torch.uint8)


def from_uint8(image: Tensor) -> Tensor:
    """Convert 8-bit values to float32 in [0, 1]."""
    return image.float() / 255


def round_to_8bit(image: Tensor) -> Tensor:
    """Return float values on the 8-bit grid."""
    return _grey_levels(image).div_(255)


def _grey_levels(image: Tensor) -> Tensor:
    # In place after the first copy: a new array for each step takes five times as long.
    return image.detach().clamp(0, 1).mul_(255).round_()


def to_pillow(image: Tensor) -> Image.Image:
    """Convert (3, H, W) in [0, 1] to an 8-bit RGB Pillow image."""
    pixels = np.empty((*image.shape[-2:], 3), np.uint8)
    for channel, plane in enumerate(image):
        pixels[..., channel] = to_uint8(plane).cpu().numpy()
    return Image.fromarray(pixels)


def encode_png(image: Tensor) -> bytes:
    """Encode (3, H, W) in [0, 1] as 8-bit PNG."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, "PNG", compress_level=PNG_COMPRESSION)
    return buffer.getvalue()


def encode_jpeg(image: Tensor, *, quality: int, chroma_halved: bool) -> bytes:
    """Encode (3, H, W) in [0, 1] as JPEG of quality 1 to 95, in 4:2:0 (as cameras do) or 4:4:4."""
    buffer = io.BytesIO()
    subsampling = "4:2:0" if chroma_halved else "4:4:4"
    to_pillow(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def write(path: Path, image: Tensor) -> None:
    """Write (3, H, W) in [0, 1] as 8-bit PNG, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_png(image))


def resize(
    image: Tensor,
    size: tuple[int, int],
    method: Filter,
    *,
    box: tuple[float, float, float, float] | None = None,
) -> Tensor:
    """Resize with Pillow's anti-aliased filters in float arithmetic.

    Pillow widens the filter when it reduces, as MATLAB's imresize does; un-anti-aliased reduction
    (OpenCV, `F.interpolate` without `antialias`) costs 0.9 dB at x4 and is used nowhere.

    Args:
        image: (C, H, W) float32.
        size: Height and width of the result in pixels.
        box: Left, top, right and bottom of the part to resize, in pixels, fractions allowed; the
            filter reaches beyond it. None for the whole image.

    Returns:
        (C, *size) float32; bicubic and Lanczos overshoot [0, 1] slightly.
    """
    if image.shape[-2:] == size and box in (None, (0, 0, size[1], size[0])):
        return image
    height, width = size
    # One channel at a time into its place: of a large image nothing is held twice.
    result = np.empty((image.shape[0], height, width), np.float32)
    for own, plane in zip(result, image.cpu().numpy(), strict=True):
        resized = Image.fromarray(plane).resize((width, height), _PILLOW_FILTERS[method], box=box)
        own[:] = np.asarray(resized)
    return torch.from_numpy(result)


def fill_beneath(colour: Tensor, alpha: Tensor) -> Tensor:
    """Fill (3, H, W) with the surrounding colours where (1, H, W) alpha is 0; see `photos`."""
    height, width = alpha.shape[-2:]
    if alpha.min() > 0 or max(height, width) == 1:
        return colour
    half = ((height + 1) // 2, (width + 1) // 2)
    opaque = resize(alpha, half, "bilinear")
    reduced = resize(colour * alpha, half, "bilinear") / opaque.clamp(min=1e-6)
    around = resize(fill_beneath(reduced.clamp(0, 1), opaque), (height, width), "bilinear")
    return torch.where(alpha > 0, colour, around)


def centre_square(image: Tensor, side: int | None = None) -> Tensor:
    """Cut a square of at most `side` from the middle of a (3, H, W) image."""
    height, width = image.shape[-2:]
    side = min(height, width, side or height)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side]


def stack(given: Iterable[Tensor]) -> Tensor:
    """Stack images of one size to (N, 3, H, W)."""
    return torch.stack(list(given))
