"""Learning-rate finder: a short training whose rate grows from step to step.

After Smith 2017, https://arxiv.org/abs/1506.01186, as in fastai's `lr_find`; the weights are thrown
away.
"""

import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import AdamW
from tqdm import tqdm

from facesr.config import Params, RegressionParams, TrainCriticParams
from facesr.devices import pick_device
from facesr.errors import ParamsError, TrainingError
from facesr.files import written_whole
from facesr.losses import ContentLoss
from facesr.models import build
from facesr.pairs import WHOLE, load_pairs
from facesr.training.critic import critic_batches, patch_cross_entropy
from facesr.training.pretrain import phase_batches, start_network
from facesr.training.processes import Processes

STAGES = ("train_generator", "train_critic", "train_upsampler")
# fastai's: of the running mean, and of its lowest value at which the loss counts as exploded.
SMOOTHING = 0.98
SMOOTHED_STEPS = round(1 / (1 - SMOOTHING))
EXPLOSION = 4.0


class Rates(NamedTuple):
    """What a search found."""

    rates: list[float]
    losses: list[float]
    """Running means, one for each rate."""
    suggestion: float
    """A tenth of the rate of the lowest loss."""


def find_rate(
    stage: str,
    params: Params,
    *,
    lr: Path,
    hr: Path,
    init_from: Path | None,
    lowest: float,
    highest: float,
    steps: int,
) -> Rates:
    """Train the network that a stage starts from with growing rates, until the loss explodes.

    Args:
        stage: One of STAGES. For the GAN the loss says nothing about the rate.
        params: The active profile; the stage's first phase sets crop and batch.
        lr: Pack or folder of the network's inputs (critic: of the generated pictures).
        hr: Pack or folder of the originals.
        init_from: Weights that the stage starts from; None takes fresh ones.
        lowest: Rate of the first step.
        highest: Rate of the last step.
        steps: Steps at most.

    Raises:
        CheckpointError: `init_from` is missing, damaged or of another architecture.
        ParamsError: There is no such stage.
        TrainingError: The loss was not finite from the start.
    """
    if stage not in STAGES:
        raise ParamsError(f"There is no rate to find for {stage}. Choose {', '.join(STAGES)}.")
    device = pick_device()
    torch.manual_seed(params.training_seed)
    module, batches, loss_of, section = _set_up(stage, params, lr, hr, init_from)
    module.to(device).train()
    optimizer = AdamW(
        module.parameters(),
        lr=lowest,
        betas=(0.95, 0.99),
        eps=section.epsilon,
        weight_decay=section.weight_decay,
    )
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step, (x, y) in enumerate(
        tqdm(_endless(batches, steps), total=steps, unit="step", disable=None)
    ):
        rate = lowest * (highest / lowest) ** (step / max(1, steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(module(x.to(device)), y.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss.item()
        smoothed = mean / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(smoothed) or (losses and smoothed > EXPLOSION * min(losses)):
            break
        rates.append(rate)
        losses.append(smoothed)
    if not losses:
        raise TrainingError(f"The first loss of {stage} is not finite. Check its pictures.")
    return Rates(rates, losses, rates[losses.index(min(losses))] / 10)


def draw_rates(found: Rates, path: Path, *, title: str) -> None:
    """Draws the loss over the rate, with the suggestion, as PNG."""
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color="#1f6feb", linewidth=2)
    label = f"suggestion {found.suggestion:.1e}"
    axes.axvline(found.suggestion, color="black", linestyle="--", linewidth=1, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss, running mean")
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})


def _set_up(
    stage: str, params: Params, lr: Path, hr: Path, init_from: Path | None
) -> tuple[
    nn.Module, Any, Callable[[Tensor, Tensor], Tensor], TrainCriticParams | RegressionParams
]:
    sizes = params.sizes
    if stage == "train_critic":
        critic = params.train_critic
        batches = critic_batches(critic, sizes, lr, hr, params.training_seed, share=WHOLE)
        return build(critic.network.model_dump()), batches, patch_cross_entropy, critic
    is_generator = stage == "train_generator"
    section = params.train_generator if is_generator else params.train_upsampler
    scale = sizes.generator_scale if is_generator else sizes.upsampler_scale
    alone = Processes(0, 1, pick_device())
    pairs = load_pairs(lr, hr, hr_size=sizes.generator_size if is_generator else sizes.hr_size)
    return (
        start_network(section, scale=scale, init_from=init_from).module,
        phase_batches(section, section.phases[0], pairs, params.training_seed, alone),
        ContentLoss(section.content).to(alone.device),
        section,
    )


def _endless(batches: Any, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    given = count()
    while True:
        for batch in batches:
            if next(given) == steps:
                return
            yield batch
