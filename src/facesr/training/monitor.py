"""Progress, curves, samples, checkpoints and orderly end of every training."""

import logging
import math
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import torch
from torch import Tensor
from tqdm import tqdm

from facesr.config import TrainingParams
from facesr.devices import is_out_of_memory
from facesr.errors import CheckpointError, Stopped, TrainingError
from facesr.files import atomic_write
from facesr.reports import write_json
from facesr.reports.sheets import write_sheet
from facesr.training.curves import CurveLog
from facesr.training.processes import Processes
from facesr.training.restore import Sheet
from facesr.training.resume import Checkpoints, random_state, set_random_state

logger = logging.getLogger(__name__)

SAMPLES = "samples"
SAMPLE_CELL = 256  # px on the sheet
# Losses that a healthy training never multiplies; adversarial ones have no such bound.
BOUNDED = frozenset({"loss", "content_loss"})


class Monitor:
    """Monitor of one training, which can stop it and resume it.

    Within its `with` block, Ctrl-C and SIGTERM wait for the end of the step, save, and end the
    process with status 130 or 143; a second signal ends it at once. Work after the last step calls
    `stop_if_requested` from time to time. The checkpoint is deleted at the end of a block without
    exception.

    Attributes:
        step: Finished steps.
        latest: Values of the last report, by name.
    """

    def __init__(
        self,
        params: TrainingParams,
        *,
        report: Path,
        checkpoints: Path,
        key: str,
        total_steps: int,
        total_images: int,
        report_every: int,
        processes: Processes,
        goals: Mapping[str, float] | None = None,
    ) -> None:
        """Prepare the report's folder.

        Args:
            report: Folder for curves, samples and summary, with the name of the stage.
            key: Key of the training, see `resume.key_of`.
            total_images: Images of the whole training, for the time left.
            report_every: Steps between two reports; each waits for the device.
            goals: Target values by series of the curves.
        """
        self.params = params
        self.report = report
        self.name = report.name
        self.processes = processes
        self.latest: dict[str, float] = {}
        self._curves = CurveLog(report, goals or {})
        if processes.is_main:
            # Shows which training the report is of.
            write_json(report / "training.json", {"key": key})
        self.total_steps = total_steps
        self.report_every = report_every
        self.step = 0
        self._checkpoints = Checkpoints(checkpoints, key)
        self._saved_step: int | None = None
        self._saved_at = time.monotonic()
        self._pending: list[tuple[int, str, Tensor]] = []
        self._first: dict[str, float] = {}
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}
        self._bar: Any = tqdm(
            total=total_images,
            unit=" images",
            desc=self.name,
            unit_scale=True,
            smoothing=0.05,
            disable=None if processes.is_main else True,
        )

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._request_stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._bar.close()
        self._curves.__exit__(kind, error, trace)
        if kind is None and self.processes.is_main:
            self._checkpoints.delete()
        self.processes.close()
        if error is not None and is_out_of_memory(error):
            raise TrainingError(
                f"{self.name}: the memory of {self.processes.device} is too small at step "
                f"{self.step + 1}. Raise training.max_accumulate in params.yaml (now "
                f"{self.params.max_accumulate}; one process only) or training.accumulate: the "
                f"gradient stays that of the whole batch, batch norm (fastai_unet) aside. Or lower "
                f"the batch_size or crop_size of {self.name}. A checkpoint goes on with another "
                f"max_accumulate."
            ) from error

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, self._handlers[number])

    def resume(self, restore: Callable[[Any], None]) -> bool:
        """Pass the state in the checkpoint, if there is one, to `restore`; return whether there is.

        Raises:
            CheckpointError: It is damaged, or does not fit the networks.
        """
        for folder in self._checkpoints.others():
            logger.info("%s: %s is of other parameters or images; it stays", self.name, folder)
        saved = self._checkpoints.load()
        if saved is None:
            return False
        try:
            restore(saved["training"])
            self.step = self._saved_step = saved["step"]
            self._first, self.latest = saved["first"], saved["latest"]
            if self.processes.is_main:
                self._curves.restore(saved["curves"])
                for name in saved["samples"]:
                    with atomic_write(self.report / SAMPLES / name) as part:
                        shutil.copyfile(self._checkpoints.folder / SAMPLES / name, part)
            set_random_state(saved["random"][self.processes.rank])
        except (LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"The checkpoint {self._checkpoints.file} does not fit this training ({reason}). "
                f"To start from the beginning, delete {self._checkpoints.folder} and run the "
                "command again."
            ) from error
        self._bar.update(self._bar.total * self.step // self.total_steps)
        logger.info("%s: goes on after step %d of %d", self.name, self.step, self.total_steps)
        return True

    def count(self, images: int, **values: Tensor) -> bool:
        """Count a step.

        Args:
            **values: Scalars on the device, losses among them. They are read together at a report,
                when `latest` gets the last of each name, as the mean of the processes.

        Returns:
            Whether a report is due.

        Raises:
            TrainingError: A value is not finite, or a loss diverges.
        """
        self.step += 1
        self._bar.update(images)
        self._pending += [(self.step, name, value.detach()) for name, value in values.items()]
        if self.step % self.report_every:
            return False
        self._check()
        return True

    def log(self, values: Mapping[str, float], series: str = "curves") -> None:
        """Add a row to the curves, under the present step."""
        if self.processes.is_main:
            self._curves(self.step, values, series)

    def show(self, **values: float) -> None:
        """Show numbers beside the progress bar, without unknown ones."""
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in known.items()})

    def checkpoint(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save if it is due, and stop the training if requested.

        The last step is always saved: restoring the network's images may take long after it.

        Raises:
            Stopped: A signal came; everything is saved.
            TrainingError: As `count`; the previous checkpoint stays.
        """
        last = self.step == self.total_steps
        if self.processes.count > 1 and self.step % self.report_every and not last:
            # The processes must agree, which takes a message.
            return
        time_has_come = time.monotonic() - self._saved_at >= 60 * self.params.checkpoint_minutes
        due, number = self.processes.all_reduce_max([time_has_come or last, self._signal or 0])
        if not due and not number:
            return
        self._check()
        self._save(state())
        if number:
            self._stop(number)

    def stop_if_requested(self) -> None:
        """Raise Stopped if a signal came after the last step, which is saved."""
        if self._signal:
            self._stop(self._signal)

    def sample(self, sheet: Sheet) -> None:
        """Write a sheet of images under the present step."""
        if not self.processes.is_main:
            return
        write_sheet(
            self.report / SAMPLES / f"step{self.step:05d}.png",
            sheet.columns,
            cell=SAMPLE_CELL,
            title=f"{self.name.replace('_', ' ')}, step {self.step}{sheet.notice}",
            notes=sheet.notes,
        )

    def summarise(self, values: Mapping[str, float]) -> None:
        """Write the final numbers of the training."""
        if self.processes.is_main:
            write_json(self.report / "summary.json", values)

    def _stop(self, number: int) -> NoReturn:
        raise Stopped(
            f"{self.name}: stopped and saved after step {self.step} of {self.total_steps}. "
            "The same command goes on from here.",
            status=128 + number,
        )

    def _save(self, state: Mapping[str, Any]) -> None:
        random_states = self.processes.gather(random_state())
        self._saved_step = self.step
        self._saved_at = time.monotonic()
        if not self.processes.is_main:
            return
        samples = sorted(path.name for path in (self.report / SAMPLES).glob("step*.png"))
        kept = self._checkpoints.folder / SAMPLES
        for name in samples:
            if not (kept / name).exists():
                with atomic_write(kept / name) as temporary:
                    shutil.copyfile(self.report / SAMPLES / name, temporary)
        self._checkpoints.save(
            {
                "step": self.step,
                "first": self._first,
                "latest": self.latest,
                "curves": self._curves.state(),
                "samples": samples,
                "random": random_states,
                "training": state,
            }
        )

    def _check(self) -> None:
        if not self._pending:
            return
        stacked = torch.stack([value.float() for *_, value in self._pending])
        values = self.processes.average(stacked).tolist()
        for (step, name, _), value in zip(self._pending, values, strict=True):
            first = self._first.setdefault(name, abs(value))
            exploded = (
                name in BOUNDED and abs(value) > max(1.0, first) * self.params.divergence_factor
            )
            if exploded or not math.isfinite(value):
                raise TrainingError(self._failure(step, name.replace("_", " "), value))
            self.latest[name] = value
        self._pending.clear()

    def _failure(self, step: int, name: str, value: float) -> str:
        kept = (
            f"The checkpoint of step {self._saved_step} stays in {self._checkpoints.folder}."
            if self._saved_step is not None
            else "No checkpoint was saved before."
        )
        return (
            f"{self.name}: the {name} is {value:.4g} at step {step} of {self.total_steps}. Lower "
            f"the learning rates of {self.name} in params.yaml, or raise warmup_fraction. {kept}"
        )
