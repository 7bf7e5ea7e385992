"""Correction of a restored image's colours by those of its input.

Networks shift colours and brighten bright scenes. The low band of the result is therefore replaced
by that of the input; the detail stays.
"""

from typing import Literal

import torch
from torch import Tensor

from facesr import images
from facesr.errors import ParamsError

ColourFix = Literal["wavelet", "adain", "none"]

# Side of the low band's cells in pixels of the input: colour and light, no facial feature.
CELL = 8
# Rows that are corrected at a time, so that a large image needs no second copy of itself.
STRIP = 512


def fix_colour(restored: Tensor, reference: Tensor, method: ColourFix) -> Tensor:
    """Move the colours of `restored`, in place, to those of `reference`; return it.

    `wavelet` exchanges the low band of a wavelet decomposition, as StableSR does (Wang et al. 2023,
    https://arxiv.org/abs/2305.07015), here on a decimated band, which costs little. `adain` sets
    each channel's mean and deviation at the reference's resolution (Huang and Belongie 2017,
    https://arxiv.org/abs/1703.06868).

    Args:
        restored: (3, H, W) float32 in [0, 1]; changed.
        reference: (3, h, w) float32 in [0, 1], the same scene at any size.
        method: Correction; "none" changes nothing.

    Raises:
        ParamsError: There is no such method.
    """
    if method == "none":
        return restored
    if method == "wavelet":
        return _exchange_low_band(restored, reference)
    if method == "adain":
        return _match_statistics(restored, reference)
    raise ParamsError(f"There is no colour fix {method}. Choose wavelet, adain or none.")


def _exchange_low_band(restored: Tensor, reference: Tensor) -> Tensor:
    cells = tuple(max(1, round(side / CELL)) for side in reference.shape[-2:])
    grid = (cells[0], cells[1])
    wanted = images.resize(reference, grid, "bilinear")
    missing = wanted - _reduce(restored, grid)
    height, width = restored.shape[-2:]
    for top in range(0, height, STRIP):
        rows = min(STRIP, height - top)
        box = (0.0, top * grid[0] / height, float(grid[1]), (top + rows) * grid[0] / height)
        part = restored[:, top : top + rows]
        part += images.resize(missing, (rows, width), "bicubic", box=box)
        part.clamp_(0, 1)
    return restored


def _match_statistics(restored: Tensor, reference: Tensor) -> Tensor:
    reduced = _reduce(restored, (reference.shape[-2], reference.shape[-1]))
    for channel, now, wanted in zip(restored, reduced, reference, strict=True):
        # A flat channel has no deviation to be stretched.
        gain = wanted.std(correction=0) / now.std(correction=0).clamp(min=1e-4)
        channel.sub_(now.mean()).mul_(gain).add_(wanted.mean())
    return restored.clamp_(0, 1)


def _reduce(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Reduce one channel at a time: Pillow copies what it is given."""
    return torch.cat([images.resize(plane[None], size, "bilinear") for plane in image])


def back_project(
    restored: Tensor, reference: Tensor, times: int, method: images.Filter = "bicubic"
) -> Tensor:
    """Add to `restored`, in place, what its reduction lacks of `reference`; return it.

    Irani and Peleg 1991, https://doi.org/10.1016/1049-9652(91)90045-L. It assumes a bicubic
    reduction; from JPEG it brings the artefacts back.

    Args:
        restored: (3, H, W) float32 in [0, 1]; changed.
        reference: (3, h, w) float32 in [0, 1], not larger.
        times: Corrections; two are enough.
        method: Filter that enlarges them.
    """
    large = (restored.shape[-2], restored.shape[-1])
    small = (reference.shape[-2], reference.shape[-1])
    for _ in range(times):
        for channel, wanted in zip(restored, reference, strict=True):
            missing = wanted[None] - images.resize(channel[None], small, "bicubic")
            channel += images.resize(missing, large, method)[0]
    return restored.clamp_(0, 1)
