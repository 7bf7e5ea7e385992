"""Training speed: ours beside stock fastai, on the same device, data, sizes and batch, in one run.

    python -m benchmarks.train [--profile small] [--seconds 20] [--precision auto] [--stages ...]

Stock fastai is the lesson's loop: picture files read by fastai's data loaders, float32, fastai's
Adam, GANLearner. Ours is what the stages run. Both train the same freshly built network with the
same loss. Pictures are random: speed does not depend on what they show.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.data.transforms import get_image_files
from fastai.learner import Learner
from fastai.optimizer import Adam
from fastai.vision.gan import FixedGANSwitcher, GANLearner
from torch import Tensor, nn

from facesr import images
from facesr.config import Params, Phase, TrainingParams, load_params
from facesr.losses import ADVERSARIAL_LOSSES, ContentLoss
from facesr.models import build
from facesr.pairs import CriticBatches, Pairs, TrainBatches, WholeBatches, load_pairs
from facesr.reports import markdown_table
from facesr.training.average import Average
from facesr.training.critic import patch_cross_entropy
from facesr.training.engine import SharedStep, pick_dtype, prepared
from facesr.training.learner import Cycle, Watch, build_learner, run_cycles
from facesr.training.monitor import Monitor
from facesr.training.processes import Processes, join_processes
from facesr.training.steps import build_optimizer, critic_step, generator_step

STAGES = ("train_generator", "train_critic", "train_gan", "train_upsampler")
WARM_UP = 2  # steps


class Clock:
    """Hands batches on and measures the time between them; ends after `seconds`."""

    def __init__(
        self, batches: Any, *, pictures: int, seconds: float, device: torch.device
    ) -> None:
        self.batches = batches
        self.pictures = pictures
        self.seconds = seconds
        self.device = device
        self.steps = 0
        self.waited = self.took = 0.0

    def go_to(self, epoch: int, batch: int) -> None:
        """Starts where our Learner wants it."""

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
        """Pictures per second."""
        return self.steps * self.pictures / self.took


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="small", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--pictures", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--precision", nargs="*", default=["float32", "auto"])
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    parser.add_argument("--stages", nargs="*", default=STAGES, choices=STAGES)
    parsed = parser.parse_args()
    warnings.filterwarnings("ignore")
    processes = join_processes()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        params = _params(parsed.profile, Path(folder))
        for stage in parsed.stages:
            faces = _make_pictures(Path(folder) / stage, stage, params, parsed.pictures)
            stock = _stock(stage, params, faces, parsed.seconds, processes)
            rows.append(_row(stage, "fastai", stock, stock))
            for precision in parsed.precision:
                ours = _ours(stage, params, faces, parsed, precision, processes)
                rows.append(_row(stage, f"ours, {precision}", ours, stock))
    header = ["stage", "loop", "pictures / s", "of fastai", "waiting for data", "peak memory MB"]
    table = markdown_table(header, rows)
    threads = torch.get_num_threads()
    print(f"{processes.device}, {threads} threads, torch {torch.__version__}\n\n{table}")  # noqa: T201


def _params(profile: str, folder: Path) -> Params:
    text = Path("params.yaml").read_text(encoding="utf-8").splitlines()
    lines = [f"profile: {profile}" if one.startswith("profile:") else one for one in text]
    changed = folder / "params.yaml"
    changed.write_text("\n".join(lines), encoding="utf-8")
    return load_params(changed, any_device=True)


def _row(stage: str, loop: str, clock: Clock, stock: Clock) -> list[str]:
    memory = "-"
    if clock.device.type == "cuda":
        memory = f"{torch.cuda.max_memory_allocated() / 1e6:.0f}"
        torch.cuda.reset_peak_memory_stats()
    waiting = f"{clock.waited / clock.took:.0%}"
    return [stage, loop, f"{clock.rate:.1f}", f"{clock.rate / stock.rate:.2f}", waiting, memory]


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


def _make_pictures(folder: Path, stage: str, params: Params, count: int) -> Path:
    rng = torch.Generator().manual_seed(0)
    for name, side in zip(("lr", "hr"), _sides(stage, params), strict=True):
        for number in range(count):
            picture = torch.rand(3, side, side, generator=rng)
            images.write(folder / name / f"{number:04d}.png", picture)
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
    """Random crops of picture files, read anew each time, as in the lesson."""

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
            picture = images.read((self.hr if index % 2 else self.lr)[index])
            return self._cut(picture, *self._corner(picture), 1), label
        lr, hr = images.read(self.lr[index]), images.read(self.hr[index])
        corner = self._corner(lr)
        return self._cut(lr, *corner, 1), self._cut(hr, *corner, hr.shape[-1] // lr.shape[-1])

    def _corner(self, picture: Tensor) -> tuple[int, int]:
        rows, columns = (side - self.crop + 1 for side in picture.shape[-2:])
        return int(torch.randint(rows, ())), int(torch.randint(columns, ()))

    def _cut(self, picture: Tensor, top: int, left: int, scale: int) -> Tensor:
        rows = slice(scale * top, scale * (top + self.crop))
        return picture[:, rows, scale * left : scale * (left + self.crop)].clone()


def _stock(stage: str, params: Params, folder: Path, seconds: float, processes: Processes) -> Clock:
    crop, batch = _crop_and_batch(stage, params)
    generator, critic = _networks(stage, params)
    files = Files(folder, crop, labelled=stage == "train_critic")
    loader = DataLoader(files, bs=batch, shuffle=True, drop_last=True, num_workers=os.cpu_count())
    device = processes.device
    clock = Clock(loader, pictures=batch, seconds=seconds, device=device)
    dls = DataLoaders(clock, [next(iter(loader))], device=device)
    if stage == "train_gan":
        content = ContentLoss(params.train_gan.content).to(device)
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
    return ContentLoss(getattr(params, stage).content).to(device)


def _ours(
    stage: str,
    params: Params,
    folder: Path,
    parsed: argparse.Namespace,
    precision: str,
    processes: Processes,
) -> Clock:
    crop, batch = _crop_and_batch(stage, params)
    generator, critic = _networks(stage, params)
    device = processes.device
    pairs = load_pairs(folder / "lr", folder / "hr", hr_size=_sides(stage, params)[1])
    batches: Any = (
        CriticBatches(pairs, batch_size=batch, crop_size=crop, seed=0)
        if stage == "train_critic"
        else TrainBatches(pairs, batch_size=batch, crop_size=crop, crops_per_pair=1, seed=0)
    )
    clock = Clock(batches, pictures=batch, seconds=parsed.seconds, device=device)
    training = params.training.model_copy(
        update={
            "checkpoint_minutes": 1e6,
            "precision": precision,
            "compile": parsed.compile,
            "accumulate": 1,
            "max_accumulate": 1,
            "explosion_factor": 1e9,
        }
    )
    if stage == "train_gan":
        _adversarial(clock, params, training, generator.to(device), critic.to(device), processes)
        return clock
    network = critic if stage == "train_critic" else generator
    with Monitor(
        training,
        report=folder / precision / stage,
        checkpoints=folder / ".ckpt",
        key="benchmark",
        total_steps=10**6,
        total_pictures=10**6,
        report_every=getattr(params, stage).report_every,
        processes=processes,
    ) as monitor:
        few = Pairs(pairs.stems[:1], pairs.lr[:1], pairs.hr[:1])
        valid: Any = (
            CriticBatches(few, batch_size=2, crop_size=crop, seed=0)
            if stage == "train_critic"
            else WholeBatches(few, batch_size=1)
        )
        learner = build_learner(
            network,
            valid,
            _loss(stage, params, device),
            monitor=monitor,
            metric=lambda output, target: output.mean(),
            weight_decay=1e-3,
            parts=[list(network.parameters())],
        )
        watch = Watch(monitor, metric="mean", sample=lambda: None)
        cycle = Cycle(clock, first_epoch=0, epochs=1, rates=[1e-5], frozen_parts=0)
        run_cycles(learner, [cycle], watch, warmup_fraction=0.5)
    return clock


def _adversarial(
    clock: Clock,
    params: Params,
    training: TrainingParams,
    generator: nn.Module,
    critic: nn.Module,
    processes: Processes,
) -> None:
    section = params.train_gan
    shared = [
        SharedStep(
            build_optimizer(network, section, learning_rate=1e-5), parts=1, processes=processes
        )
        for network in (generator, critic)
    ]
    average = Average(generator, decay=section.ema_decay)
    device = processes.device
    content = ContentLoss(section.content).to(device)
    form = ADVERSARIAL_LOSSES[section.adversarial_loss]
    dtype = pick_dtype(training.precision, device)
    with prepared(generator, critic, dtype=dtype, device=device, compiled=training.compile):
        for number, (lr, hr) in enumerate(clock):
            lr, hr = lr.to(device), hr.to(device)
            if number % 2 == 0:
                critic_step(
                    generator,
                    critic,
                    shared[1],
                    lr,
                    hr,
                    adversarial_loss=form,
                    penalty_weight=section.gradient_penalty,
                )
                continue
            generator_step(
                generator,
                critic,
                shared[0],
                lr,
                hr,
                content_loss=content,
                adversarial_loss=form,
                adversarial_weight=section.adversarial_weight,
                feature_weight=section.feature_weight,
                texture_weight=section.texture_weight,
            )
            average.update(generator)


if __name__ == "__main__":
    main()
