"""Verification of a registered version: equal weights on equal images give equal numbers.

Images are compared by the hash that DVC gives a folder, weights by the registered md5. `evaluate`
measures in float32 on every device. Versions evaluated before it recorded the number format may
have been measured in bfloat16, and get a wider tolerance.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from facesr.enhance.enhancer import Enhancer
from facesr.errors import DataError
from facesr.evaluation.baselines import bicubic
from facesr.evaluation.scores import (
    MEASUREMENT,
    PRECISION,
    enhanced_by,
    score_set,
)
from facesr.files import digest
from facesr.names import BICUBIC, FULL_SIZE, LEARNED, UPSAMPLED, EvaluationSet
from facesr.stats import headlines
from facesr.tracking import Record, download, read_artifact, read_record, read_scores

# Relative or absolute. Between computers, PyTorch versions and numbers of threads; files hold six
# digits.
TOLERANCE = 1.0e-4
# Between float32 and bfloat16. Measured with the starter on twelve photographs and with networks of
# profile `smoke`: 0.0043 and 0.012 dB at most.
ROUNDED_TOLERANCE = 1.0e-2
ROUNDED_DECIBELS = 0.03
# Between weights of a metric's network in float32 and in float16.
LEARNED_TOLERANCE = 1.0e-3


class Deviation(NamedTuple):
    """Number that differs from the registered one."""

    what: str
    registered: float
    measured: float


class Verification(NamedTuple):
    """Comparison of a version's numbers with new ones."""

    compared: int
    """Number of compared values."""
    deviations: list[Deviation]
    """Values that differ."""
    unmeasured: list[str]
    """Metrics by networks that are missing here, or were when the version was measured."""


def verify(root: Path, name: str, sets: Mapping[str, EvaluationSet]) -> Verification:
    """Measure the registered weights again and compare every number.

    Args:
        name: A version, as for `read_record`.
        sets: By name.

    Raises:
        RegistryError: The version is unknown, or its weights are lost or changed.
        DataError: The evaluation images are missing or not those of the version.
    """
    record = read_record(root, name)
    weights = download(root, record.version)
    table = read_scores(root, record)
    for folder, _ in sets.values():
        refuse_other_images(root, record, folder)
    is_exact = is_float32(read_artifact(root, record.stages.get("evaluate", ""), MEASUREMENT))
    enhancer = Enhancer.from_checkpoint(weights, device="cpu", precision=PRECISION)
    methods = {BICUBIC: bicubic, UPSAMPLED: enhanced_by(enhancer)}
    side = int(record.params["sizes.hr_size"])
    measured: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
    numbers: dict[str, tuple[float | None, float]] = {}
    unmeasured = []
    for set_name, (folder, _) in sets.items():
        scores = score_set(methods, root / folder, side=side, label=f"{set_name}, {FULL_SIZE}")
        for one in scores:
            columns = measured.setdefault((set_name, FULL_SIZE, one.method), {})
            for metric, value in one.values.items():
                columns.setdefault(metric, {})[one.stem] = value
        row = (set_name, FULL_SIZE, UPSAMPLED)
        left_out = [
            metric
            for metric in LEARNED
            if not _any_finite(table.get(row, {}).get(metric, {}).values())
            or not _any_finite(measured[row][metric].values())
        ]
        unmeasured += [f"{metric} on {set_name}" for metric in left_out]
        numbers |= {
            f"{set_name}, {one.stem}, {one.method}, {metric}": (
                table.get((set_name, FULL_SIZE, one.method), {}).get(metric, {}).get(one.stem),
                value,
            )
            for one in scores
            for metric, value in one.values.items()
            if metric not in left_out
        }
    numbers |= {
        f"MLflow's {key}": (record.metrics[key], value)
        for key, value in headlines(measured).items()
        if key in record.metrics
    }
    deviations = [
        Deviation(what, math.nan if old is None else old, new)
        for what, (old, new) in numbers.items()
        if not agree(what, old, new, is_exact=is_exact)
    ]
    return Verification(len(numbers), deviations, unmeasured)


def _any_finite(values: Iterable[float]) -> bool:
    return any(map(math.isfinite, values))


def refuse_other_images(root: Path, record: Record, folder: Path) -> None:
    """Raise DataError if a folder does not hold the images that a state was measured on."""
    expected = record.tags.get(f"dvc.md5.{folder.as_posix()}", "")
    found = folder_md5(root / folder)
    if found != expected:
        raise DataError(
            f"{folder} does not hold the images that {record.name} was measured on: its hash is "
            f"{found}, not {expected}. Check out revision {record.tags.get('git.rev', '?')} "
            f"and run: dvc checkout {folder}"
        )


def is_float32(measurement: str | None) -> bool:
    """Return whether metrics were measured in float32, by the text of measurement.json."""
    return bool(measurement) and json.loads(str(measurement)).get("precision") == PRECISION


def agree(name: str, registered: float | None, measured: float, *, is_exact: bool) -> bool:
    """Return whether two values of a metric are equal up to the arithmetic.

    Args:
        name: Name of the metric; a PSNR is compared in dB.
        registered: The earlier value; infinite and undefined ones are not registered.
        measured: The later value.
        is_exact: Both were measured in float32.
    """
    if registered is None or not math.isfinite(registered):
        return not math.isfinite(measured)
    if not is_exact and "psnr" in name:
        return abs(registered - measured) <= ROUNDED_DECIBELS
    tolerance = TOLERANCE if is_exact else ROUNDED_TOLERANCE
    if any(metric in name for metric in LEARNED):
        tolerance = max(tolerance, LEARNED_TOLERANCE)
    return math.isclose(registered, measured, rel_tol=tolerance, abs_tol=tolerance)


def folder_md5(folder: Path) -> str:
    """Return DVC's hash of a folder, of the list of its files; raise DataError without one."""
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Run: dvc pull {folder.name}, or dvc repro")
    entries = []
    for path in folder.rglob("*"):
        if path.is_file():
            relative = path.relative_to(folder).as_posix()
            entries.append({"md5": digest(path, "md5"), "relpath": relative})
    entries.sort(key=lambda entry: entry["relpath"])
    text = json.dumps(entries, sort_keys=True)
    return f"{hashlib.md5(text.encode()).hexdigest()}.dir"
