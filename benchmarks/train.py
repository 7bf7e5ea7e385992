"""Training speed: ours beside stock fastai, on the same device, data, sizes and batch, in one run.

    python -m benchmarks.train [--profile small] [--seconds 20] [--precision auto] [--stages ...]

Stock fastai is the lesson's loop: image files read by fastai's data loaders, float32, fastai's
Adam, GANLearner. Ours is what the stages run. Both train the same freshly built network with the
same loss. Images are random: speed does not depend on what they show.
"""

import argparse
import math
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.data.transforms import get_image_files
from fastai.learner import Learner
from fastai.optimizer import Adam
from fastai.vision.gan import FixedGANSwitcher, GANLearner
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from facesr import images
from facesr.config import Params, Phase, TrainingParams
from facesr.data.pairs import TrainBatches, load_pairs
from facesr.devices import choose_dtype
from facesr.losses import ADVERSARIAL_LOSSES, ContentLoss
from facesr.models import build
from facesr.profiles import load_profile
from facesr.reports import markdown_table
from facesr.training.critic import critic_task, patch_cross_entropy
from facesr.training.engine import MicroBatches, accelerated
from facesr.training.learner import Cycle, train
from facesr.training.pretrain import regression_task
from facesr.training.processes import Processes, join_processes
from facesr.training.turns import Turns

STAGES = ("train_generator", "train_critic", "train_gan", "train_upsampler")
WARM_UP = 2  # steps


class Clock:
    """Iterator that measures the time between batches and ends after `seconds`."""

    def __init__(
        self, batches: Any, *, batch_size: int, seconds: float, device: torch.device
    ) -> None:
        self.batches = batches
        self.batch_size = batch_size
        self.seconds = seconds
        self.device = device
        self.steps = 0
        self.waited = self.took = 0.0

    def go_to(self, epoch: int, batch: int) -> None:
        """Start where our Learner wants it."""

    def __len__(self) -> int:
        return 10**6

    def __iter__(self) -> Iterator[Any]:
        batches = self._endless()
        for number in range(10**6):
            if number == WARM_UP:
                self._wait_for_device()
                start = time.perf_counter()
            asked = time.perf_counter()
            batch = next(batches)
            if number >= WARM_UP:
                self.waited += time.perf_counter() - asked
            yield batch
            if number >= WARM_UP:
                self.steps += 1
                self.took = time.perf_counter() - start
                if self.took > self.seconds and self.steps > 1:
                    self._wait_for_device()
                    self.took = time.perf_counter() - start
                    return

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self.batches

    def _wait_for_device(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.steps * self.batch_size / self.took


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="small", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--images", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--precision", nargs="*", default=["float32", "auto"])
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    parser.add_argument("--stages", nargs="*", default=STAGES, choices=STAGES)
    parsed = parser.parse_args()
    warnings.filterwarnings("ignore")
    processes = join_processes()
    print(  # noqa: T201
        f"{processes.device}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    peaks = {
        dtype: _peak(dtype, processes.device, parsed.seconds / 10)
        for dtype in {choose_dtype(one, processes.device) for one in parsed.precision}
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        params = load_profile(parsed.profile)
        for stage in parsed.stages:
            faces = _write_images(Path(folder) / stage, stage, params, parsed.images)
            _write_images(faces / "valid", stage, params, 2)
            stock = _alone(_stock, stage, params, faces, parsed.seconds, processes)
            flops = _flops(stage, params, processes)
            rows.append(_row(stage, "fastai", stock, stock, flops, None))
            for precision in parsed.precision:
                ours = _alone(_ours, stage, params, faces, parsed, precision, processes)
                peak = peaks[choose_dtype(precision, processes.device)]
                rows.append(_row(stage, f"ours, {precision}", ours, stock, flops, peak))
    header = ["stage", "loop", "images / s", "of fastai", "waiting for data", "peak memory MB"]
    header += ["GFLOP / s", "of a large convolution's"]
    print(markdown_table(header, rows))  # noqa: T201


class Measured(NamedTuple):
    """What is left of a measurement that ran in a process of its own."""

    rate: float
    """Images per second."""
    waiting: float
    """Share of the time."""
    peak: float
    """Megabytes: on a GPU of its memory, else of the process with all it imports."""


def _alone(measure: Callable[..., Clock], *arguments: Any) -> Measured:
    """Measure in a process of its own, so that its peak of memory is nobody else's."""
    context = multiprocessing.get_context("spawn")
    # Not a daemon's pool: the data loaders start processes as well.
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, measure, torch.get_num_threads(), *arguments).result()


def _measure(measure: Callable[..., Clock], threads: int, *arguments: Any) -> Measured:
    warnings.filterwarnings("ignore")
    # The loaders' own processes, as everywhere on Linux: spawned ones would import all of PyTorch.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(threads)
    clock = measure(*arguments)
    if clock.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        # Not getrusage: what it says of a new process includes the one that started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    return Measured(clock.rate, clock.waited / clock.took, peak)


def _peak(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """FLOP per second of one large convolution, the most that the device can be expected to do."""
    channels, side, batch = (256, 64, 4) if device.type == "cpu" else (512, 64, 64)
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(device, dtype)
    layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(batch, channels, side, side, device=device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    work = 2 * batch * side**2 * channels**2 * 9
    best = math.inf
    end = time.perf_counter() + max(1.0, seconds)
    with torch.inference_mode():
        while time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(5):
                layer(x)
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, (time.perf_counter() - start) / 5)
    return work / best


def _flops(stage: str, params: Params, processes: Processes) -> float:
    """FLOP of a step for each image: forward and backward; of the GAN, the mean of both turns."""
    crop, _ = _crop_and_batch(stage, params)
    device = processes.device
    generator, critic = (one.to(device) for one in _networks(stage, params))
    lr_side, hr_side = _sides(stage, params)
    x = torch.rand(2, 3, crop, crop, device=device)
    hr = torch.rand(2, 3, *[crop * hr_side // lr_side] * 2, device=device)
    with FlopCounterMode(display=False) as counter:
        if stage == "train_critic":
            critic(x).mean().backward()
        elif stage == "train_gan":
            turns = _turns(generator, critic, params, processes)
            for _ in range(2):
                turns.step(x, hr)
        else:
            generator(x).mean().backward()
    return counter.get_total_flops() / len(x) / (2 if stage == "train_gan" else 1)


def _turns(generator: nn.Module, critic: nn.Module, params: Params, processes: Processes) -> Turns:
    """Generator and critic in turns."""
    slow = {"generator_learning_rate": 1e-5, "critic_learning_rate": 1e-5, "critic_threshold": 0}
    section = params.train_gan.model_copy(update=slow)
    return Turns(
        generator,
        critic,
        section,
        content_loss=ContentLoss(section.content, params.training.features).to(processes.device),
        parts=MicroBatches(1, most=1, processes=processes),
    )


def _row(
    stage: str, loop: str, measured: Measured, stock: Measured, flops: float, peak: float | None
) -> list[str]:
    rate = measured.rate * flops
    return [
        *(stage, loop, f"{measured.rate:.1f}", f"{measured.rate / stock.rate:.2f}"),
        *(f"{measured.waiting:.0%}", f"{measured.peak:.0f}", f"{rate / 1e9:.1f}"),
        f"{rate / peak:.0%}" if peak else "-",
    ]


def _sides(stage: str, params: Params) -> tuple[int, int]:
    sizes = params.sizes
    if stage == "train_upsampler":
        return sizes.generator_size, sizes.hr_size
    if stage == "train_critic":
        return sizes.generator_size, sizes.generator_size
    return sizes.lr_size, sizes.generator_size


def _crop_and_batch(stage: str, params: Params) -> tuple[int, int]:
    if stage in ("train_critic", "train_gan"):
        section: Any = getattr(params, stage)
        return section.crop_size, section.batch_size
    phase: Phase = getattr(params, stage).phases[-1]
    return phase.crop_size, phase.batch_size


def _write_images(folder: Path, stage: str, params: Params, count: int) -> Path:
    rng = torch.Generator().manual_seed(0)
    for name, side in zip(("lr", "hr"), _sides(stage, params), strict=True):
        for number in range(count):
            image = torch.rand(3, side, side, generator=rng)
            images.write(folder / name / f"{number:04d}.png", image)
    return folder


def _networks(stage: str, params: Params) -> tuple[nn.Module, nn.Module]:
    """A generator or up-sampler, and a critic."""
    torch.manual_seed(0)
    critic = build(params.train_critic.network.model_dump())
    upsampler = stage == "train_upsampler"
    section = params.train_upsampler if upsampler else params.train_generator
    scale = params.sizes.upsampler_scale if upsampler else params.sizes.generator_scale
    return build({**section.network.model_dump(), "scale": scale}), critic


class Files(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Random crops of image files, read anew each time, as in the lesson."""

    def __init__(self, folder: Path, crop: int, *, labelled: bool) -> None:
        self.lr = get_image_files(folder / "lr").sorted()
        self.hr = get_image_files(folder / "hr").sorted()
        self.crop = crop
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.lr)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self.labelled:
            label = torch.tensor(float(index % 2))
            image = images.read((self.hr if index % 2 else self.lr)[index])
            return self._cut(image, *self._corner(image), 1), label
        lr, hr = images.read(self.lr[index]), images.read(self.hr[index])
        corner = self._corner(lr)
        return self._cut(lr, *corner, 1), self._cut(hr, *corner, hr.shape[-1] // lr.shape[-1])

    def _corner(self, image: Tensor) -> tuple[int, int]:
        rows, columns = (side - self.crop + 1 for side in image.shape[-2:])
        return int(torch.randint(rows, ())), int(torch.randint(columns, ()))

    def _cut(self, image: Tensor, top: int, left: int, scale: int) -> Tensor:
        rows = slice(scale * top, scale * (top + self.crop))
        return image[:, rows, scale * left : scale * (left + self.crop)].clone()


def _stock(stage: str, params: Params, folder: Path, seconds: float, processes: Processes) -> Clock:
    crop, batch = _crop_and_batch(stage, params)
    generator, critic = _networks(stage, params)
    files = Files(folder, crop, labelled=stage == "train_critic")
    loader = DataLoader(files, bs=batch, shuffle=True, drop_last=True, num_workers=os.cpu_count())
    device = processes.device
    clock = Clock(loader, batch_size=batch, seconds=seconds, device=device)
    dls = DataLoaders(clock, [next(iter(loader))], device=device)
    if stage == "train_gan":
        content = ContentLoss(params.train_gan.content, params.training.features).to(device)
        weight = params.train_gan.adversarial_weight
        form = ADVERSARIAL_LOSSES[params.train_gan.adversarial_loss]
        learner = GANLearner(
            dls,
            generator.to(device),
            critic.to(device),
            lambda fake, output, target: (
                content(output, target) + weight * form.generator(fake, fake)
            ),
            form.critic,
            switcher=FixedGANSwitcher(1, 1),
            switch_eval=True,
            opt_func=Adam,
        )
    else:
        network = critic if stage == "train_critic" else generator
        learner = Learner(
            dls, network.to(device), loss_func=_loss(stage, params, device), opt_func=Adam
        )
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, 1e-5)
    return clock


def _loss(stage: str, params: Params, device: torch.device) -> Any:
    if stage == "train_critic":
        return patch_cross_entropy
    return ContentLoss(getattr(params, stage).content, params.training.features).to(device)


def _ours(
    stage: str,
    params: Params,
    folder: Path,
    parsed: argparse.Namespace,
    precision: str,
    processes: Processes,
) -> Clock:
    training = params.training.model_copy(
        update={
            "checkpoint_minutes": 1e6,
            "precision": precision,
            "compile": parsed.compile,
            "accumulate": 1,
            "max_accumulate": 1,
            "divergence_factor": 1e9,
        }
    )
    timed = partial(Clock, seconds=parsed.seconds, device=processes.device)
    if stage == "train_gan":
        return _adversarial(params, training, folder, timed, processes)
    section = getattr(params, stage)
    folders = [(place / "lr", place / "hr") for place in (folder, folder / "valid")]
    task_of: Any = partial(regression_task, training=params.training, init_from=None)
    if stage == "train_critic":
        task_of = critic_task
    task = task_of(section, folders=folders, hr_size=_sides(stage, params)[1], seed=0)
    batches = task.cycles[-1].batches
    clock = timed(batches, batch_size=batches.batch_size)
    cycle = Cycle(clock, epochs=1, rates=[1e-5] * len(task.parts))
    train(
        task._replace(cycles=[cycle], inputs=[]),
        training,
        weights=folder / "network.safetensors",
        report=folder / precision / stage,
        checkpoints=folder / ".ckpt",
    )
    return clock


def _adversarial(
    params: Params,
    training: TrainingParams,
    folder: Path,
    timed: Callable[..., Clock],
    processes: Processes,
) -> Clock:
    crop, batch = _crop_and_batch("train_gan", params)
    device = processes.device
    batches = TrainBatches(
        load_pairs(folder / "lr", folder / "hr", hr_size=params.sizes.generator_size),
        batch_size=batch,
        crop_size=crop,
        crops_per_pair=1,
        seed=0,
        device=device,
        shard=processes.shard,
    )
    clock = timed(batches, batch_size=batch)
    generator, critic = (one.to(device) for one in _networks("train_gan", params))
    dtype = choose_dtype(training.precision, device)
    with accelerated(generator, critic, dtype=dtype, device=device, compiled=training.compile):
        turns = _turns(generator, critic, params, processes)
        for lr, hr in clock:
            turns.step(lr.to(device), hr.to(device))
    return clock


if __name__ == "__main__":
    main()
