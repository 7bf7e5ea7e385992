"""Content of MLflow for a state, and a quick check that it is complete."""

import json
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from facesr.files import atomic_write
from facesr.tracking.gate import Decision
from facesr.tracking.store import artifact_location, database_file, home, is_embedded


@dataclass(frozen=True)
class Published:
    """Content of MLflow for the present state of the pipeline."""

    parent_run_id: str
    created_runs: int
    """Runs written this time, the parent among them; 0 when all was there."""
    model_version: int
    created_version: bool
    champion: int | None
    """Version with the alias `champion`; None if no version has it."""
    decision: Decision | None = None
    """The gate's decision, if it was asked this time."""
    is_settled: bool = True
    """True if the gate has nothing left to decide."""


def write_note(root: Path, key: str, published: Published) -> None:
    """Write the note for `read_note`, except for servers and open decisions."""
    if not is_embedded(root) or not published.is_settled:
        return
    known = asdict(replace(published, created_runs=0, created_version=False, decision=None))
    with atomic_write(_note(root)) as temporary:
        temporary.write_text(json.dumps([_state(root, key), known]), encoding="utf-8")


def read_note(root: Path, key: str) -> Published | None:
    """Return the last publication, if it is of this state and the store has not changed since.

    This takes 10 ms; importing and opening MLflow takes 3 s.
    """
    try:
        state, known = json.loads(_note(root).read_text(encoding="utf-8"))
        return Published(**known) if is_embedded(root) and state == _state(root, key) else None
    except (OSError, ValueError, TypeError):
        return None


def _note(root: Path) -> Path:
    return home(root) / ".dvc" / "tmp" / "published.json"


def _state(root: Path, key: str) -> list[Any]:
    found = database_file(root).stat()
    # Another MLflow may refuse the store.
    place = [artifact_location(root), version("mlflow")]
    return [key, *place, found.st_ino, found.st_size, found.st_mtime_ns]
