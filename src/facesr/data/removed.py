"""List of images that must not come back, such as on a person's request.

`removed.csv` is under version control, so that it holds in every clone. It contains hashes only: of
the PNG file, and of the origin, which does not change with the image's size: a data set's name of
the image, or for images in folders, whose names say little, the file itself.
"""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from facesr import reports
from facesr.data.manifest import Entry, read_manifest, write_manifest
from facesr.errors import DataError

HEADER = ("sha256", "origin_sha256")
# Fewer digits could mean another image.
FEWEST_DIGITS = 12


class Removed(NamedTuple):
    """Hashes on the list."""

    files: frozenset[str]
    origins: frozenset[str]

    def has(self, *, sha256: str = "", origin: str = "", source_sha256: str = "") -> bool:
        """Return whether an image of that content, origin or file is on the list."""
        return sha256 in self.files or not self.origins.isdisjoint(
            (hash_origin(origin), source_sha256)
        )


def read_removed(path: Path) -> Removed:
    """Read the list, empty without a file; raise DataError if it is damaged."""
    rows = _rows(path)
    return Removed(
        frozenset(row["sha256"] for row in rows), frozenset(row["origin_sha256"] for row in rows)
    )


def remove(
    digests: Sequence[str], folders: Sequence[Path], path: Path, *, person: str = ""
) -> list[Entry]:
    """Delete images from fetched folders, list them, and return their manifest entries.

    Args:
        digests: SHA-256 of PNG files as in the manifests, or their first digits.
        folders: Fetched folders; missing ones are skipped.
        person: Identity in the manifests, all of whose images are deleted.

    Raises:
        DataError: A digest is too short, or belongs to no image or to several, or the person has
            none; nothing is deleted then.
    """
    entries = {folder: read_manifest(folder) for folder in folders if folder.is_dir()}
    where = ", ".join(map(str, entries)) or "any fetched folder"
    found: dict[str, list[tuple[Path, Entry]]] = {}
    if person:
        found[person] = [
            (folder, entry)
            for folder, listed in entries.items()
            for entry in listed
            if entry.identity == person
        ]
        if not found[person]:
            raise DataError(
                f"{person} has no image in {where}. Look into manifest.csv for the column identity."
            )
    for digest in dict.fromkeys(digest.lower() for digest in digests):
        if len(digest) < FEWEST_DIGITS:
            raise DataError(
                f"{digest} has fewer than {FEWEST_DIGITS} digits. Give more of the SHA-256."
            )
        hits = [
            (folder, entry)
            for folder, listed in entries.items()
            for entry in listed
            if entry.sha256.startswith(digest)
        ]
        if len({entry.sha256 for _, entry in hits}) != 1:
            raise DataError(
                f"{digest} belongs to {len(hits) or 'no'} images of {where}. Look into "
                "manifest.csv for the column sha256."
            )
        found[digest] = hits
    gone = [hit for hits in found.values() for hit in hits]
    # The list first: an image that is on it and still there is deleted by the next run.
    rows = _rows(path) + [
        {"sha256": entry.sha256, "origin_sha256": digest_of_origin(entry)} for _, entry in gone
    ]
    unique = list({row["sha256"]: row for row in rows}.values())
    reports.write_csv(path, unique, header=HEADER)
    for folder, listed in entries.items():
        files = {entry.file for where, entry in gone if where == folder}
        if files:
            write_manifest(folder, [entry for entry in listed if entry.file not in files])
            for file in files:
                (folder / file).unlink(missing_ok=True)
    return [entry for _, entry in gone]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if any(set(row) != set(HEADER) or None in row.values() for row in rows):
        raise DataError(f"{path} is damaged. Its columns are {', '.join(HEADER)}; fix it.")
    return rows


def digest_of_origin(entry: Entry) -> str:
    """Return the list's hash of an image's origin."""
    return entry.source_sha256 or hash_origin(entry.origin)


def hash_origin(origin: str) -> str:
    """Return the SHA-256 of a manifest's origin, as in the list."""
    return hashlib.sha256(origin.encode()).hexdigest()
