"""The files that the pipeline's stages have written, read once per state of the file."""

import csv
import json
from pathlib import Path
from typing import Any

import streamlit as st

from facesr import paths

# Stages that have curves, in their order.
STAGES = ("train_generator", "train_critic", "train_gan", "train_upsampler")


def metrics() -> dict[str, Any]:
    """Returns reports/metrics.json; empty where it is missing or damaged."""
    content = _json(*_state(paths.METRICS))
    return content if isinstance(content, dict) else {}


def scores() -> list[dict[str, str]]:
    """Returns the evaluation's numbers by picture and method."""
    return table(paths.SCORES)


def groups() -> list[dict[str, str]]:
    """Returns the evaluation's means by group of pictures."""
    return table(paths.SCORES.with_name("groups.csv"))


def curves(stage: str, series: str = "curves") -> list[dict[str, float]]:
    """Returns a stage's numbers by step."""
    rows = table(paths.REPORTS / stage / f"{series}.csv")
    return [{name: _number(value) for name, value in row.items()} for row in rows]


def sheets() -> dict[str, Path]:
    """Returns the picture grids that stages have drawn, by what they show."""
    return {
        path.relative_to(paths.REPORTS).with_suffix("").as_posix(): path
        for path in sorted(paths.REPORTS.glob("*/**/*.png"))
    }


def table(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file; none where it is missing or damaged."""
    return _csv(*_state(path))


def _state(path: Path) -> tuple[str, float]:
    try:
        return str(path.resolve()), path.stat().st_mtime
    except OSError:
        return str(path), 0.0


@st.cache_data(show_spinner=False, max_entries=64)
def _json(path: str, changed: float) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@st.cache_data(show_spinner=False, max_entries=64)
def _csv(path: str, changed: float) -> list[dict[str, str]]:
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return []


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
