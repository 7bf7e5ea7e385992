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
    """Report of a critic's step; scalars on the device."""

    loss: Tensor
    original_probability: Tensor
    generated_probability: Tensor


class GeneratorStep(NamedTuple):
    """Report of a generator's step; scalars on the device."""

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
    """Train the critic on one batch; the generator does not change.

    Args:
        generator: In evaluation mode, as in use.
        lr: (N, 3, h, w) in [0, 1].
        hr: (N, 3, H, W) in [0, 1].
        mix: As in `gradient_penalty`.
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
        loss.detach(), original.detach().sigmoid().mean(), generated.detach().sigmoid().mean()
    )


def judge_for_critic(
    generator: nn.Module, critic: nn.Module, lr: Tensor, hr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits of originals and generated images, (N, P), and the latter, (N, 3, H, W)."""
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
    """Train the generator on one batch; the critic does not change.

    Args:
        critic: In evaluation mode, so that neither dropout nor spectral norm moves.
        lr: (N, 3, h, w) in [0, 1].
        hr: (N, 3, H, W) in [0, 1].
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
    """Return the generated images, and the critic's output for originals and generated images.

    Without originals, both outputs are those of the generated images, (N, 3, H, W).
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
    """Exclude the network's parameters from gradients for the block."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def build_optimizer(network: nn.Module, params: TrainGanParams, *, learning_rate: float) -> AdamW:
    """Return AdamW without decay of biases and norms, as in fastai's optimizer."""
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
