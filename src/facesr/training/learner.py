"""fastai's Learner, made to go on inside an epoch, on several processes, in parts of a batch.

The schedule is fastai's one-cycle policy (Smith 2018, https://arxiv.org/abs/1803.09820).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from fastai.callback.core import Callback, CancelEpochException, CancelStepException
from fastai.callback.progress import no_bar  # noqa: F401  gives the Learner its method
from fastai.callback.schedule import fit_one_cycle  # noqa: F401  gives the Learner its method
from fastai.data.core import DataLoaders
from fastai.learner import AvgMetric, AvgSmoothLoss, Learner
from fastai.optimizer import OptimWrapper
from fastai.torch_core import norm_bias_params
from torch import Tensor, nn
from torch.optim import AdamW

from facesr.training.engine import (
    Parts,
    SpectralVectors,
    gradient_norm,
    load_optimizer,
    pick_dtype,
    prepared,
)
from facesr.training.monitor import Monitor

# Of the optimizer: what decays, and what is spared.
GROUPS_PER_PART = 2


def build_learner(
    module: nn.Module,
    valid: Any,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    monitor: Monitor,
    metric: Callable[[Tensor, Tensor], Tensor],
    weight_decay: float,
    epsilon: float,
    parts: Sequence[Sequence[nn.Parameter]],
) -> Learner:
    """Sets a Learner up with AdamW, whose fused step is fastai's Adam in one kernel.

    fastai decays no bias and no norm; PyTorch's optimizer knows that by parameter groups only.
    """
    device = monitor.processes.device
    spared = {id(parameter) for parameter in norm_bias_params(module)}
    groups = []
    for part in parts:
        groups.append([one for one in part if id(one) not in spared])
        groups.append([one for one in part if id(one) in spared])
    return PartedLearner(
        _Loaders(valid, valid, device),
        module.to(device),
        loss_func=loss,
        opt_func=partial(_optimizer, epsilon=epsilon),
        metrics=AvgMetric(metric),
        wd=[weight_decay, 0.0] * len(parts),
        splitter=lambda _: groups,
        parts=Parts(
            monitor.params.accumulate,
            most=monitor.params.max_accumulate,
            processes=monitor.processes,
        ),
    )


def _optimizer(groups: Sequence[Any], lr: float, *, epsilon: float) -> OptimWrapper:
    # fastai's betas. `lr` is its name for the learning rate.
    return OptimWrapper(groups, AdamW, lr=lr, betas=(0.9, 0.99), eps=epsilon, fused=True)


class _Loaders(DataLoaders):  # type: ignore[misc]
    """fastai's loaders, which keep the device: where it is missing, fastai picks one of its own."""

    device = None  # fastai's property wants loaders that can be moved.

    def __init__(self, train: Any, valid: Any, device: torch.device) -> None:
        super().__init__(train, valid)
        self.device = device


class PartedLearner(Learner):  # type: ignore[misc]
    """A Learner that takes a batch, this process's share of it, in parts.

    It waits for the device nowhere.
    """

    def __init__(self, *args: Any, parts: Parts, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parts = parts
        self.processes = parts.processes
        self.spectral = SpectralVectors(self.model)
        self.recorder.smooth_loss = DeviceSmoothLoss()

    def _set_device(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(one.to(self.processes.device, non_blocking=True) for one in batch)

    def _do_one_batch(self) -> None:
        if not self.training:
            super()._do_one_batch()
            return
        self.spectral.keep()
        self.loss = self.parts.run(self._add_gradients, len(self.xb[0]))
        self.processes.average_gradients(self.model.parameters())
        self._with_events(self._step, "step", CancelStepException)
        self.opt.zero_grad()

    def _add_gradients(self, parts: int) -> Tensor:
        self.opt.zero_grad()
        total = torch.zeros((), device=self.xb[0].device)
        # Strided parts hold as many originals as the whole, also in the critic's batches.
        for part in range(parts):
            self.spectral.restore()
            x, y = (one[0][part::parts] for one in (self.xb, self.yb))
            loss = self.loss_func(self.model(x), y) / parts
            loss.backward()
            total += loss.detach()
        return total


class DeviceSmoothLoss(AvgSmoothLoss):  # type: ignore[misc]
    """fastai's running mean of the loss, without a wait for the device in every step."""

    val: Tensor

    def accumulate(self, learn: Learner) -> None:
        """Takes in the loss of a batch."""
        self.count += 1
        self.val = torch.lerp(learn.loss.detach(), self.val.to(learn.loss.device), self.beta)


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
    learner: Learner, cycles: Sequence[Cycle], watch: "Watch", *, warmup_fraction: float
) -> None:
    """Trains cycle after cycle, from the monitor's checkpoint on where there is one."""
    monitor = watch.monitor
    device = monitor.processes.device
    learner.add_cb(watch)
    monitor.resume(watch.restore)
    features = getattr(learner.loss_func, "network", None)
    speed = prepared(
        *filter(None, (learner.model, features)),
        dtype=pick_dtype(monitor.params.precision, device),
        device=device,
        compiled=monitor.params.compile,
    )
    with learner.no_bar(), learner.no_logging(), speed:
        for number, cycle in enumerate(cycles):
            if number < watch.cycle:
                continue
            watch.cycle = number
            learner.dls = _Loaders(cycle.batches, learner.dls.valid, device)
            learner.freeze_to(GROUPS_PER_PART * cycle.frozen_parts)
            watch.before_cycle(cycle)
            learner.fit_one_cycle(
                cycle.epochs,
                [rate for rate in cycle.rates for _ in range(GROUPS_PER_PART)],
                pct_start=warmup_fraction,
            )


class Watch(Callback):  # type: ignore[misc]
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
        self.batches_done = 0
        self._resumed: dict[str, Any] | None = None
        self._skipping = False

    def state(self, epoch: int, batch: int) -> dict[str, Any]:
        """Gives what `restore` takes, for a training that goes on at a batch of an epoch."""
        over = epoch == self.n_epoch
        return {
            "cycle": self.cycle + over,
            "epoch": 0 if over else epoch,
            "batch": batch,
            "schedule": self.learn.pct_train,
            "metric": self.metric_value,
            "parts": self.learn.parts.count,
            "network": self.learn.model.state_dict(),
            # Freezing, which begins a cycle, clears it.
            "optimizer": None if over else self._optimizer_state(),
        }

    def _optimizer_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.learn.opt.state_dict()
        for group in state["param_groups"]:
            # fastai's schedule sets numbers of NumPy, which checkpoints do not take.
            group["lr"] = float(group["lr"])
        return state

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes up what `state` gave; the optimizer follows in `before_cycle`."""
        self.learn.model.load_state_dict(saved["network"])
        self.cycle = saved["cycle"]
        self.metric_value = saved["metric"]
        self.learn.parts.count = saved["parts"]
        self._resumed = saved

    def before_cycle(self, cycle: Cycle) -> None:
        """Puts optimizer and batches where the cycle goes on."""
        epoch = batch = 0
        if self._resumed:
            if self._resumed["optimizer"]:
                load_optimizer(self.learn.opt.opt, self._resumed["optimizer"])
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
        self.gradient_norm = gradient_norm(self.learn.model.parameters())

    def after_batch(self) -> None:
        """Counts a training step."""
        if not self.learn.training:
            return
        self.batches_done += 1
        monitor = self.monitor
        pictures = len(self.learn.xb[0]) * monitor.processes.count
        if monitor.count(pictures, loss=self.learn.loss, gradient_norm=self.gradient_norm):
            monitor.log({"loss": monitor.latest["loss"]})
            monitor.log({"norm": monitor.latest["gradient_norm"]}, series="gradients")
            monitor.show(loss=monitor.latest["loss"], **{self.metric: self.metric_value})
        monitor.checkpoint(lambda: self.state(self.epoch, self.batches_done))

    def after_epoch(self) -> None:
        """Records the validation."""
        if self._skipping:
            return
        valid_loss, self.metric_value = self.learn.recorder.values[-1][1:3]
        self.monitor.log({"loss": valid_loss, self.metric: self.metric_value}, series="valid")
        self.sample()
        self.monitor.checkpoint(lambda: self.state(self.epoch + 1, 0))
