"""Reads the numbers in report files."""

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from facesr.errors import DataError
from facesr.stats import headlines, read_table


def read_headlines(scores: Path) -> list[tuple[str, float, int]]:
    """Return the `headlines` of per_image.csv at step 0; raise DataError if it is damaged."""
    try:
        text = scores.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{scores} does not exist. Run: dvc repro evaluate") from None
    except ValueError as error:
        raise DataError(f"{scores} is damaged ({error}). Run: dvc repro -f evaluate") from None
    return [(name, value, 0) for name, value in headlines(read_table(text)).items()]


def read_curves(
    folder: Path, is_wanted: Callable[[Path], bool] = Path.is_file
) -> Iterator[tuple[str, float, int]]:
    """Yield metric, value and step from the CSV files that have a column `step`."""
    for path in sorted(filter(is_wanted, folder.glob("*.csv"))):
        series = "" if path.stem == "curves" else f"{path.stem}."
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                if "step" not in (rows.fieldnames or ()):
                    continue
                for row in rows:
                    step = _number(row.pop("step"))
                    for column, cell in row.items():
                        value = _number(cell)
                        if step is not None and value is not None:
                            yield f"{series}{column}", value, int(step)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{path} is damaged ({error}). Run: dvc repro -f {folder.name}"
            ) from None


def _number(cell: object) -> float | None:
    """Read a cell; None if it holds no finite number."""
    try:
        value = float(str(cell))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
