"""Images of any folder or archive."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from facesr import images
from facesr.config import FetchParams
from facesr.data.sources.archives import Blob, is_archive, members
from facesr.data.sources.candidates import Candidate, Cut, Listing, Square, read_cut, safe_name
from facesr.errors import DataError

MANIFEST = "manifest.csv"
LICENCE = "as the folder states"
# Columns of a manifest, by what they are called in practice.
COLUMNS = {
    "file": ("file", "filename", "path"),
    "identity": ("identity", "subject", "person"),
    "licence": ("licence", "license"),
    "attribution": ("attribution", "author", "credit"),
    "sha256": ("sha256",),
}


class Found(NamedTuple):
    """A file by its path below the folder or inside the archive."""

    origin: str
    blob: Blob


def offer(params: FetchParams, cut: Cut, *, seed: int, scratch: Path) -> Listing:
    """Listing every image below `params.path`, also in archives, in a seeded order.

    A `manifest.csv` directly in the folder (upper or lower case) gives identity, licence,
    attribution and SHA-256 of its files.

    Raises:
        DataError: There is no such folder or archive, or an archive or the manifest is damaged.
    """
    root = Path(params.path)
    set_aside: list[tuple[str, str]] = []
    files = []
    for found in walk(root, scratch, set_aside):
        name = PurePosixPath(found.origin).name
        # Desktops and file systems leave hidden files in every folder.
        if name.startswith(".") or not fnmatch(found.origin, params.pattern):
            continue
        if Path(name).suffix.lower() in images.SUFFIXES:
            files.append(found)
        elif name.lower() not in (MANIFEST, "thumbs.db", "desktop.ini"):
            set_aside.append((found.origin, "has not the ending of an image that can be read"))
    known = _read_manifest(root)
    order = np.random.default_rng(seed).permutation(len(files))
    candidates = [_candidate(files[i], params, cut, known) for i in order]
    facts = {"in_manifest": sum(c.origin in known for c in candidates)} if known else {}
    return Listing(candidates, set_aside, facts)


def walk(root: Path, scratch: Path, set_aside: list[tuple[str, str]]) -> Iterator[Found]:
    """Yield every file below a folder or in an archive and its archives, sorted by path.

    Links to folders are not followed. Refused members of archives go to `set_aside`.

    Raises:
        DataError: There is no such folder or archive, or an archive is damaged.
    """
    if root.is_file() and is_archive(root):
        yield from _inside(root, "", scratch, set_aside)
        return
    if not root.is_dir():
        raise DataError(
            f"{root} is neither a folder nor an archive. Put the images there, or name another "
            "path in params.yaml."
        )
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        origin = path.relative_to(root).as_posix()
        if is_archive(path):
            yield from _inside(path, f"{origin}/", scratch, set_aside)
        else:
            yield Found(origin, Blob(path))


def _inside(
    archive: Path, prefix: str, scratch: Path, set_aside: list[tuple[str, str]]
) -> Iterator[Found]:
    for member in members(archive, scratch):
        if member.refusal:
            set_aside.append((prefix + member.name, member.refusal))
        else:
            yield Found(prefix + member.name, member.blob)


def _candidate(
    found: Found, params: FetchParams, cut: Cut, known: Mapping[str, Mapping[str, str]]
) -> Candidate:
    row = known.get(found.origin, {})
    identity = row.get("identity", "")
    if not identity and params.identity:
        match = re.search(params.identity, found.origin)
        identity = match[1] if match else ""
    return Candidate(
        name=safe_name(found.origin),
        origin=found.origin,
        make=partial(_make, found.blob, cut, row.get("sha256", "")),
        licence=row.get("licence") or LICENCE,
        attribution=row.get("attribution", ""),
        identity=identity,
    )


def _make(blob: Blob, cut: Cut, sha256: str) -> Square:
    square = read_cut(blob, cut, sha256)
    return square._replace(source_sha256=hashlib.sha256(blob.read()).hexdigest())


def _read_manifest(root: Path) -> dict[str, dict[str, str]]:
    if not root.is_dir():
        return {}
    path = next((p for p in sorted(root.iterdir()) if p.name.lower() == MANIFEST), None)
    if path is None:
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a table in UTF-8 ({error}). Fix or remove it.") from error
    names = {
        meaning: next((name for name in called if rows and name in rows[0]), "")
        for meaning, called in COLUMNS.items()
    }
    if not names["file"]:
        raise DataError(
            f"{path} has no column {' or '.join(COLUMNS['file'])}. Add one, or rename the table."
        )
    return {
        PurePosixPath(row[names["file"]]).as_posix(): {
            meaning: row[name] or "" for meaning, name in names.items() if name
        }
        for row in rows
    }
