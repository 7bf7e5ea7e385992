"""The Selfie Data Set: 46,836 faces of 306 px with 36 attributes each.

Kalayeh, Seifu, LaLanne, Shah, ACM MM 2015, https://www.crcv.ucf.edu/data/Selfie/. For research: the
images are never shown or passed on.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from facesr.config import FetchParams
from facesr.data.download import RemoteFile, download
from facesr.data.manifest import NOT_TO_BE_SHOWN
from facesr.data.sources.candidates import Candidate, Cut, Listing, read_cut
from facesr.data.sources.folder import Found, walk
from facesr.errors import DataError
from facesr.files import atomic_write, digest

ARCHIVE = "Selfie-dataset.tar.gz"
TABLE = "selfie_dataset.txt"
LICENCE = f"research only, {NOT_TO_BE_SHOWN} or redistributed"
ATTRIBUTION = "Kalayeh, Seifu, LaLanne, Shah, ACM MM 2015"
ATTRIBUTES = (
    *("partial_faces", "is_female", "baby", "child", "teenager", "youth", "middle_age", "senior"),
    *("white", "black", "asian", "oval_face", "round_face", "heart_face", "smiling"),
    *("mouth_open", "frowning", "wearing_glasses", "wearing_sunglasses", "wearing_lipstick"),
    *("tongue_out", "duck_face", "black_hair", "blond_hair", "brown_hair", "red_hair"),
    *("curly_hair", "straight_hair", "braid_hair", "showing_cellphone", "using_earphone"),
    *("using_mirror", "braces", "wearing_hat", "harsh_lighting", "dim_lighting"),
)


def offer(params: FetchParams, cut: Cut, *, seed: int, scratch: Path) -> Listing:
    """Listing the images of the data set in a seeded order, with their attributes.

    `params.path` is the archive, or a folder with the archive or its content; otherwise the archive
    is downloaded into it from `params.url`.

    Raises:
        DataError: The archive is not available or not that of the data set.
    """
    root = Path(params.path)
    set_aside: list[tuple[str, str]] = []
    found = list(walk(root, scratch, set_aside)) if root.exists() else []
    facts: dict[str, str | int] = {}
    if not any(PurePosixPath(one.origin).name == TABLE for one in found):
        archive = root / ARCHIVE
        remote = RemoteFile(params.url, archive, None, None)
        download([remote], folder=root, label="Selfie Data Set")
        facts["archive_sha256"] = _trusted(archive)
        found = list(walk(archive, scratch, set_aside))
    table = next((one for one in found if PurePosixPath(one.origin).name == TABLE), None)
    if table is None:
        raise DataError(
            f"{params.path} holds no {TABLE}: it is not the Selfie Data Set. Choose another path."
        )
    files = {PurePosixPath(one.origin).stem: one for one in found if one is not table}
    lines = table.blob.read().decode("utf-8", errors="replace").splitlines()
    rows = list(read_table(lines, set_aside))
    facts["lines"], facts["malformed_lines"] = len(lines), len(lines) - len(rows)
    candidates = []
    for i in np.random.default_rng(seed).permutation(len(rows)):
        name, attributes = rows[i]
        if name not in files:
            set_aside.append((name, "stands in the table and has no image"))
            continue
        candidates.append(_candidate(name, attributes, files[name], cut))
    return Listing(candidates, set_aside, facts)


def _trusted(archive: Path) -> str:
    """Return the SHA-256 of the first download: nobody has published one."""
    sha256, known = digest(archive, "sha256"), archive.with_name(f"{archive.name}.sha256")
    if not known.is_file():
        with atomic_write(known) as part:
            part.write_text(f"{sha256}\n", encoding="utf-8")
    elif known.read_text(encoding="utf-8").strip() != sha256:
        archive.unlink()
        raise DataError(
            f"{archive} has changed since the first download (SHA-256 {sha256}, {known} says "
            "otherwise) and was deleted. Delete that file too if you trust the new one."
        )
    return sha256


def read_table(
    lines: Sequence[str], set_aside: list[tuple[str, str]]
) -> Iterator[tuple[str, dict[str, str | int | float]]]:
    """Read the table of attributes; malformed lines are set aside.

    Args:
        lines: Name without suffix, popularity, 36 attributes of -1, 0 or 1, separated by blanks.
        set_aside: List to which line number and reason are added.

    Yields:
        Name and attributes, with the popularity.
    """
    for number, line in enumerate(lines, start=1):
        name, *cells = line.split() or [""]
        try:
            popularity, *values = (float(cell) for cell in cells)
            if len(values) != len(ATTRIBUTES):
                raise ValueError(f"{len(values)} attributes where {len(ATTRIBUTES)} belong")
            if not set(values) <= {-1.0, 0.0, 1.0}:
                raise ValueError("an attribute is none of -1, 0, 1")
        except ValueError as error:
            set_aside.append((f"{TABLE} line {number}", f"malformed: {error}"))
            continue
        attributes = dict(zip(ATTRIBUTES, map(int, values), strict=True))
        yield name, {"popularity": popularity, **attributes}


def _candidate(
    name: str, attributes: dict[str, str | int | float], found: Found, cut: Cut
) -> Candidate:
    return Candidate(
        name=f"selfie_{name}",
        origin=f"selfie:{name}",
        make=partial(read_cut, found.blob, cut),
        licence=LICENCE,
        attribution=ATTRIBUTION,
        attributes=attributes,
    )
