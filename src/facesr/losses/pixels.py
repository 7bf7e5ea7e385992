"""Content losses without a network: pure functions of (N, 3, H, W) each, returning a scalar."""

import torch
from pytorch_msssim import ms_ssim as torch_ms_ssim
from torch import Tensor
from torch.nn import functional as F

from facesr import metrics
from facesr.models.blocks import IMAGENET_STD

LOG_EPSILON = 1e-3
"""Mean squared error from which the logarithm counts: a PSNR of 30 dB."""
REDUCTION = 4
"""Reduction of `reduced_l1`."""


def mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean squared error over all values."""
    return F.mse_loss(sr, hr)


def normalised_mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean squared error on the ImageNet scale, as in fastai's lesson."""
    std = torch.tensor(IMAGENET_STD, device=sr.device, dtype=sr.dtype).view(1, 3, 1, 1)
    return F.mse_loss(sr / std, hr / std)


def log_mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean over the images of log(1 + MSE / 1e-3), between squared error and PSNR.

    An image with a large error counts by the share of it that is removed, so that hard images do
    not dominate easy ones (the PSNR loss of NAFNet, Chen et al. 2022,
    https://arxiv.org/abs/2204.04676). The 1e-3 keeps plain walls and clean inputs, whose error is
    almost zero, from dominating faces and compressed ones: it was chosen by experiment
    (docs/experiments.md, 2026-11-28).
    """
    errors = (sr.float() - hr.float()).square().flatten(1).mean(1)  # (N,)
    return torch.log1p(errors / LOG_EPSILON).mean()


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute error over all values."""
    return F.l1_loss(sr, hr)


def reduced_l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute error of means over 4 x 4 px.

    Beside a critic it holds the colours of eyes and skin, whatever detail is drawn on them. A side
    below 4 px is one block.
    """
    return F.avg_pool2d(sr - hr, [min(REDUCTION, side) for side in sr.shape[-2:]]).abs().mean()


def ms_ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """Return 1 - MS-SSIM (https://arxiv.org/abs/1511.08861) of images with more than 32 px."""
    window = metrics.ms_ssim_window(min(sr.shape[-2:]))
    # Variances are differences of almost equal numbers, of which bfloat16 would leave nothing.
    with torch.autocast(sr.device.type, enabled=False):
        similarity: Tensor = torch_ms_ssim(sr.float(), hr.float(), data_range=1, win_size=window)
    return 1 - similarity
