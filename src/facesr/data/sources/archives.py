"""Images inside archives.

Members of zip files and of plain tar files (WebDataset shards among them) are read in place, so no
name in an archive becomes a path on the disk. Compressed tar files can only be read from the
beginning; their members are unpacked once, under new names.
"""

import functools
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from facesr.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# Of one member, unpacked: far above any photograph.
LARGEST_MEMBER = 1 << 28  # bytes


class Blob(NamedTuple):
    """Bytes on the disk: a file, a member of a zip file, or a piece of a tar file."""

    path: Path
    member: str = ""
    """Name in a zip file."""
    offset: int = -1
    """Offset in a tar file, else -1."""
    size: int = 0

    def read(self) -> bytes:
        """Return all of it; raise DataError if it is damaged, encrypted or gone."""
        try:
            if self.member:
                return _zip(self.path).read(self.member)
            if self.offset < 0:
                return self.path.read_bytes()
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except (
            OSError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
        ) as error:
            where = f"{self.member} in {self.path}" if self.member else str(self.path)
            raise DataError(
                f"{where} cannot be read ({error}). Replace it with an intact copy."
            ) from error


class Member(NamedTuple):
    """A file inside an archive."""

    name: str
    blob: Blob
    refusal: str
    """Reason why it is not taken; "" for good members."""


def is_archive(path: Path) -> bool:
    """Return whether a name is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def members(archive: Path, scratch: Path) -> Iterator[Member]:
    """Yield every file of an archive, in the archive's order.

    Args:
        scratch: Existing folder for unpacked members; the caller deletes it.

    Raises:
        DataError: It is not a readable archive, or the disk is too small to unpack it.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            yield from _zip_members(archive)
        elif archive.name.lower().endswith(".tar"):
            with tarfile.open(archive, "r:") as opened:
                for info in opened:
                    if not info.isdir():
                        blob = Blob(archive, offset=info.offset_data, size=info.size)
                        yield Member(info.name, blob, _tar_refusal(info))
        else:
            yield from _unpacked_members(archive, scratch)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive} is not a whole archive ({error}). Replace it with an intact copy."
        ) from error
    except OSError as error:
        raise DataError(
            f"{archive} cannot be unpacked to {scratch} ({error.strerror or error}). Fix that, or "
            "unpack it yourself and name the folder (path) in params.yaml."
        ) from error


@functools.lru_cache(maxsize=8)
def _zip(path: Path) -> zipfile.ZipFile:
    # Kept open: reading the directory of a large file for each of its images would take longer
    # than the images.
    return zipfile.ZipFile(path)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.is_dir():
                continue
            # The upper half of the attributes is the Unix mode; 0o12 marks a link.
            link = info.external_attr >> 28 == 0o12
            refusal = _refusal(info.filename, link=link, size=info.file_size)
            if info.flag_bits & 1:
                refusal = refusal or "is encrypted"
            yield Member(info.filename, Blob(archive, member=info.filename), refusal)


def _unpacked_members(archive: Path, scratch: Path) -> Iterator[Member]:
    folder = scratch / archive.name
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:*") as opened:
        for number, info in enumerate(opened):
            if info.isdir():
                continue
            refusal = _tar_refusal(info)
            # Not the member's own name: whatever it says, the file lands here.
            target = folder / f"{number:07d}"
            content = None if refusal else opened.extractfile(info)
            if content is not None:
                target.write_bytes(content.read())
            yield Member(info.name, Blob(target), refusal)


def _tar_refusal(info: tarfile.TarInfo) -> str:
    return _refusal(info.name, link=not info.isfile(), size=info.size)


def _refusal(name: str, *, link: bool, size: int) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        return "its name leads out of the archive"
    if link:
        return "is a link or a device"
    if size > LARGEST_MEMBER:
        return f"unpacks to {size >> 20} MB, more than {LARGEST_MEMBER >> 20}"
    return ""
