"""Generator and critic against each other.

A plain loop with two optimizers, after the GAN of fastai's super-resolution lesson
(https://github.com/fastai/course-v3, lesson7-superres-gan): the critic keeps its turn until its
loss is below a threshold, then the generator takes one step. What is kept is a running average of
the generator's weights.
"""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facesr.checkpoints import Network, load_network, save_networks
from facesr.config import Sizes, TrainGanParams, TrainingParams
from facesr.losses import ContentLoss
from facesr.pairs import HR, LR, TrainBatches, load_pairs
from facesr.training.average import Average
from facesr.training.engine import Parts, load_optimizer, pick_dtype, prepared
from facesr.training.grain import fit_grain
from facesr.training.monitor import Monitor
from facesr.training.processes import Processes, check_division, join_processes
from facesr.training.restore import restore_all, restored_columns
from facesr.training.resume import training_key
from facesr.training.turns import Turns

# The study's goal: the critic can no longer tell, and gives both kinds even odds.
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
    weights: Path,
    restored: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Goes on from the trained generator and critic, and writes the generator and its pictures.

    Args:
        params: Weights of the losses, rates and turns.
        training: How trainings are run.
        sizes: Sides of the pairs.
        train_pairs: Folder of pairs.
        valid_pairs: Folder of pairs.
        generator_weights: To start from.
        critic_weights: To start from.
        weights: Gets the averaged generator.
        restored: Gets its pictures by split.
        report: Gets curves, samples and summary.
        checkpoints: Folder for what an interrupted training goes on from.
        seed: Of order, crops and dropout.

    Raises:
        Stopped: A signal came; all is saved.
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
    batches = whole_batches(share=processes.share)
    trained = load_network(generator_weights)
    generator_net = trained.module.to(device)
    critic_net = load_network(critic_weights).module.to(device)
    content_loss = ContentLoss(params.content).to(device)
    parts = Parts(training.accumulate, most=training.max_accumulate, processes=processes)
    turns = Turns(generator_net, critic_net, params, content_loss=content_loss, parts=parts)
    generator_optimizer, critic_optimizer = turns.generator_optimizer, turns.critic_optimizer

    steps = {"critic": 0, "generator": 0}
    critics_turn = True
    torch.manual_seed(seed + processes.rank)  # of dropout
    monitor = Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=training_key(
            params,
            training,
            sizes,
            seed,
            [train_pairs, valid_pairs, generator_weights, critic_weights],
        ),
        total_steps=params.batches,
        total_pictures=params.batches * params.batch_size,
        report_every=params.report_every,
        processes=processes,
        goals=GOALS,
    )

    def state() -> dict[str, Any]:
        return {
            "generator": generator_net.state_dict(),
            "critic": critic_net.state_dict(),
            "generator_optimizer": generator_optimizer.optimizer.state_dict(),
            "critic_optimizer": critic_optimizer.optimizer.state_dict(),
            "average": average.tensors,
            "steps": steps,
            "critics_turn": critics_turn,
            "parts": parts.count,
        }

    def restore(saved: dict[str, Any]) -> None:
        nonlocal critics_turn
        generator_net.load_state_dict(saved["generator"])
        critic_net.load_state_dict(saved["critic"])
        load_optimizer(generator_optimizer.optimizer, saved["generator_optimizer"])
        load_optimizer(critic_optimizer.optimizer, saved["critic_optimizer"])
        for name, tensor in average.tensors.items():
            tensor.copy_(saved["average"][name])
        steps.update(saved["steps"])
        critics_turn = saved["critics_turn"]
        parts.count = saved["parts"]

    speed = partial(prepared, dtype=pick_dtype(training.precision, device), device=device)
    generators = filter(None, (generator_net, content_loss.network))
    with monitor:
        with (
            speed(*generators, compiled=training.compile),
            # A step calls the critic twice, and each call moves its spectral norm's vectors: what
            # is compiled keeps no copy of the first call's for the way back.
            speed(critic_net, compiled=False),
        ):
            # Resume.
            average = Average(generator_net, decay=params.ema_decay)
            if monitor.resume(restore):
                batches.go_to(*divmod(monitor.step, len(batches)))

            # Train.
            while monitor.step < params.batches:
                for lr, hr in islice(batches, params.batches - monitor.step):
                    lr, hr = (  # (N, 3, h, w), (N, 3, H, W)
                        one.to(device, non_blocking=True) for one in (lr, hr)
                    )
                    if critics_turn:
                        critic = turns.step_critic(lr, hr)
                        critics_turn = _keeps_turn(critic.loss, params.critic_threshold, processes)
                        steps["critic"] += 1
                        due = monitor.count(
                            params.batch_size,
                            critic_loss=critic.loss,
                            original=critic.original_probability,
                            generated=critic.generated_probability,
                            critic_gradient=critic_optimizer.gradient_norm(),
                        )
                    else:
                        generator = turns.step_generator(lr, hr)
                        average.update(generator_net)
                        critics_turn = True
                        steps["generator"] += 1
                        due = monitor.count(
                            params.batch_size,
                            generator_loss=generator.loss,
                            content_loss=generator.content,
                            adversarial_loss=generator.adversarial,
                            matching_loss=generator.matching,
                            generator_gradient=generator_optimizer.gradient_norm(),
                        )

                    # Report.
                    if due and {"generator_loss", "critic_loss"} <= monitor.latest.keys():
                        _report(monitor)
                    if monitor.step % len(batches) == 0 or monitor.step == params.batches:
                        with average.applied(generator_net):
                            monitor.sample(
                                restored_columns(
                                    generator_net,
                                    splits["valid"],
                                    count=training.sample_pictures,
                                )
                            )

                    # Save.
                    monitor.checkpoint(state)

        # Write.
        average.copy_to(generator_net)
        if processes.writes:
            finished = Network(trained.architecture, generator_net)
            if params.grain.crops:
                # The same crops wherever the training was resumed, and for any number of processes.
                finished = fit_grain(
                    finished, whole_batches(), params.grain, between=monitor.heed_signal
                )
            save_networks(weights, [finished])
            restore_all(finished.module, splits, restored, between=monitor.heed_signal)
        monitor.summarise({f"{name}_steps": float(count) for name, count in steps.items()})


def _keeps_turn(loss: Tensor, threshold: float, processes: Processes) -> bool:
    """Whether the critic steps again; costs a wait for the device unless the turns alternate."""
    return threshold > 0 and processes.average(loss).item() >= threshold


def _report(monitor: Monitor) -> None:
    for series, names in SERIES.items():
        monitor.log({name: monitor.latest[name] for name in names}, series)
    monitor.show(
        generator=monitor.latest["generator_loss"],
        critic=monitor.latest["critic_loss"],
        original=monitor.latest["original"],
        generated=monitor.latest["generated"],
    )
