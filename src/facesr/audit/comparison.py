"""Comparison of published states: parameters, metrics by image, and the images themselves."""

import base64
import html
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from facesr import images, reports
from facesr.audit.verification import refuse_other_images
from facesr.data.manifest import Entry, may_be_shown, notice, read_by_stem
from facesr.data.pairs import HR, LR, load_pairs
from facesr.enhance.enhancer import Enhancer
from facesr.errors import ParamsError, RegistryError
from facesr.evaluation.baselines import bicubic
from facesr.evaluation.scores import PRECISION, enhanced_by
from facesr.files import atomic_write
from facesr.names import BICUBIC, FULL_SIZE, INPUT, ORIGINAL, UPSAMPLED, EvaluationSet
from facesr.reports import sheets
from facesr.stats import (
    NOT_AVAILABLE,
    Interval,
    Summary,
    Table,
    differences,
    interval,
    served_rows,
    summarise,
)
from facesr.tracking import Record, download, read_record, read_scores
from facesr.tracking.gate import HIGHER_IS_BETTER
from facesr.tracking.lockfile import EVALUATION_KEY

_METHOD = (FULL_SIZE, UPSAMPLED)
_SEED = "training_seed"


class Comparison(NamedTuple):
    """Differences between published states; the first is the reference."""

    records: Sequence[Record]
    tables: Sequence[Table]
    params: Sequence[Sequence[str]]
    """Name, and a value for each state, of different parameters."""
    metrics: Sequence[Sequence[str]]
    """Set and metric, the first state's mean, and the paired difference of each other one."""


def compare(root: Path, names: Sequence[str]) -> Comparison:
    """Compare two or more versions, parent runs or DVC experiments.

    Raises:
        ParamsError: Fewer than two, or one twice.
        RegistryError: A name names nothing, or the states were measured on other images.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise ParamsError("Name two or more different versions, runs or experiments.")
    records = [read_record(root, name) for name in names]
    for record in records[1:]:
        if record.tags.get(EVALUATION_KEY) != records[0].tags.get(EVALUATION_KEY):
            raise RegistryError(
                f"{record.name} and {records[0].name} were measured on different images; nothing "
                "is comparable. Evaluate both on the same data first."
            )
    tables = [read_scores(root, record) for record in records]
    return Comparison(records, tables, _params(records), _metrics(tables))


def _params(records: Sequence[Record]) -> list[list[str]]:
    names = sorted({name for record in records for name in record.params})
    rows = [[name, *(record.params.get(name, "-") for record in records)] for name in names]
    tags = [["profile", *(record.tags.get("profile", "-") for record in records)]]
    revisions = [["revision", *(record.tags.get("git.rev", "-")[:12] for record in records)]]
    return [row for row in tags + revisions + rows if len(set(row[1:])) > 1]


def _metrics(tables: Sequence[Table]) -> list[list[str]]:
    rows = []
    first, *others = tables
    for set_name, metrics, _ in served_rows(first):
        for metric, values in metrics.items():
            mean = interval(values.values())
            row = [f"{set_name}: {metric}", f"{mean.mean:.5g}" if mean.images else NOT_AVAILABLE]
            for other in others:
                theirs = other.get((set_name, *_METHOD), {}).get(metric, {})
                gain = interval(differences(theirs, values).values())
                row.append("equal" if theirs == values else _shown(gain, mean.mean))
            rows.append(row)
    return rows


def _shown(gain: Interval, size: float) -> str:
    """Return mean and ends; rounding errors around 0 are shown as 0."""
    least = 1e-12 * abs(size)
    mean, low, high = (0.0 if abs(value) < least else value for value in gain[:3])
    return Interval(mean, low, high, gain.images).shown()


def as_text(comparison: Comparison) -> str:
    """Format both tables for a terminal, as Markdown."""
    first, *others = (record.name for record in comparison.records)
    params = (
        reports.markdown_table(["parameter", first, *others], comparison.params)
        if comparison.params
        else "All parameters are equal."
    )
    metrics = reports.markdown_table(_metrics_header(first, others), comparison.metrics)
    return (
        f"{params}\n\nMean, and mean paired difference to {first} with its 95 % interval, "
        f"{FULL_SIZE}:\n\n{metrics}"
    )


def _metrics_header(first: str, others: Sequence[str]) -> list[str]:
    return ["set: metric", first, *(f"{other} - {first}" for other in others)]


def over_seeds(comparison: Comparison, metric: str, set_name: str) -> str:
    """Return the spread over training seeds for each combination of the other parameters.

    Args:
        metric: A name of `HIGHER_IS_BETTER`.

    Returns:
        A Markdown table, the best combination first: mean ± standard error over the seeds, and the
        same of the difference to the first experiment's combination, seed by seed.

    Raises:
        ParamsError: Two experiments have equal parameters and seeds.
        RegistryError: An experiment lacks the metric.
    """
    differ = [row for row in comparison.params if row[0] not in ("revision", _SEED)]
    groups: dict[str, dict[str, float]] = {}
    for place, (record, table) in enumerate(
        zip(comparison.records, comparison.tables, strict=True), start=1
    ):
        label = ", ".join(f"{row[0]}={row[place]}" for row in differ) or "all parameters equal"
        values = table.get((set_name, *_METHOD), {}).get(metric, {})
        if all(map(math.isnan, values.values())):
            raise RegistryError(f"{record.name} has no {metric} on {set_name}.")
        scores, seed = groups.setdefault(label, {}), record.params[_SEED]
        if seed in scores:
            raise ParamsError(f"{record.name} repeats parameters and seed. Remove it.")
        scores[seed] = summarise(list(values.values())).mean
    means = {label: summarise(list(scores.values())) for label, scores in groups.items()}
    first, reference = next(iter(groups.items()))
    rows = []
    for label in sorted(means, key=lambda one: means[one].mean, reverse=HIGHER_IS_BETTER[metric]):
        scores = groups[label]
        gain = summarise(differences(scores, reference).values())
        difference = "" if label == first else _spread(gain, "+.3g")
        rows.append([label, _spread(means[label], ".5g"), difference, ", ".join(scores)])
    header = ["combination", f"{metric} on {set_name}", f"difference to {first}", "training seeds"]
    return reports.markdown_table(header, rows)


def _spread(summary: Summary, form: str) -> str:
    if not summary.finite:
        return "-"
    # One seed has no standard error.
    return summary.shown(form) if summary.finite > 1 else f"{summary.mean:{form}}"


def write_sheet(
    root: Path, comparison: Comparison, set_name: str, one: EvaluationSet, path: Path, *, count: int
) -> None:
    """Draw low-res | bicubic | A | B ... | original, the largest difference in PSNR first.

    Images whose licence forbids it are left out; without images, no file is written.

    Raises:
        DataError: The images are missing or not those that the states were measured on.
    """
    records, folder = comparison.records, one.pairs
    refuse_other_images(root, records[0], folder)
    side = int(records[0].params["sizes.hr_size"])
    pairs = load_pairs(root / folder / LR, root / folder / HR, hr_size=side)
    psnr = [table[(set_name, *_METHOD)]["psnr"] for table in comparison.tables]
    entries = read_by_stem(root / one.images)
    chosen = _largest_differences(psnr, entries)[:count]
    if not chosen:
        return
    positions = [pairs.stems.index(stem) for stem in chosen]
    lrs = [images.from_uint8(pairs.lr[position]) for position in positions]
    columns = {INPUT: lrs, BICUBIC: [bicubic(lr, side) for lr in lrs]}
    for record in records:
        weights = download(root, record.version)
        chain = Enhancer.from_checkpoint(weights, device="cpu", precision=PRECISION)
        columns[record.name] = [enhanced_by(chain)(lr, side) for lr in lrs]
    columns[ORIGINAL] = [images.from_uint8(pairs.hr[position]) for position in positions]
    notes = [
        f"{stem}: PSNR in dB: "
        + ", ".join(
            f"{record.name} {values[stem]:.2f}"
            for record, values in zip(records, psnr, strict=True)
        )
        for stem in chosen
    ]
    sheets.write_sheet(
        path,
        columns,
        cell=max(side, 128),
        title=(
            f"{set_name}, {FULL_SIZE}: the largest difference first"
            f"{notice(entries[stem] for stem in chosen)}"
        ),
        notes=notes,
    )


def _largest_differences(
    psnr: Sequence[Mapping[str, float]], entries: Mapping[str, Entry]
) -> list[str]:
    """Return the stems of images that may be shown, the largest differences first."""

    def spread(stem: str) -> float:
        values = [by_stem[stem] for by_stem in psnr]
        return max(values) - min(values)

    measured = [stem for stem in psnr[0] if stem in entries and may_be_shown(entries[stem])]
    return sorted(measured, key=lambda stem: (-spread(stem), stem))


def write_html(
    root: Path, comparison: Comparison, sets: Mapping[str, EvaluationSet], path: Path, *, count: int
) -> None:
    """Write tables and sheets as one self-contained file, or raise as `write_sheet`."""
    first, *others = (record.name for record in comparison.records)
    parts = [
        f"<h1>{html.escape(' | '.join([first, *others]))}</h1>",
        "<h2>Parameters that differ</h2>",
        _html_table(["parameter", first, *others], comparison.params),
        f"<h2>Metrics, {FULL_SIZE}</h2>"
        "<p>Mean, and mean paired difference with its 95&nbsp;% interval.</p>",
        _html_table(_metrics_header(first, others), comparison.metrics),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        for set_name, one in sets.items():
            parts.append(f"<h2>{html.escape(set_name)}</h2>")
            sheet = Path(temporary, f"{set_name}.png")
            write_sheet(root, comparison, set_name, one, sheet, count=count)
            if not sheet.exists():
                parts.append("<p>The licence lets none of these images be shown.</p>")
                continue
            data = base64.b64encode(sheet.read_bytes()).decode()
            parts.append(f'<img alt="{html.escape(set_name)}" src="data:image/png;base64,{data}">')
    with atomic_write(path) as temporary:
        temporary.write_text(_PAGE.format(body="\n".join(parts)), encoding="utf-8")


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in header)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>facesr compare</title>
<style>
body {{ font: 15px/1.5 sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #d0d7de; padding: .25rem .8rem; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }}
img {{ max-width: 100%; }}
</style>
<body>
{body}
</body>
</html>
"""
