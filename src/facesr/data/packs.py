"""Packs: images of equal size in one array, which a training reads without decoding.

A pack is a folder: `stems.txt` has the names of the images in order, one a line, and `SIDE.npy`
holds them as uint8 (N, 3, SIDE, SIDE). The arrays are memory-mapped, so only used images are read.
`SIDE.digests` holds 16 bytes for each image, (N, 16), by which packs are compared without reading
them.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facesr.errors import DataError
from facesr.files import atomic_folder
from facesr.parallel import cores

STEMS = "stems.txt"
DIGESTS = ".digests"
DIGEST_SIZE = 16  # bytes


def is_pack(folder: Path) -> bool:
    """Return whether a folder is a pack."""
    return (folder / STEMS).is_file()


@contextmanager
def new_pack(
    folder: Path, stems: Sequence[str], sides: Sequence[int], *, name: Path | None = None
) -> Iterator[Path]:
    """Make room for a pack, which appears atomically at the end.

    Args:
        folder: Pack; replaced.
        stems: Names of the images, in the order of the arrays.
        sides: Sides of the square images in pixels, one array each.
        name: For messages, instead of the folder.

    Yields:
        The folder to fill through `write` or `writable`, from any process.

    Raises:
        DataError: The disk has no room for it.
    """
    with atomic_folder(folder) as part:
        (part / STEMS).write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
        for side in sides:
            array = part / f"{side}.npy"
            _reserve(array, (len(stems), 3, side, side), wanted_by=name or folder)
            array.with_suffix(DIGESTS).write_bytes(bytes(DIGEST_SIZE * len(stems)))
        yield part
        for side in sides:
            _complete(part / f"{side}.npy")


def writable(folder: Path, side: int) -> "np.ndarray[Any, Any]":
    """Open an array of a pack that `new_pack` has made room for."""
    return np.asarray(np.load(folder / f"{side}.npy", mmap_mode="r+"))


def write(folder: Path, side: int, position: int, image: "np.ndarray[Any, Any]") -> None:
    """Write one image, uint8 (3, side, side), to a pack that `new_pack` has made room for."""
    array = folder / f"{side}.npy"
    writable(folder, side)[position] = image
    np.memmap(array.with_suffix(DIGESTS), mode="r+").reshape(-1, DIGEST_SIZE)[position] = (
        np.frombuffer(_digest(image), np.uint8)
    )


def fingerprint(array: Path) -> bytes:
    """Return the digests of an array's images, in order.

    Recorded digests are used if the array was not written since. Otherwise they are computed; if
    they agree with the recorded ones, as after a copy, this is recorded for the next time.
    """
    recorded = array.with_suffix(DIGESTS)
    known = recorded.read_bytes() if recorded.is_file() else b""
    if known and array.stat().st_mtime_ns <= recorded.stat().st_mtime_ns:
        return known
    found = _digests_of(np.load(array, mmap_mode="r", allow_pickle=False))
    if found == known:
        with suppress(OSError):
            os.utime(recorded)
    return found


def _digest(image: "np.ndarray[Any, Any]") -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_SIZE).digest()


def _digests_of(images: "np.ndarray[Any, Any]") -> bytes:
    # Hashing lets other threads run.
    with ThreadPoolExecutor(cores()) as pool:
        made = pool.map(_digest, images)
        return b"".join(
            tqdm(made, total=len(images), unit="image", desc="compare", disable=None, leave=False)
        )


def _complete(array: Path) -> None:
    """Record the digests of images written through `writable`, and the time."""
    recorded = array.with_suffix(DIGESTS)
    digests = np.memmap(recorded, mode="r+").reshape(-1, DIGEST_SIZE)
    missing = np.flatnonzero(~digests.any(1))
    if missing.size:
        images = np.load(array, mmap_mode="r")
        for position in missing:
            digests[position] = np.frombuffer(_digest(images[position]), np.uint8)
    os.utime(recorded)  # Later than the array's last page.


def read_stems(folder: Path) -> tuple[str, ...]:
    """Return the names of a pack's images, in order."""
    return tuple((folder / STEMS).read_text(encoding="utf-8").splitlines())


def read_pack(folder: Path, side: int | None = None) -> Tensor:
    """Open a pack's images of one side.

    Args:
        side: In pixels; None takes the only one.

    Returns:
        (N, 3, side, side) uint8, memory-mapped. Writing to it changes no file.

    Raises:
        DataError: The pack has no such side, or is damaged.
    """
    held = sorted(int(path.stem) for path in folder.glob("*.npy") if path.stem.isdecimal())
    if side is None and len(held) == 1:
        side = held[0]
    if side not in held:
        raise DataError(
            f"{folder} holds images of {', '.join(map(str, held)) or 'no'} px where "
            f"{side or 'one size'} is needed. Run: dvc repro -f degrade"
        )
    try:
        # Copy on write: torch wants arrays that could be written.
        array = np.load(folder / f"{side}.npy", mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{folder / f'{side}.npy'} is damaged ({error}). Delete it and run: dvc repro"
        ) from error
    if len(array) != len(read_stems(folder)):
        raise DataError(
            f"{folder} names {len(read_stems(folder))} images and holds {len(array)}. "
            "Delete it and run: dvc repro"
        )
    return torch.from_numpy(array)


def _reserve(path: Path, shape: tuple[int, ...], *, wanted_by: Path) -> None:
    size = int(np.prod(shape))
    free = shutil.disk_usage(path.parent).free
    full = DataError(
        f"{wanted_by} needs {size / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB left. "
        "Free some space, or lower count in params.yaml."
    )
    if size > free:
        raise full
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
    if hasattr(os, "posix_fallocate"):
        # A disk that fills up under a memory-mapped file kills the process; this asks beforehand.
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise full from error
                # A file system that cannot reserve: the free space was enough a moment ago.
