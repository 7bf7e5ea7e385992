"""Builds a lost store again from the history, Git's commits and DVC's cache.

Runs, versions with their numbers, experiments, decisions and aliases come back. What DVC's cache no
longer holds is named, and its number stays free.
"""

import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from logging import getLogger
from pathlib import Path
from typing import Any

from tqdm import tqdm

from facesr.files import digest
from facesr.tracking import history
from facesr.tracking.history import State
from facesr.tracking.lockfile import ALSO, EVALUATION_RUN, PIPELINE_KEY, key_of, md5s
from facesr.tracking.runs import Runs
from facesr.tracking.store import MODEL, database_file, home, is_embedded
from facesr.tracking.versions import WEIGHTS_MD5

logger = getLogger(__name__)

# Tag of the experiment while its runs are restored.
RESTORING = "facesr.restoring"
# Tags of a parent run that do not follow from the files of its state.
_KEPT = ("profile", "dvc.exp_name", "dvc.exp_baseline_rev", ALSO)
# Outs that a run or a version holds; of the others only the manifests.
_NEEDED = ("reports/", "models/")
_MANIFEST = "manifest.csv"
# Lost states that are named, at most.
_NAMED = 10

Project = Callable[[Path, Mapping[str, Any], Mapping[str, str], bool], None]
"""Function that writes a state: its folder, stages, the run's tags, and whether the gate is asked.
"""


def note_state(root: Path, client: Any, run_id: str, message: str) -> None:
    """Add the present state, its run and all decisions to the history."""
    run = client.get_run(run_id)
    tags = {tag: value for tag, value in run.data.tags.items() if tag.startswith(_KEPT)}
    _note(root, client, message, {"run": tags})


def note_decision(root: Path, client: Any, message: str) -> None:
    """Add a person's decision to the history."""
    _note(root, client, message, {})


def _note(root: Path, client: Any, message: str, more: Mapping[str, Any]) -> None:
    # A server has a database of its own, which its keeper saves.
    if not is_embedded(root) or not history.is_under_git(root):
        return
    versions = {}
    for version in client.search_model_versions(f"name = '{MODEL}'"):
        tags = dict(version.tags)
        # Ids are new in a new store; the state is not.
        tags[EVALUATION_RUN] = _state_of(client, tags.get(EVALUATION_RUN, ""))
        versions[str(version.version)] = tags
    aliases = client.get_registered_model(MODEL).aliases
    known = {
        "versions": versions,
        "aliases": {alias: int(number) for alias, number in aliases.items()},
    }
    history.note(root, message, {**known, **more}, with_state=bool(more))


def _state_of(client: Any, run_id: str) -> str:
    """Return the key of a run's state; "" if the run was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run_id).data.tags.get(PIPELINE_KEY, ""))
    except MlflowException:
        return ""


def restore(root: Path, runs: Runs, present: str, project: Project) -> bool:
    """Fill an empty store with all that Git and DVC still know; return whether there was anything.

    A store with content stays as it is, unless a restoration was interrupted, which goes on. The
    state with the key `present` is left to the caller.
    """
    client = runs.client
    if not is_embedded(root) or not _is_due(runs):
        return False
    if not history.is_under_git(root):
        logger.info("The project is not under Git, so only the present state is known.")
        return False
    events = history.noted(root)
    registry = events[-1].registry if events else {}
    versions: dict[str, dict[str, str]] = registry.get("versions", {})
    states = _distinct(events, history.committed(root), present)
    if not states:
        return False
    client.set_experiment_tag(runs.experiment_id, RESTORING, "true")
    cache = _cache_folder(root)
    lost = []
    ordered = sorted(states, key=lambda state: _number_of(state, versions) or sys.maxsize)
    for state in tqdm(ordered, unit="state", desc="restore", disable=None):
        # There the project's store is the store of the state too.
        place = home(root) / ".dvc" / "tmp" / "exps"
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as folder:
            if not _lay_out(state, cache, Path(folder)):
                lost.append(state)
                continue
            if number := _number_of(state, versions):
                _leave_free(root, client, number)
            # Of the parent run: from the record, else from the commit.
            tags = dict(state.registry.get("run") or {"profile": state.profile})
            if state.experiment:
                tags.setdefault("dvc.exp_name", state.experiment)
            project(Path(folder), state.stages, tags, not versions)
    _decide(runs, registry)
    client.delete_experiment_tag(runs.experiment_id, RESTORING)
    logger.info("Restored %d states from Git and DVC's cache.", len(states) - len(lost))
    if lost:
        numbers = [(state, _number_of(state, versions)) for state in lost]
        names = [f"{MODEL}/{n}" if n else s.experiment or s.commit[:8] for s, n in numbers]
        logger.warning(
            "Not restored, as DVC's cache does not hold their files: %s%s",
            ", ".join(names[:_NAMED]),
            f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "",
        )
    return True


def _is_due(runs: Runs) -> bool:
    if RESTORING in runs.client.get_experiment(runs.experiment_id).tags:
        return True
    if runs.client.search_model_versions(f"name = '{MODEL}'", max_results=1):
        return False
    return not runs.client.search_runs(
        [runs.experiment_id], f"tags.`{PIPELINE_KEY}` LIKE '%'", max_results=1
    )


def _distinct(events: Sequence[State], others: Iterator[State], present: str) -> list[State]:
    """Return the states by first appearance, each with its latest record."""
    found: dict[str, State] = {}
    for state in events:
        if state.registry.get("run"):
            found[key_of(state.stages)] = state
    for state in others:
        if state.stages and "reports/metrics.json" in state.files:
            key = key_of(state.stages)
            if key in found:
                found[key].experiment = found[key].experiment or state.experiment
            elif key != present:
                found[key] = state
    return list(found.values())


def _number_of(state: State, versions: Mapping[str, Mapping[str, str]]) -> int:
    """Return the version of a state by its weights; 0 if unknown."""
    made = {
        f"dvc.md5.{path}": md5
        for entry in state.stages.values()
        for path, md5 in md5s(entry, "outs").items()
    }
    for number, tags in versions.items():
        weights = {tag: md5 for tag, md5 in tags.items() if tag.startswith("dvc.md5.models/")}
        if weights and weights.items() <= made.items():
            return int(number)
    return 0


def _cache_folder(root: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"],
        cwd=home(root),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.split("\n")
    return Path(lines[0]) if not done.returncode and lines[0] else home(root) / ".dvc" / "cache"


def _lay_out(state: State, cache: Path, folder: Path) -> bool:
    """Link the files of a state from DVC's cache into a folder; return False if one is missing.

    The cache stores files under their md5, and for a folder the list of its files.
    """
    for name, content in state.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for entry in state.stages.values():
        for path, md5 in md5s(entry, "outs").items():
            kept = cache / "files" / "md5" / md5[:2] / md5[2:]
            is_needed = path.startswith(_NEEDED)
            if path in state.files:
                if digest(folder / path, "md5") != md5:
                    return False
            elif not kept.is_file():
                if is_needed:
                    return False
            elif md5.endswith(".dir"):
                for item in json.loads(kept.read_text(encoding="utf-8")):
                    if is_needed or item["relpath"] == _MANIFEST:
                        one = cache / "files" / "md5" / item["md5"][:2] / item["md5"][2:]
                        if not one.is_file():
                            return False
                        _link(folder / path / item["relpath"], one)
            elif is_needed:
                _link(folder / path, kept)
    return True


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target.resolve())


def _leave_free(root: Path, client: Any, number: int) -> None:
    """Use up the numbers before `number`, so that the next version gets it."""
    # MLflow counts deleted versions too, and lists none of them.
    with closing(sqlite3.connect(database_file(root))) as database:
        [[last]] = database.execute("SELECT max(version) FROM model_versions")
    if last is None and number > 1:
        client.create_registered_model(MODEL)
    for _ in range((last or 0) + 1, number):
        free = client.create_model_version(MODEL, source=home(root).as_uri())
        client.delete_model_version(MODEL, free.version)


def _decide(runs: Runs, registry: Mapping[str, Any]) -> None:
    """Restore tags and aliases of the versions."""
    client = runs.client
    present = {
        version.tags.get(WEIGHTS_MD5): version
        for version in client.search_model_versions(f"name = '{MODEL}'")
    }
    numbers = {}
    for number, tags in registry.get("versions", {}).items():
        version = present.get(tags.get(WEIGHTS_MD5))
        if version is None:
            continue
        numbers[int(number)] = version.version
        for tag, value in tags.items():
            if tag == EVALUATION_RUN:
                run = runs.find(PIPELINE_KEY, value) if value else None
                value = run.info.run_id if run else ""
            if value and version.tags.get(tag) != value:
                client.set_model_version_tag(MODEL, version.version, tag, value)
    for alias, number in registry.get("aliases", {}).items():
        if number in numbers:
            client.set_registered_model_alias(MODEL, alias, numbers[number])
        else:
            logger.warning("%s was %s/%d, which is not restored.", alias, MODEL, number)
