"""Training of one network with fastai's Learner, which here can resume inside an epoch.

The schedule is fastai's one-cycle policy (Smith 2018, https://arxiv.org/abs/1803.09820).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
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

from facesr.config import RegressionParams, TrainCriticParams, TrainingParams
from facesr.data.pairs import TrainBatches, WholeBatches
from facesr.devices import choose_dtype, count_parameters
from facesr.models.checkpoints import Network, save_networks
from facesr.training.engine import (
    MicroBatches,
    SpectralVectors,
    accelerated,
    gradient_norm,
    load_optimizer,
)
from facesr.training.monitor import Monitor
from facesr.training.processes import Processes, check_division
from facesr.training.restore import Sheet, restore_all
from facesr.training.resume import training_key

# Of the optimizer: what decays, and what is spared.
GROUPS_PER_PART = 2


class Cycle(NamedTuple):
    """One run of the one-cycle policy."""

    batches: TrainBatches
    epochs: int
    rates: list[float]
    """Highest learning rate of each part of the network."""
    frozen_parts: int = 0
    """Number of first parts whose weights do not change; their batch statistics do."""


class Task(NamedTuple):
    """Network, data, loss and metric of a training."""

    params: RegressionParams | TrainCriticParams
    network: Network
    parts: list[list[nn.Parameter]]
    """The network's parameters, by learning rate."""
    cycles: list[Cycle]
    """One cycle or more."""
    valid: TrainBatches | WholeBatches
    inputs: list[Path]
    """Files and folders that the training reads."""
    loss: Callable[[Tensor, Tensor], Tensor]
    metric: str
    measure: Callable[[Tensor, Tensor], Tensor]
    """Function from outputs and targets to the metric."""
    sample: Callable[[int], Sheet]
    """Function from a number of images to a sample sheet."""
    seed: int
    processes: Processes


def train(
    task: Task,
    training: TrainingParams,
    *,
    weights: Path,
    restored: Path | None = None,
    report: Path,
    checkpoints: Path,
) -> None:
    """Train a network and write it.

    Args:
        restored: Folder for the network's images of all pairs, by split.
        report: Folder for curves, samples and summary.
        checkpoints: Folder for the state of an interrupted training.

    Raises:
        Stopped: A signal came; everything is saved.
        TrainingError: The loss is not finite.
    """
    processes, module = task.processes, task.network.module
    for cycle in task.cycles:
        check_division(cycle.batches.batch_size, training.accumulate, processes)
    steps = [cycle.epochs * len(cycle.batches) for cycle in task.cycles]
    side = task.valid.pairs.hr.shape[-1]
    with Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=training_key(task.params, training, side, task.seed, task.inputs),
        total_steps=sum(steps),
        total_images=sum(
            count * cycle.batches.batch_size
            for count, cycle in zip(steps, task.cycles, strict=True)
        ),
        report_every=task.params.report_every,
        processes=processes,
    ) as monitor:
        learner = build_learner(task, training)
        callback = MonitorCallback(monitor, task)
        learner.add_cb(callback)
        torch.manual_seed(task.seed + processes.rank)  # of dropout
        monitor.resume(callback.restore)
        device = learner.dls.device
        networks = filter(None, (learner.model, getattr(learner.loss_func, "network", None)))
        dtype = choose_dtype(training.precision, device)
        accelerate = accelerated(*networks, dtype=dtype, device=device, compiled=training.compile)
        with learner.no_bar(), learner.no_logging(), accelerate:
            first_epoch = 0
            for number, cycle in enumerate(task.cycles):
                if number >= callback.cycle:
                    callback.cycle = number
                    start_cycle(learner, cycle)
                    callback.before_cycle(cycle, first_epoch)
                    learner.fit_one_cycle(
                        cycle.epochs,
                        [rate for rate in cycle.rates for _ in range(GROUPS_PER_PART)],
                        pct_start=task.params.warmup_fraction,
                    )
                # Order and crops follow from the epoch's number in the whole training.
                first_epoch += cycle.epochs
        monitor.summarise(
            {"parameters": count_parameters(module), f"valid_{task.metric}": callback.metric_value}
        )
        if processes.is_main:
            save_networks(weights, [task.network])
            if restored:
                splits = {"train": task.cycles[0].batches.pairs, "valid": task.valid.pairs}
                restore_all(module, splits, restored, after_each=monitor.stop_if_requested)


def build_learner(task: Task, training: TrainingParams) -> Learner:
    """Return a Learner with AdamW, whose fused step is fastai's Adam in one kernel.

    fastai excludes biases and norms from decay; PyTorch's optimizer does so by parameter groups.
    """
    processes, module = task.processes, task.network.module
    spared = {id(parameter) for parameter in norm_bias_params(module)}
    groups = []
    for part in task.parts:
        groups.append([one for one in part if id(one) not in spared])
        groups.append([one for one in part if id(one) in spared])
    return AccumulatingLearner(
        _Loaders(task.valid, task.valid, processes.device),
        module.to(processes.device),
        loss_func=task.loss,
        opt_func=partial(_optimizer, epsilon=task.params.epsilon),
        metrics=AvgMetric(task.measure),
        wd=[task.params.weight_decay, 0.0] * len(task.parts),
        splitter=lambda _: groups,
        parts=MicroBatches(training.accumulate, most=training.max_accumulate, processes=processes),
    )


def start_cycle(learner: Learner, cycle: Cycle) -> None:
    """Give a Learner the batches of a cycle, and freeze its frozen parts."""
    learner.dls = _Loaders(cycle.batches, learner.dls.valid, learner.dls.device)
    learner.freeze_to(GROUPS_PER_PART * cycle.frozen_parts)


def _optimizer(groups: Sequence[Any], lr: float, *, epsilon: float) -> OptimWrapper:
    # fastai's betas. `lr` is its name for the learning rate.
    return OptimWrapper(groups, AdamW, lr=lr, betas=(0.9, 0.99), eps=epsilon, fused=True)


class _Loaders(DataLoaders):  # type: ignore[misc]
    """Loaders that keep their device; without it fastai picks one of its own."""

    device = None  # fastai's property wants loaders that can be moved.

    def __init__(self, train: Any, valid: Any, device: torch.device) -> None:
        super().__init__(train, valid)
        self.device = device


class AccumulatingLearner(Learner):  # type: ignore[misc]
    """Learner that processes its share of a batch in parts, without waiting for the device."""

    def __init__(self, *args: Any, parts: MicroBatches, **kwargs: Any) -> None:
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
        """Add the loss of a batch."""
        self.count += 1
        self.val = torch.lerp(learn.loss.detach(), self.val.to(learn.loss.device), self.beta)


class MonitorCallback(Callback):  # type: ignore[misc]
    """Callback that reports every step to the monitor, and resumes inside an epoch.

    fastai resumes at the start of an epoch only, and without the state of optimizer, schedule and
    random generators. Here the finished batches are skipped, and the rest is restored in the order
    in which the Learner sets it.
    """

    order = 65  # after the Recorder, which computes loss and metric, and after the scheduler

    def __init__(self, monitor: Monitor, task: Task) -> None:
        super().__init__()
        self.monitor = monitor
        self.task = task
        self.metric_value = float("nan")
        self.cycle = 0
        self.gradient_norm = torch.zeros(())
        self.batches_done = 0
        self._resumed: dict[str, Any] | None = None
        self._skipping = False

    def state(self, epoch: int, batch: int) -> dict[str, Any]:
        """Return the state for `restore` at a batch of an epoch."""
        over = epoch == self.n_epoch
        optimizer = self.learn.opt.state_dict()
        for group in optimizer["param_groups"]:
            # fastai's schedule sets numbers of NumPy, which checkpoints do not take.
            group["lr"] = float(group["lr"])
        return {
            "cycle": self.cycle + over,
            "epoch": 0 if over else epoch,
            "batch": batch,
            "schedule": self.learn.pct_train,
            "metric": self.metric_value,
            "parts": self.learn.parts.count,
            "network": self.learn.model.state_dict(),
            # Freezing, which begins a cycle, clears it.
            "optimizer": None if over else optimizer,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Restore a state; the optimizer follows in `before_cycle`."""
        self.learn.model.load_state_dict(saved["network"])
        self.cycle = saved["cycle"]
        self.metric_value = saved["metric"]
        self.learn.parts.count = saved["parts"]
        self._resumed = saved

    def before_cycle(self, cycle: Cycle, first_epoch: int) -> None:
        """Restore the optimizer and skip the finished batches."""
        epoch = batch = 0
        if self._resumed:
            if self._resumed["optimizer"]:
                load_optimizer(self.learn.opt.opt, self._resumed["optimizer"])
            epoch, batch = self._resumed["epoch"], self._resumed["batch"]
        cycle.batches.go_to(first_epoch + epoch, batch)
        self.learn.dls.valid.go_to(first_epoch + epoch, 0)

    def before_epoch(self) -> None:
        """Skip a finished epoch."""
        self._skipping = self._resumed is not None and self.epoch < self._resumed["epoch"]
        if self._skipping:
            raise CancelEpochException

    def before_train(self) -> None:
        """Restore the schedule, which the Learner has set to the epoch's start."""
        self.batches_done = 0
        if self._resumed:
            self.batches_done = self._resumed["batch"]
            if self.batches_done:
                self.learn.pct_train = self._resumed["schedule"]
            self._resumed = None

    def before_step(self) -> None:
        """Measure the gradient."""
        self.gradient_norm = gradient_norm(self.learn.model.parameters())

    def after_batch(self) -> None:
        """Count a training step."""
        if not self.learn.training:
            return
        self.batches_done += 1
        monitor = self.monitor
        count = len(self.learn.xb[0]) * monitor.processes.count
        if monitor.count(count, loss=self.learn.loss, gradient_norm=self.gradient_norm):
            monitor.log({"loss": monitor.latest["loss"]})
            monitor.log({"norm": monitor.latest["gradient_norm"]}, series="gradients")
            monitor.show(loss=monitor.latest["loss"], **{self.task.metric: self.metric_value})
        monitor.checkpoint(lambda: self.state(self.epoch, self.batches_done))

    def after_epoch(self) -> None:
        """Log the validation."""
        if self._skipping:
            return
        valid_loss, self.metric_value = self.learn.recorder.values[-1][1:3]
        self.monitor.log({"loss": valid_loss, self.task.metric: self.metric_value}, series="valid")
        self.monitor.sample(self.task.sample(self.monitor.params.sample_images))
        self.monitor.checkpoint(lambda: self.state(self.epoch + 1, 0))
