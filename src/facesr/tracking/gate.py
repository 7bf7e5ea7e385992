"""The gate decides whether a new version of the registered model replaces the champion.

A version must be better than the best of what served before: the starter, the champion, and
bicubic. It is compared image by image, which takes the difference between images out of the
comparison: on 16 images two means of PSNR differ by chance by more than two good trainings do.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from facesr.errors import DataError
from facesr.names import BICUBIC, LEARNED, STARTER
from facesr.stats import NOT_AVAILABLE, Summary, Table, differences, summarise

# Of the metrics that have a better end.
HIGHER_IS_BETTER = {
    **dict.fromkeys(("psnr", "ssim", "ms_ssim", "identity"), True),
    **dict.fromkeys(("mse", "l1_mean", "lpips"), False),
}
_UNITS = {"psnr": " dB"}


class Rule(NamedTuple):
    """Metric that is compared, and how much better a version has to be."""

    metric: str
    """Key of `HIGHER_IS_BETTER` and column of the table."""
    evaluation_set: str
    size: str
    """Size in the table's rows, such as `full size`."""
    method: str
    """Method in the registered model's rows."""
    confidence: float
    """Level of the one-sided paired t-test that a version has to pass."""


class Decision(NamedTuple):
    """Decision on a new version, with its reason."""

    is_champion: bool
    reason: str
    rival: int | None = None
    """Number of the challenger that a version without success does not replace."""


def decide(
    scores: Mapping[str, float], references: Mapping[str, Mapping[str, float]], rule: Rule
) -> Decision:
    """Compare a version with everything that served before.

    The version becomes champion if it passes a one-sided paired t-test against its closest
    reference. With an undefined standard error, as of a single image, it does not pass.

    Args:
        scores: The metric of the new version by image.
        references: The metric of bicubic, the starter and the champion by image, under the names
            that the reason uses.
    """
    differences = {
        name: compare(scores, reference, rule.metric) for name, reference in references.items()
    }
    unit = _UNITS.get(rule.metric, "")
    shown = {
        name: f"{each.shown('+.4g')}{unit} against {name}" for name, each in differences.items()
    }
    means = {name: each.mean for name, each in differences.items()}
    best = min(means, key=lambda name: -math.inf if math.isnan(means[name]) else means[name])
    least = differences[best]
    needed = margin(least, rule.confidence)
    is_champion = least.mean > needed
    verdict = (
        f"Better than {best}" if is_champion else f"Not better than {best} by more than chance"
    )
    limit = (
        f"more than {needed:+.3g}{unit} against {best} is needed"
        if math.isfinite(needed)
        else "two images at least are needed"
    )
    return Decision(
        is_champion,
        f"{verdict}: {rule.metric} on {rule.evaluation_set} over {least.finite} images: "
        f"{', '.join(shown.values())}; {limit}.",
    )


def hold_first(
    decision: Decision, first: Mapping[str, float], starter: Mapping[str, float], rule: Rule
) -> Decision:
    """Refuse a version whose first network, which alone serves small scales, is behind the starter.

    The metrics of both by image and the rule are of that size.
    """
    ahead = compare(first, starter, rule.metric)
    if not decision.is_champion or ahead.mean >= 0:
        return decision
    return Decision(
        False,
        f"Its first network, which alone serves small scales, is behind the starter: {rule.metric} "
        f"on {rule.evaluation_set} over {ahead.finite} images at {rule.size}: "
        f"{ahead.shown('+.4g')}{_UNITS.get(rule.metric, '')}.",
    )


def describe_learned(table: Table, rule: Rule) -> str:
    """Return the means of the metrics by networks, which decide only where the rule names one.

    Args:
        table: Every metric by image.
        rule: Names the rows.
    """
    shown = []
    for metric in LEARNED:
        means = {
            method: summarise(values).mean
            for method in (rule.method, BICUBIC, STARTER)
            if (values := _column(table, rule, method, metric).values())
        }
        own = means.pop(rule.method, math.nan)
        others = ", ".join(f"{method} {mean:.4f}" for method, mean in means.items())
        shown.append(f"{metric} {NOT_AVAILABLE if math.isnan(own) else f'{own:.4f} ({others})'}")
    return f"Means there: {', '.join(shown)}."


def _column(table: Table, rule: Rule, method: str, metric: str) -> Mapping[str, float]:
    return table.get((rule.evaluation_set, rule.size, method), {}).get(metric, {})


def margin(difference: Summary, confidence: float) -> float:
    """Return the mean paired difference to exceed, by Student's t; nan for fewer than two."""
    # Takes a second to load, and an unchanged pipeline asks no gate.
    from scipy import stats

    if difference.finite < 2:
        return math.nan
    return float(stats.t.ppf(confidence, difference.finite - 1)) * difference.standard_error


def compare(scores: Mapping[str, float], references: Mapping[str, float], metric: str) -> Summary:
    """Return the paired difference over the images in both, positive where `scores` are better.

    Images whose value is infinite, restored to the last bit, are left out.
    """
    difference = summarise(differences(scores, references).values())
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    return difference._replace(mean=sign * difference.mean)


def scores_of(table: Table, rule: Rule, methods: Sequence[str]) -> list[Mapping[str, float]]:
    """Return the metric by image for each of `methods`, in their order.

    Args:
        table: Every metric by image.
        rule: Names the rows and the metric; its method is not read.
        methods: Their names.

    Raises:
        DataError: The table does not have what the rule names.
    """
    found = [_column(table, rule, method, rule.metric) for method in methods]
    missing = [
        method
        for method, scores in zip(methods, found, strict=True)
        if all(map(math.isnan, scores.values()))
    ]
    if missing:
        raise DataError(
            f"per_image.csv has no {rule.metric} of {', '.join(missing)} at {rule.size} on "
            f"{rule.evaluation_set}. Correct publish in params.yaml, or run: dvc repro -f evaluate"
        )
    return found
