"""Cost of the projection into MLflow: seconds per `dvc repro` without changes, bytes per run.

Run: make bench-tracking. It trains the smoke profile of the last commit in a temporary clone.
"""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from facesr.profiles import compose
from facesr.reports import markdown_table

ROUNDS = 5


def main() -> None:
    """Measure and print Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", ".", clone], check=True)
        text = compose("smoke", clone / "profiles")
        (clone / "params.yaml").write_text(text, encoding="utf-8")
        (clone / "dvc.lock").unlink(missing_ok=True)
        dvc(clone, "repro", "--quiet")

        whole = seconds(clone, "-m", "dvc", "repro", "--quiet")
        before = seconds(clone, "-m", "dvc", "repro", "--quiet", "evaluate")
        publish = seconds(clone, "-m", "stages.publish")
        rows = [
            ["`dvc repro` without changes, s", spread(whole)],
            ["`dvc repro evaluate` without changes, s", spread(before)],
            [
                "what publish adds to it, s",
                f"{statistics.median(whole) - statistics.median(before):.2f}",
            ],
            ["`python -m stages.publish` alone, s", spread(publish)],
            *sizes(clone),
        ]
    print(markdown_table(["what", "measured"], rows))


def dvc(root: Path, *arguments: str) -> None:
    """Run DVC as a user would."""
    python(root, "-m", "dvc", *arguments)


def python(root: Path, *arguments: str) -> None:
    """Run this Python on the clone's code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment = {
        **kept,
        "PYTHONPATH": str(root / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "tmp" / "site"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, check=True, capture_output=True
    )


def seconds(root: Path, *arguments: str) -> list[float]:
    """Wall-clock times, after one that warms up."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        python(root, *arguments)
        times.append(time.perf_counter() - start)
    return times[1:]


def spread(times: list[float]) -> str:
    """Median with the extremes."""
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


def sizes(root: Path) -> list[list[str]]:
    """The store by its parts."""
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        names = dict(database.execute("SELECT run_uuid, name FROM runs"))
    runs = {
        name: size_of(folder)
        for run, name in names.items()
        if (folder := next((root / "mlruns").rglob(run), None))
    }
    [version] = (root / "mlruns").rglob("m-*")
    largest = max(runs, key=runs.__getitem__)
    mean = statistics.fmean(runs.values())
    return [
        [f"a run, mean of {len(runs)}, MB", f"{mean:.2f}"],
        [f"the largest run, `{largest}`, MB", f"{runs[largest]:.2f}"],
        ["a version: weights, code, card, MB", f"{size_of(version):.2f}"],
        ["mlflow.db, MB", f"{(root / 'mlflow.db').stat().st_size / 1e6:.2f}"],
    ]


def size_of(folder: Path) -> float:
    """Megabytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
