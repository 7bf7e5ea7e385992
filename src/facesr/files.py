"""Files that appear whole or not at all, and disks that refuse them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facesr.errors import DataError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to, and renames it to `path` at the end.

    The folder is made where it is missing; after an error nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def told_where_unwritable(target: Path) -> Iterator[None]:
    """Tells what the disk refuses in the block as a fault of `target`.

    Raises:
        DataError: It is full, or the folder must not be written.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{target} cannot be written ({error.strerror or error}). Free some space, or mend the "
            "folder's permissions."
        ) from error
