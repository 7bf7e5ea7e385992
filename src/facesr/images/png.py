"""Chunks of PNG files: texts to keep, and colours other than sRGB.

https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# The signature, and IHDR with its length, name and check.
_START = 8 + 25

Matrix = NDArray[np.float64]

_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue."""
# Cameras and programs write rounded values.
_SAME_GAMMA, _SAME_PLACE = 0.005, 0.003
_HDR = {16: "PQ", 18: "HLG"}
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


class Chunk(NamedTuple):
    """One chunk without length and check sum."""

    name: bytes
    content: bytes

    @property
    def keyword(self) -> str:
        """Keyword of a text."""
        return self.content.partition(b"\0")[0].decode("latin-1")

    @property
    def comment(self) -> bytes | None:
        """Content of a plain text called Comment."""
        is_comment = self.name == b"tEXt" and self.keyword == "Comment"
        return self.content.partition(b"\0")[2] if is_comment else None


class Colours(NamedTuple):
    """Gamma and primaries of a file."""

    gamma: float
    """Exponent from linear light to the stored value."""
    primaries: tuple[float, ...]
    """As `_SRGB`."""


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks of a file, even a truncated one, without those of pixels."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name not in (b"IDAT", b"fdAT"):
            yield Chunk(name, data[position + 8 : position + 8 + length])
        position += length + 12


def insert(encoded: bytes, added: Sequence[Chunk]) -> bytes:
    """Return a PNG file with more chunks behind its header."""
    packed = b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in added
    )
    return encoded[:_START] + packed + encoded[_START:]


def read_colours(data: bytes) -> Colours | None:
    """Return gamma and primaries of a file; None for sRGB or if they do not count.

    cICP, iCCP and sRGB come before gAMA and cHRM (section 4.3).
    """
    found = {name: content for name, content in chunks(data)}
    if found.keys() & {b"cICP", b"iCCP", b"sRGB"}:
        return None
    gamma, primaries = 1 / 2.2, _SRGB
    if len(found.get(b"gAMA", b"")) == 4:
        gamma = struct.unpack(">I", found[b"gAMA"])[0] / 100_000
    if len(found.get(b"cHRM", b"")) == 32:
        primaries = tuple(value / 100_000 for value in struct.unpack(">8I", found[b"cHRM"]))
    if not 0.05 < gamma < 20 or _to_xyz(primaries) is None:
        return None
    is_srgb = abs(gamma - 1 / 2.2) < _SAME_GAMMA and np.allclose(primaries, _SRGB, 0, _SAME_PLACE)
    return None if is_srgb else Colours(gamma, primaries)


def hdr(data: bytes) -> str:
    """Return the name of a file's HDR transfer function, or ""."""
    found = {name: content for name, content in chunks(data)}
    if transfer := _HDR.get((found.get(b"cICP") or b"\0\0")[1:2][0]):
        return transfer
    named = [name for name in (b"mDCV", b"mDCv", b"cLLI", b"cLLi", b"gMAP") if name in found]
    return named[0].decode() if named else ""


def to_srgb(image: Tensor, colours: Colours) -> Tensor:
    """Convert (3, H, W) in [0, 1] to sRGB, clamped to its gamut."""
    linear = image ** (1 / colours.gamma)
    if not np.allclose(colours.primaries, _SRGB, 0, _SAME_PLACE):
        source, target = _to_xyz(colours.primaries), _to_xyz(_SRGB)
        assert source is not None
        assert target is not None
        # Bradford's matrix between the white points.
        before, after = (
            _BRADFORD @ _xyz(np.array(one)) for one in (colours.primaries[:2], _SRGB[:2])
        )
        adapt = np.linalg.inv(_BRADFORD) @ np.diag(after / before) @ _BRADFORD
        matrix = np.linalg.inv(target) @ adapt @ source
        linear = torch.einsum("ij,jhw->ihw", torch.from_numpy(matrix).float(), linear)
    linear = linear.clamp(0, 1)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curved)


def _to_xyz(primaries: Sequence[float]) -> Matrix | None:
    """Return the matrix from linear RGB to XYZ; None for meaningless primaries."""
    places: Matrix = np.array(primaries, np.float64).reshape(4, 2)
    if (places[:, 1] <= 0).any():
        return None
    columns = _xyz(places).T
    white, axes = columns[:, 0], columns[:, 1:]
    if abs(np.linalg.det(axes)) < 1e-6:
        return None
    matrix: Matrix = axes * np.linalg.solve(axes, white)
    return matrix


def _xyz(places: Matrix) -> Matrix:
    """Convert (..., x and y) to (..., X, Y and Z) with Y = 1."""
    x, y = places[..., 0], places[..., 1]
    return np.stack([x / y, np.ones_like(x), (1 - x - y) / y], -1)
