"""Results by group of images: by what their manifest says of each."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from facesr import metrics, reports, stats
from facesr.data.manifest import Entry, groups_of
from facesr.evaluation.scores import Score, column, gain, methods_of
from facesr.names import BICUBIC, LABELS

# Of the Markdown tables; groups.csv has all.
SHOWN_METRICS = ("psnr", "ssim")
GROUP_COLUMNS = (
    *("set", "group", "value", "images", "method", "metric"),
    *("mean", "standard_error", "gain", "gain_standard_error"),
)


class Group(NamedTuple):
    """Images of a set that have one attribute in common."""

    name: str
    value: str
    scores: Sequence[Score]
    """Of these images only, every method."""

    @property
    def images(self) -> int:
        """How many."""
        return len({score.stem for score in self.scores})


def group(scores: Sequence[Score], entries: Mapping[str, Entry], *, smallest: int) -> list[Group]:
    """Parts the scores of a set by the attributes of its images.

    Args:
        scores: Of one set at one size.
        entries: Rows of the manifest by stem.
        smallest: Groups of fewer images are left out: their means say nothing.

    Returns:
        Groups sorted by name and value, without those that hold every image of the set.
    """
    members: dict[tuple[str, str], set[str]] = {}
    stems = {score.stem for score in scores}
    for stem in stems & set(entries):
        for name, value in groups_of(entries[stem]):
            members.setdefault((name, value), set()).add(stem)
    return [
        Group(name, value, [score for score in scores if score.stem in inside])
        for (name, value), inside in sorted(members.items())
        if smallest <= len(inside) < len(stems)
    ]


def group_rows(set_name: str, groups: Sequence[Group]) -> Iterator[dict[str, str | int | float]]:
    """Yield rows of groups.csv: mean and standard error of every metric by group and method."""
    for one in groups:
        for method in methods_of(one.scores):
            for metric in metrics.NAMES:
                summary = stats.summarise(column(one.scores, method, metric))
                over_bicubic = gain(one.scores, method, metric)
                yield {
                    "set": set_name,
                    "group": one.name,
                    "value": one.value,
                    "images": one.images,
                    "method": method,
                    "metric": metric,
                    "mean": summary.mean,
                    "standard_error": summary.standard_error,
                    "gain": over_bicubic.mean,
                    "gain_standard_error": over_bicubic.standard_error,
                }


def group_table(groups: Sequence[Group], method: str) -> str:
    """Render a method beside bicubic, one row a group, as Markdown."""
    header = ["group", "images"]
    for metric in SHOWN_METRICS:
        header += [f"{BICUBIC}, {LABELS[metric]}", method, "gain"]
    rows = []
    for one in groups:
        row = [f"{one.name} = {one.value}", str(one.images)]
        for metric in SHOWN_METRICS:
            row += [
                *(
                    stats.summarise(column(one.scores, name, metric)).shown()
                    for name in (BICUBIC, method)
                ),
                gain(one.scores, method, metric).shown("+.4g"),
            ]
        rows.append(row)
    return reports.markdown_table(header, rows)
