"""An image that a source offers, and how it becomes a square of the wanted size."""

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
    """What became of an image."""

    image: Tensor
    """(3, size, size) float32 in [0, 1]."""
    attributes: Attributes
    """What was learned on the way."""
    png: bytes = b""
    """The image as a PNG file, where it was one already: encoding it again takes longest."""
    source_sha256: str = ""
    """Of the file, where its name does not say which image it is."""


class Candidate(NamedTuple):
    """An image that may be taken."""

    name: str
    """Of its PNG file, without suffix."""
    origin: str
    make: Callable[[], Square]
    """May raise DataError."""
    licence: str
    attribution: str = ""
    identity: str = ""
    """Who is shown; empty where nobody knows."""
    attributes: Mapping[str, str | int | float] = {}
    split: str = ""
    """Where the data set itself appoints one."""


class Offer(NamedTuple):
    """What a source has."""

    candidates: list[Candidate]
    """In the order in which they are taken until there are enough."""
    set_aside: list[tuple[str, str]]
    """Origin and reason of what cannot be taken."""
    facts: Mapping[str, str | int] = {}
    """For the summary."""


class Cut(NamedTuple):
    """How images are brought to one size."""

    size: int
    """Side of the result in pixels."""
    minimum: int
    """Images whose square is smaller are refused; those below `size` are enlarged."""
    crop: str
    """`centre` or `face`."""


def safe_name(origin: str) -> str:
    """Make a file name of an origin: readable, unique, without blanks or letters beyond ASCII.

    Two folders may hold files of one name, and two files differ in their suffix only.
    """
    stem = Path(origin).stem[:40]
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in stem)
    return f"{readable}_{hashlib.sha256(origin.encode()).hexdigest()[:8]}"


def read_cut(blob: Blob, cut: Cut, sha256: str = "") -> Square:
    """Read an image and cut it.

    Args:
        blob: An image file.
        cut: Sizes.
        sha256: Of the bytes, where a manifest has it; else empty.

    Raises:
        DataError: It cannot be read, is not what the manifest says, or is too small.
    """
    content = blob.read()
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError("its content is not what its manifest says (SHA-256)")
    return cut_square(images.read(content), cut, content)


def cut_square(image: Tensor, cut: Cut, content: bytes) -> Square:
    """Cuts a square and brings it to `cut.size`.

    Args:
        image: (3, H, W) in [0, 1].
        cut: Sizes.
        content: The file that it was read from.

    Raises:
        DataError: It is smaller than `cut.minimum`, or shows no face where one is to be cut.
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
    """Tells whether a file may be kept as it is: 8-bit RGB PNG, square, with nothing but pixels.

    It has been decoded already; the list of its chunks is all that is read here.
    """
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
