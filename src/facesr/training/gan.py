"""Generator and critic against each other.

A plain loop with two optimizers, after the GAN of fastai's super-resolution lesson
(https://github.com/fastai/course-v3, lesson7-superres-gan): the critic keeps its turn until its
loss is below a threshold, then the generator takes one step. What is kept is a running average of
the generator's weights.
"""

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from facesr.checkpoints import Network, load_network, save_networks
from facesr.config import Sizes, TrainGanParams, TrainingParams
from facesr.losses import (
    ADVERSARIAL_LOSSES,
    AdversarialLoss,
    ContentLoss,
    feature_distance,
    gradient_penalty,
    texture_distance,
)
from facesr.pairs import HR, LR, TrainBatches, load_pairs
from facesr.training.engine import SharedStep, in_parts, pick_dtype, prepared
from facesr.training.monitor import Monitor
from facesr.training.processes import Processes, check_division, join_processes
from facesr.training.restore import restore_all, restored_columns
from facesr.training.resume import key_of

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


class CriticStep(NamedTuple):
    """What a critic's step reports; scalars on the device."""

    loss: Tensor
    original_probability: Tensor
    generated_probability: Tensor


class GeneratorStep(NamedTuple):
    """What a generator's step reports; scalars on the device."""

    loss: Tensor
    content: Tensor
    adversarial: Tensor
    matching: Tensor
    """Weighted distances between the critic's features."""


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
    batches = TrainBatches(
        splits["train"],
        batch_size=params.batch_size,
        crop_size=params.crop_size,
        crops_per_pair=1,
        seed=seed,
    )
    trained = load_network(generator_weights)
    generator_net = trained.module.to(device)
    critic_net = load_network(critic_weights).module.to(device)
    generator_optimizer = build_optimizer(
        generator_net, params, learning_rate=params.generator_learning_rate
    )
    critic_optimizer = build_optimizer(
        critic_net, params, learning_rate=params.critic_learning_rate
    )
    average = Average(generator_net, decay=params.ema_decay)
    content_loss = ContentLoss(params.content).to(device)
    adversarial_loss = ADVERSARIAL_LOSSES[params.adversarial_loss]

    steps = {"critic": 0, "generator": 0}
    critics_turn = True
    torch.manual_seed(seed + processes.rank)  # of dropout
    monitor = Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=key_of(
            {
                "params": params.model_dump(),
                "training": training.model_dump(exclude={"checkpoint_minutes"}),
                "sizes": sizes.model_dump(),
                "seed": seed,
            },
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
            "generator_optimizer": generator_optimizer.state_dict(),
            "critic_optimizer": critic_optimizer.state_dict(),
            "average": average.tensors,
            "steps": steps,
            "critics_turn": critics_turn,
        }

    def restore(saved: dict[str, Any]) -> None:
        nonlocal critics_turn
        generator_net.load_state_dict(saved["generator"])
        critic_net.load_state_dict(saved["critic"])
        generator_optimizer.load_state_dict(saved["generator_optimizer"])
        critic_optimizer.load_state_dict(saved["critic_optimizer"])
        for name, tensor in average.tensors.items():
            tensor.copy_(saved["average"][name])
        steps.update(saved["steps"])
        critics_turn = saved["critics_turn"]

    def step_critic(lr: Tensor, hr: Tensor) -> CriticStep:
        return critic_step(
            generator_net,
            critic_net,
            shared_critic,
            lr,
            hr,
            adversarial_loss=adversarial_loss,
            penalty_weight=params.gradient_penalty,
        )

    def step_generator(lr: Tensor, hr: Tensor) -> GeneratorStep:
        return generator_step(
            generator_net,
            critic_net,
            shared_generator,
            lr,
            hr,
            content_loss=content_loss,
            adversarial_loss=adversarial_loss,
            adversarial_weight=params.adversarial_weight,
            feature_weight=params.feature_weight,
            texture_weight=params.texture_weight,
        )

    dtype = pick_dtype(training.precision, device)
    parts = training.accumulate
    shared_generator = SharedStep(generator_optimizer, parts=parts, processes=processes)
    shared_critic = SharedStep(critic_optimizer, parts=parts, processes=processes)
    with monitor:
        # Resume.
        if monitor.resume(restore):
            batches.go_to(*divmod(monitor.step, len(batches)))

        # Train.
        with prepared(
            generator_net, critic_net, dtype=dtype, device=device, compiled=training.compile
        ):
            while monitor.step < params.batches:
                for lr, hr in islice(batches, params.batches - monitor.step):
                    lr, hr = (  # (N, 3, h, w), (N, 3, H, W)
                        processes.share(one).to(device, non_blocking=True) for one in (lr, hr)
                    )
                    if critics_turn:
                        critic = in_parts(step_critic, lr, hr, parts=parts)
                        critics_turn = _keeps_turn(critic.loss, params.critic_threshold, processes)
                        steps["critic"] += 1
                        due = monitor.count(
                            params.batch_size,
                            critic_loss=critic.loss,
                            original=critic.original_probability,
                            generated=critic.generated_probability,
                            critic_gradient=shared_critic.gradient_norm(),
                        )
                    else:
                        generator = in_parts(step_generator, lr, hr, parts=parts)
                        average.update(generator_net)
                        critics_turn = True
                        steps["generator"] += 1
                        due = monitor.count(
                            params.batch_size,
                            generator_loss=generator.loss,
                            content_loss=generator.content,
                            adversarial_loss=generator.adversarial,
                            matching_loss=generator.matching,
                            generator_gradient=shared_generator.gradient_norm(),
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
            save_networks(weights, [Network(trained.architecture, generator_net)])
            restore_all(generator_net, splits, restored)
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


def critic_step(
    generator: nn.Module,
    critic: nn.Module,
    optimizer: Optimizer | SharedStep,
    lr: Tensor,
    hr: Tensor,
    *,
    adversarial_loss: AdversarialLoss,
    penalty_weight: float,
) -> CriticStep:
    """Teaches the critic one batch; the generator stays as it is.

    Args:
        generator: Judged as it is used: in evaluation mode.
        critic: Is updated.
        optimizer: The critic's.
        lr: (N, 3, h, w) in [0, 1].
        hr: (N, 3, H, W) in [0, 1].
        adversarial_loss: What the critic wants of its logits.
        penalty_weight: Weight of the gradient penalty; 0 leaves it out.
    """
    critic.train()
    generator.eval()
    with torch.no_grad():
        sr = generator(lr)  # (N, 3, H, W)
    original, generated = critic(hr), critic(sr)  # (N, P) each
    loss = adversarial_loss.critic(original, generated)
    if penalty_weight:
        loss = loss + penalty_weight * gradient_penalty(critic, hr, sr)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return CriticStep(
        loss.detach(),
        original.detach().sigmoid().mean(),
        generated.detach().sigmoid().mean(),
    )


def generator_step(
    generator: nn.Module,
    critic: nn.Module,
    optimizer: Optimizer | SharedStep,
    lr: Tensor,
    hr: Tensor,
    *,
    content_loss: Callable[[Tensor, Tensor], Tensor],
    adversarial_loss: AdversarialLoss,
    adversarial_weight: float,
    feature_weight: float,
    texture_weight: float,
) -> GeneratorStep:
    """Teaches the generator one batch; the critic stays as it is.

    Args:
        generator: Is updated.
        critic: In evaluation mode, so that neither dropout nor spectral norm moves.
        optimizer: The generator's.
        lr: (N, 3, h, w) in [0, 1].
        hr: (N, 3, H, W) in [0, 1].
        content_loss: Distance to the original, weighted.
        adversarial_loss: What the generator wants of the critic's logits.
        adversarial_weight: Its weight.
        feature_weight: Weight of the distance between the critic's features (feature matching,
            Salimans et al. 2016, https://arxiv.org/abs/1606.03498).
        texture_weight: Weight of the distance between their Gram matrices.
    """
    generator.train()
    critic.eval()
    with frozen(critic):
        sr = generator(lr)  # (N, 3, H, W)
        content = content_loss(sr, hr)
        seen = critic.judge(sr)  # type: ignore[operator]
        original = seen  # Which nothing looks at, unless:
        if adversarial_loss.is_relative or feature_weight or texture_weight:
            with torch.no_grad():
                original = critic.judge(hr)  # type: ignore[operator]
        adversarial = adversarial_loss.generator(original.logits, seen.logits)
        matching = content.new_zeros(())
        if feature_weight:
            matching = feature_weight * feature_distance(seen.features, original.features)
        if texture_weight:
            matching = matching + texture_weight * texture_distance(
                seen.features, original.features
            )
        loss = content + adversarial_weight * adversarial + matching
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return GeneratorStep(loss.detach(), content.detach(), adversarial.detach(), matching.detach())


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keeps gradients out of the network's parameters for a while."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


class Average:
    """Running average of a network's weights (EMA), kept as plain tensors."""

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves (1 - decay) of the way to the network; integer buffers are copied."""
        state = network.state_dict()
        moving = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.tensors[name] for name in moving],
            [state[name] for name in moving],
            weight=1 - self.decay,
        )
        for name in state.keys() - set(moving):
            self.tensors[name].copy_(state[name])

    def copy_to(self, network: nn.Module) -> None:
        """Gives the network the averaged weights."""
        network.load_state_dict(self.tensors)

    @contextlib.contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Gives the network the averaged weights for a while."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self.copy_to(network)
        try:
            yield
        finally:
            network.load_state_dict(own)


def build_optimizer(network: nn.Module, params: TrainGanParams, *, learning_rate: float) -> AdamW:
    """AdamW that spares biases and norms from decay, as fastai's optimizer does."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in network.parameters():
        (decayed if parameter.ndim > 1 else spared).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": params.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate, betas=(params.beta1, params.beta2), eps=params.epsilon)
