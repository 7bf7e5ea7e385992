"""Figures of numbers, all in one style."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facesr.files import atomic_write
from facesr.stats import Summary

COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of so many inches and its axes, in the style of all figures."""
    # Loaded here: matplotlib takes half a second, and few processes draw.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format of the file name; equal figures are equal bytes."""
    with atomic_write(path) as temporary:
        kind = path.suffix.removeprefix(".") or "png"
        figure.savefig(temporary, format=kind, metadata={"Software": None} if kind == "png" else {})


def draw_curves(table: Path, image: Path) -> None:
    """Draw every column of a CSV file over its column `step`, raw and smoothed."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    steps = columns.pop("step")
    goal = columns.pop("goal", None)

    figure, axes = new_figure(8, 4.5)
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
    axes.legend(frameon=False)
    save_figure(figure, image)


def draw_gains(
    gains: Mapping[str, Mapping[str, Summary]], image: Path, *, title: str, label: str
) -> None:
    """Draw means with standard errors as points: a row for each set, a colour for each method."""
    figure, axes = new_figure(8, 1.4 + 0.55 * len(gains))
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
    figure.legend(frameon=False, loc="outside lower center", ncols=len(methods))
    save_figure(figure, image)


def _smoothed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    window = len(values) // 20
    if window < 2:
        return values
    return np.convolve(values, np.full(window, 1 / window), mode="valid")
