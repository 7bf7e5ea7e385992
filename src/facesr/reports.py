"""What stages write for people: tables, curves and sample sheets.

Nothing volatile enters a file: no date, host, duration or absolute path, so that equal results are
equal bytes.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from facesr import images
from facesr.files import written_whole
from facesr.stats import Summary

# Of the sheets, in pixels.
MARGIN = 12
CAPTION = 34
PAGE_QUALITY = 88  # of a sheet as JPEG
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, beside it first and then renamed."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON with numbers of six significant digits; infinite and undefined ones are null."""
    write_text(path, json.dumps(_rounded(values), indent=2, ensure_ascii=False) + "\n")


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], header: Sequence[str] | None = None
) -> None:
    """Writes rows of equal keys; `header` names the columns where there may be no row."""
    with written_whole(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rounded(row) for row in rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Renders an aligned Markdown table; all columns but the first are numbers."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *others = row
        padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        return "| " + " | ".join([first.ljust(widths[0]), *padded]) + " |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([line(cells[0]), f"|{rule}|", *(line(row) for row in cells[1:])])


class CurveLog:
    """Appends numbers to CSV files while a training runs."""

    def __init__(self, folder: Path, goals: Mapping[str, float]) -> None:
        self.folder = folder
        self.goals = goals
        self._files: dict[str, IO[str]] = {}
        self._names: dict[str, list[str]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, step: int, values: Mapping[str, float], series: str = "curves") -> None:
        """Adds a row to SERIES.csv; the names of a series are those of its first row."""
        if series not in self._files:
            self._files[series] = (self.folder / f"{series}.csv").open("w", encoding="utf-8")
            self._names[series] = list(values)
            goal = ["goal"] if series in self.goals else []
            self._files[series].write(",".join(["step", *values, *goal]) + "\n")
        assert list(values) == self._names[series], "the names of a series never change"
        cells = [f"{value:.6g}" for value in values.values()]
        if series in self.goals:
            cells.append(f"{self.goals[series]:g}")
        self._files[series].write(",".join([str(step), *cells]) + "\n")
        # A person may look while the training runs.
        self._files[series].flush()

    def state(self) -> dict[str, str]:
        """Gives the text of every series so far."""
        return {
            series: (self.folder / f"{series}.csv").read_text(encoding="utf-8")
            for series in self._files
        }

    def restore(self, state: Mapping[str, str]) -> None:
        """Goes on after the rows that `state` gave."""
        for series, text in state.items():
            write_text(self.folder / f"{series}.csv", text)
            self._files[series] = (self.folder / f"{series}.csv").open("a", encoding="utf-8")
            self._names[series] = [
                name for name in text.split("\n", 1)[0].split(",") if name not in ("step", "goal")
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()
        if kind is None:
            for series in self._files:
                draw_curves(self.folder / f"{series}.csv", self.folder / f"{series}.png")


@contextmanager
def curve_log(folder: Path, goals: Mapping[str, float] | None = None) -> Iterator[CurveLog]:
    """Opens a log of curves in `folder`, and draws each series at the end.

    Args:
        folder: Gets SERIES.csv and SERIES.png.
        goals: Values to aim at by series; each becomes a column and a dashed line.
    """
    with CurveLog(folder, goals or {}) as log:
        yield log


def draw_curves(table: Path, picture: Path) -> None:
    """Draws every column of a CSV file over its column `step`, raw and smoothed."""
    # Loaded here: matplotlib takes half a second, and only the end of a training needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    steps = columns.pop("step")
    goal = columns.pop("goal", None)

    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, values), colour in zip(columns.items(), COLOURS * len(columns), strict=False):
        smoothed = _smoothed(values)
        if len(values) > len(smoothed):
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
        start = len(values) - len(smoothed)
        axes.plot(steps[start:], smoothed, color=colour, label=name.replace("_", " "), linewidth=2)
    if goal is not None:
        axes.axhline(goal[0], color="black", linestyle="--", linewidth=1, label=f"goal {goal[0]:g}")
    axes.set_xlabel("step")
    axes.set_title(f"{table.parent.name.replace('_', ' ')}: {table.stem}", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with written_whole(picture) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def draw_gains(
    gains: Mapping[str, Mapping[str, Summary]], picture: Path, *, title: str, label: str
) -> None:
    """Draws means with standard errors as points: a row for each set, a colour for each method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.4 + 0.55 * len(gains)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    methods = list(dict.fromkeys(method for row in gains.values() for method in row))
    for number, (method, colour) in enumerate(zip(methods, COLOURS * len(methods), strict=False)):
        offset = 0.5 * ((number + 0.5) / len(methods) - 0.5)
        own = {place: row[method] for place, row in enumerate(gains.values()) if method in row}
        axes.errorbar(
            [one.mean for one in own.values()],
            [place + offset for place in own],
            xerr=[one.standard_error for one in own.values()],
            fmt="o",
            markersize=5,
            color=colour,
            label=method,
        )
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(gains)), list(gains))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_title(title, loc="left")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=len(methods))
    with written_whole(picture) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def write_sheet(
    path: Path,
    columns: Mapping[str, Sequence[Tensor]],
    *,
    cell: int,
    title: str,
    notes: Sequence[str] | None = None,
) -> None:
    """Writes a picture grid: a captioned column for each entry, a row for each picture.

    Args:
        path: PNG, or a smaller JPEG for a page.
        columns: Pictures (3, h, w) in [0, 1] by caption; smaller ones are enlarged pixel by pixel,
            so that a sheet never flatters them.
        cell: Side of a cell in pixels.
        title: Stands above all.
        notes: A line under each row.
    """
    count = max(len(column) for column in columns.values())
    row_height = cell + MARGIN + (CAPTION if notes else 0)
    sheet = Image.new(
        "RGB",
        (MARGIN + len(columns) * (cell + MARGIN), 2 * CAPTION + MARGIN + count * row_height),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    bold, plain = _font("DejaVuSans-Bold", 18), _font("DejaVuSans", 15)
    draw.text((MARGIN, CAPTION / 2), title, fill="black", font=bold, anchor="lm")
    for position, (caption, column) in enumerate(columns.items()):
        left = MARGIN + position * (cell + MARGIN)
        draw.text((left, 1.5 * CAPTION), caption, fill="black", font=plain, anchor="lm")
        for row, picture in enumerate(column):
            method: images.Filter = "nearest" if picture.shape[-1] < cell else "lanczos"
            shown = images.resize(picture, _fitted(picture, cell), method)
            sheet.paste(images.to_pillow(shown), (left, 2 * CAPTION + row * row_height))
    for row, note in enumerate(notes or ()):
        middle = 2 * CAPTION + row * row_height + cell + CAPTION / 2
        draw.text((MARGIN, middle), note, fill="black", font=plain, anchor="lm")
    with written_whole(path) as beside:
        kind = "JPEG" if path.suffix == ".jpg" else "PNG"
        sheet.save(beside, kind, optimize=True, quality=PAGE_QUALITY)


def _fitted(picture: Tensor, cell: int) -> tuple[int, int]:
    height, width = picture.shape[-2:]
    factor = cell / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings the file, so that every computer draws the same letters.
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)


def _smoothed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    window = len(values) // 20
    if window < 2:
        return values
    return np.convolve(values, np.full(window, 1 / window), mode="valid")


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
