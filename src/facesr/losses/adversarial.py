"""Adversarial losses of critic and generator, in the forms that the study reviews.

A form is a pair of functions of the logits for originals and for generated images, (N, P) each;
higher logits mean "original". Patches count like separate images.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LogitLoss = Callable[[Tensor, Tensor], Tensor]
"""Function from the logits of originals and of generated images, (N, P) each, to a scalar."""


class AdversarialLoss(NamedTuple):
    """Losses of critic and generator."""

    critic: LogitLoss
    generator: LogitLoss
    is_relative: bool
    """True if the loss compares the images of a batch: both sides need the logits of originals and
    generated images of the whole batch. The others are means over images, which parts can compute
    alone."""


def vanilla_critic(original: Tensor, generated: Tensor) -> Tensor:
    """Return the cross-entropy, targets 1 for originals and 0 for generated images; mean of both.

    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """
    return (_is_original(original) + _is_generated(generated)) / 2


def vanilla_generator(original: Tensor, generated: Tensor) -> Tensor:
    """Return the cross-entropy towards "original", the non-saturating form of that paper."""
    return _is_original(generated)


def least_squares_critic(original: Tensor, generated: Tensor) -> Tensor:
    """Return half the squared distance to 1 and to 0.

    Mao et al. 2017, https://arxiv.org/abs/1611.04076.
    """
    return ((original - 1).square().mean() + generated.square().mean()) / 2


def least_squares_generator(original: Tensor, generated: Tensor) -> Tensor:
    """Return half the squared distance to 1."""
    return (generated - 1).square().mean() / 2


def hinge_critic(original: Tensor, generated: Tensor) -> Tensor:
    """Return the distance of the logits from a margin of 1, zero beyond it.

    Lim and Ye 2017, https://arxiv.org/abs/1705.02894.
    """
    return F.relu(1 - original).mean() + F.relu(1 + generated).mean()


def wasserstein_critic(original: Tensor, generated: Tensor) -> Tensor:
    """Return minus the distance of the means.

    Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875. It is a distance only with a
    `gradient_penalty`.
    """
    return generated.mean() - original.mean()


def mean_generator(original: Tensor, generated: Tensor) -> Tensor:
    """Return minus the mean logit, for the generator of the hinge and Wasserstein forms."""
    return -generated.mean()


def relativistic_critic(original: Tensor, generated: Tensor) -> Tensor:
    """Return the cross-entropy of the logits relative to the mean of the other side.

    Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734; mean of both, as in ESRGAN.
    """
    return (
        _is_original(original - generated.mean()) + _is_generated(generated - original.mean())
    ) / 2


def relativistic_generator(original: Tensor, generated: Tensor) -> Tensor:
    """Return the critic's loss with the roles exchanged."""
    return relativistic_critic(generated, original)


def softmax_critic(original: Tensor, generated: Tensor) -> Tensor:
    """Return the cross-entropy of a softmax over the batch: all probability to the originals.

    Softmax GAN, Lin 2017, https://arxiv.org/abs/1704.06191; its energy is minus the logit.
    """
    return _log_partition(original, generated) - original.mean()


def softmax_generator(original: Tensor, generated: Tensor) -> Tensor:
    """Return the cross-entropy of the same softmax with equal probability for all images."""
    return _log_partition(original, generated) - torch.cat([original, generated]).mean()


ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {
    "vanilla": AdversarialLoss(vanilla_critic, vanilla_generator, is_relative=False),
    "least_squares": AdversarialLoss(
        least_squares_critic, least_squares_generator, is_relative=False
    ),
    "hinge": AdversarialLoss(hinge_critic, mean_generator, is_relative=False),
    "wasserstein": AdversarialLoss(wasserstein_critic, mean_generator, is_relative=False),
    "relativistic": AdversarialLoss(relativistic_critic, relativistic_generator, is_relative=True),
    "softmax": AdversarialLoss(softmax_critic, softmax_generator, is_relative=True),
}


def gradient_penalty(
    critic: nn.Module, original: Tensor, generated: Tensor, mix: Tensor | None = None
) -> Tensor:
    """Return the mean squared distance to 1 of the critic's slope between original and generated.

    Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028. The slope is that of an image's mean
    logit, the value that the Wasserstein form compares.

    Args:
        critic: From (N, 3, H, W) to (N, P).
        original: (N, 3, H, W).
        generated: (N, 3, H, W).
        mix: (N, 1, 1, 1) in [0, 1], the original's weight in the image at which the slope is
            measured; None draws it.
    """
    if mix is None:
        mix = torch.rand(len(original), 1, 1, 1, device=original.device)
    between = torch.lerp(generated.detach().float(), original.float(), mix).requires_grad_()
    values = critic(between).float().mean(1)  # (N,)
    (slope,) = torch.autograd.grad(values.sum(), between, create_graph=True)
    penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def _is_original(logits: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def _is_generated(logits: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))


def _log_partition(original: Tensor, generated: Tensor) -> Tensor:
    return torch.cat([original, generated]).flatten().logsumexp(0)
