"""Packs: pictures of equal size in one array, which a training reads without decoding anything.

A pack is a folder: `stems.txt` names the pictures in order, one a line, and `SIDE.npy` holds them
as uint8 (N, 3, SIDE, SIDE). The arrays are memory-mapped: opening one costs nothing, and only the
pictures that are looked at are read. Seventy thousand faces are three files.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facesr.errors import DataError
from facesr.files import folder_written_whole

STEMS = "stems.txt"


def is_pack(folder: Path) -> bool:
    """Tells a pack from a folder of picture files."""
    return (folder / STEMS).is_file()


@contextmanager
def new_pack(
    folder: Path, stems: Sequence[str], sides: Sequence[int], *, name: Path | None = None
) -> Iterator[Path]:
    """Makes room for a pack; `folder` appears whole at the end, or not at all.

    Args:
        folder: Is replaced.
        stems: Names of the pictures, in the order of the arrays.
        sides: Sides of the square pictures in pixels, one array each.
        name: For messages, where it is not the folder.

    Yields:
        The folder to fill through `writable`, from any process.

    Raises:
        DataError: The disk has no room for it.
    """
    with folder_written_whole(folder) as part:
        (part / STEMS).write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
        for side in sides:
            _reserve(part / f"{side}.npy", (len(stems), 3, side, side), wanted_by=name or folder)
        yield part


def writable(folder: Path, side: int) -> "np.ndarray[Any, Any]":
    """Opens an array of a pack that `new_pack` has made room for."""
    return np.asarray(np.load(folder / f"{side}.npy", mmap_mode="r+"))


def read_stems(folder: Path) -> tuple[str, ...]:
    """Returns the names of a pack's pictures, in order."""
    return tuple((folder / STEMS).read_text(encoding="utf-8").splitlines())


def read_pack(folder: Path, side: int | None = None) -> Tensor:
    """Opens a pack's pictures of one side.

    Args:
        folder: The pack.
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
            f"{folder} holds pictures of {', '.join(map(str, held)) or 'no'} px where "
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
            f"{folder} names {len(read_stems(folder))} pictures and holds {len(array)}. "
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
