"""Finds the registered models that have seen an image."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from facesr.data.manifest import Entry
from facesr.data.removed import digest_of_origin
from facesr.names import SELFIES
from facesr.tracking.runs import Runs
from facesr.tracking.store import MODEL, as_registry_error, connect, database_file, is_embedded

# Written by the stages that fetch, stored with their runs; see facesr.data.fetch.
STAGES = ("fetch_faces", "fetch_selfies")
LIST = "images.csv"


def versions_that_saw(
    root: Path, *, sha256: Collection[str] = (), entries: Sequence[Entry] = ()
) -> tuple[dict[int, set[str]], list[int]]:
    """Look images up in the lists that the runs of every version carry.

    An image of the same origin in the same kind of set counts as the same: other sizes and data
    seeds give other files. A face and a selfie of one number are two images.

    Args:
        sha256: Digests of the PNG files, or their first digits.
        entries: Images of the present sets, which no list may hold in this size.

    Returns:
        The splits with any of them by version, and the versions without a list.
    """
    if is_embedded(root) and not database_file(root).exists():
        return {}, []
    client, experiment_id = connect(root, create=False)
    with as_registry_error(root):
        runs = Runs(client, experiment_id, {})
        lists = {
            int(version.version): _listed(runs, version.run_id or "")
            for version in client.search_model_versions(f"name = '{MODEL}'")
        }
    files = (*sha256, *(entry.sha256 for entry in entries))
    origins = {(entry.split == SELFIES, digest_of_origin(entry)) for entry in entries} | {
        _origin(row) for rows in lists.values() for row in rows if row["sha256"].startswith(files)
    }
    seen: dict[int, set[str]] = {}
    for number, rows in sorted(lists.items()):
        for row in rows:
            if row["sha256"].startswith(files) or _origin(row) in origins:
                seen.setdefault(number, set()).add(row["split"])
    return seen, sorted(number for number, rows in lists.items() if not rows)


def _origin(row: Mapping[str, str]) -> tuple[bool, str]:
    return row["split"] == SELFIES, row["origin_sha256"]


def as_lines(seen: Mapping[int, Collection[str]], unknown: Collection[int]) -> list[str]:
    """Format the result of `versions_that_saw`, a line for each version."""
    lines = []
    for number, splits in seen.items():
        how = "was trained with it" if "train" in splits else "was measured with it"
        lines.append(f"{MODEL}/{number} {how} ({', '.join(sorted(splits))})")
    lines += [
        f"{MODEL}/{number} carries no list of its images: nothing can be said about it"
        for number in unknown
    ]
    return lines or ["no registered model has seen it"]


def _listed(runs: Runs, parent_run_id: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for stage in STAGES:
        run_id = _run_of(runs, parent_run_id, stage)
        text = runs.read_text(run_id, LIST) if run_id else None
        rows += csv.DictReader(io.StringIO(text or ""))
    return rows


def _run_of(runs: Runs, parent_run_id: str, stage: str) -> str:
    """Return the run of a stage, also from a parent that failed later; "" if it is gone."""
    from mlflow.exceptions import MlflowException

    try:
        parent: Any = runs.client.get_run(parent_run_id)
    except MlflowException:
        return ""
    # A stage that was taken from the cache is linked; otherwise its run is the parent's child.
    if reused := parent.data.tags.get(f"dvc.reused.{stage}"):
        return str(reused)
    children = runs.client.search_runs(
        [runs.experiment_id],
        f"tags.`mlflow.parentRunId` = '{parent_run_id}' and tags.`dvc.stage` = '{stage}'",
    )
    return str(children[0].info.run_id) if children else ""
