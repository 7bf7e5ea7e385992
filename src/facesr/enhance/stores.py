"""Images in object stores, with addresses such as s3://bucket/holiday and gs://bucket/holiday.

pyarrow's file systems know S3, Google's and Microsoft's stores and HDFS, and take region, endpoint
and the like from the address (https://arrow.apache.org/docs/python/filesystems.html).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from facesr.errors import DataError, import_extra
from facesr.files import atomic_write

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


@dataclass(frozen=True)
class StorePath:
    """File or folder in a store, with the part of pathlib's interface that images need."""

    address: str
    """Address with its query, which may hold credentials; `str` leaves them out."""

    def __str__(self) -> str:
        parts = urlsplit(self.address)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def __truediv__(self, below: PurePath) -> Self:
        parts = urlsplit(self.address)
        path = f"{parts.path.rstrip('/')}/{quote(below.as_posix())}"
        return type(self)(urlunsplit(parts._replace(path=path)))

    @property
    def name(self) -> str:
        """Last part."""
        return PurePosixPath(unquote(urlsplit(self.address).path)).name

    @property
    def suffix(self) -> str:
        """Ending with its dot."""
        return PurePosixPath(self.name).suffix

    def resolve(self) -> Self:
        """Return itself: an address is absolute."""
        return self

    def exists(self) -> bool:
        """Return whether it exists; all methods raise DataError as `_opened`."""
        with self._opened() as (system, path):
            return system.get_file_info(path).type.name in ("File", "Directory")

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        with self._opened() as (system, path):
            return bool(system.get_file_info(path).type.name == "Directory")

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        with self._opened() as (system, path), system.open_input_stream(path) as stream:
            return bytes(stream.read())

    def find(self) -> list[PurePosixPath]:
        """Return the paths of all files below this folder, sorted."""
        with self._opened() as (system, path):
            found = system.get_file_info(
                import_extra("pyarrow.fs").FileSelector(path, recursive=True)
            )
            return sorted(PurePosixPath(one.path).relative_to(path) for one in found if one.is_file)

    @contextmanager
    def _opened(self) -> "Iterator[tuple[FileSystem, str]]":
        """Yield the store and the path in it; raise DataError if one is missing or refused."""
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
    """Parse an address or path."""
    return StorePath(name) if "://" in name else Path(name)


def write(place: Place, content: bytes, *, modified: int | None = None) -> None:
    """Write a file atomically.

    Args:
        modified: Time of modification in nanoseconds; None for now. An object store sets its own.

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
