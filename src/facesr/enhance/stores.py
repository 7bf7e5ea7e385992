"""Images in object stores, named by addresses such as s3://bucket/holiday and gs://bucket/holiday.

Through pyarrow's file systems, which know S3, Google's and Microsoft's stores and HDFS, and take
region, endpoint and the like from the address (https://arrow.apache.org/docs/python/filesystems.html).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from facesr.errors import DataError
from facesr.extras import import_extra
from facesr.files import atomic_write

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


@dataclass(frozen=True)
class StorePath:
    """A file or folder in a store, with that much of pathlib's interface which images need."""

    address: str
    """May hold credentials; `str` leaves them and all that stands behind a question mark out."""

    def __str__(self) -> str:
        parts = urlsplit(self.address)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def __truediv__(self, below: PurePath) -> Self:
        parts = urlsplit(self.address)
        path = f"{parts.path.rstrip('/')}/{quote(below.as_posix())}"
        return type(self)(urlunsplit(parts._replace(path=path)))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(unquote(urlsplit(self.address).path)).name

    @property
    def suffix(self) -> str:
        """Such as .png."""
        return PurePosixPath(self.name).suffix

    def resolve(self) -> Self:
        """Return the same: an address is absolute."""
        return self

    def exists(self) -> bool:
        """Whether there is such a file or folder; all methods raise DataError as `_opened`."""
        with self._opened() as (system, path):
            return system.get_file_info(path).type.name in ("File", "Directory")

    def is_dir(self) -> bool:
        """Whether there is such a folder."""
        with self._opened() as (system, path):
            return bool(system.get_file_info(path).type.name == "Directory")

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        with self._opened() as (system, path), system.open_input_stream(path) as stream:
            return bytes(stream.read())

    def find(self) -> list[PurePosixPath]:
        """Return the paths below this folder of all files, sorted."""
        with self._opened() as (system, path):
            found = system.get_file_info(
                import_extra("pyarrow.fs").FileSelector(path, recursive=True)
            )
            return sorted(PurePosixPath(one.path).relative_to(path) for one in found if one.is_file)

    @contextmanager
    def _opened(self) -> "Iterator[tuple[FileSystem, str]]":
        """Yield the store and the path in it.

        Raises:
            DataError: It does not exist, or the store does not answer or refuses.
        """
        fs = import_extra("pyarrow.fs")
        try:
            system, path = fs.FileSystem.from_uri(self.address.replace(" ", "%20"))
            yield system, path.rstrip("/")
        except FileNotFoundError as error:
            raise DataError(f"{self} does not exist. Check the address.") from error
        # ArrowInvalid and ArrowNotImplementedError, of an address that is none.
        except (OSError, ValueError, NotImplementedError) as error:
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"{self} cannot be reached ({reason}). Check the address, the network and your "
                "credentials."
            ) from error


Place = Path | StorePath


def parse(name: str) -> Place:
    """Return the address or path that a name is."""
    return StorePath(name) if "://" in name else Path(name)


def write(place: Place, content: bytes, *, modified: int | None = None) -> None:
    """Write a file that appears whole or not at all.

    Args:
        place: The file.
        content: What it is to hold.
        modified: Time of modification in nanoseconds, which an object store sets itself; None is
            now.

    Raises:
        OSError: The path cannot be written.
        DataError: The store does not answer, or refuses.
    """
    if isinstance(place, StorePath):
        with place._opened() as (system, path):
            if system.type_name != "local":
                # Object stores show a file once its stream is closed.
                with system.open_output_stream(path) as stream:
                    stream.write(content)
                return
        place = Path(path)
    with atomic_write(place) as part:
        part.write_bytes(content)
        if modified is not None:
            os.utime(part, ns=(modified, modified))
