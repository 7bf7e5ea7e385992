"""The gate: whether a new version of the registered model may take the champion's place.

A version is compared picture by picture, which takes the difference between pictures out of the
comparison: on 16 pictures two means of PSNR differ by chance by more than two good trainings do.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import NamedTuple

from facesr.errors import DataError
from facesr.stats import Summary, paired_difference

# Of the metrics that have a better end.
HIGHER_IS_BETTER = {
    "psnr": True,
    "ssim": True,
    "ms_ssim": True,
    "mse": False,
    "l1_mean": False,
}


class Rule(NamedTuple):
    """What is compared, and by how much a version has to be better."""

    metric: str
    """A key of `HIGHER_IS_BETTER`, and a column of the table."""
    evaluation_set: str
    size: str
    """Of the table's rows, as `full size`."""
    method: str
    """The registered model's rows."""
    standard_errors: float
    """The mean paired difference to the champion has to exceed so many of its standard errors."""


class Measured(NamedTuple):
    """A version as the gate sees it."""

    number: int
    profile: str
    evaluation: str
    """Hash of the pictures that it was measured on."""
    scores: Mapping[str, float]
    """The metric by picture."""


class Decision(NamedTuple):
    """Which alias the new version gets, and why."""

    is_champion: bool
    reason: str


def decide(
    candidate: Measured, bicubic: Mapping[str, float], champion: Measured | None, rule: Rule
) -> Decision:
    """Compares a version with the champion and with bicubic.

    Args:
        candidate: The new version.
        bicubic: The metric of bicubic by picture.
        champion: The version that serves; without one the new version serves, whatever it measures.
        rule: What is compared.
    """
    beyond = compare(candidate.scores, bicubic, rule.metric)
    gain = f"{rule.metric} on {rule.evaluation_set} against bicubic {_shown(beyond)}"
    if champion is None:
        return Decision(True, f"There was no champion. {gain}.")
    serves = f"version {champion.number}"
    if candidate.profile != champion.profile:
        return Decision(
            False,
            f"The champion, {serves}, is of profile {champion.profile}, this one of "
            f"{candidate.profile}.",
        )
    if candidate.evaluation != champion.evaluation:
        return Decision(
            False, f"The champion, {serves}, was measured on other pictures; nothing is comparable."
        )
    if not beyond.mean > 0:
        return Decision(False, f"It does not beat bicubic: {gain}.")
    if not champion.scores:
        return Decision(False, f"The champion's values by picture are lost: those of {serves}.")
    ahead = compare(candidate.scores, champion.scores, rule.metric)
    against = f"{rule.metric} on {rule.evaluation_set} against {serves} {_shown(ahead)}"
    # Written so that an undefined standard error is no victory.
    if not ahead.mean > rule.standard_errors * ahead.standard_error:
        return Decision(
            False, f"Not better by {rule.standard_errors:g} standard errors: {against}."
        )
    return Decision(True, f"Better: {against}; {gain}.")


def compare(scores: Mapping[str, float], references: Mapping[str, float], metric: str) -> Summary:
    """Gives the paired difference over the pictures that both have, positive where `scores` win.

    Pictures whose value is infinite, restored to the last bit, are left out.
    """
    stems = [stem for stem in scores if stem in references]
    difference = paired_difference(
        [scores[stem] for stem in stems], [references[stem] for stem in stems]
    )
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    return difference._replace(mean=sign * difference.mean)


def _shown(difference: Summary) -> str:
    return (
        f"{difference.mean:+.4g} ± {difference.standard_error:.2g} ({difference.finite} pictures)"
    )


def read_scores(text: str, rule: Rule, methods: Sequence[str]) -> list[dict[str, float]]:
    """Reads the metric by picture, for each of `methods`, from per_image.csv.

    Args:
        text: CSV with columns set, size, method, stem and the metrics.
        rule: Names the rows and the metric; its method is not read.
        methods: In the order of the result.

    Raises:
        DataError: The table does not have what the rule names.
    """
    found: dict[str, dict[str, float]] = {method: {} for method in methods}
    try:
        for row in csv.DictReader(StringIO(text)):
            is_asked = (row["set"], row["size"]) == (rule.evaluation_set, rule.size)
            if is_asked and row["method"] in found:
                # An infinite PSNR is written as an empty cell.
                found[row["method"]][row["stem"]] = float(row[rule.metric] or math.inf)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"per_image.csv lacks the column {error}. Run: dvc repro -f evaluate"
        ) from None
    missing = [method for method in methods if not found[method]]
    if missing:
        raise DataError(
            f"per_image.csv has no rows for {', '.join(missing)} at {rule.size} on "
            f"{rule.evaluation_set}. Correct publish in params.yaml, or run: dvc repro -f evaluate"
        )
    return [found[method] for method in methods]
