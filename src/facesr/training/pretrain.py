"""Training with fastai's Learner: generator and up-sampler against the originals, and the critic.

The schedule is fastai's one-cycle policy (Smith 2018, https://arxiv.org/abs/1803.09820).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.progress import no_bar  # noqa: F401  gives the Learner its method
from fastai.callback.schedule import fit_one_cycle  # noqa: F401  gives the Learner its method
from fastai.data.core import DataLoaders
from fastai.learner import AvgMetric, Learner
from fastai.torch_core import set_seed
from fastai.vision.gan import AdaptiveLoss, accuracy_thresh_expand
from torch import Tensor, nn
from tqdm import tqdm

from facesr import images, metrics
from facesr.checkpoints import Network, save_networks
from facesr.config import RegressionParams, Sizes, TrainCriticParams
from facesr.devices import count_parameters, pick_device
from facesr.losses import CONTENT_LOSSES
from facesr.models import build
from facesr.pairs import (
    HR,
    LR,
    Pairs,
    TrainBatches,
    WholeBatches,
    crop_and_flip,
    load_pairs,
)
from facesr.training.restore import restore_all

Log = Callable[..., None]

TRAIN = "train"
VALID = "valid"


def train_generator(
    params: RegressionParams,
    *,
    sizes: Sizes,
    train_pairs: Path,
    valid_pairs: Path,
    weights: Path,
    restored: Path,
    seed: int,
    log: Log,
) -> dict[str, float]:
    """Trains the generator on the pairs and writes its pictures of all of them.

    Args:
        params: Network, loss and schedule.
        sizes: The scale is generator_size / lr_size.
        train_pairs: Folder of pairs.
        valid_pairs: Folder of pairs.
        weights: Gets the generator.
        restored: Gets the generator's pictures by split.
        seed: Of initial weights, order and crops.
        log: Called with step, values and the series' name.

    Returns:
        Numbers for the summary.
    """
    splits = {
        split: load_pairs(folder / LR, folder / HR, hr_size=sizes.generator_size)
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    network, summary = fit(params, splits, scale=sizes.generator_scale, seed=seed, log=log)
    save_networks(weights, [network])
    restore_all(network.module, splits, restored)
    return summary


def train_upsampler(
    params: RegressionParams,
    *,
    sizes: Sizes,
    restored: Path,
    train_pairs: Path,
    valid_pairs: Path,
    weights: Path,
    seed: int,
    log: Log,
) -> dict[str, float]:
    """Trains the up-sampler from the GAN's pictures to the full-size originals.

    Args:
        params: Network, loss and schedule.
        sizes: The scale is hr_size / generator_size.
        restored: The GAN's pictures by split.
        train_pairs: Folder of pairs, whose originals are the target.
        valid_pairs: Folder of pairs, whose originals are the target.
        weights: Gets the up-sampler.
        seed: Of initial weights, order and crops.
        log: Called with step, values and the series' name.

    Returns:
        Numbers for the summary.
    """
    splits = {
        split: load_pairs(restored / split, folder / HR, hr_size=sizes.hr_size)
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    network, summary = fit(params, splits, scale=sizes.upsampler_scale, seed=seed, log=log)
    save_networks(weights, [network])
    return summary


def fit(
    params: RegressionParams, splits: dict[str, Pairs], *, scale: int, seed: int, log: Log
) -> tuple[Network, dict[str, float]]:
    """Trains a fresh network from lr to hr, phase by phase.

    Returns:
        The network, and its number of parameters with the PSNR of the last epoch.
    """
    set_seed(seed)
    architecture = {**params.network.model_dump(), "scale": scale}
    module = build(architecture, fetch=True)
    batches = TrainBatches(
        splits[TRAIN],
        batch_size=params.batch_size,
        crop_size=params.crop_size,
        crops_per_pair=params.crops_per_pair,
        seed=seed,
    )
    learner = _learner(
        module,
        batches,
        WholeBatches(splits[VALID], batch_size=1),
        CONTENT_LOSSES[params.loss],
        metric=valid_psnr,
        weight_decay=params.weight_decay,
        splitter=split_encoder,
    )
    watch = Watch(
        log,
        total=sum(phase.epochs for phase in params.phases) * len(batches),
        every=params.report_every,
        metric="psnr",
    )
    with learner.no_bar(), learner.no_logging(), watch.bar:
        for phase in params.phases:
            rate = phase.learning_rate
            if phase.encoder_learning_rate:
                learner.unfreeze()
                rates = [phase.encoder_learning_rate, rate]
            else:
                learner.freeze_to(1)
                rates = [rate, rate]
            learner.fit_one_cycle(
                phase.epochs, rates, pct_start=params.warmup_fraction, cbs=[watch]
            )
    summary = {"parameters": count_parameters(module), "valid_psnr": watch.last}
    return Network(architecture, module), summary


def train_critic(
    params: TrainCriticParams,
    *,
    sizes: Sizes,
    restored: Path,
    train_pairs: Path,
    valid_pairs: Path,
    weights: Path,
    seed: int,
    log: Log,
) -> dict[str, float]:
    """Trains the critic to tell the originals from the generator's pictures.

    Args:
        params: Network and schedule.
        sizes: Both kinds of picture have generator_size.
        restored: The generator's pictures by split.
        train_pairs: Folder of pairs, whose originals are the real pictures.
        valid_pairs: Folder of pairs, whose originals are the real pictures.
        weights: Gets the critic.
        seed: Of initial weights, order and crops.
        log: Called with step, values and the series' name.

    Returns:
        Numbers for the summary.
    """
    set_seed(seed)
    batches = {
        split: CriticBatches(
            load_pairs(restored / split, folder / HR, hr_size=sizes.generator_size),
            batch_size=params.batch_size,
            crop_size=params.crop_size,
            seed=seed,
        )
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    architecture = {
        "kind": "critic",
        "features": params.features,
        "blocks": params.blocks,
        "dropout": params.dropout,
    }
    module = build(architecture)
    learner = _learner(
        module,
        batches[TRAIN],
        batches[VALID],
        AdaptiveLoss(nn.BCEWithLogitsLoss()),
        metric=accuracy_thresh_expand,
        weight_decay=params.weight_decay,
    )
    watch = Watch(
        log,
        total=params.epochs * len(batches[TRAIN]),
        every=params.report_every,
        metric="accuracy",
    )
    with learner.no_bar(), learner.no_logging(), watch.bar:
        learner.fit_one_cycle(
            params.epochs, params.learning_rate, pct_start=params.warmup_fraction, cbs=[watch]
        )
    save_networks(weights, [Network(architecture, module)])
    return {"parameters": count_parameters(module), "valid_accuracy": watch.last}


class CriticBatches:
    """Crops of originals and of generated pictures in equal parts, labelled 1 and 0.

    Each iteration is the next epoch; order and crops follow from (seed, epoch) alone.
    """

    def __init__(self, pairs: Pairs, *, batch_size: int, crop_size: int, seed: int) -> None:
        # Half of a batch are originals, half the generated pictures of the same faces.
        self.half = max(1, min(batch_size // 2, len(pairs.stems)))
        self.pairs = pairs
        self.crop_size = crop_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.pairs.stems) // self.half

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        order = rng.permutation(len(self.pairs.stems))
        labels = torch.cat([torch.ones(self.half), torch.zeros(self.half)])  # (N,)
        for batch in range(len(self)):
            indices = order[batch * self.half : (batch + 1) * self.half]
            generated, original = crop_and_flip(
                self.pairs, indices, crop_size=self.crop_size, rng=rng
            )
            yield torch.cat([original, generated]), labels


class Watch(Callback):  # type: ignore[misc]
    """Shows progress with the loss, and hands the numbers to the report."""

    order = 60  # after fastai's Recorder, which computes the smoothed loss and the metrics

    def __init__(self, log: Log, *, total: int, every: int, metric: str) -> None:
        super().__init__()
        self.log = log
        self.every = every
        self.metric = metric
        self.step = 0
        self.last = float("nan")
        self.bar: Any = tqdm(total=total, unit="step", desc="train")

    def after_batch(self) -> None:
        """Counts a training step."""
        if not self.learn.training:
            return
        self.step += 1
        self.bar.update()
        if self.step % self.every == 0:
            loss = self.learn.loss.item()
            self.log(self.step, {"loss": loss})
            self.bar.set_postfix(loss=f"{loss:.4f}", **{self.metric: f"{self.last:.3f}"})

    def after_epoch(self) -> None:
        """Records the validation."""
        valid_loss, self.last = self.learn.recorder.values[-1][1:3]
        self.log(self.step, {"loss": valid_loss, self.metric: self.last}, series="valid")


def valid_psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean PSNR in dB of (N, 3, H, W) outputs, clamped as a file would hold them."""
    return metrics.psnr(images.round_to_8bit(sr), hr).mean()


def split_encoder(network: Any) -> list[list[nn.Parameter]]:
    """Parameter groups: encoder, then everything else."""
    encoder = list(network.encoder.parameters())
    known = {id(parameter) for parameter in encoder}
    return [encoder, [one for one in network.parameters() if id(one) not in known]]


def _learner(
    module: nn.Module,
    train: Any,
    valid: Any,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    metric: Callable[[Tensor, Tensor], Tensor],
    weight_decay: float,
    splitter: Callable[[Any], Sequence[Any]] | None = None,
) -> Learner:
    device = pick_device()
    return Learner(
        DataLoaders(train, valid, device=device),
        module.to(device),
        loss_func=loss,
        metrics=AvgMetric(metric),
        wd=weight_decay,
        **({"splitter": splitter} if splitter else {}),
    )
