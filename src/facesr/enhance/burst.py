"""Several shots of one scene, fused to one image on a finer grid.

Every shot of a handheld burst samples the scene at another fraction of a pixel. Shots are
registered by phase correlation and fused by iterated back-projection (Irani and Peleg 1991,
https://doi.org/10.1016/1049-9652(91)90045-L) with a robust mean, so that motion in one shot leaves
no ghost (Zomet, Rav-Acha, Peleg 2001, https://doi.org/10.1109/CVPR.2001.990535, use the median; it
costs 1 dB more noise).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from skimage.registration import phase_cross_correlation
from torch import Tensor

from facesr import images
from facesr.errors import DataError

# Shifts are found to this part of a pixel.
STEPS_PER_PIXEL = 50
# A shot is of the same scene if it moved by less than this part of its side, and once moved back
# agrees with the reference at least so well (Pearson's correlation of the luma).
LARGEST_SHIFT = 0.25
LEAST_AGREEMENT = 0.7
# More sharpen the noise: with noise of 2 % twelve are 0.3 dB worse than eight.
CORRECTIONS = 8
# What a shot says may differ from the median of all by this much; the rest is taken as movement.
LARGEST_DEVIATION = 0.04


class Registration(NamedTuple):
    """Positions of the shots relative to the reference."""

    reference: int
    """Position of the sharpest shot."""
    shifts: tuple[tuple[float, float], ...]
    """Shifts down and right in pixels: shot(y, x) = reference(y + down, x + right)."""


def register(frames: Sequence[Tensor], names: Sequence[str]) -> Registration:
    """Return the shifts between the shots.

    Args:
        frames: Two or more of (3, h, w) in [0, 1].

    Raises:
        DataError: There are too few shots, or one has another size or shows another scene.
    """
    if len(frames) < 2:
        raise DataError("A burst needs two frames or more. Name several shots of one scene.")
    for frame, name in zip(frames, names, strict=True):
        if frame.shape != frames[0].shape:
            raise DataError(
                f"{name} has {_size(frame)} pixels and {names[0]} has {_size(frames[0])}. "
                "Give shots of one size."
            )
    lumas = [frame.mean(0).numpy() for frame in frames]
    sharpness = [
        float(sum(np.square(np.diff(luma, axis=axis)).mean() for axis in (0, 1))) for luma in lumas
    ]
    reference = sharpness.index(max(sharpness))
    shifts = []
    for luma, name in zip(lumas, names, strict=True):
        shift = _find_shift(lumas[reference], luma)
        if shift is None:
            raise DataError(
                f"{name} cannot be registered with {names[reference]}: it shows another scene, or "
                "the camera moved too far. Remove it."
            )
        shifts.append(shift)
    return Registration(reference, tuple(shifts))


def _size(frame: Tensor) -> str:
    return f"{frame.shape[-1]} x {frame.shape[-2]}"


def _find_shift(reference: np.ndarray, luma: np.ndarray) -> tuple[float, float] | None:
    if reference.std() == 0 or luma.std() == 0:
        return None
    # The borders do not fit together: the transform would see a cross of edges there.
    window = np.outer(*(np.hanning(length + 2)[1:-1] for length in luma.shape))
    shift, _, _ = phase_cross_correlation(
        (reference - reference.mean()) * window,
        (luma - luma.mean()) * window,
        upsample_factor=STEPS_PER_PIXEL,
        normalization=None,
    )
    down, right = float(shift[0]), float(shift[1])
    height, width = luma.shape
    if abs(down) > LARGEST_SHIFT * height or abs(right) > LARGEST_SHIFT * width:
        return None
    whole_down, whole_right = round(down), round(right)
    first = _overlap(reference, whole_down, whole_right).ravel()
    second = _overlap(luma, -whole_down, -whole_right).ravel()
    if first.std() == 0 or second.std() == 0:
        return None
    agreement = np.corrcoef(first, second)[0, 1]
    return (down, right) if agreement >= LEAST_AGREEMENT else None


def _overlap(luma: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = luma.shape
    return luma[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]


def fuse(
    frames: Sequence[Tensor],
    shifts: Sequence[tuple[float, float]],
    scale: int,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Fuse registered shots on a grid `scale` times finer.

    Args:
        frames: (3, h, w) in [0, 1].
        shifts: As `Registration.shifts`.
        scale: Two suits four shots and more; beyond it noise grows faster than detail.
        on_progress: Called with (corrections done, corrections in total).

    Returns:
        (3, scale h, scale w) in [0, 1], at the place of the reference.
    """
    grid = _Grid(frames[0], shifts, scale)
    fused = []
    for channel in range(3):
        planes = [frame[channel : channel + 1] for frame in frames]
        estimate = _robust_mean(
            [grid.spread(plane, s) for plane, s in zip(planes, shifts, strict=True)]
        )
        for correction in range(CORRECTIONS):
            missing = [
                grid.spread(plane - grid.shoot(estimate, shift), shift, edge_goes_on=False)
                for plane, shift in zip(planes, shifts, strict=True)
            ]
            estimate = (estimate + _robust_mean(missing)).clamp(0, 1)
            if on_progress:
                on_progress(channel * CORRECTIONS + correction + 1, 3 * CORRECTIONS)
        fused.append(grid.crop(estimate))
    return torch.cat(fused)


def _robust_mean(planes: Sequence[Tensor]) -> Tensor:
    stack = torch.stack(list(planes))
    # Of an even number NumPy takes the middle of the two middle ones; torch takes the lower.
    median = torch.from_numpy(np.median(stack.numpy(), axis=0))
    return median + (stack - median).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION).mean(0)


class _Grid:
    """Fine grid: the reference's frame with a margin for the shifts."""

    def __init__(self, frame: Tensor, shifts: Sequence[tuple[float, float]], scale: int) -> None:
        self.height, self.width = frame.shape[-2:]
        self.scale = scale
        self.margin = 3 + math.ceil(max(abs(value) for shift in shifts for value in shift))

    def shoot(self, scene: Tensor, shift: tuple[float, float]) -> Tensor:
        """Return the camera's view of the scene, (1, h, w), anti-aliased and shifted."""
        top, left = (self.scale * (self.margin + value) for value in shift)
        box = (left, top, left + self.scale * self.width, top + self.scale * self.height)
        return images.resize(scene, (self.height, self.width), "bicubic", box=box)

    def spread(
        self, plane: Tensor, shift: tuple[float, float], *, edge_goes_on: bool = True
    ) -> Tensor:
        """Project a shot's plane onto the grid, continued by its edge or by zeros."""
        pad = 2 * self.margin
        if edge_goes_on:
            padded = torch.nn.functional.pad(plane[None], [pad] * 4, mode="replicate")[0]
        else:
            padded = torch.nn.functional.pad(plane, [pad] * 4)
        top, left = (self.margin - value for value in shift)
        height, width = self.height + 2 * self.margin, self.width + 2 * self.margin
        return images.resize(
            padded,
            (self.scale * height, self.scale * width),
            "bicubic",
            box=(left, top, left + width, top + height),
        )

    def crop(self, scene: Tensor) -> Tensor:
        edge = self.scale * self.margin
        return scene[:, edge:-edge, edge:-edge]
