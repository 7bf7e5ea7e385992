"""Content losses without a network: pure functions of (N, 3, H, W) each, returning a scalar."""

from collections.abc import Iterator

import torch
from pytorch_msssim import ms_ssim as torch_ms_ssim
from torch import Tensor
from torch.nn import functional as F

from facesr import metrics
from facesr.models.blocks import IMAGENET_STD

CHARBONNIER_EPSILON = 1e-3
WAVELET_LEVELS = 3
LOG_EPSILON = 1e-3
"""Mean squared error from which the logarithm counts: a PSNR of 30 dB."""
REDUCTION = 4
"""Reduction of `reduced_l1`."""
PATCH = 16  # px
PATCH_EPSILON = 1e-4
"""Mean squared error of a patch from which the logarithm counts: a PSNR of 40 dB."""
ENERGY_EPSILON = 1 / 255**2
"""Gradient energy of an image with steps of one grey level."""


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


def local_log_mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean over complete patches of 16 x 16 px of log(1 + MSE / 1e-4).

    Well-known patches are held more tightly. Beside a critic, skin of a clean input has to stay as
    it is, while hair of a damaged one may be drawn anew. An image smaller than a patch is one
    patch.
    """
    errors = (sr.float() - hr.float()).square().mean(1, keepdim=True)  # (N, 1, H, W)
    patches = F.avg_pool2d(errors, [min(PATCH, side) for side in errors.shape[-2:]])
    return torch.log1p(patches / PATCH_EPSILON).mean()


def l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute error over all values."""
    return F.l1_loss(sr, hr)


def reduced_l1(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute error of means over 4 x 4 px.

    Beside a critic it holds the colours of eyes and skin, whatever detail is drawn on them. A side
    below 4 px is one block.
    """
    return F.avg_pool2d(sr - hr, [min(REDUCTION, side) for side in sr.shape[-2:]]).abs().mean()


def charbonnier(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean of sqrt(d^2 + eps^2), a smooth L1.

    Lai et al. 2017, https://arxiv.org/abs/1704.03915.
    """
    return torch.sqrt((sr - hr) ** 2 + CHARBONNIER_EPSILON**2).mean()


def ms_ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """Return 1 - MS-SSIM (https://arxiv.org/abs/1511.08861) of images with more than 32 px."""
    window = metrics.ms_ssim_window(min(sr.shape[-2:]))
    # Variances are differences of almost equal numbers, of which bfloat16 would leave nothing.
    with torch.autocast(sr.device.type, enabled=False):
        similarity: Tensor = torch_ms_ssim(sr.float(), hr.float(), data_range=1, win_size=window)
    return 1 - similarity


def high_frequency(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the L1 of the detail bands of a Haar wavelet, summed over three levels.

    It measures edges and texture in place, not flat colour.
    """
    # The transform is linear: that of the difference is the difference of two.
    return sum((bands.abs().mean() for bands in _details(sr - hr)), start=sr.new_zeros(()))


def gradient_energy(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean of |log E(sr) - log E(hr)|, E being an image's mean squared step in luma.

    It compares the amount of detail and ignores its place, as the metric `gradient_energy_ratio`
    does, against the smoothness of the other terms. Without a critic a checkerboard of single
    pixels minimises it. A single pixel has no loss.
    """
    with torch.autocast(sr.device.type, enabled=False):  # Squares of small differences.
        logs = [
            (metrics.gradient_energy(luma) / luma[0].numel() + ENERGY_EPSILON).log()
            for luma in (metrics.luma_of(sr.float()), metrics.luma_of(hr.float()))
        ]
    return (logs[0] - logs[1]).abs().mean()


def local_energy(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the sum of |E(sr) - E(hr)| over patches of 16 x 16 px, relative to E(hr), by octave.

    E is the mean square of an octave's wavelet detail in luma; there are three octaves. The loss
    compares the energy of detail by place and coarseness, mostly where the original has much, and
    ignores its shape; a checkerboard or sharper edges elsewhere do not reduce it. If the input does
    not determine the energy, the median is optimal; a loss towards the mean, which is higher,
    filled skin with a grid (docs/experiments.md).
    """
    with torch.autocast(sr.device.type, enabled=False):  # Squares of small differences.
        total = sr.new_zeros((), dtype=torch.float32)
        lumas = torch.stack([metrics.luma_of(sr.float()), metrics.luma_of(hr.float())])
        for level, bands in enumerate(_details(lumas), start=1):
            energies = bands.square().mean(0)  # (2, N, h, w)
            side = PATCH // 2**level
            patches = F.avg_pool2d(energies, [min(side, one) for one in energies.shape[-2:]])
            excess = (patches[0] - patches[1]).abs().mean((1, 2))  # (N,)
            total = total + (excess / (patches[1].mean((1, 2)) + ENERGY_EPSILON)).mean()
        return total


def _details(images: Tensor) -> Iterator[Tensor]:
    """Yield the detail of a Haar wavelet, level by level, as long as there are 2 x 2 pixels.

    Bands are means over 2 x 2 pixels, so that grey values keep their scale from level to level.

    Args:
        images: (..., H, W).

    Yields:
        (3, ..., H', W'): steps across, down and crosswise.
    """
    low = images
    for _ in range(WAVELET_LEVELS):
        height, width = low.shape[-2] // 2 * 2, low.shape[-1] // 2 * 2
        if not height or not width:
            return
        a, b = low[..., :height:2, :width:2], low[..., :height:2, 1:width:2]
        c, d = low[..., 1:height:2, :width:2], low[..., 1:height:2, 1:width:2]
        yield torch.stack([a - b + c - d, a + b - c - d, a - b - c + d]) / 4
        low = (a + b + c + d) / 4
