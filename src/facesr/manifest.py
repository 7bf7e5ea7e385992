"""The list of a fetched folder's pictures: what each is, where it came from, what it is for."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from facesr import reports
from facesr.errors import DataError

FILE = "manifest.csv"


class Entry(NamedTuple):
    """One row of the manifest."""

    file: str
    split: str
    origin: str
    """Where the picture was taken from: a path below the source's folder, or `generated:INDEX`."""
    size: str
    """Side in pixels, as a decimal number."""
    sha256: str
    """Of the PNG file."""
    licence: str


def write_manifest(folder: Path, entries: Sequence[Entry]) -> None:
    """Writes `manifest.csv` into the folder."""
    reports.write_csv(folder / FILE, [entry._asdict() for entry in entries])


def read_manifest(folder: Path) -> list[Entry]:
    """Reads the manifest of a fetched folder.

    Raises:
        DataError: There is none.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{path} does not exist. Run: dvc repro fetch_faces fetch_selfies")
    with path.open(encoding="utf-8", newline="") as file:
        return [Entry(**row) for row in csv.DictReader(file)]
