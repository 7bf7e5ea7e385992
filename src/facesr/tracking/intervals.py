"""Means with confidence intervals, from the metrics by picture."""

import csv
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import NamedTuple

from facesr.errors import DataError

# set, size, method -> metric -> picture -> value
Table = Mapping[tuple[str, str, str], Mapping[str, Mapping[str, float]]]

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean and the Student interval around it."""

    mean: float
    low: float
    high: float
    pictures: int


def read_table(text: str) -> Table:
    """Reads per_image.csv.

    Raises:
        DataError: It is damaged.
    """
    found: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
    try:
        for row in csv.DictReader(StringIO(text)):
            rows = found.setdefault((row.pop("set"), row.pop("size"), row.pop("method")), {})
            stem = row.pop("stem")
            for metric, cell in row.items():
                # An infinite or undefined value is written as an empty cell.
                rows.setdefault(metric, {})[stem] = float(cell) if cell else math.nan
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"per_image.csv is damaged ({error}). Run: dvc repro -f evaluate") from None
    return found


def interval(values: Sequence[float]) -> Interval:
    """Gives mean and 95 % interval of the finite values; no interval for fewer than two."""
    # Loads PyTorch.
    from scipy import stats

    from facesr.reports import summarise

    mean, error, count, _ = summarise(values)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error if count > 1 else math.nan
    return Interval(mean, mean - half, mean + half, count)


def paired_interval(values: Mapping[str, float], references: Mapping[str, float]) -> Interval:
    """Gives value minus reference over the pictures that both have."""
    return interval([values[stem] - references[stem] for stem in values if stem in references])
