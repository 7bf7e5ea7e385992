"""Manifest of a fetched folder: origin, licence, split and digest of every image."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from facesr import reports
from facesr.errors import DataError
from facesr.files import digest
from facesr.parallel import map_in_threads

FILE = "manifest.csv"
# In the licence of images that no sheet may show.
NOT_TO_BE_SHOWN = "not to be shown"


class Entry(NamedTuple):
    """One row of the manifest."""

    file: str
    split: str
    origin: str
    """Path below the source's folder, or `SOURCE:NAME`."""
    size: str
    """Side in pixels, as a decimal number."""
    sha256: str
    """Digest of the PNG file."""
    licence: str
    attribution: str = ""
    """Author and address, or other text that the licence requires."""
    identity: str = ""
    """Name or number of the person; "" if unknown."""
    attributes: str = "{}"
    """Further attributes, as JSON of names and values."""
    source_sha256: str = ""
    """Digest of the source file, if the origin is only a name in a folder."""


def groups_of(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield names and values of an image's groups: its source, its attributes.

    Attributes in fractions, such as a popularity, are measurements and make no groups.
    """
    yield "source", source_of(entry)
    for name, value in json.loads(entry.attributes).items():
        if isinstance(value, str | int):
            yield name, str(value)


def source_of(entry: Entry) -> str:
    """Return the source of an image: `samples`, `ffhq`, `selfie` or `folder`."""
    source, colon, _ = entry.origin.partition(":")
    return source if colon else "folder"


def may_be_shown(entry: Entry) -> bool:
    """Return whether an image may be on a sheet; the Selfie Data Set's may not."""
    return NOT_TO_BE_SHOWN not in entry.licence


def notice(entries: Iterable[Entry]) -> str:
    """Return the notice for a sheet of these images: the attribution under a CC BY licence."""
    sources = {(entry.attribution, entry.licence) for entry in entries}
    if sources and all(licence.startswith("CC BY ") for _, licence in sources):
        return "".join(f" ({name}; {licence})" for name, licence in sorted(sources))
    return " (photographs of others: look, do not pass on)"


class Fault(NamedTuple):
    """Difference between a folder and its manifest."""

    file: str
    what: str


def write_manifest(folder: Path, entries: Sequence[Entry]) -> None:
    """Write `manifest.csv` into the folder."""
    rows = [entry._asdict() for entry in entries]
    reports.write_csv(folder / FILE, rows, header=Entry._fields)


def check_folder(folder: Path) -> tuple[int, list[Fault]]:
    """Return the number of images in a fetched folder's manifest, and all differences."""
    entries = read_manifest(folder)
    named = {FILE, *(entry.file for entry in entries)}
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    files = [path.relative_to(folder).as_posix() for path in paths]
    faults = [Fault(file, "is not in the manifest") for file in files if file not in named]

    def sha256(entry: Entry) -> str:
        path = folder / entry.file
        return digest(path, "sha256") if path.is_file() else ""

    hashes = map_in_threads(sha256, entries)
    bar = tqdm(hashes, total=len(entries), unit="file", desc=f"check {folder}", disable=None)
    for entry, found in zip(entries, bar, strict=True):
        if not found:
            faults.append(Fault(entry.file, "is missing"))
        elif found != entry.sha256:
            faults.append(Fault(entry.file, "has changed (SHA-256)"))
    return len(entries), faults


def read_by_stem(folder: Path) -> dict[str, Entry]:
    """Return the rows of a folder's manifest by the stem of their file."""
    return {Path(entry.file).stem: entry for entry in read_manifest(folder)}


def read_manifest(folder: Path) -> list[Entry]:
    """Read a fetched folder's manifest; raise DataError if it is missing or damaged."""
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{path} does not exist. Run: dvc repro fetch_faces fetch_selfies")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [Entry(**row) for row in csv.DictReader(file)]
    except (TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path} is damaged ({error}). Delete its folder and run: dvc repro"
        ) from error
