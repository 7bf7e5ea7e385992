"""Picture files with all that they hold: depth, transparency, colour profile, camera data.

`read` takes a file apart, `encode` puts one together. What stands between works on sRGB alone.
"""

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from facesr import images
from facesr.errors import DataError

Format = Literal["jpeg", "png", "webp", "tiff"]
FORMATS: dict[str, Format] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Formats that are written, by file name."""

QUALITY = 95
"""Of JPEG and WebP where nothing else is asked: below it the compression shows (-0.1 dB at x4)."""

MAX_PIXELS = 200_000_000
"""Of a picture and of its enlargement where nothing else is asked; 2.4 GB in memory."""

# What camera data is kept: description, make, model, date, author, copyright, rating. All else in
# the first directory describes the file that was, its size and orientation among it.
_KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x4746, 0x8298)
_SOFTWARE, _CAMERA, _GPS = 0x0131, 0x8769, 0x8825
# Width and height that were; the maker's note, which can hold places and names.
_STALE_CAMERA_TAGS = (0xA002, 0xA003, 0x927C)


@dataclass(frozen=True)
class Photo:
    """A picture, upright and in sRGB, and what its file says beside."""

    colour: Tensor
    """(3, H, W) float32 RGB in [0, 1], not multiplied by alpha."""
    alpha: Tensor | None = None
    """(1, H, W) in [0, 1]; None where all is opaque."""
    is_grey: bool = False
    depth: Literal[8, 16] = 8
    """Bits per channel, as the file's mode says."""
    profile: bytes | None = None
    """ICC profile that `encode` goes back to."""
    exif: Image.Exif | None = None
    dpi: tuple[float, float] | None = None
    format: Format = "png"
    """Of the file, or the nearest that can be written."""
    notes: tuple[str, ...] = ()
    """What a person should know: what could not be kept."""


def read(source: Path | bytes, *, max_pixels: int = MAX_PIXELS, keep_gps: bool = False) -> Photo:
    """Decodes the first picture of a file, upright, in sRGB, nothing thrown away.

    Args:
        source: A path, or the encoded bytes.
        max_pixels: A larger picture is refused before it is decoded.
        keep_gps: Keeps the place where the picture was taken.

    Raises:
        DataError: Not a picture, damaged, of 32-bit values, or too large.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    notes: list[str] = []
    # The limit is ours: Pillow would warn of large pictures that were asked for.
    with warnings.catch_warnings(), images.opened(source) as opened:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        width, height = opened.size
        if width * height > max_pixels:
            raise DataError(
                f"{name} has {width} x {height} pixels, more than {max_pixels}. Reduce it, or "
                "raise --max-pixels."
            )
        # A camera's MPO file holds previews beside the picture.
        if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
            notes.append("animated or with several pages: only the first picture is taken")
        if _is_deep_colour(opened):
            notes.append("16-bit colour is read as 8 bits a channel")
        opened.load()
        file_format = opened.format or ""
        exif = _clean(opened.getexif(), keep_gps=keep_gps)
        upright = ImageOps.exif_transpose(opened)
        dpi = upright.info.get("dpi")
        base, alpha = _split(upright, name)
        base, profile = _to_srgb(base, base.info.pop("icc_profile", None), notes)
    is_deep = base.mode.startswith("I;16")
    return Photo(
        colour=images.from_pillow(base, name),
        alpha=None if alpha is None else images.from_uint8(torch.from_numpy(np.array(alpha)))[None],
        is_grey=is_deep or base.mode in ("1", "L"),
        depth=16 if is_deep else 8,
        profile=profile,
        exif=exif,
        dpi=(float(dpi[0]), float(dpi[1])) if dpi else None,
        format=_nearest_format(file_format),
        notes=tuple(notes),
    )


def encode(
    photo: Photo,
    *,
    file_format: Format | None = None,
    quality: int = QUALITY,
    keep_metadata: bool = True,
    software: str = "",
) -> bytes:
    """Encodes a picture as a file that holds what the original did.

    Args:
        photo: The picture.
        file_format: None takes that of the original.
        quality: 1 to 100, of JPEG and WebP.
        keep_metadata: False leaves out all camera data.
        software: What made the picture; written into the metadata in any case.

    Raises:
        DataError: The picture is too large for the format.
    """
    chosen = file_format or photo.format
    exif = Image.Exif()
    if keep_metadata and photo.exif is not None:
        exif.load(photo.exif.tobytes())
    if software:
        exif[_SOFTWARE] = software
    # As bytes: an Exif object loses its directories in TIFF.
    options: dict[str, object] = {"exif": exif.tobytes()}
    if photo.profile:
        options["icc_profile"] = photo.profile
    if photo.dpi and chosen != "webp":
        options["dpi"] = photo.dpi
    if chosen == "jpeg":
        options |= {"quality": quality, "subsampling": "4:4:4", "optimize": True}
    elif chosen == "webp":
        options |= {"quality": quality}
    elif chosen == "png":
        options |= {"compress_level": images.PNG_COMPRESSION}
    elif not (exif.get_ifd(_CAMERA) or exif.get_ifd(_GPS)):
        # Pillow cannot write camera data into a compressed TIFF.
        options |= {"compression": "tiff_adobe_deflate"}
    buffer = io.BytesIO()
    try:
        _to_pillow(photo, chosen).save(buffer, chosen.upper(), **options)
    except (OSError, ValueError) as error:
        height, width = photo.colour.shape[-2:]
        raise DataError(
            f"A picture of {width} x {height} pixels cannot be written as {chosen} ({error}). "
            "Choose another format, such as png."
        ) from error
    return buffer.getvalue()


def fill_transparent(photo: Photo) -> Photo:
    """Gives transparent pixels the colours around them, so that no halo comes from beneath.

    Colours multiplied by alpha are reduced until nothing is transparent and taken back from there
    (pull-push, Gortler et al. 1996, https://doi.org/10.1145/237170.237200).
    """
    if photo.alpha is None:
        return photo
    return replace(photo, colour=_fill(photo.colour, photo.alpha))


def _fill(colour: Tensor, alpha: Tensor) -> Tensor:
    height, width = alpha.shape[-2:]
    if alpha.min() > 0 or max(height, width) == 1:
        return colour
    half = ((height + 1) // 2, (width + 1) // 2)
    opaque = images.resize(alpha, half, "bilinear")
    reduced = images.resize(colour * alpha, half, "bilinear") / opaque.clamp(min=1e-6)
    around = images.resize(_fill(reduced.clamp(0, 1), opaque), (height, width), "bilinear")
    return torch.where(alpha > 0, colour, around)


def _split(picture: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Takes colours and transparency apart."""
    if picture.mode in ("I", "F"):
        raise DataError(f"{name} holds 32-bit values. Save it with 8 or 16 bits first.")
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        is_grey = picture.mode in ("1", "L", "LA", "La")
        whole = picture.convert("LA" if is_grey else "RGBA")
        alpha = whole.getchannel("A")
        # All opaque is none.
        return whole.convert("L" if is_grey else "RGB"), (
            alpha if alpha.getextrema() != (255, 255) else None
        )
    if picture.mode.startswith("I;16") or picture.mode in ("1", "L", "CMYK"):
        return picture, None
    return picture.convert("RGB"), None


def _to_srgb(
    picture: Image.Image, profile: bytes | None, notes: list[str]
) -> tuple[Image.Image, bytes | None]:
    """Converts colours; gives the profile that the result is to go back to."""
    if not profile:
        return picture, None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if picture.mode not in ("RGB", "CMYK"):
            # Grey stays what it is; a profile for colours says nothing about it.
            return picture, profile if space == "GRAY" else None
        converted = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notes.append(f"the colour profile cannot be read and is left out ({error})")
        return picture, None
    if picture.mode == "CMYK":
        notes.append("printing colours (CMYK) become RGB")
    converted = converted or picture
    converted.info.pop("icc_profile", None)
    return converted, profile if space == "RGB" else None


def _to_pillow(photo: Photo, file_format: Format) -> Image.Image:
    if photo.is_grey and photo.depth == 16 and photo.alpha is None and _is_deep(file_format):
        grey = (photo.colour.mean(0).clamp(0, 1) * 65535).round().to(torch.int32)
        return Image.fromarray(grey.numpy().astype(np.uint16))
    picture = images.to_pillow(photo.colour)
    if photo.profile and not photo.is_grey:
        back = ImageCms.profileToProfile(
            picture,
            ImageCms.createProfile("sRGB"),
            ImageCms.ImageCmsProfile(io.BytesIO(photo.profile)),
            outputMode="RGB",
        )
        picture = back or picture
    if photo.is_grey:
        picture = picture.convert("L")
    if photo.alpha is None:
        return picture
    alpha = Image.fromarray(images.to_uint8(photo.alpha)[0].numpy())
    if file_format == "jpeg":
        return Image.composite(picture, Image.new(picture.mode, picture.size, "white"), alpha)
    picture.putalpha(alpha)
    return picture


def _clean(exif: Image.Exif, *, keep_gps: bool) -> Image.Exif:
    """Camera data without orientation, sizes and preview; without the place, unless asked for."""
    kept = Image.Exif()
    for tag in _KEPT_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    camera = {
        tag: value for tag, value in exif.get_ifd(_CAMERA).items() if tag not in _STALE_CAMERA_TAGS
    }
    if camera:
        kept.get_ifd(_CAMERA).update(camera)
    if keep_gps and (place := exif.get_ifd(_GPS)):
        kept.get_ifd(_GPS).update(place)
    return kept


def _is_deep_colour(picture: Image.Image) -> bool:
    """Whether Pillow halves the depth at reading: it knows 16 bits for grey only."""
    if picture.mode.startswith("I;16"):
        return False
    # The decoder's arguments name the file's own layout, such as RGB;16B.
    return any("16" in str(tile[3]) for tile in getattr(picture, "tile", ()))


def _is_deep(file_format: Format) -> bool:
    return file_format in ("png", "tiff")


def _nearest_format(name: str) -> Format:
    known: dict[str, Format] = {"JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp", "TIFF": "tiff"}
    return known.get(name, "png")
