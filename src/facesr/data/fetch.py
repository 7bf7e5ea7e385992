"""Fetching of images from a source.

`fetch` reads images, writes squares of one size as PNG, splits them, and records every file in
`manifest.csv` and every refused one in the report.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from facesr import images, reports
from facesr.config import FetchParams
from facesr.data.manifest import Entry, may_be_shown, notice, write_manifest
from facesr.data.removed import Removed, digest_of_origin, read_removed
from facesr.data.sources import ffhq, folder, samples, selfie
from facesr.data.sources.candidates import Attributes, Candidate, Cut, Listing, Square
from facesr.data.splitting import Item, split
from facesr.errors import DataError
from facesr.files import as_write_error, atomic_folder, atomic_write, digest, scratch_folder
from facesr.parallel import map_in_processes
from facesr.reports import sheets

# Faces and selfies of one folder are not chosen alike.
SELFIE_SEED_OFFSET = 1_000_003


class _Fetched(NamedTuple):
    candidate: Candidate
    sha256: str
    attributes: Attributes
    refusal: str
    source_sha256: str = ""


def fetch(
    params: FetchParams,
    *,
    size: int,
    seed: int,
    splits: Mapping[str, float],
    output: Path,
    report: Path,
    removed: Path,
) -> None:
    """Fill `output` with square PNG images and their manifest.

    Args:
        size: Side of the images in pixels.
        seed: Seed of the choice among images and of the split.
        splits: Names and shares; the first one gets the rest.
        output: Folder, replaced at the end.
        report: Folder for `set_aside.csv`, `summary.json`, `images.csv` and, if images may be
            shown, `sheet.png`.
        removed: List of images that must not be taken.

    Raises:
        DataError: The source is missing, damaged or shares images with `output`, there are too few
            usable images to fill every split, or the disk is full.
    """
    if params.count < len(splits):
        raise DataError(
            f"{params.count} images cannot fill the splits {', '.join(splits)}. Raise count in "
            "params.yaml."
        )
    _check_apart(params, output)
    with as_write_error(output), scratch_folder(output) as scratch:
        offer = _offer(params, size=size, seed=seed, splits=splits, scratch=scratch)
        with atomic_folder(output) as part:
            made, refused = _take(offer, params.count, part, read_removed(removed))
            if len(made) < len(splits):
                reasons = _reasons(refused).most_common(3)
                shown = "; ".join(f"{n} x {reason}" for reason, n in reasons)
                raise DataError(
                    f"{params.path} gives {len(made)} usable images of {len(offer.candidates)} "
                    f"where {len(splits)} or more are needed ({shown or 'no image files'}). Add "
                    "images."
                )
            entries = _entries(made, splits=splits, size=size, seed=seed)
            write_manifest(part, entries)
    with as_write_error(report):
        _report(report, entries, made, refused, offer, output)


def _check_apart(params: FetchParams, output: Path) -> None:
    source, target = Path(params.path).resolve(), output.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise DataError(
            f"{params.path} and {output} lie in each other, and {output} is replaced. Move the "
            "images to a folder of their own."
        )


def _offer(
    params: FetchParams, *, size: int, seed: int, splits: Mapping[str, float], scratch: Path
) -> Listing:
    cut = Cut(size, params.minimum_size or size, params.crop)
    if params.source == "samples":
        return samples.offer(params, cut, splits=tuple(splits))
    if params.source == "folder":
        return folder.offer(params, cut, seed=seed, scratch=scratch)
    if params.source == "ffhq":
        return ffhq.offer(params, cut, seed=seed, splits=splits, scratch=scratch)
    return selfie.offer(params, cut, seed=seed, scratch=scratch)


def _take(
    offer: Listing, count: int, part: Path, removed: Removed
) -> tuple[list[_Fetched], list[tuple[str, str]]]:
    """Make images until there are enough; return them and those set aside."""
    made: list[_Fetched] = []
    refused = list(offer.set_aside)
    wanted = []
    for candidate in offer.candidates:
        if removed.has(origin=candidate.origin):
            refused.append((candidate.origin, "removed on request"))
        else:
            wanted.append(candidate)
    seen: set[str] = set()
    with (
        tqdm(total=min(count, len(wanted)), unit="image", desc="fetch", disable=None) as bar,
        closing(map_in_processes(partial(_make, part), wanted)) as results,
    ):
        for one in results:
            refusal = one.refusal
            if not refusal and removed.has(sha256=one.sha256, source_sha256=one.source_sha256):
                refusal = "removed on request"
            if not refusal and one.sha256 in seen:
                refusal = "the same image was taken already"
            if refusal:
                refused.append((one.candidate.origin, refusal))
                continue
            seen.add(one.sha256)
            made.append(one)
            bar.update()
            if len(made) == count:
                break
    # Duplicates, and what other processes had made beyond the count.
    taken = {f"{one.candidate.name}.png" for one in made}
    for file in part.iterdir():
        if file.name not in taken:
            file.unlink()
    return made, refused


def _make(part: Path, candidate: Candidate) -> _Fetched:
    file = part / f"{candidate.name}.png"
    try:
        made = candidate.make()
    except DataError as error:
        return _Fetched(_described(candidate), "", {}, str(error))
    if made.png:
        with atomic_write(file) as temporary:
            temporary.write_bytes(made.png)
    else:
        images.write(file, made.image)
    sha256 = digest(file, "sha256")
    return _Fetched(_described(candidate), sha256, made.attributes, "", made.source_sha256)


def _described(candidate: Candidate) -> Candidate:
    # What makes the image need not travel back to the first process.
    return candidate._replace(make=_nothing)


def _nothing() -> Square:
    raise AssertionError("made already")


def _entries(
    made: Sequence[_Fetched], *, splits: Mapping[str, float], size: int, seed: int
) -> list[Entry]:
    items = [Item(c.name, c.identity, c.split) for c in (one.candidate for one in made)]
    entries = []
    for one, split_name in zip(made, split(items, splits, seed), strict=True):
        candidate = one.candidate
        attributes = {**candidate.attributes, **one.attributes}
        entries.append(
            Entry(
                file=f"{candidate.name}.png",
                split=split_name,
                origin=candidate.origin,
                size=str(size),
                sha256=one.sha256,
                licence=candidate.licence,
                attribution=candidate.attribution,
                identity=candidate.identity,
                attributes=json.dumps(attributes, ensure_ascii=False, sort_keys=True),
                source_sha256=one.source_sha256,
            )
        )
    return sorted(entries)


def _reasons(refused: Sequence[tuple[str, str]]) -> Counter[str]:
    return Counter(reason.replace(origin, "").strip() for origin, reason in refused)


def _report(
    report: Path,
    entries: Sequence[Entry],
    made: Sequence[_Fetched],
    refused: Sequence[tuple[str, str]],
    offer: Listing,
    output: Path,
) -> None:
    reports.write_csv(
        report / "set_aside.csv",
        [{"origin": origin, "reason": reason} for origin, reason in refused],
        header=("origin", "reason"),
    )
    # Stored with the run: shows later which models have seen an image, without showing it.
    reports.write_csv(
        report / "images.csv",
        [
            {"sha256": entry.sha256, "origin_sha256": digest_of_origin(entry), "split": entry.split}
            for entry in entries
        ],
    )
    persons = {entry.identity for entry in entries if entry.identity}
    reports.write_json(
        report / "summary.json",
        {
            "taken": len(entries),
            "set_aside": len(refused),
            "set_aside_reasons": dict(_reasons(refused).most_common()),
            "enlarged": sum("enlarged_from" in one.attributes for one in made),
            "persons_known": len(persons),
            "licences": dict(Counter(entry.licence for entry in entries).most_common()),
            **{f"split_{name}": n for name, n in Counter(e.split for e in entries).items()},
            **offer.facts,
        },
    )
    allowed = [entry for entry in entries if may_be_shown(entry)][:24]
    if not allowed:
        return
    shown = [images.read(output / entry.file) for entry in allowed]
    rows = [shown[start : start + 6] for start in range(0, len(shown), 6)]
    columns = {str(i + 1): [row[i] for row in rows if i < len(row)] for i in range(6)}
    sheets.write_sheet(
        report / "sheet.png",
        {name: column for name, column in columns.items() if column},
        cell=192,
        title=f"{len(entries)} images{notice(allowed)}",
    )
