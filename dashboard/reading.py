"""Reports of the stages, cached by the state of the file."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from facesr import paths, stats
from facesr.errors import DataError

# Stages that have curves, in their order.
STAGES = ("train_generator", "train_critic", "train_gan", "train_upsampler")


def scores() -> stats.Table:
    """Return the evaluation's metrics by image, nan for infinite ones; empty without a table."""
    return _read(paths.SCORES, "scores") or {}


def groups() -> list[dict[str, str]]:
    """Return the evaluation's means by group of people; `number` reads their cells."""
    path = paths.SCORES.with_name("groups.csv")
    named = ("set", "group", "value", "people", "method", "metric", "mean")
    columns = ("gain", "gain_standard_error", "difference", "difference_standard_error")
    return table(path, *named, *columns)


def curves(stage: str, series: str = "curves") -> list[dict[str, float]]:
    """Return a stage's numbers by step."""
    rows = table(paths.REPORTS / stage / f"{series}.csv", "step")
    return [{name: number(cell) for name, cell in row.items()} for row in rows]


def sheets() -> dict[str, Path]:
    """Return the image grids of the stages by title."""
    return {
        path.relative_to(paths.REPORTS).with_suffix("").as_posix(): path
        for path in sorted(paths.REPORTS.glob("*/**/*.png"))
    }


def table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file; empty if it is missing, damaged or lacks a column."""
    rows = _read(path, "rows")
    return rows if rows and set(columns) <= set(rows[0]) else []


def number(cell: str) -> float:
    """Read a cell; nan if it is empty (infinite or undefined) or damaged."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _rows(text: str) -> list[dict[str, str]]:
    # A row that is cut short, or too long, has the table's columns all the same.
    rows = csv.DictReader(io.StringIO(text), restkey="", restval="")
    return [{name: cell for name, cell in row.items() if name} for row in rows]


_PARSERS: dict[str, Callable[[str], Any]] = {
    "scores": stats.read_table,
    "rows": _rows,
}


def _read(path: Path, kind: str) -> Any:
    try:
        return _parsed(str(path.resolve()), path.stat().st_mtime, kind)
    except OSError:
        return None


@st.cache_data(show_spinner=False, max_entries=64)
def _parsed(path: str, changed: float, kind: str) -> Any:
    try:
        return _PARSERS[kind](Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, DataError, csv.Error):
        return None
