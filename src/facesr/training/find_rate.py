"""Search for a learning rate: a short training whose rate grows from step to step.

fastai's `lr_find`, after Smith 2017, https://arxiv.org/abs/1506.01186.
"""

import math
import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch

from facesr.config import TrainingParams
from facesr.errors import TrainingError
from facesr.reports.figures import COLOURS, new_figure, save_figure
from facesr.training.learner import Task, build_learner, start_cycle

SMOOTHED_STEPS = 50
"""Steps of fastai's running mean of the loss."""


class Rates(NamedTuple):
    """Result of a search."""

    rates: list[float]
    losses: list[float]
    """Running means, one for each rate."""
    suggestion: float
    """A tenth of the rate of the lowest loss."""


def find_rate(
    task: Task, training: TrainingParams, *, lowest: float, highest: float, steps: int
) -> Rates:
    """Train a network on its first cycle with growing learning rates, until the loss diverges.

    Args:
        task: Task of the network, whose weights are restored at the end.
        training: Parameters of trainings; the search computes in float32.
        lowest: Learning rate of the first step.
        highest: Learning rate of the last step.

    Raises:
        TrainingError: The loss was not finite from the start.
    """
    learner = build_learner(task, training)
    start_cycle(learner, task.cycles[0])
    torch.manual_seed(task.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        nullcontext() if sys.stdout.isatty() else learner.no_bar(),
        warnings.catch_warnings(),
    ):
        learner.path = Path(folder)  # Gets the weights that are put back.
        # fastai loads them by names that NumPy has renamed.
        warnings.simplefilter("ignore", DeprecationWarning)
        learner.lr_find(lowest, highest, num_it=steps, show_plot=False, suggest_funcs=None)
    found = zip(learner.recorder.lrs, map(float, learner.recorder.losses), strict=True)
    finite = {float(rate): loss for rate, loss in found if math.isfinite(loss)}
    if not finite:
        raise TrainingError("The first loss is not finite. Check the stage's images.")
    best = min(finite, key=finite.__getitem__)
    return Rates(list(finite), list(finite.values()), best / 10)


def draw_rates(found: Rates, path: Path, *, title: str) -> None:
    """Draw the loss over the learning rate, with the suggestion, as PNG."""
    figure, axes = new_figure(8, 4.5)
    axes.plot(found.rates, found.losses, color=COLOURS[0], linewidth=2)
    label = f"suggestion {found.suggestion:.1e}"
    axes.axvline(found.suggestion, color="black", linestyle="--", linewidth=1, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss, running mean")
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save_figure(figure, path)
