"""Sweeps: combinations of parameters, each with several training seeds, on DVC's queue.

All trials share the seed of the data, and so their images: what differs from seed to seed is the
training.
"""

import itertools
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from facesr import reports, stats
from facesr.config import load_params, read_yaml
from facesr.errors import DataError, FaceSRError, ParamsError
from facesr.files import written_whole
from facesr.stats import interval, read_table
from facesr.tables import FULL_SIZE, UPSAMPLED
from facesr.tracking import read_artifact, read_record
from facesr.tracking.gate import HIGHER_IS_BETTER
from facesr.tracking.runs import SCORES_FOLDER

_POLL_SECONDS = 2.0
# Looks at a queue without any worker, one after another, before the sweep gives up: a worker takes
# some seconds to start, and on a busy machine does not always answer.
_PATIENCE = 20


class Trial(NamedTuple):
    """One experiment of a sweep."""

    name: str
    """Of the DVC experiment."""
    values: Mapping[str, str]
    """Parameters under their names in params.yaml."""
    seed: int
    """Of its trainings."""


class Outcome(NamedTuple):
    """What became of a trial."""

    trial: Trial
    score: float
    """Mean of the metric over the pictures; not a number where the trial failed."""
    failure: str
    """Why there is no score; empty for a success."""


def plan(
    name: str, grid: Mapping[str, Sequence[str]], seeds: Sequence[int], *, params: Path
) -> list[Trial]:
    """Lists the experiments of a sweep.

    Args:
        name: Of the sweep; the experiments are numbered behind it.
        grid: Values by parameter: `train_gan.batches` is one of the active profile.
        seeds: Every combination runs with each of them.
        params: params.yaml.

    Raises:
        ParamsError: The name or a parameter does not fit, or there is nothing to vary.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ParamsError(f"{name} is no name for a sweep. Use small letters, digits and hyphens.")
    if not grid and len(seeds) < 2:
        raise ParamsError("There is nothing to vary. Give NAME=VALUE,VALUE or several --seeds.")
    content = read_yaml(params)
    load_params(params, any_device=True)
    for key in grid:
        value = content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None or isinstance(value, dict):
            raise ParamsError(f"{key} is no parameter in {params}.")
    combinations = itertools.product(*grid.values())
    trials = []
    for number, values in enumerate(combinations, start=1):
        named = dict(zip(grid, values, strict=True))
        trials += [Trial(f"{name}-{number}-seed{seed}", named, seed) for seed in seeds]
    return trials


def run(root: Path, trials: Sequence[Trial], *, jobs: int) -> dict[str, str]:
    """Queues the trials and waits until DVC's workers have done them all.

    Args:
        root: The project's root, a Git repository with everything committed that the trials need.
        trials: As from `plan`.
        jobs: Workers; one for each GPU, since DVC assigns none.

    Returns:
        The last state by trial: `Success` or `Failed`; a trial that no worker is left for has none.

    Raises:
        DataError: DVC refuses.
    """
    for trial in tqdm(trials, unit="trial", desc="queue", disable=None):
        values = {**trial.values, "training_seed": str(trial.seed)}
        sets = [part for key, value in values.items() for part in ("-S", f"{key}={value}")]
        _dvc(root, "exp", "run", "--queue", "--name", trial.name, *sets)
    _dvc(root, "queue", "start", "--jobs", str(jobs))
    states: dict[str, str] = {}
    names = {trial.name for trial in trials}
    without_worker = 0
    with tqdm(total=len(trials), unit="trial", desc="run", disable=None) as bar:
        while len(states) < len(trials) and without_worker < _PATIENCE:
            time.sleep(_POLL_SECONDS)
            text = _dvc(root, "queue", "status")
            states = {
                name: state
                for name, state in _states(text).items()
                if state in ("Success", "Failed") and name in names
            }
            without_worker = without_worker + 1 if "0 active, 0 idle" in text else 0
            bar.update(len(states) - bar.n)
    return states


def _states(text: str) -> dict[str, str]:
    """Reads the table of `dvc queue status`: name and state."""
    found = re.findall(
        r"^[0-9a-f]{7}\s+(\S+)\s.*?\s(Queued|Running|Success|Failed)\s*$", text, re.M
    )
    return dict(found)


def _dvc(root: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    # A file, since a worker that DVC leaves behind would hold a pipe open until the queue is empty.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=root,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        text = output.read()
    if done.returncode:
        lines = text.strip().splitlines()
        raise DataError(f"dvc {' '.join(arguments[:2])} failed: {lines[-1] if lines else '?'}")
    return text


def collect(
    root: Path, trials: Sequence[Trial], states: Mapping[str, str], *, metric: str, set_name: str
) -> list[Outcome]:
    """Reads the score of every trial from MLflow; what failed is kept, with the reason."""
    outcomes = []
    for trial in trials:
        score, failure = math.nan, ""
        if trial.name not in states:
            failure = "was not done: DVC's worker has ended. Run: dvc queue start"
        elif states[trial.name] != "Success":
            failure = f"failed: dvc queue logs {trial.name}"
        else:
            try:
                record = read_record(root, trial.name)
                text = read_artifact(root, record.run_id, f"{SCORES_FOLDER}/per_image.csv") or ""
                values = read_table(text)[(set_name, FULL_SIZE, UPSAMPLED)][metric]
                score = interval(list(values.values())).mean
            except FaceSRError as error:
                failure = str(error)
            except KeyError:
                failure = f"has no {metric} on {set_name}"
        outcomes.append(Outcome(trial, score, failure))
    return outcomes


def write_summary(outcomes: Sequence[Outcome], folder: Path, *, metric: str, set_name: str) -> str:
    """Writes trials.csv, summary.md and summary.png, best combination first.

    Args:
        outcomes: Of all trials, those that failed among them.
        folder: Gets the files.
        metric: A name of `HIGHER_IS_BETTER`.
        set_name: The evaluation set.

    Returns:
        The Markdown: mean ± standard error over the seeds, the same of the difference to the first
        combination seed by seed, and the failures by name.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        label = ", ".join(f"{key}={value}" for key, value in outcome.trial.values.items())
        groups.setdefault(label or "as in params.yaml", []).append(outcome)
    summaries = {
        label: stats.summarise([outcome.score for outcome in group if not outcome.failure])
        for label, group in groups.items()
    }
    sign = -1 if HIGHER_IS_BETTER[metric] else 1
    order = sorted(
        summaries,
        key=lambda label: (math.isnan(summaries[label].mean), sign * summaries[label].mean),
    )
    first, *others = groups
    scores = {
        label: {one.trial.seed: one.score for one in group if not one.failure}
        for label, group in groups.items()
    }
    rows = [
        [
            label,
            _shown(summaries[label]),
            *(
                ["" if label == first else _difference(scores[label], scores[first])]
                if others
                else []
            ),
            f"{summaries[label].finite} of {len(groups[label])}",
        ]
        for label in order
    ]
    compared = [f"difference to {first}"] if others else []
    header = ["combination", f"{metric} on {set_name}", *compared, "training seeds"]
    text = reports.markdown_table(header, rows)
    failed = [f"- {one.trial.name}: {one.failure}" for one in outcomes if one.failure]
    if failed:
        text += "\n\nWithout a result:\n\n" + "\n".join(failed)
    reports.write_text(folder / "summary.md", text + "\n")
    reports.write_csv(
        folder / "trials.csv",
        [
            {"experiment": one.trial.name, **one.trial.values, "seed": one.trial.seed}
            | {metric: one.score, "failure": one.failure}
            for one in outcomes
        ],
    )
    _draw(groups, order, summaries, folder / "summary.png", f"{metric} on {set_name}")
    return text


def _shown(summary: stats.Summary, form: str = ".5g") -> str:
    if not summary.finite:
        return "-"
    # One seed has no standard error.
    error = f" ± {summary.standard_error:.2g}" if summary.finite > 1 else ""
    return f"{summary.mean:{form}}{error}"


def _difference(scores: Mapping[int, float], references: Mapping[int, float]) -> str:
    seeds = sorted(scores.keys() & references.keys())
    pairs = [scores[seed] for seed in seeds], [references[seed] for seed in seeds]
    return _shown(stats.paired_difference(*pairs), "+.3g")


def _draw(
    groups: Mapping[str, Sequence[Outcome]],
    order: Sequence[str],
    summaries: Mapping[str, stats.Summary],
    path: Path,
    label: str,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.5 * len(order)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, name in enumerate(reversed(order)):
        scores = [one.score for one in groups[name] if not one.failure]
        axes.plot(scores, [place] * len(scores), "o", color="#1f6feb", alpha=0.4)
        mean, error = summaries[name][:2]
        if math.isfinite(mean):
            bar = error if math.isfinite(error) else 0.0
            axes.errorbar(mean, place, xerr=bar, fmt="D", color="#d1242f", capsize=4)
    axes.set_yticks(range(len(order)), [*reversed(order)])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlabel(f"{label}: each seed, mean ± standard error")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    with written_whole(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
