"""Results by group of people: by the attributes in their manifest."""

from collections.abc import Iterator, Mapping, Sequence

from facesr import reports, stats
from facesr.data.groups import GroupGain, gains_by_group
from facesr.data.manifest import Entry
from facesr.evaluation.scores import NAMES, Score, methods_of
from facesr.names import BICUBIC, LABELS, LEARNED
from facesr.stats import NOT_AVAILABLE

# Of the Markdown tables; groups.csv has all.
SHOWN_METRICS = ("psnr", "ssim", *LEARNED)
GROUP_COLUMNS = (
    *("set", "group", "value", "images", "people", "method", "metric", "mean", "standard_error"),
    *("gain", "gain_standard_error", "difference", "difference_standard_error"),
)


def group(
    scores: Sequence[Score],
    entries: Mapping[str, Entry],
    method: str,
    metric: str = "psnr",
    *,
    smallest: int,
) -> list[GroupGain]:
    """Return the gains of a method over bicubic by group.

    Args:
        scores: Of one set at one size.
        entries: Rows of the manifest by stem.
        method: Of the scores.
        metric: Of the scores.
        smallest: Groups of fewer images are left out.
    """
    own, bicubic = (_values(scores, name, metric) for name in (method, BICUBIC))
    return gains_by_group(stats.differences(own, bicubic), entries, smallest=smallest)


def group_rows(
    set_name: str, scores: Sequence[Score], entries: Mapping[str, Entry], *, smallest: int
) -> Iterator[dict[str, str | int | float]]:
    """Yield rows of groups.csv: every available metric by group and method."""
    for method in methods_of(scores):
        for metric in NAMES:
            values = _values(scores, method, metric)
            for one in group(scores, entries, method, metric, smallest=smallest):
                summary = stats.summarise([values[stem] for stem in one.stems])
                yield {
                    "set": set_name,
                    "group": one.name,
                    "value": one.value,
                    "images": len(one.stems),
                    "people": one.people,
                    "method": method,
                    "metric": metric,
                    "mean": summary.mean,
                    "standard_error": summary.standard_error,
                    "gain": one.gain.mean,
                    "gain_standard_error": one.gain.standard_error,
                    "difference": one.difference.mean,
                    "difference_standard_error": one.difference.standard_error,
                }


def group_table(
    scores: Sequence[Score],
    entries: Mapping[str, Entry],
    method: str,
    *,
    smallest: int,
) -> str:
    """Render the gains of a method, one row a group, as Markdown; "" without groups.

    Args:
        scores: Of one set at one size.
        entries: Rows of the manifest by stem.
        method: Of the scores.
        smallest: Groups of fewer images are left out.
    """
    header = ["group", "people"]
    rows: dict[str, list[str]] = {}
    for metric in SHOWN_METRICS:
        header += [f"gain in {LABELS[metric]}", "difference to the others"]
        groups = {
            one.label: one for one in group(scores, entries, method, metric, smallest=smallest)
        }
        # Not every image has a value of every metric; all have a PSNR.
        rows = rows or {label: [label, one.size] for label, one in groups.items()}
        for label, row in rows.items():
            one = groups.get(label)
            row += (
                [each.shown("+.4g") for each in (one.gain, one.difference)]
                if one
                else [NOT_AVAILABLE] * 2
            )
    return reports.markdown_table(header, list(rows.values())) if rows else ""


def _values(scores: Sequence[Score], method: str, metric: str) -> dict[str, float]:
    return {score.stem: score.values[metric] for score in scores if score.method == method}
