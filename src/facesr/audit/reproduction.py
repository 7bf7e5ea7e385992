"""Reproduction of a registered version in a clean worktree with an empty cache."""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from facesr.audit.verification import agree, is_float32
from facesr.errors import DataError, RegistryError
from facesr.evaluation.scores import MEASUREMENT
from facesr.names import LEARNED
from facesr.stats import Table, read_table, summarise
from facesr.tracking import Record, read_artifact, read_record, read_scores
from facesr.tracking.lockfile import md5s, read_lock
from facesr.tracking.provenance import device_name


class Reproduction(NamedTuple):
    """Comparison of the reproduced version with the registered one."""

    files: list[tuple[str, str, str]]
    """Weights file, registered md5, reproduced md5."""
    metrics: list[tuple[str, float, float]]
    """Metrics that differ by more than float noise: name, registered, reproduced."""
    compared: int
    """Number of compared metrics."""
    is_dirty: bool
    """True if no revision holds the files of the version."""
    devices: tuple[str, str]
    """Device of the version and of this computer; only one kind gives equal bits."""

    @property
    def is_equal(self) -> bool:
        """True if all weights and metrics are equal."""
        return not self.metrics and all(old == new for _, old, new in self.files)


def reproduce(root: Path, name: str, *, scores: Path) -> Reproduction:
    """Run the pipeline of a version from the start, without any cache.

    Args:
        root: The project's root, a Git repository that holds the version's revision.
        name: A version, as for `read_record`.
        scores: Every metric by image, as CSV, relative to a project's root.

    Raises:
        RegistryError: The version is unknown, or its parameters or revision are lost.
        DataError: The pipeline failed.
    """
    record = read_record(root, name)
    params = read_artifact(root, record.run_id, "params.yaml")
    revision = record.tags.get("git.rev", "")
    if params is None or not revision:
        raise RegistryError(
            f"{name} was published without its params.yaml or its revision, and cannot be made "
            "again. Run: dvc repro"
        )
    with _worktree(root, revision) as worktree:
        (worktree / "params.yaml").write_text(params, encoding="utf-8")
        # Photographs, which no revision holds.
        for stage in ("fetch_faces", "fetch_selfies"):
            folder = record.params.get(f"{stage}.path", "")
            if folder and (root / folder).exists() and not (worktree / folder).exists():
                (worktree / folder).parent.mkdir(parents=True, exist_ok=True)
                (worktree / folder).symlink_to((root / folder).resolve())
        _run_pipeline(worktree)
        lock = read_lock(worktree / "dvc.lock")
        today = {path: md5 for entry in lock.values() for path, md5 in md5s(entry, "outs").items()}
        numbers = _means(read_table((worktree / scores).read_text(encoding="utf-8")))
        written = (worktree / scores).with_name(MEASUREMENT)
        measurements = [
            read_artifact(root, record.stages.get("evaluate", ""), MEASUREMENT),
            written.read_text(encoding="utf-8") if written.is_file() else None,
        ]
    is_exact = all(is_float32(each) for each in measurements)
    files = [(path, md5, today.get(path, "")) for path, md5 in sorted(_weights(record).items())]
    # A metric by a network that is missing here is no difference.
    compared = {
        key: old
        for key, old in _means(read_scores(root, record)).items()
        if key in numbers or not key.endswith(LEARNED)
    }
    differing = [
        (key, old, numbers.get(key, math.nan))
        for key, old in compared.items()
        if not agree(key, old, numbers.get(key, math.nan), is_exact=is_exact)
    ]
    is_dirty = record.tags.get("git.dirty") == "true"
    devices = (record.tags.get("device", ""), device_name())
    return Reproduction(files, differing, len(compared), is_dirty, devices)


def _means(table: Table) -> dict[str, float]:
    """Return the finite means of every metric by set, size and method."""
    means = {
        f"{', '.join(row)}: {metric}": summarise(values.values()).mean
        for row, columns in table.items()
        for metric, values in columns.items()
    }
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def _weights(record: Record) -> dict[str, str]:
    prefix = "dvc.md5."
    return {
        tag.removeprefix(prefix): md5
        for tag, md5 in record.version.tags.items()
        if tag.startswith(f"{prefix}models/")
    }


@contextmanager
def _worktree(root: Path, revision: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="facesr-") as folder:
        path = Path(folder, "worktree")
        added = _git(root, "worktree", "add", "--detach", str(path), revision)
        if added.returncode:
            raise RegistryError(
                f"Revision {revision} is not in this repository "
                f"({added.stderr.strip().splitlines()[-1]}). Run: git fetch --all"
            )
        try:
            yield path
        finally:
            _git(root, "worktree", "remove", "--force", str(path))


def _git(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )


def _run_pipeline(worktree: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name[:4] != "DVC_"}
    environment |= {
        "PYTHONPATH": str(worktree / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}",
        "DVC_SITE_CACHE_DIR": str(worktree / ".dvc" / "tmp" / "site"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "evaluate"],
        cwd=worktree,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise DataError("The pipeline failed, see above. Correct that and run it again.")
