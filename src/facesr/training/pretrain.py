"""Training with fastai's Learner: generator and up-sampler against the originals, and the critic.

The schedule is fastai's one-cycle policy (Smith 2018, https://arxiv.org/abs/1803.09820).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.callback.progress import no_bar  # noqa: F401  gives the Learner its method
from fastai.callback.schedule import fit_one_cycle  # noqa: F401  gives the Learner its method
from fastai.data.core import DataLoaders
from fastai.learner import AvgMetric, Learner
from fastai.optimizer import OptimWrapper
from fastai.torch_core import norm_bias_params, set_seed
from fastai.vision.gan import AdaptiveLoss, accuracy_thresh_expand
from torch import Tensor, nn
from torch.optim import AdamW

from facesr import images, metrics
from facesr.checkpoints import Network, load_start, save_networks
from facesr.config import RegressionParams, Sizes, TrainCriticParams, TrainingParams
from facesr.devices import count_parameters, pick_device
from facesr.errors import CheckpointError
from facesr.losses import ContentLoss
from facesr.models import build
from facesr.pairs import (
    HR,
    LR,
    Pairs,
    TrainBatches,
    WholeBatches,
    cut,
    draw_crops,
    load_pairs,
)
from facesr.training.monitor import Monitor
from facesr.training.restore import restore_all, restored_columns
from facesr.training.resume import key_of

TRAIN = "train"
VALID = "valid"

# Of the optimizer: what decays, and what is spared.
GROUPS_PER_PART = 2


def train_generator(
    params: RegressionParams,
    training: TrainingParams,
    *,
    sizes: Sizes,
    train_pairs: Path,
    valid_pairs: Path,
    init_from: Path | None,
    weights: Path,
    restored: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Trains the generator on the pairs and writes its pictures of all of them.

    Args:
        params: Network, loss and schedule.
        training: How trainings are run.
        sizes: The scale is generator_size / lr_size.
        train_pairs: Folder of pairs.
        valid_pairs: Folder of pairs.
        init_from: Weights to start from.
        weights: Gets the generator.
        restored: Gets the generator's pictures by split.
        report: Gets curves, samples and summary.
        checkpoints: Folder for what an interrupted training goes on from.
        seed: Of initial weights, order and crops.

    Raises:
        Stopped: A signal came; all is saved.
        TrainingError: The loss is not finite.
    """
    splits = {
        split: load_pairs(folder / LR, folder / HR, hr_size=sizes.generator_size)
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    key = _key(params, training, sizes, seed, [train_pairs, valid_pairs, *_given(init_from)])
    with _monitor(params, training, splits[TRAIN], report, checkpoints, key) as monitor:
        network = fit(
            params,
            splits,
            scale=sizes.generator_scale,
            init_from=init_from,
            seed=seed,
            monitor=monitor,
        )
        save_networks(weights, [network])
        restore_all(network.module, splits, restored)


def train_upsampler(
    params: RegressionParams,
    training: TrainingParams,
    *,
    sizes: Sizes,
    restored: Path,
    train_pairs: Path,
    valid_pairs: Path,
    init_from: Path | None,
    weights: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Trains the up-sampler from the GAN's pictures to the full-size originals.

    Args:
        params: Network, loss and schedule.
        training: How trainings are run.
        sizes: The scale is hr_size / generator_size.
        restored: The GAN's pictures by split.
        train_pairs: Folder of pairs, whose originals are the target.
        valid_pairs: Folder of pairs, whose originals are the target.
        init_from: Weights to start from.
        weights: Gets the up-sampler.
        report: Gets curves, samples and summary.
        checkpoints: Folder for what an interrupted training goes on from.
        seed: Of initial weights, order and crops.

    Raises:
        Stopped: A signal came; all is saved.
        TrainingError: The loss is not finite.
    """
    splits = {
        split: load_pairs(restored / split, folder / HR, hr_size=sizes.hr_size)
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    inputs = [restored, train_pairs / HR, valid_pairs / HR, *_given(init_from)]
    key = _key(params, training, sizes, seed, inputs)
    with _monitor(params, training, splits[TRAIN], report, checkpoints, key) as monitor:
        network = fit(
            params,
            splits,
            scale=sizes.upsampler_scale,
            init_from=init_from,
            seed=seed,
            monitor=monitor,
        )
        save_networks(weights, [network])


def fit(
    params: RegressionParams,
    splits: dict[str, Pairs],
    *,
    scale: int,
    init_from: Path | None,
    seed: int,
    monitor: Monitor,
) -> Network:
    """Trains a network from lr to hr, phase by phase; a fresh one where `init_from` names none.

    Raises:
        CheckpointError: `init_from` is missing, damaged or of another architecture.
    """
    set_seed(seed)
    architecture = {**params.network.model_dump(), "scale": scale}
    if init_from:
        module = load_start(init_from, architecture).module
    else:
        module = build(architecture, fetch=True)
    learner = _learner(
        module,
        WholeBatches(splits[VALID], batch_size=1),
        ContentLoss(params.content).to(pick_device()),
        metric=valid_psnr,
        weight_decay=params.weight_decay,
        parts=split_encoder(module),
    )
    progress = Progress(
        monitor,
        metric="psnr",
        sample=lambda: monitor.sample(
            restored_columns(module, splits[VALID], count=monitor.params.sample_pictures)
        ),
    )
    phases = []
    first_epoch = 0
    for phase in params.phases:
        batches = _batches(params, splits[TRAIN], seed)
        rate, encoder_rate = phase.learning_rate, phase.encoder_learning_rate
        phases.append(
            Cycle(
                batches,
                first_epoch=first_epoch,
                epochs=phase.epochs,
                rates=[encoder_rate or rate, rate],
                frozen_parts=0 if encoder_rate else 1,
            )
        )
        first_epoch += phase.epochs
    run_cycles(learner, phases, progress, warmup_fraction=params.warmup_fraction)
    monitor.summarise({"parameters": count_parameters(module), "valid_psnr": progress.metric_value})
    return Network(architecture, module)


def train_critic(
    params: TrainCriticParams,
    training: TrainingParams,
    *,
    sizes: Sizes,
    restored: Path,
    train_pairs: Path,
    valid_pairs: Path,
    weights: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Trains the critic to tell the originals from the generator's pictures.

    Args:
        params: Network and schedule.
        training: How trainings are run.
        sizes: Both kinds of picture have generator_size.
        restored: The generator's pictures by split.
        train_pairs: Folder of pairs, whose originals are the real pictures.
        valid_pairs: Folder of pairs, whose originals are the real pictures.
        weights: Gets the critic.
        report: Gets curves, samples and summary.
        checkpoints: Folder for what an interrupted training goes on from.
        seed: Of initial weights, order and crops.

    Raises:
        Stopped: A signal came; all is saved.
        TrainingError: The loss is not finite.
    """
    batches = {
        split: CriticBatches(
            load_pairs(restored / split, folder / HR, hr_size=sizes.generator_size),
            batch_size=params.batch_size,
            crop_size=params.crop_size,
            seed=seed,
        )
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    set_seed(seed)
    architecture = params.network.model_dump()
    module = build(architecture)
    learner = _learner(
        module,
        batches[VALID],
        AdaptiveLoss(nn.BCEWithLogitsLoss()),
        metric=accuracy_thresh_expand,
        weight_decay=params.weight_decay,
        parts=[list(module.parameters())],
    )
    steps = params.epochs * len(batches[TRAIN])
    with Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=_key(params, training, sizes, seed, [restored, train_pairs / HR, valid_pairs / HR]),
        total_steps=steps,
        total_pictures=steps * 2 * batches[TRAIN].half,
        report_every=params.report_every,
    ) as monitor:
        progress = Progress(
            monitor,
            metric="accuracy",
            sample=lambda: monitor.sample(
                *_judged(module, batches[VALID].pairs, count=training.sample_pictures)
            ),
        )
        cycle = Cycle(
            batches[TRAIN],
            first_epoch=0,
            epochs=params.epochs,
            rates=[params.learning_rate],
            frozen_parts=0,
        )
        run_cycles(learner, [cycle], progress, warmup_fraction=params.warmup_fraction)
        save_networks(weights, [Network(architecture, module)])
        monitor.summarise(
            {"parameters": count_parameters(module), "valid_accuracy": progress.metric_value}
        )


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
        self._start = 0

    def go_to(self, epoch: int, batch: int) -> None:
        """Makes the next iteration that of `epoch`, from its batch number `batch` on."""
        self.epoch, self._start = epoch, batch

    def __len__(self) -> int:
        return len(self.pairs.stems) // self.half

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        start = self._start
        self.go_to(self.epoch + 1, 0)
        order = rng.permutation(len(self.pairs.stems))
        labels = torch.cat([torch.ones(self.half), torch.zeros(self.half)])  # (N,)
        for batch in range(len(self)):
            indices = order[batch * self.half : (batch + 1) * self.half]
            crops = draw_crops(self.pairs, indices, crop_size=self.crop_size, rng=rng)
            if batch < start:
                continue
            generated, original = cut(self.pairs, crops, crop_size=self.crop_size)
            yield torch.cat([original, generated]), labels


class Cycle(NamedTuple):
    """One run of the one-cycle policy."""

    batches: Any
    """TrainBatches or CriticBatches."""
    first_epoch: int
    """Number of its first epoch in the whole training, which order and crops follow from."""
    epochs: int
    rates: list[float]
    """Highest rate of each part of the network."""
    frozen_parts: int
    """The first parts, which keep still; their batch statistics move all the same."""


def run_cycles(
    learner: Learner, cycles: Sequence[Cycle], progress: "Progress", *, warmup_fraction: float
) -> None:
    """Trains cycle after cycle, from the monitor's checkpoint on where there is one."""
    device = pick_device()
    progress.learn = learner
    progress.monitor.resume(progress.restore)
    with learner.no_bar(), learner.no_logging():
        for number, cycle in enumerate(cycles):
            if number < progress.cycle:
                continue
            progress.cycle = number
            learner.dls = DataLoaders(cycle.batches, learner.dls.valid, device=device)
            learner.freeze_to(GROUPS_PER_PART * cycle.frozen_parts)
            progress.before_cycle(cycle)
            learner.fit_one_cycle(
                cycle.epochs,
                [rate for rate in cycle.rates for _ in range(GROUPS_PER_PART)],
                pct_start=warmup_fraction,
                cbs=[progress],
            )


class Progress(Callback):  # type: ignore[misc]
    """Tells the monitor of every step, and lets the Learner go on inside an epoch.

    fastai resumes at the start of an epoch only, and without the state of optimizer, schedule and
    random generators. Here the batches skip what was done, and the rest is put back in the order
    in which the Learner sets it.
    """

    order = 65  # after the Recorder, which computes loss and metric, and after the scheduler

    def __init__(self, monitor: Monitor, *, metric: str, sample: Callable[[], None]) -> None:
        super().__init__()
        self.monitor = monitor
        self.metric = metric
        self.metric_value = float("nan")
        self.sample = sample
        self.cycle = 0
        self.gradient_norm = torch.zeros(())
        self._resumed: dict[str, Any] | None = None
        self._skipping = False

    def state(self, epoch: int, batch: int) -> dict[str, Any]:
        """Gives what `restore` takes, for a training that goes on at a batch of an epoch."""
        return {
            "cycle": self.cycle,
            "epoch": epoch,
            "batch": batch,
            "schedule": self.learn.pct_train,
            "metric": self.metric_value,
            "network": self.learn.model.state_dict(),
            "optimizer": self.learn.opt.state_dict(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes up what `state` gave; the optimizer follows in `before_cycle`."""
        self.learn.model.load_state_dict(saved["network"])
        self.cycle = saved["cycle"]
        self.metric_value = saved["metric"]
        self._resumed = saved

    def before_cycle(self, cycle: Cycle) -> None:
        """Puts optimizer and batches where the cycle goes on."""
        epoch = batch = 0
        if self._resumed:
            self.learn.opt.load_state_dict(self._resumed["optimizer"])
            epoch, batch = self._resumed["epoch"], self._resumed["batch"]
        cycle.batches.go_to(cycle.first_epoch + epoch, batch)
        self.learn.dls.valid.go_to(cycle.first_epoch + epoch, 0)

    def before_epoch(self) -> None:
        """Skips an epoch that is done."""
        self._skipping = self._resumed is not None and self.epoch < self._resumed["epoch"]
        if self._skipping:
            raise CancelEpochException

    def before_train(self) -> None:
        """Puts the schedule where it stood; the Learner has just set it to the epoch's start."""
        self.batches_done = 0
        if self._resumed:
            self.batches_done = self._resumed["batch"]
            if self.batches_done:
                self.learn.pct_train = self._resumed["schedule"]
            self._resumed = None

    def before_step(self) -> None:
        """Measures the gradient."""
        gradients = [p.grad for p in self.learn.model.parameters() if p.grad is not None]
        self.gradient_norm = nn.utils.get_total_norm(gradients)

    def after_batch(self) -> None:
        """Counts a training step."""
        if not self.learn.training:
            return
        self.batches_done += 1
        monitor, loss, norm = self.monitor, self.learn.loss, self.gradient_norm
        if monitor.count(len(self.learn.xb[0]), loss=loss, gradient_norm=norm):
            loss, norm = torch.stack([loss.detach(), norm]).tolist()
            monitor.log(monitor.step, {"loss": loss})
            monitor.log(monitor.step, {"norm": norm}, series="gradients")
            monitor.show(loss=loss, **{self.metric: self.metric_value})
        monitor.checkpoint(lambda: self.state(self.epoch, self.batches_done))

    def after_epoch(self) -> None:
        """Records the validation."""
        if self._skipping:
            return
        valid_loss, self.metric_value = self.learn.recorder.values[-1][1:3]
        self.monitor.log(
            self.monitor.step, {"loss": valid_loss, self.metric: self.metric_value}, series="valid"
        )
        self.sample()
        self.monitor.checkpoint(lambda: self.state(self.epoch + 1, 0))


def valid_psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean PSNR in dB of (N, 3, H, W) outputs, clamped as a file would hold them."""
    return metrics.psnr(images.round_to_8bit(sr), hr).mean()


def split_encoder(network: Any) -> list[list[nn.Parameter]]:
    """Parts of a network: encoder, then everything else."""
    encoder = list(network.encoder.parameters())
    known = {id(parameter) for parameter in encoder}
    return [encoder, [one for one in network.parameters() if id(one) not in known]]


def _learner(
    module: nn.Module,
    valid: Any,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    metric: Callable[[Tensor, Tensor], Tensor],
    weight_decay: float,
    parts: Sequence[Sequence[nn.Parameter]],
) -> Learner:
    """Sets a Learner up with AdamW, whose fused step is fastai's Adam in one kernel.

    fastai decays no bias and no norm; PyTorch's optimizer knows that by parameter groups only.
    """
    device = pick_device()
    spared = {id(parameter) for parameter in norm_bias_params(module)}
    groups = []
    for part in parts:
        groups.append([one for one in part if id(one) not in spared])
        groups.append([one for one in part if id(one) in spared])
    return Learner(
        DataLoaders(valid, valid, device=device),
        module.to(device),
        loss_func=loss,
        opt_func=_optimizer,
        metrics=AvgMetric(metric),
        wd=[weight_decay, 0.0] * len(parts),
        splitter=lambda _: groups,
    )


def _optimizer(groups: Sequence[Any], lr: float) -> OptimWrapper:
    # fastai's constants. `lr` is its name for the learning rate.
    return OptimWrapper(groups, AdamW, lr=lr, betas=(0.9, 0.99), eps=1e-5, fused=True)


def _batches(params: RegressionParams, pairs: Pairs, seed: int) -> TrainBatches:
    return TrainBatches(
        pairs,
        batch_size=params.batch_size,
        crop_size=params.crop_size,
        crops_per_pair=params.crops_per_pair,
        seed=seed,
    )


def _given(path: Path | None) -> list[Path]:
    if path and not path.is_file():
        raise CheckpointError(
            f'{path} does not exist. Give init_from another file, or leave it "".'
        )
    return [path] if path else []


def _monitor(
    params: RegressionParams,
    training: TrainingParams,
    pairs: Pairs,
    report: Path,
    checkpoints: Path,
    key: str,
) -> Monitor:
    steps = sum(phase.epochs * len(_batches(params, pairs, 0)) for phase in params.phases)
    return Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=key,
        total_steps=steps,
        total_pictures=steps * params.batch_size,
        report_every=params.report_every,
    )


def _judged(
    critic: nn.Module, pairs: Pairs, *, count: int
) -> tuple[dict[str, list[Tensor]], list[str]]:
    """Columns and notes of a sample sheet: what the critic thinks of whole pictures."""
    device = next(critic.parameters()).device
    critic.eval()
    columns: dict[str, list[Tensor]] = {"original": [], "generated": []}
    notes = []
    for original, generated in zip(pairs.hr[:count], pairs.lr[:count], strict=True):
        both = images.from_uint8(torch.stack([original, generated]))  # (2, 3, H, W)
        with torch.inference_mode():
            first, second = critic(both.to(device)).sigmoid().mean(1).tolist()
        notes.append(f"taken for an original: {first:.2f} and {second:.2f}")
        columns["original"].append(both[0])
        columns["generated"].append(both[1])
    return columns, notes


def _key(
    params: RegressionParams | TrainCriticParams,
    training: TrainingParams,
    sizes: Sizes,
    seed: int,
    inputs: Sequence[Path],
) -> str:
    values = {
        "params": params.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_minutes"}),
        "sizes": sizes.model_dump(),
        "seed": seed,
    }
    return key_of(values, inputs)
