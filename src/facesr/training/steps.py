"""One update of the critic, and one of the generator."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from facesr.config import TrainGanParams
from facesr.losses import AdversarialLoss, feature_distance, gradient_penalty, texture_distance
from facesr.models.critics import CriticOutput
from facesr.training.engine import SharedStep


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


def critic_step(
    generator: nn.Module,
    critic: nn.Module,
    optimizer: Optimizer | SharedStep,
    lr: Tensor,
    hr: Tensor,
    mix: Tensor | None = None,
    *,
    adversarial_loss: AdversarialLoss,
    penalty_weight: float,
) -> CriticStep:
    """Teach the critic one batch; the generator stays as it is.

    Args:
        generator: Judged as it is used: in evaluation mode.
        critic: Is updated.
        optimizer: The critic's.
        lr: (N, 3, h, w) in [0, 1].
        hr: (N, 3, H, W) in [0, 1].
        mix: As in `gradient_penalty`.
        adversarial_loss: What the critic wants of its logits.
        penalty_weight: Weight of the gradient penalty; 0 leaves it out.
    """
    original, generated, sr = judge_for_critic(generator, critic, lr, hr)
    loss = adversarial_loss.critic(original, generated)
    if penalty_weight:
        loss = loss + penalty_weight * gradient_penalty(critic, hr, sr, mix)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return CriticStep(
        loss.detach(),
        original.detach().sigmoid().mean(),
        generated.detach().sigmoid().mean(),
    )


def judge_for_critic(
    generator: nn.Module, critic: nn.Module, lr: Tensor, hr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the critic's step looks at.

    Returns:
        Logits of the originals and of the generated images, (N, P) each, and these images,
        (N, 3, H, W), without gradient.
    """
    critic.train()
    generator.eval()
    with torch.no_grad():
        sr = generator(lr)
    return critic(hr), critic(sr), sr


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
    """Teach the generator one batch; the critic stays as it is.

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
    needs_originals = adversarial_loss.is_relative or feature_weight > 0 or texture_weight > 0
    with frozen(critic):
        sr, original, seen = judge_for_generator(
            generator, critic, lr, hr, with_originals=needs_originals
        )
        content = content_loss(sr, hr)
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


def judge_for_generator(
    generator: nn.Module, critic: nn.Module, lr: Tensor, hr: Tensor, *, with_originals: bool
) -> tuple[Tensor, CriticOutput, CriticOutput]:
    """Return what the generator's step looks at.

    Returns:
        The generated images, (N, 3, H, W), and what the critic thinks of the originals and of
        them. Without originals the second of them stands in both places.
    """
    generator.train()
    critic.eval()
    sr = generator(lr)
    seen: CriticOutput = critic.forward_with_features(sr)  # type: ignore[operator]
    original = seen
    if with_originals:
        with torch.no_grad():
            original = critic.forward_with_features(hr)  # type: ignore[operator]
    return sr, original, seen


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep gradients out of the network's parameters for a while."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


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
    betas = (params.beta1, params.beta2)
    return AdamW(groups, lr=learning_rate, betas=betas, eps=params.epsilon, fused=True)
