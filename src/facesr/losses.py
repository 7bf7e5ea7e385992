"""Losses as pure functions; all take float32 RGB in [0, 1] and give a scalar."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from facesr.models.blocks import IMAGENET_STD

ContentLoss = Callable[[Tensor, Tensor], Tensor]

CHARBONNIER_EPSILON = 1e-3


def mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared error over all values, (N, 3, H, W) each."""
    return F.mse_loss(sr, hr)


def normalised_mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared error on the ImageNet scale, as in fastai's super-resolution lesson."""
    std = torch.tensor(IMAGENET_STD, device=sr.device, dtype=sr.dtype).view(1, 3, 1, 1)
    return F.mse_loss(sr / std, hr / std)


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute error over all values, (N, 3, H, W) each."""
    return F.l1_loss(sr, hr)


def charbonnier(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + eps^2), a smooth L1 (Lai et al. 2017, https://arxiv.org/abs/1704.03915)."""
    return torch.sqrt((sr - hr) ** 2 + CHARBONNIER_EPSILON**2).mean()


CONTENT_LOSSES: dict[str, ContentLoss] = {
    "mse": mse,
    "normalised_mse": normalised_mse,
    "l1": l1,
    "charbonnier": charbonnier,
}


def critic_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Cross-entropy of the critic: originals are 1, generated pictures 0; (N, P) logits each."""
    return (
        F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        + F.binary_cross_entropy_with_logits(generated, torch.zeros_like(generated))
    ) / 2


def adversarial_loss(generated: Tensor) -> Tensor:
    """Cross-entropy of the generator, which wants its pictures taken for originals; (N, P) logits.

    The non-saturating form of Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """
    return F.binary_cross_entropy_with_logits(generated, torch.ones_like(generated))
