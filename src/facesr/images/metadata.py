"""Metadata of image files: EXIF, XMP and IPTC, and the selection that results keep.

Properties of the old file (sizes, orientation, previews) are left out, and so is the place where
the image was taken, unless asked for.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from PIL import Image, IptcImagePlugin

from facesr.images import png, tiff_reader

# Description, make, model, date, author, copyright, rating, and Windows' title, comment, author,
# keywords and subject. All else in the first directory describes the file that was.
_KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x4746, 0x8298, *range(0x9C9B, 0x9CA0))
SOFTWARE, CAMERA, GPS = 0x0131, 0x8769, 0x8825
# Width and height that were; the maker's note, which can hold places and names.
_STALE_CAMERA_TAGS = (0xA002, 0xA003, 0x927C)
# Names and numbers that lead to a person: the camera's owner, the numbers of camera and lens.
_PERSONAL_CAMERA_TAGS = (0xA430, 0xA431, 0xA435)

# XMP names, whatever their namespace.
_STALE_NAMES = frozenset(
    [
        "orientation",
        "imagewidth",
        "imagelength",
        "pixelxdimension",
        "pixelydimension",
        "thumbnails",
        "hasextendedxmp",
        "nativedigest",
    ]
)
_PLACE_NAMES = frozenset(
    [
        "location",
        "locationcreated",
        "locationshown",
        "sublocation",
        "city",
        "state",
        "provincestate",
        "country",
        "countryname",
        "countrycode",
        "latitude",
        "longitude",
        "altitude",
    ]
)
_PERSONAL_NAMES = frozenset(
    [
        "ownername",
        "cameraownername",
        "serialnumber",
        "bodyserialnumber",
        "cameraserialnumber",
        "internalserialnumber",
        "lensserialnumber",
    ]
)
# Google's and Apple's cameras hang depth maps, gain maps of HDR, second images and videos behind
# the file and describe them.
_STALE_NAMESPACES = (
    "http://ns.google.com/photos/",
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.apple.com/pixeldatainfo/",
)
# Of Adobe and Google, Apple, and ISO 21496-1.
_GAIN_MAPS = (b"ns.adobe.com/hdr-gain-map/", b"hdrgainmap", b"HDRGainMap", b"ts:21496:-1")
# What every format can say.
_LOWEST_DPI, _HIGHEST_DPI = 1, 65_535
_X_RESOLUTION = 0x011A

# IPTC-IIM (https://iptc.org/standards/iim/), record 2: content location, city, sublocation,
# province, country.
_APPLICATION, _PLACE_DATASETS = 2, (26, 27, 90, 92, 95, 100, 101)
# Longer values have a form of their own, which hardly any program reads.
_LONGEST_VALUE = 32767


@dataclass(frozen=True)
class Metadata:
    """Metadata that a result keeps."""

    exif: Image.Exif
    xmp: bytes = b""
    """A packet, or nothing."""
    iptc: bytes = b""
    """IPTC-IIM data sets, or nothing."""
    texts: tuple[png.Chunk, ...] = ()
    """Texts of a PNG file, and the comment of a JPEG or GIF file."""


def read(image: Image.Image, data: bytes, notes: list[str], *, keep_gps: bool) -> Metadata:
    """Return the metadata of an opened file that results keep.

    Args:
        image: Image from `Image.open`, not yet changed.
        data: The file.
        notes: List to which unreadable parts are added.
        keep_gps: Keep the place as well.
    """
    xmp = image.info.get("xmp") or b""
    try:
        xmp = clean_xmp(bytes(xmp), keep_gps=keep_gps)
    except (ExpatError, ValueError, RecursionError) as error:
        notes.append(f"the XMP metadata cannot be read and is left out ({error})")
        xmp = b""
    try:
        found = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
    # Pillow's reader trusts the lengths that it finds.
    except (SyntaxError, ValueError, OSError, struct.error) as error:
        notes.append(f"the IPTC metadata cannot be read and is left out ({error})")
        found = {}
    return Metadata(
        clean_exif(image.getexif(), keep_gps=keep_gps),
        xmp,
        _pack_iptc(found, keep_gps),
        tuple(_read_texts(image, data, notes, keep_gps)),
    )


def note_other_images(opened: Image.Image, data: bytes, notes: list[str]) -> None:
    """Add notes on pages, frames and HDR that are not read."""
    frames = getattr(opened, "n_frames", 1)
    if opened.format == "TIFF":
        frames = len(tiff_reader.full_pages(opened))
        if not frames:
            notes.append("the file calls this image a preview: a larger one in it is not read")
    # A camera's MPO file holds previews beside the image.
    if frames > 1 and opened.format != "MPO":
        notes.append("animated or with several pages: only the first image is taken")
    if opened.format in ("JPEG", "MPO") and any(mark in data for mark in _GAIN_MAPS):
        notes.append("HDR is lost: the gain map is left out")
    if opened.format == "PNG" and (kind := png.hdr(data)):
        notes.append(f"HDR is lost: the colours ({kind}) are taken as sRGB")


def read_dpi(image: Image.Image, notes: list[str]) -> tuple[float, float] | None:
    """Return pixels per inch to the right and down, if an opened file gives them as numbers."""
    info = image.info
    shape = info.get("aspect") or info.get("resolution")
    if info.get("jfif_unit") == 0:
        shape = info.get("jfif_density")
    if shape and 0 < shape[0] != shape[1] > 0:
        notes.append(f"its pixels are not square ({shape[0]}:{shape[1]}), which is left out")
    # Where a TIFF file says nothing, Pillow says 1.
    found = info.get("dpi") if _X_RESOLUTION in getattr(image, "tag_v2", {_X_RESOLUTION}) else ()
    if not found:
        return None
    try:
        right, down = (float(value) for value in found)
    except (TypeError, ValueError, ArithmeticError):
        right = down = math.nan
    if min(right, down) >= _LOWEST_DPI and max(right, down) <= _HIGHEST_DPI:
        return right, down
    notes.append(f"the resolution ({right:g} x {down:g} dpi) makes no sense and is left out")
    return None


def _read_texts(
    image: Image.Image, data: bytes, notes: list[str], keep_gps: bool
) -> Iterator[png.Chunk]:
    if image.format == "PNG":
        for chunk in png.chunks(data):
            if chunk.name not in png.TEXTS or chunk.keyword in ("XML:com.adobe.xmp", "Software"):
                continue
            # ImageMagick's, as long numbers: Pillow reads EXIF, and nothing cleans the others.
            if chunk.keyword.startswith("Raw profile type "):
                if not chunk.keyword.endswith((" exif", " APP1")):
                    notes.append(f"the text {chunk.keyword} is left out")
            elif keep_gps or not _is_place_or_person(chunk.keyword.rpartition(":")[2].lower()):
                yield chunk
    elif image.format in ("JPEG", "MPO", "GIF") and (comment := image.info.get("comment")):
        yield png.Chunk(b"tEXt", b"Comment\0" + bytes(comment).replace(b"\0", b""))


def clean_exif(exif: Image.Exif, *, keep_gps: bool) -> Image.Exif:
    """Return camera data without orientation, sizes and preview.

    Place, owner's name and serial numbers are left out too, unless the place is asked for.
    """
    kept = Image.Exif()
    for tag in _KEPT_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    left_out = _STALE_CAMERA_TAGS if keep_gps else _STALE_CAMERA_TAGS + _PERSONAL_CAMERA_TAGS
    camera = {tag: value for tag, value in exif.get_ifd(CAMERA).items() if tag not in left_out}
    if camera:
        kept.get_ifd(CAMERA).update(camera)
    if keep_gps and (place := exif.get_ifd(GPS)):
        kept.get_ifd(GPS).update(place)
    return kept


def clean_xmp(packet: bytes, *, keep_gps: bool) -> bytes:
    """Return an XMP packet without properties of the old file, and without the place.

    XMP states a property as an attribute or as an element (ISO 16684-1); both go. Text that is not
    XML, or that declares entities, which attackers use, raises ExpatError or ValueError.
    """
    packet = packet.strip(b"\0 \t\r\n")
    if not packet:
        return b""
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise ValueError("it declares entities")
    document = minidom.parseString(packet)
    for element in list(_elements(document)):
        for attribute in list((element.attributes or {}).values()):
            if not _is_kept(attribute, keep_gps):
                element.removeAttributeNode(attribute)
        if not _is_kept(element, keep_gps) and element.parentNode:
            element.parentNode.removeChild(element)
    cleaned: bytes = document.toxml("utf-8")
    # The declaration is no part of a packet.
    return cleaned.partition(b"?>")[2] if cleaned.startswith(b"<?xml ") else cleaned


def _elements(node: minidom.Node) -> Iterator[minidom.Element]:
    for child in node.childNodes:
        if isinstance(child, minidom.Element):
            yield child
            yield from _elements(child)


def _is_kept(node: minidom.Element | minidom.Attr, keep_gps: bool) -> bool:
    if node.prefix == "xmlns":
        return not (node.nodeValue or "").startswith(_STALE_NAMESPACES)
    name = (node.localName or "").lower()
    if name in _STALE_NAMES or (node.namespaceURI or "").startswith(_STALE_NAMESPACES):
        return False
    return keep_gps or not _is_place_or_person(name)


def _is_place_or_person(name: str) -> bool:
    return name.startswith("gps") or name in _PLACE_NAMES or name in _PERSONAL_NAMES


def _pack_iptc(found: dict[tuple[int, int], bytes | list[bytes]], keep_gps: bool) -> bytes:
    packed = b""
    for (record, dataset), values in sorted(found.items()):
        if record == _APPLICATION and dataset in _PLACE_DATASETS and not keep_gps:
            continue
        for value in values if isinstance(values, list) else [values]:
            # Pillow gives None for an empty one.
            if value and len(value) <= _LONGEST_VALUE:
                packed += struct.pack(">BBBH", 0x1C, record, dataset, len(value)) + value
    return packed


def jpeg_segment(iptc: bytes) -> bytes:
    """Return JPEG's segment for IPTC: Photoshop's, with one resource, 0x0404."""
    content = b"Photoshop 3.0\x00" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    content += b"\0" * (len(content) % 2)
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content
