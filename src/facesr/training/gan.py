"""Adversarial training of generator and critic.

A plain loop with two optimizers, after the GAN of fastai's super-resolution lesson
(https://github.com/fastai/course-v3, lesson7-superres-gan): the critic trains until its loss is
below a threshold, then the generator takes one step. The result is a moving average of the
generator's weights.
"""

from functools import partial
from itertools import islice
from pathlib import Path

import torch

from facesr.config import Sizes, TrainGanParams, TrainingParams
from facesr.data.pairs import HR, LR, TrainBatches, load_pairs
from facesr.devices import choose_dtype
from facesr.losses import ContentLoss
from facesr.models.checkpoints import Network, load_network, load_start, save_networks
from facesr.training.engine import MicroBatches, accelerated
from facesr.training.grain import fit_grain
from facesr.training.monitor import Monitor
from facesr.training.processes import check_division, join_processes
from facesr.training.restore import restore_all, restored_sheet
from facesr.training.resume import training_key
from facesr.training.turns import Turns

# Sample sheets of a training on few images, about.
SHEETS = 8
# The study's goal: the critic cannot distinguish them and gives both kinds even odds.
GOALS = {"probabilities": 0.5}
SERIES = {
    "curves": (
        "generator_loss",
        "content_loss",
        "adversarial_loss",
        "matching_loss",
        "critic_loss",
    ),
    "probabilities": ("original", "generated"),
    "gradients": ("generator_gradient", "critic_gradient"),
}


def train_gan(
    params: TrainGanParams,
    training: TrainingParams,
    *,
    sizes: Sizes,
    train_pairs: Path,
    valid_pairs: Path,
    generator_weights: Path,
    critic_weights: Path,
    init_from: Path | None,
    weights: Path,
    restored: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Continue from the trained generator and critic; write the generator and its images.

    Args:
        init_from: Initial weights of the generator in place of the trained ones; None for these.
        weights: Averaged generator to write.
        restored: Folder for its images by split.
        report: Folder for curves, samples and summary.
        checkpoints: Folder for the state of an interrupted training.
        seed: Seed of order, crops and dropout.

    Raises:
        Stopped: A signal came; everything is saved.
        TrainingError: A loss is not finite.
    """
    # Set up.
    torch.manual_seed(seed)
    processes = join_processes()
    device = processes.device
    check_division(params.batch_size, training.accumulate, processes)
    splits = {
        split: load_pairs(folder / LR, folder / HR, hr_size=sizes.generator_size)
        for split, folder in (("train", train_pairs), ("valid", valid_pairs))
    }
    whole_batches = partial(
        TrainBatches,
        splits["train"],
        batch_size=params.batch_size,
        crop_size=params.crop_size,
        crops_per_pair=1,
        seed=seed,
        device=device,
    )
    batches = whole_batches(shard=processes.shard)
    trained = load_network(generator_weights)
    if init_from:
        trained = load_start(init_from, trained.architecture, faithful=False)
    generator = trained.module.to(device)
    critic = load_network(critic_weights).module.to(device)
    content_loss = ContentLoss(params.content, training.features).to(device)
    accelerate = partial(accelerated, dtype=choose_dtype(training.precision, device), device=device)
    with Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=training_key(
            params,
            training,
            sizes.generator_size,
            seed,
            [
                *(train_pairs, valid_pairs, generator_weights, critic_weights),
                *filter(None, [init_from]),
            ],
        ),
        total_steps=params.batches,
        total_images=params.batches * params.batch_size,
        report_every=params.report_every,
        processes=processes,
        goals=GOALS,
    ) as monitor:
        with (
            accelerate(*filter(None, (generator, content_loss.network)), compiled=training.compile),
            # A step calls the critic twice, and each call moves its spectral norm's vectors: what
            # is compiled keeps no copy of the first call's for the way back.
            accelerate(critic, compiled=False),
        ):
            parts = MicroBatches(
                training.accumulate, most=training.max_accumulate, processes=processes
            )
            turns = Turns(generator, critic, params, content_loss=content_loss, parts=parts)
            torch.manual_seed(seed + processes.rank)  # of dropout

            # Resume.
            if monitor.resume(turns.restore):
                batches.go_to(*divmod(monitor.step, len(batches)))

            # Train.
            sheet_every = max(len(batches), params.batches // SHEETS)
            while monitor.step < params.batches:
                for lr, hr in islice(batches, params.batches - monitor.step):
                    values = turns.step(
                        lr.to(device, non_blocking=True),  # (N, 3, h, w)
                        hr.to(device, non_blocking=True),  # (N, 3, H, W)
                    )

                    # Report.
                    due = monitor.count(params.batch_size, **values)
                    if due and {"generator_loss", "critic_loss"} <= monitor.latest.keys():
                        _report(monitor)
                    if monitor.step % sheet_every == 0 or monitor.step == params.batches:
                        with turns.average.applied(generator):
                            monitor.sample(
                                restored_sheet(
                                    generator, splits["valid"], count=training.sample_images
                                )
                            )

                    # Save.
                    monitor.checkpoint(turns.state)

        # Write.
        turns.average.copy_to(generator)
        if processes.is_main:
            finished = Network(trained.architecture, generator)
            if params.grain.crops:
                # The same crops wherever the training was resumed, and for any number of processes.
                finished = fit_grain(
                    finished, whole_batches(), params.grain, after_each=monitor.stop_if_requested
                )
            save_networks(weights, [finished])
            restore_all(finished.module, splits, restored, after_each=monitor.stop_if_requested)
        monitor.summarise({f"{name}_steps": float(count) for name, count in turns.steps.items()})


def _report(monitor: Monitor) -> None:
    for series, names in SERIES.items():
        monitor.log({name: monitor.latest[name] for name in names}, series)
    monitor.show(
        generator=monitor.latest["generator_loss"],
        critic=monitor.latest["critic_loss"],
        original=monitor.latest["original"],
        generated=monitor.latest["generated"],
    )
