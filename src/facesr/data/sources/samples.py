"""Photographs that come with their own manifest: who is shown, in which split, under which licence.

`samples/london` in the repository is such a folder.
"""

import csv
from functools import partial
from pathlib import Path

from facesr.config import FetchParams
from facesr.data.sources.archives import Blob
from facesr.data.sources.candidates import Candidate, Cut, Listing, read_cut, safe_name
from facesr.errors import DataError
from facesr.files import digest

MANIFEST = "MANIFEST.csv"
COLUMNS = ("file", "person", "split", "licence", "attribution", "sha256")
# Splits whose people may be the same: neither is trained on.
MEASURED = ("test", "selfies")

Row = dict[str, str]


def offer(params: FetchParams, cut: Cut, *, splits: tuple[str, ...]) -> Listing:
    """Listing the images of some splits, with the manifest's other columns as their attributes.

    Every file is compared with the manifest first, so that nothing trains on a changed sample.

    Args:
        params: Path of the folder.
        cut: How images are brought to size.
        splits: Names as in the manifest. Any number of images taken in order holds every split in
            proportion.

    Raises:
        DataError: There is no manifest, it lacks a column, a person is in two splits, or a file is
            missing or changed.
    """
    root = Path(params.path)
    rows = _read(root)
    _check_people(root, rows)
    for row in rows:
        _check_file(root / row["file"], row["sha256"])
    ranked = []
    for name in splits:
        own = [row for row in rows if row["split"] == name]
        ranked += [(i / len(own), row["file"], row) for i, row in enumerate(own)]
    return Listing([_candidate(root, row, cut) for _, _, row in sorted(ranked)], [])


def _read(root: Path) -> list[Row]:
    path = root / MANIFEST
    if not path.is_file():
        raise DataError(f"{path} does not exist. {_advice(root)}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in COLUMNS if not rows or not rows[0].get(name)]
    if missing:
        raise DataError(f"{path} has no {missing[0]}. {_advice(root)}")
    return rows


def _check_people(root: Path, rows: list[Row]) -> None:
    sides: dict[str, Row] = {}
    for row in rows:
        known = sides.setdefault(row["person"], row)
        both = {known["split"], row["split"]}
        if len(both) > 1 and not both <= set(MEASURED):
            raise DataError(
                f"{root / MANIFEST} has person {row['person']} in {known['split']} "
                f"({known['file']}) and in {row['split']} ({row['file']}). {_advice(root)}"
            )


def _check_file(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing. {_advice(path)}")
    if digest(path, "sha256") != sha256:
        raise DataError(f"{path} is not the file that its manifest names. {_advice(path)}")


def _advice(path: Path) -> str:
    return f"Get it back with: git checkout -- {path}"


def _candidate(root: Path, row: Row, cut: Cut) -> Candidate:
    return Candidate(
        name=safe_name(row["file"]),
        origin=f"samples:{row['file']}",
        make=partial(read_cut, Blob(root / row["file"]), cut),
        licence=row["licence"],
        attribution=row["attribution"],
        identity=row["person"],
        attributes={name: value for name, value in row.items() if name not in COLUMNS and value},
        split=row["split"],
    )
