"""What MLflow holds of a state of the pipeline, and the quick way to see that it is all there."""

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from facesr.tracking.aliases import DECISION
from facesr.tracking.gate import Decision
from facesr.tracking.lockfile import PIPELINE_KEY
from facesr.tracking.registration import VERSION_TAG
from facesr.tracking.restoring import RESTORING
from facesr.tracking.store import (
    CHALLENGER,
    CHAMPION,
    EXPERIMENT,
    MODEL,
    artifact_location,
    database_file,
    is_embedded,
)


@dataclass(frozen=True)
class Published:
    """What MLflow holds of the present state of the pipeline."""

    parent_run_id: str
    created_runs: int
    """Runs written this time, the parent among them; 0 when all was there."""
    model_version: int
    created_version: bool
    champion: int | None
    """The version that the alias `champion` names; None where no version has it."""
    decision: Decision | None = None
    """What the gate said, where it was asked this time."""


def recorded_in_sqlite(root: Path, key: str) -> Published | None:
    """Finds a state that is published in full, by reading MLflow's tables directly.

    MLflow takes 3 s to import and open, this 10 ms, and an unchanged pipeline asks nothing more.
    Any surprise in the tables means "not found", and MLflow itself is asked.
    """
    if not is_embedded(root):
        return None
    query = """
        SELECT runs.run_uuid, model_versions.version, aliases.version
        FROM runs
        JOIN experiments USING (experiment_id)
        JOIN tags AS state ON state.run_uuid = runs.run_uuid AND state.key = ?
        JOIN tags AS made ON made.run_uuid = runs.run_uuid AND made.key = ?
        JOIN model_versions
            ON model_versions.name = ? AND model_versions.version = CAST(made.value AS INTEGER)
        JOIN model_version_tags AS decided
            ON decided.name = model_versions.name AND decided.version = model_versions.version
            AND decided.key = ?
        LEFT JOIN registered_model_aliases AS aliases ON aliases.name = ? AND aliases.alias = ?
        WHERE state.value = ? AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
            AND experiments.name = ? AND experiments.lifecycle_stage = 'active'
            AND experiments.artifact_location = ?
            AND model_versions.current_stage <> 'Deleted_Internal'
            AND NOT EXISTS (
                SELECT 1 FROM experiment_tags
                WHERE experiment_tags.experiment_id = experiments.experiment_id
                    AND experiment_tags.key = ?
            )
            AND (aliases.version IS NOT NULL OR decided.value = ?)
        ORDER BY runs.start_time DESC
    """
    values = (
        PIPELINE_KEY,
        VERSION_TAG,
        MODEL,
        DECISION,
        MODEL,
        CHAMPION,
        key,
        EXPERIMENT,
        artifact_location(root),
        RESTORING,
        CHALLENGER,
    )
    try:
        with closing(
            sqlite3.connect(f"{database_file(root).as_uri()}?mode=ro", uri=True)
        ) as database:
            [[schema]] = database.execute("SELECT version_num FROM alembic_version")
            # One of another MLflow serves nobody else, which MLflow itself then says.
            if schema != _newest_schema():
                return None
            row = database.execute(query, values).fetchone()
    except (sqlite3.Error, ValueError):
        return None
    if row is None:
        return None
    return Published(
        parent_run_id=row[0],
        created_runs=0,
        model_version=row[1],
        created_version=False,
        champion=row[2],
    )


def _newest_schema() -> str:
    """The schema of the installed MLflow, from its migrations: importing it takes seconds."""
    spec = find_spec("mlflow")
    folder = Path(str(spec and spec.origin)).parent / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    revisions, parents = (
        {found for text in texts for found in re.findall(rf"^{name} = \"(\w+)\"", text, re.M)}
        for name in ("revision", "down_revision")
    )
    [newest] = revisions - parents
    return str(newest)
