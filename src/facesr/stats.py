"""Statistics of per-image metrics: means, standard errors and paired confidence intervals."""

import csv
import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from typing import NamedTuple

from facesr.errors import DataError
from facesr.names import (
    BICUBIC,
    FACES,
    FULL_SIZE,
    HEADLINES,
    SELFIES,
    UPSAMPLED,
    headline_key,
)

# metric -> image -> value
Columns = Mapping[str, Mapping[str, float]]
# By set, size and method.
Table = Mapping[tuple[str, str, str], Columns]

CONFIDENCE = 0.95
# In place of a mean of nothing.
NOT_AVAILABLE = "not available"


class Summary(NamedTuple):
    """Mean and standard error of a column of a table."""

    mean: float
    standard_error: float
    finite: int
    """Number of values in the mean."""
    infinite: int
    """Number of infinite or undefined values outside the mean."""

    def shown(self, mean: str = ".4g", error: str = ".2g") -> str:
        """Return mean ± standard error, each in its format, or that there is none."""
        if not self.finite:
            return NOT_AVAILABLE
        return f"{self.mean:{mean}} ± {self.standard_error:{error}}"


class Interval(NamedTuple):
    """A mean and its confidence interval by Student's t distribution."""

    mean: float
    low: float
    high: float
    images: int

    def shown(self, form: str = "+.3g") -> str:
        """Return mean and ends in a format, or that there is none."""
        if not self.images:
            return NOT_AVAILABLE
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"


def summarise(values: Collection[float]) -> Summary:
    """Return mean and standard error (sd / sqrt(n), with n - 1 degrees of freedom)."""
    finite = [value for value in values if math.isfinite(value)]
    mean = statistics.fmean(finite) if finite else math.nan
    error = statistics.stdev(finite) / math.sqrt(len(finite)) if len(finite) > 1 else math.nan
    return Summary(mean, error, len(finite), len(values) - len(finite))


def paired_difference(values: Sequence[float], references: Sequence[float]) -> Summary:
    """Return the summary of value minus reference, image by image."""
    return summarise([a - b for a, b in zip(values, references, strict=True)])


def interval(values: Collection[float]) -> Interval:
    """Return mean and 95 % interval of the finite values; fewer than two have no interval."""
    # Takes a second to load, and not every command needs it.
    from scipy import stats

    mean, error, count, _ = summarise(values)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error if count > 1 else math.nan
    return Interval(mean, mean - half, mean + half, count)


def differences(values: Mapping[str, float], references: Mapping[str, float]) -> dict[str, float]:
    """Return value minus reference by image, for the images in both; infinite ones are left out."""
    shared = {stem: values[stem] - references[stem] for stem in values if stem in references}
    return {stem: value for stem, value in shared.items() if math.isfinite(value)}


def read_table(text: str) -> Table:
    """Read per_image.csv, with nan for empty cells; raise DataError if it is damaged."""
    found: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
    try:
        for row in csv.DictReader(StringIO(text)):
            rows = found.setdefault((row.pop("set"), row.pop("size"), row.pop("method")), {})
            stem = row.pop("stem")
            for metric, cell in row.items():
                rows.setdefault(metric, {})[stem] = float(cell) if cell else math.nan
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"per_image.csv is damaged ({error}). Run: dvc repro -f evaluate") from None
    return found


def served_rows(table: Table) -> Iterator[tuple[str, Columns, Columns]]:
    """Yield the sets, with what the registered chain and bicubic measure at full size."""
    for (set_name, size, method), columns in table.items():
        if (size, method) == (FULL_SIZE, UPSAMPLED):
            yield set_name, columns, table.get((set_name, FULL_SIZE, BICUBIC), {})


def served_means(table: Table) -> Iterator[tuple[str, str, Interval, Interval]]:
    """Yield set, metric, the registered chain's mean at full size and its gain over bicubic."""
    for set_name, columns, bicubic in served_rows(table):
        for metric, values in columns.items():
            gains = differences(values, bicubic.get(metric, {}))
            yield set_name, metric, interval(values.values()), interval(gains.values())


def headlines(table: Table) -> dict[str, float]:
    """Return the registered chain's means at full size on faces and selfies, at most ten.

    `faces/psnr_gain` is the mean paired difference to bicubic in dB. Metrics that are not available
    are left out.
    """
    found = {}
    for set_name, columns, bicubic in served_rows(table):
        gains = differences(columns.get("psnr", {}), bicubic.get("psnr", {}))
        for metric in HEADLINES if set_name in (FACES, SELFIES) else ():
            values = gains if metric == "psnr_gain" else columns.get(metric, {})
            mean = summarise(values.values()).mean
            if math.isfinite(mean):
                # Six digits, as every report has.
                found[headline_key(set_name, metric)] = float(f"{mean:.6g}")
    return found
