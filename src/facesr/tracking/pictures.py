"""Which registered models have seen a picture."""

import csv
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from facesr.tracking.store import MODEL, as_registry_error, connect, database_file, is_embedded

# Written by the stage, stored with its run; see facesr.sources.
STAGE = "fetch_faces"
PICTURES = "pictures.csv"


def versions_that_saw(
    root: Path, *, sha256: Collection[str], origin_sha256: Collection[str]
) -> tuple[dict[int, set[str]], list[int]]:
    """Looks pictures up in the lists that every version's run carries.

    Args:
        root: The project's root.
        sha256: Of the PNG files.
        origin_sha256: Of their origins, which also finds them in another size.

    Returns:
        The splits in which a version had any of them, by version; and the versions whose run
        carries no list, of which nothing can be said.

    Raises:
        RegistryError: The store does not answer.
    """
    if is_embedded(root) and not database_file(root).exists():
        return {}, []
    client, experiment_id = connect(root, create=False)
    seen: dict[int, set[str]] = {}
    unknown: list[int] = []
    with as_registry_error(root):
        for version in client.search_model_versions(f"name = '{MODEL}'"):
            number = int(version.version)
            rows = _listed(client, experiment_id, version.run_id or "")
            if rows is None:
                unknown.append(number)
                continue
            splits = {
                row["split"]
                for row in rows
                if row["sha256"] in sha256 or row["origin_sha256"] in origin_sha256
            }
            if splits:
                seen[number] = splits
    return dict(sorted(seen.items())), sorted(unknown)


def _listed(client: Any, experiment_id: str, parent_run_id: str) -> list[dict[str, str]] | None:
    if not parent_run_id:
        return None
    # A stage that was taken from the cache is linked; otherwise its run is the parent's child.
    run_id = client.get_run(parent_run_id).data.tags.get(f"dvc.reused.{STAGE}")
    if not run_id:
        children = client.search_runs(
            [experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent_run_id}' and tags.`dvc.stage` = '{STAGE}'",
        )
        run_id = children[0].info.run_id if children else None
    if not run_id or not any(file.path == PICTURES for file in client.list_artifacts(run_id)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run_id, PICTURES, folder)
        with Path(path).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
