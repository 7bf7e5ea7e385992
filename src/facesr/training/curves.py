"""Curves of a training, written while it runs and drawn at its end."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from facesr.reports import write_text
from facesr.reports.figures import draw_curves


class CurveLog:
    """CSV files to which a training appends numbers."""

    def __init__(self, folder: Path, goals: Mapping[str, float]) -> None:
        self.folder = folder
        self.goals = goals
        self._files: dict[str, IO[str]] = {}
        self._names: dict[str, list[str]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, step: int, values: Mapping[str, float], series: str = "curves") -> None:
        """Add a row to SERIES.csv, whose columns are those of its first row."""
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
        """Return the text of every series so far."""
        return {
            series: (self.folder / f"{series}.csv").read_text(encoding="utf-8")
            for series in self._files
        }

    def restore(self, state: Mapping[str, str]) -> None:
        """Continue after the rows in `state`."""
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
