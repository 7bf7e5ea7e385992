"""The grain of a finished GAN, whose strength is fitted to the training images.

Grain should give each patch the energy that the original has there and the network's output lacks.
A patch energy with mean T and an exponential distribution has the log-likelihood -log T - e / T.
Its maximum weighs errors relative to T, so that quiet and busy patches count equally (Itakura-Saito
divergence, Fevotte et al. 2009, https://doi.org/10.1162/neco.2008.04-08-771).
"""

import math
from collections.abc import Callable
from itertools import chain, islice, repeat

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from facesr import metrics
from facesr.config import GrainParams
from facesr.data.pairs import TrainBatches
from facesr.models.blocks import GRAIN_WINDOW, Grain
from facesr.models.checkpoints import GRAIN, Network, grow

FLOOR = 1e-6
"""Smallest energy: a fifth of the error of rounding to 8 bits."""
UNIT = 1 / 255
"""Unit of the amplitude in the fit: one grey level."""
RIDGE = 1e-3
"""Weight of the squared weights of the amplitude, which few images would make huge."""
ITERATIONS = 200
"""Limit of L-BFGS."""


def fit_grain(
    network: Network, batches: TrainBatches, params: GrainParams, *, after_each: Callable[[], None]
) -> Network:
    """Return a network with grain and otherwise the same weights.

    Args:
        network: A residual_unet, on its device.
        params: Number of crops to fit, and share of the energy to add.
        after_each: Called after each batch; may raise to stop.

    Raises:
        CheckpointError: The network is of another kind.
    """
    device = next(network.module.parameters()).device
    grown = grow(network, {**network.architecture, GRAIN: True})
    module = grown.module.to(device).eval()
    grain: Grain = module.grain  # type: ignore[assignment]
    seen: list[Tensor] = []
    hook = grain.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    patches = []
    count = math.ceil(params.crops / batches.batch_size)
    endless = chain.from_iterable(repeat(batches))
    for lr, hr in tqdm(
        islice(endless, count), total=count, unit="batch", desc="grain", disable=None
    ):
        with torch.inference_mode():
            sr = module(lr.to(device)).clamp(0, 1)  # (N, 3, H, W), without any grain yet
            patches.append(_measure(grain, seen.pop(), sr, hr))
        after_each()
    hook.remove()
    _fit(grain, *(torch.cat(parts) for parts in zip(*patches, strict=True)), share=params.share)
    return grown


def _measure(
    grain: Grain, features: Tensor, sr: Tensor, hr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return strengths of the features, (P, 2 width), and energies of both, (P,), by patch."""
    window = min(GRAIN_WINDOW, *features.shape[-2:])
    own, wanted = (_energies(one.cpu(), window * grain.factor) for one in (sr, hr))
    height, width = own.shape[1:]
    strengths = F.avg_pool2d(grain.strengths(features), window)[..., :height, :width]
    strengths = strengths.permute(0, 2, 3, 1).flatten(0, 2).cpu().double()
    return strengths, own.flatten(), wanted.flatten()


def _energies(faces: Tensor, side: int) -> Tensor:
    """Return squared steps of luma to the right and down, the mean of each patch."""
    luma = metrics.luma_of(faces.double())
    down, right = luma.diff(dim=1)[..., :-1], luma.diff(dim=2)[:, :-1]
    return F.avg_pool2d(F.pad(down.square() + right.square(), (0, 1, 0, 1)), side)


def _fit(grain: Grain, strengths: Tensor, own: Tensor, wanted: Tensor, *, share: float) -> None:
    """Set the amplitude to the most likely one."""
    scale = strengths.mean(0) + FLOOR
    inputs, noise = strengths / scale, grain.energy
    weight = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    # At zero it has no slope.
    bias = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        amplitude = UNIT * F.relu(inputs @ weight + bias)
        energy = own + noise * amplitude.square() + FLOOR
        unlikely = energy.log() + (share * wanted + FLOOR) / energy
        loss: Tensor = unlikely.mean() + RIDGE * weight.square().sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(step)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        grain.amplitude.weight.copy_((UNIT * weight / scale).view(1, -1, 1, 1))
        grain.amplitude.bias.fill_(UNIT * bias)  # type: ignore[union-attr]
