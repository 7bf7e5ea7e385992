"""Image files with depth, transparency, colour profile and camera data.

Between `read` and `encode` the image is in sRGB.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from facesr import images
from facesr.errors import DataError
from facesr.images import metadata, png, sixteen_bit, tiff, tiff_reader
from facesr.images.metadata import Metadata

Format = Literal["jpeg", "png", "webp", "tiff"]
FORMATS: dict[str, Format] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Formats that can be written, by file ending."""

_NEAREST: dict[str, Format] = {"JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp", "TIFF": "tiff"}
QUALITY = 95
"""Default of JPEG and WebP: below it the compression shows (-0.1 dB at x4)."""

MAX_PIXELS = 200_000_000
"""Default limit of an image and of its enlargement; 2.4 GB in memory."""

_ORIENTATION = 0x0112
# A JPEG's segment: XMP and IPTC that do not fit are left out.
_LONGEST_SEGMENT = 65_000


@dataclass(frozen=True)
class Photo:
    """Image, upright and in sRGB, with the metadata of its file."""

    colour: Tensor
    """(3, H, W) float32 RGB in [0, 1], not multiplied by alpha."""
    alpha: Tensor | None = None
    """(1, H, W) in [0, 1]; None if all is opaque."""
    is_grey: bool = False
    depth: Literal[8, 16] = 8
    """Bits per channel, by the file's mode."""
    profile: bytes | None = None
    """ICC profile to which `encode` converts back."""
    metadata: Metadata | None = None
    dpi: tuple[float, float] | None = None
    format: Format = "png"
    """Format of the file, or the nearest that can be written."""
    notes: tuple[str, ...] = ()
    """Messages about losses."""


def read(
    source: Path | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS, keep_gps: bool = False
) -> Photo:
    """Decode the first image of a file with all its metadata, upright, in sRGB.

    Args:
        source: A path, or the encoded bytes.
        name: For messages, instead of the path.
        max_pixels: A larger image is refused before it is decoded.
        keep_gps: Keep the place where the image was taken.

    Raises:
        DataError: Not an image, damaged, of 32-bit values, or too large.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    notes: list[str] = []
    with images.opened(source, name, max_pixels=max_pixels) as opened:
        with images.faults_of(name):
            data = source if isinstance(source, bytes) else source.read_bytes()
            metadata.note_other_images(opened, data, notes)
            if opened.mode == "CMYK" and sixteen_bit.holds_16_bits(opened):
                notes.append("printing colours of 16 bits are read as 8")
            is_16_bit_png = sixteen_bit.is_16_bit_png(opened)
            # After this a PNG may be loaded, and once loaded, a TIFF no longer has it.
            orientation = opened.getexif().get(_ORIENTATION, 1)
        pixels = images.decode_tiff(opened, source, name)
        if is_16_bit_png:
            with images.faults_of(name):
                # Pillow names damage that the other decoder passes over.
                opened.load()
                pixels = tiff_reader.apply_orientation(
                    sixteen_bit.decode_png(data, opened), orientation
                )
        if pixels is None:
            upright = images.decode(opened, source, name)
        kept = metadata.read(opened, data, notes, keep_gps=keep_gps)
        if pixels is not None and pixels.dtype == np.uint16 and pixels.shape[-1] > 1:
            content = _from_16_bit(pixels.astype(np.uint16), opened.info.get("icc_profile"), notes)
        else:
            upright = upright if pixels is None else images.from_pixels(pixels, opened)
            content = _from_pillow(upright, name, notes)
        if opened.format == "PNG" and (colours := png.read_colours(data)):
            notes.append("its gamma and primaries (gAMA, cHRM) become those of sRGB")
            content = replace(content, colour=png.to_srgb(content.colour, colours))
        return replace(
            content,
            metadata=kept,
            dpi=metadata.read_dpi(opened, notes),
            format=_NEAREST.get(opened.format or "", "png"),
            notes=tuple(notes),
        )


def _from_pillow(upright: Image.Image, name: str, notes: list[str]) -> Photo:
    base, alpha = _split(upright)
    base, profile = _to_srgb(base, base.info.pop("icc_profile", None), notes)
    is_sixteen_bit = base.mode.startswith("I;16")
    return Photo(
        colour=images.from_pillow(base, name),
        alpha=None if alpha is None else images.from_uint8(torch.from_numpy(np.array(alpha)))[None],
        is_grey=is_sixteen_bit or base.mode in ("1", "L"),
        depth=16 if is_sixteen_bit else 8,
        profile=profile,
    )


def _from_16_bit(pixels: sixteen_bit.Pixels, profile: bytes | None, notes: list[str]) -> Photo:
    channels = pixels.shape[-1]
    is_grey = channels < 3
    alpha = pixels[..., -1:] if channels in (2, 4) else None
    if alpha is not None and alpha.min() == sixteen_bit.OPAQUE:
        alpha = None
    colours: sixteen_bit.Pixels = np.ascontiguousarray(pixels[..., : 1 if is_grey else 3])
    if profile and not is_grey:
        try:
            colours = sixteen_bit.to_srgb(colours, profile)
        except ValueError as error:
            notes.append(_unreadable(error))
            profile = None
    colour = sixteen_bit.to_tensor(colours)
    return Photo(
        colour=colour.expand(3, -1, -1).contiguous(),
        alpha=None if alpha is None else sixteen_bit.to_tensor(alpha),
        is_grey=is_grey,
        depth=16,
        profile=None if is_grey else profile,
    )


def encode(
    photo: Photo,
    *,
    file_format: Format | None = None,
    quality: int = QUALITY,
    keep_metadata: bool = True,
    software: str = "",
) -> bytes:
    """Encode an image with its metadata as a file.

    Args:
        file_format: None takes that of the original.
        quality: 1 to 100, of JPEG and WebP.
        keep_metadata: False leaves out all camera data.
        software: Software that made the image, for the metadata in any case.

    Raises:
        DataError: The image is too large for the format.
    """
    chosen = file_format or photo.format
    exif = Image.Exif()
    kept = photo.metadata if keep_metadata else None
    if kept and not (chosen == "jpeg" and _is_long(kept.exif.tobytes())):
        exif.load(kept.exif.tobytes())
    if software:
        exif[metadata.SOFTWARE] = software
    written = replace(kept, exif=exif) if kept else Metadata(exif)
    try:
        return _ENCODERS[chosen](photo, written, quality)
    except (OSError, ValueError) as error:
        height, width = photo.colour.shape[-2:]
        raise DataError(
            f"An image of {width} x {height} pixels cannot be written as {chosen} ({error}). "
            "Choose another format, such as png."
        ) from error


def losses(photo: Photo, file_format: Format, *, keep_metadata: bool = True) -> tuple[str, ...]:
    """Return what a format loses of an image, apart from metadata that is not to be kept."""
    kept = photo.metadata if keep_metadata else None
    of_jpeg = file_format == "jpeg"
    named = {
        "16 bits a channel become 8": photo.depth == 16 and file_format in ("jpeg", "webp"),
        "transparency becomes white": photo.alpha is not None and of_jpeg,
        "the resolution is left out": photo.dpi is not None and file_format == "webp",
    }
    if kept:
        texts = [text.keyword for text in kept.texts if not _is_held(text, file_format)]
        named |= {
            f"the text is left out ({', '.join(texts)})": bool(texts),
            "the EXIF metadata is left out": of_jpeg and _is_long(kept.exif.tobytes()),
            "the XMP metadata is left out": of_jpeg and _is_long(kept.xmp),
            "the IPTC metadata is left out": bool(kept.iptc)
            and (file_format in ("png", "webp") or (of_jpeg and _is_long(kept.iptc))),
        }
    return tuple(
        f"{what}: {file_format} cannot hold it" for what, is_lost in named.items() if is_lost
    )


def _is_held(text: png.Chunk, file_format: Format) -> bool:
    is_comment = file_format == "jpeg" and text.comment is not None
    return file_format == "png" or (is_comment and not _is_long(text.content))


def _is_long(block: bytes) -> bool:
    return len(block) > _LONGEST_SEGMENT


def _encode_jpeg(photo: Photo, written: Metadata, quality: int) -> bytes:
    options: dict[str, object] = {}
    if not _is_long(written.xmp):
        options["xmp"] = written.xmp
    if written.iptc and not _is_long(written.iptc):
        options["extra"] = metadata.jpeg_segment(written.iptc)
    if comments := [text.comment for text in written.texts if _is_held(text, "jpeg")]:
        options["comment"] = comments[0]
    return _save(
        photo, "jpeg", written, **options, quality=quality, subsampling="4:4:4", optimize=True
    )


def _encode_webp(photo: Photo, written: Metadata, quality: int) -> bytes:
    return _save(replace(photo, dpi=None), "webp", written, xmp=written.xmp, quality=quality)


def _encode_png(photo: Photo, written: Metadata, quality: int) -> bytes:
    if photo.depth == 16:
        encoded = sixteen_bit.encode_png(
            _to_16_bit(photo),
            exif=written.exif.tobytes(),
            xmp=written.xmp,
            profile=photo.profile,
            dpi=photo.dpi,
        )
        return png.insert(encoded, written.texts)
    info = PngInfo()
    if written.xmp:
        info.add_itxt("XML:com.adobe.xmp", written.xmp.decode())
    level = images.PNG_COMPRESSION
    encoded = _save(photo, "png", written, pnginfo=info, compress_level=level)
    return png.insert(encoded, written.texts)


def _encode_tiff(photo: Photo, written: Metadata, quality: int) -> bytes:
    pixels = _to_16_bit(photo) if photo.depth == 16 else np.asarray(_to_pillow(photo, "tiff"))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if photo.depth == 16 and pixels.shape[-1] == 2:
        # Hardly any program reads grey with transparency of 16 bits from TIFF.
        pixels = pixels[..., [0, 0, 0, 1]]
    return tiff.encode(pixels, written, profile=photo.profile, dpi=photo.dpi)


_ENCODERS = {"jpeg": _encode_jpeg, "webp": _encode_webp, "png": _encode_png, "tiff": _encode_tiff}


def _save(photo: Photo, file_format: Format, written: Metadata, **options: object) -> bytes:
    options["exif"] = written.exif.tobytes()
    if photo.profile:
        options["icc_profile"] = photo.profile
    if photo.dpi:
        options["dpi"] = photo.dpi
    buffer = io.BytesIO()
    _to_pillow(photo, file_format).save(buffer, file_format.upper(), **options)
    return buffer.getvalue()


def fill_transparent(photo: Photo) -> Photo:
    """Give transparent pixels the colours around them, so that no halo comes from beneath.

    Colours multiplied by alpha are reduced until nothing is transparent, and filled in from there
    (pull-push, Gortler et al. 1996, https://doi.org/10.1145/237170.237200).
    """
    if photo.alpha is None:
        return photo
    return replace(photo, colour=images.fill_beneath(photo.colour, photo.alpha))


def composite_on_white(photo: Photo) -> Tensor:
    """Return the image on a white page, (3, H, W)."""
    if photo.alpha is None:
        return photo.colour
    return photo.colour * photo.alpha + (1 - photo.alpha)


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Separate colours and transparency."""
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        is_grey = image.mode in ("1", "L", "LA", "La")
        whole = image.convert("LA" if is_grey else "RGBA")
        alpha = whole.getchannel("A")
        # All opaque is none.
        return whole.convert("L" if is_grey else "RGB"), (
            alpha if alpha.getextrema() != (255, 255) else None
        )
    if image.mode.startswith("I;16") or image.mode in ("1", "L", "CMYK"):
        return image, None
    return image.convert("RGB"), None


def _to_srgb(
    image: Image.Image, profile: bytes | None, notes: list[str]
) -> tuple[Image.Image, bytes | None]:
    """Convert colours; return the profile to convert the result to."""
    if image.mode == "CMYK":
        notes.append("printing colours (CMYK) become RGB")
    if not profile:
        return image, None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if image.mode not in ("RGB", "CMYK"):
            # Grey stays what it is; a profile for colours says nothing about it.
            return image, profile if space == "GRAY" else None
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notes.append(_unreadable(error))
        return image, None
    converted = converted or image
    converted.info.pop("icc_profile", None)
    return converted, profile if space == "RGB" else None


def _unreadable(error: Exception) -> str:
    return f"the colour profile cannot be read and is left out ({error})"


def _to_16_bit(photo: Photo) -> sixteen_bit.Pixels:
    colours = sixteen_bit.from_tensor(
        photo.colour.mean(0, keepdim=True) if photo.is_grey else photo.colour
    )
    if photo.profile and not photo.is_grey:
        colours = sixteen_bit.from_srgb(colours, photo.profile)
    if photo.alpha is None:
        return colours
    return np.concatenate([colours, sixteen_bit.from_tensor(photo.alpha)], -1)


def _to_pillow(photo: Photo, file_format: Format) -> Image.Image:
    image = images.to_pillow(photo.colour)
    if photo.profile and not photo.is_grey:
        back = ImageCms.profileToProfile(
            image,
            ImageCms.createProfile("sRGB"),
            ImageCms.ImageCmsProfile(io.BytesIO(photo.profile)),
            outputMode="RGB",
        )
        image = back or image
    if photo.is_grey:
        image = image.convert("L")
    if photo.alpha is None:
        return image
    alpha = Image.fromarray(images.to_uint8(photo.alpha)[0].numpy())
    if file_format == "jpeg":
        return Image.composite(image, Image.new(image.mode, image.size, "white"), alpha)
    image.putalpha(alpha)
    return image
