"""Atomic writes of files and folders, and errors of the disk."""

import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facesr.errors import DataError

# Names may have 255 bytes: 4 for each of these, and 32 for what is added.
_LONGEST_STEM = 50
_PART = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part", re.DOTALL)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` at the end.

    Every writer has a path of its own: the last one to finish wins. A missing folder is made; after
    an error nothing is left.
    """
    part = _part(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which replaces `path` at the end.

    As `atomic_write`. The old folder is moved away first and deleted then: no system call exchanges
    two folders everywhere.
    """
    with scratch_folder(path) as part:
        yield part
        _replace_folder(part, path)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `path`, and delete it at the end."""
    part = _part(path)
    try:
        part.mkdir()
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _part(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)
        ) from error
    with suppress(OSError):
        # A folder may be written to and not be listed.
        _delete_leftovers(path.parent.resolve())
    token = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name[:_LONGEST_STEM]}.{token}.part")


def _replace_folder(part: Path, path: Path) -> None:
    while True:
        try:
            # Works where nothing, or an empty folder, is in the way.
            part.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        old = _part(path)
        try:
            path.rename(old)
        except FileNotFoundError:
            # Another writer has just moved it.
            continue
        shutil.rmtree(old, ignore_errors=True)


@functools.cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


@functools.lru_cache(maxsize=1024)
def _delete_leftovers(folder: Path) -> None:
    """Delete files of killed processes of this machine; once per process and folder."""
    found = [match for one in folder.iterdir() if (match := _PART.fullmatch(one.name))]
    if not found:
        return
    import psutil

    for match in found:
        if match["host"] != _host() or psutil.pid_exists(int(match["process"])):
            continue
        part = folder / match.string
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def digest(path: Path, algorithm: str) -> str:
    """Return the hash of a file in hexadecimal digits, such as `md5`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def as_write_error(target: Path) -> Iterator[None]:
    """Turn errors of the disk in the block into a DataError about `target`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{target} cannot be written ({error.strerror or error}). Free some space, or fix the "
            "folder's permissions."
        ) from error
