"""Candidates of a source, and their conversion to squares of one size."""

import hashlib
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from facesr import images
from facesr.data.sources.archives import Blob
from facesr.errors import DataError

PNG_START = b"\x89PNG\r\n\x1a\n"

Attributes = dict[str, str | int | float]


class Square(NamedTuple):
    """Square of an image, with what was found out about it."""

    image: Tensor
    """(3, size, size) float32 in [0, 1]."""
    attributes: Attributes
    png: bytes = b""
    """PNG file of the image, if it was one already: encoding is slowest."""
    source_sha256: str = ""
    """Digest of the file, if its name does not identify the image."""


class Candidate(NamedTuple):
    """Image that may be taken."""

    name: str
    """Name of its PNG file, without suffix."""
    origin: str
    make: Callable[[], Square]
    """Function that returns the square or raises DataError."""
    licence: str
    attribution: str = ""
    identity: str = ""
    """Name or number of the person; "" if unknown."""
    attributes: Mapping[str, str | int | float] = {}
    split: str = ""
    """Split in the data set itself, if it has any."""


class Listing(NamedTuple):
    """Candidates of a source."""

    candidates: list[Candidate]
    """Candidates in the order in which they are taken."""
    set_aside: list[tuple[str, str]]
    """Origin and reason of refused images."""
    facts: Mapping[str, str | int] = {}
    """Facts for the summary."""


class Cut(NamedTuple):
    """Size and crop of all images."""

    size: int
    """Side of the result in pixels."""
    minimum: int
    """Smallest square in pixels; squares below `size` are enlarged."""
    crop: str
    """`centre` or `face`."""


def safe_name(origin: str) -> str:
    """Return a file name for an origin: readable, unique, in ASCII without blanks.

    Two folders may hold files of one name, and two files may differ in their suffix only.
    """
    stem = Path(origin).stem[:40]
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)
    return f"{readable}_{hashlib.sha256(origin.encode()).hexdigest()[:8]}"


def read_cut(blob: Blob, cut: Cut, sha256: str = "") -> Square:
    """Read an image and cut it.

    Args:
        sha256: Digest in a manifest, else "".

    Raises:
        DataError: It cannot be read, differs from the manifest, or is too small.
    """
    content = blob.read()
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError("its content is not what its manifest says (SHA-256)")
    return cut_square(images.read(content), cut, content)


def cut_square(image: Tensor, cut: Cut, content: bytes) -> Square:
    """Cut a square and resize it to `cut.size`.

    Args:
        image: (3, H, W) in [0, 1].
        content: Content of its file.

    Raises:
        DataError: It is smaller than `cut.minimum`, or has no face to cut.
    """
    if cut.crop == "face":
        return _cut_face(image, cut)
    square = images.centre_square(image)
    found = _size_facts(square.shape[-1], cut)
    resized = images.resize(square, (cut.size, cut.size), "lanczos").clamp(0, 1)
    return Square(resized, found, content if _is_plain_png(content, cut.size) else b"")


def _cut_face(image: Tensor, cut: Cut) -> Square:
    # Loaded here: the detector is a package that nothing else on this way needs.
    from facesr.images import faces

    found = faces.find_faces(image)
    if not found:
        raise DataError("shows no face that the detector finds")
    height, width = image.shape[-2:]
    box = found[0]
    # Moved inside the image rather than filled up: what is made up cannot be learned from.
    side = min(box.width, height, width)
    left = min(max(box.left, 0.0), width - side)
    top = min(max(box.top, 0.0), height - side)
    facts = _size_facts(round(side), cut)
    return Square(faces.cut(image, faces.Box(left, top, side, side), cut.size), facts)


def _size_facts(side: int, cut: Cut) -> Attributes:
    if side < cut.minimum:
        raise DataError(f"has a side of {side} px where {cut.minimum} px are needed")
    return {"enlarged_from": side} if side < cut.size else {}


def _is_plain_png(content: bytes, size: int) -> bool:
    """Return whether a decoded file can be kept: 8-bit RGB PNG, square, without further chunks."""
    if not content.startswith(PNG_START):
        return False
    position, kinds = len(PNG_START), []
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        kinds.append(kind)
        position += length + 12
    # Width, height, depth, and the colour type of RGB.
    header = struct.unpack_from(">IIBB", content, len(PNG_START) + 8)
    return header == (size, size, 8, 2) and set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
