"""Lists of versions and runs for display and comparison."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facesr.tracking.lockfile import EVALUATION_RUN
from facesr.tracking.store import (
    MODEL,
    as_registry_error,
    connect,
    database_file,
    is_embedded,
    shown,
    tracking_uri,
)

# Where `make mlflow` serves the embedded store.
LOCAL_PAGES = "http://127.0.0.1:5000"
# Where visitors find MLflow's pages, if not at the address of this process.
PAGES_VARIABLE = "FACESR_MLFLOW_PAGES"


@dataclass(frozen=True)
class ListedVersion:
    """Version of the registered model with its measurement."""

    number: int
    aliases: tuple[str, ...]
    created: datetime
    run_id: str
    page: str
    """Address of its run in MLflow's pages."""
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of its latest evaluation, under MLflow's names."""


@dataclass(frozen=True)
class ListedRun:
    """One parent run: a state of the pipeline."""

    name: str
    run_id: str
    page: str
    started: datetime
    seconds: float | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


def list_versions(root: Path) -> list[ListedVersion]:
    """Return every registered version, the newest first; raise RegistryError if the store fails."""
    if _is_missing(root):
        return []
    client, experiment = connect(root, create=False)
    if not experiment:
        return []
    with as_registry_error(root):
        # A search for models gives an empty list where one by name would raise.
        models = client.search_registered_models(f"name = '{MODEL}'")
        if not models:
            return []
        aliases: dict[int, list[str]] = {}
        for alias, number in models[0].aliases.items():
            aliases.setdefault(int(number), []).append(alias)
        listed = [
            _listed(root, client, experiment, version, aliases.get(int(version.version), []))
            for version in client.search_model_versions(f"name = '{MODEL}'")
        ]
    return sorted(listed, key=lambda version: -version.number)


def list_runs(root: Path, *, count: int = 50) -> list[ListedRun]:
    """Return the newest finished parent runs; raise RegistryError if the store fails."""
    if _is_missing(root):
        return []
    client, experiment = connect(root, create=False)
    if not experiment:
        return []
    with as_registry_error(root):
        # Only parents carry the key of a whole pipeline.
        found = client.search_runs(
            [experiment],
            "attributes.status = 'FINISHED' and tags.`dvc.pipeline_key` LIKE '%'",
            max_results=count,
        )
    return [
        ListedRun(
            name=run.info.run_name,
            run_id=run.info.run_id,
            page=_page(root, experiment, run.info.run_id),
            started=_time(run.info.start_time),
            seconds=(run.info.end_time - run.info.start_time) / 1000 if run.info.end_time else None,
            tags=dict(run.data.tags),
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
        )
        for run in found
    ]


def _is_missing(root: Path) -> bool:
    # Asking MLflow would create the database, and takes seconds.
    return is_embedded(root) and not database_file(root).exists()


def _listed(
    root: Path, client: Any, experiment: str, version: Any, aliases: list[str]
) -> ListedVersion:
    from mlflow.exceptions import MlflowException

    run_id = version.run_id or ""
    measured = version.tags.get(EVALUATION_RUN, run_id)
    try:
        metrics = dict(client.get_run(measured).data.metrics) if measured else {}
    except MlflowException as error:
        # A run that was deleted does not take its version along.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        metrics = {}
    return ListedVersion(
        number=int(version.version),
        aliases=tuple(sorted(aliases)),
        created=_time(version.creation_timestamp),
        run_id=run_id,
        page=_page(root, experiment, run_id),
        tags=dict(version.tags),
        metrics=metrics,
    )


def _page(root: Path, experiment: str, run_id: str) -> str:
    uri = tracking_uri(root)
    own = shown(uri) if uri.startswith("http") else LOCAL_PAGES
    pages = (os.environ.get(PAGES_VARIABLE) or own).rstrip("/")
    return f"{pages}/#/experiments/{experiment}/runs/{run_id}"


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
