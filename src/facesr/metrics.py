"""Distances between restored and original images, one value an image.

All functions take `sr` and `hr` as (N, 3, H, W) float32 RGB in [0, 1] and return (N,) tensors.
Errors are on the scale of 8-bit files, 0 to 255, as in the tables of the field.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from facesr.errors import DataError
from facesr.images import LUMA
from facesr.names import LABELS

PEAK = 255
WINDOW = 11
MS_SSIM_LEVELS = 5
LUMA_RANGE = 235 - 16

# The GMSD paper's constant, for grey levels.
GMSD_CONSTANT = 170

# Those of the evaluation's tables: the study's, and the ones that show its drawbacks.
NAMES = (
    "psnr",
    "ssim",
    "ms_ssim",
    "mse",
    "l1_mean",
    "l1_sum",
    "clipped_fraction",
    "luma_shift",
    "gradient_energy_ratio",
)


def measure(sr: Tensor, hr: Tensor, names: Sequence[str] = NAMES) -> dict[str, Tensor]:
    """Return metrics by name, in the order of `names`.

    Raises:
        DataError: Shapes differ, or values leave [0, 1], or the images are too small.
    """
    return {name: _FUNCTIONS[name](sr, hr) for name in names}


def label(name: str, side: int) -> str:
    """Return the heading of a metric's column; `side` determines the window of MS-SSIM."""
    if name == "ms_ssim" and ms_ssim_window(side) != WINDOW:
        return f"MS-SSIM (window {ms_ssim_window(side)}) ↑"
    return LABELS[name]


def mse(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean squared error over all values of an image, grey levels squared."""
    _check(sr, hr)
    return ((sr - hr).double() * PEAK).square().flatten(1).mean(1)


def psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB; infinite for equal images."""
    return 10 * torch.log10(PEAK**2 / mse(sr, hr))


def psnr_y(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the PSNR in dB of the luma in 16 to 235, as in super-resolution papers.

    It is about 1.3 dB above `psnr` for the narrower range, and a little more without chroma. No
    border is cut.
    """
    _check(sr, hr)
    error = (_luma(sr) - _luma(hr)) * LUMA_RANGE
    return 10 * torch.log10(PEAK**2 / error.square().flatten(1).mean(1))


def l1_mean(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute difference over all values of an image, in grey levels."""
    _check(sr, hr)
    return ((sr - hr).double() * PEAK).abs().flatten(1).mean(1)


def l1_sum(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the sum of the absolute differences over all values, as the study reports it."""
    return l1_mean(sr, hr) * sr[0].numel()


def ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the structural similarity (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861).

    Gaussian window of 11 pixels, sigma 1.5, without padding; mean over R, G and B.

    Raises:
        DataError: The images are smaller than the window.
    """
    _check(sr, hr)
    if min(sr.shape[-2:]) < WINDOW:
        raise DataError(f"SSIM needs images of at least {WINDOW} px, not {_size(sr)}.")
    from pytorch_msssim import ssim as torch_ssim

    values: Tensor = torch_ssim(sr, hr, data_range=1, size_average=False, win_size=WINDOW)
    return values


def ms_ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the multi-scale structural similarity on five levels (Wang et al. 2003).

    https://doi.org/10.1109/ACSSC.2003.1292216. The window is fitted to the size, see
    `ms_ssim_window`; values of different windows cannot be compared.
    """
    _check(sr, hr)
    from pytorch_msssim import ms_ssim as torch_ms_ssim

    values: Tensor = torch_ms_ssim(
        sr, hr, data_range=1, size_average=False, win_size=ms_ssim_window(min(sr.shape[-2:]))
    )
    return values


def ms_ssim_window(side: int) -> int:
    """Return the largest odd window, 3 to 11, that fits five levels, or raise DataError."""
    for window in range(WINDOW, 1, -2):
        if (window - 1) * 2 ** (MS_SSIM_LEVELS - 1) < side:
            return window
    raise DataError(f"MS-SSIM needs images of more than 32 px, not {side}.")


def gmsd(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the gradient magnitude similarity deviation; 0 for equal images, larger is worse.

    Xue et al. 2014, https://doi.org/10.1109/TIP.2013.2293423: Prewitt gradients of the luma at half
    the resolution; the deviation of their similarity over the image.
    """
    _check(sr, hr)
    a, b = _prewitt_magnitude(sr), _prewitt_magnitude(hr)
    similarity = (2 * a * b + GMSD_CONSTANT) / (a.square() + b.square() + GMSD_CONSTANT)
    return similarity.flatten(1).std(1, correction=0)


def _prewitt_magnitude(image: Tensor) -> Tensor:
    luma = F.avg_pool2d(_luma(image)[:, None] * PEAK, 2)  # (N, 1, H / 2, W / 2)
    down = torch.tensor([[1.0, 1, 1], [0, 0, 0], [-1, -1, -1]], dtype=luma.dtype) / 3
    kernels = torch.stack([down, down.T])[:, None].to(luma.device)
    return F.conv2d(luma, kernels, padding=1).square().sum(1).sqrt()  # (N, H / 2, W / 2)


def clipped_fraction(sr: Tensor) -> Tensor:
    """Return the share of values at 0 or 255 after rounding to 8 bits."""
    levels = (sr.clamp(0, 1) * PEAK).round()
    return ((levels == 0) | (levels == PEAK)).double().flatten(1).mean(1)


def luma_shift(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean luma of sr minus that of hr, in grey levels; above 0 is brighter."""
    _check(sr, hr)
    return (_luma(sr) - _luma(hr)).flatten(1).mean(1) * PEAK


def gradient_energy_ratio(sr: Tensor, hr: Tensor) -> Tensor:
    """Return squared differences of neighbouring lumas, sr over hr; below 1 is smoother."""
    _check(sr, hr)
    return gradient_energy(_luma(sr)) / gradient_energy(_luma(hr))


def gradient_energy(luma: Tensor) -> Tensor:
    """Return the sum of the squared differences between neighbours; (N, H, W) to (N,)."""
    down, right = luma.diff(dim=1), luma.diff(dim=2)
    return down.square().sum((1, 2)) + right.square().sum((1, 2))


def _luma(image: Tensor) -> Tensor:
    return luma_of(image.double())


def luma_of(image: Tensor) -> Tensor:
    """Return the luma of RGB, in the same arithmetic; (N, 3, H, W) to (N, H, W)."""
    weights = torch.tensor(LUMA, dtype=image.dtype, device=image.device)
    return torch.einsum("nchw,c->nhw", image, weights)


def _check(sr: Tensor, hr: Tensor) -> None:
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3:
        raise DataError(
            f"Images to compare must be (N, 3, H, W) of one shape, not {tuple(sr.shape)} and "
            f"{tuple(hr.shape)}."
        )
    for name, image in (("sr", sr), ("hr", hr)):
        if not image.is_floating_point() or image.min() < 0 or image.max() > 1:
            raise DataError(f"Metrics take float values in [0, 1]; {name} has others.")


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]}"


_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": psnr,
    "psnr_y": psnr_y,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
    "gmsd": gmsd,
    "mse": mse,
    "l1_mean": l1_mean,
    "l1_sum": l1_sum,
    "clipped_fraction": lambda sr, _: clipped_fraction(sr),
    "luma_shift": luma_shift,
    "gradient_energy_ratio": gradient_energy_ratio,
}
