"""Blur kernels of blind restoration.

Generalised and plateau Gaussians: Liu et al. 2020 as used by Real-ESRGAN (Wang et al. 2021,
https://arxiv.org/abs/2107.10833, section 3.2); sinc filter: the same, section 3.3.
"""

from typing import Any

import numpy as np
from scipy import special

Kernel = np.ndarray[Any, np.dtype[np.float64]]


def gaussian(
    size: int,
    sigmas: tuple[float, float],
    angle: float,
    *,
    power: float = 1.0,
    plateau: bool = False,
) -> Kernel:
    """Return a Gaussian-like kernel with a direction.

    With q = xᵀ Σ⁻¹ x the values are exp(-q^power / 2), or 1 / (1 + q^power) for a plateau.

    Args:
        size: Side, odd.
        sigmas: Spread along and across the direction, in pixels.
        angle: Angle of the direction, in radians.
        power: 1 is the Gaussian; smaller has longer tails, larger a flatter top.

    Returns:
        (size, size), non-negative, with sum 1.
    """
    across = np.arange(size) - size // 2
    x, y = np.meshgrid(across, across)
    along = np.cos(angle) * x + np.sin(angle) * y
    aside = -np.sin(angle) * x + np.cos(angle) * y
    quadratic = (along / sigmas[0]) ** 2 + (aside / sigmas[1]) ** 2
    values = 1 / (1 + quadratic**power) if plateau else np.exp(-0.5 * quadratic**power)
    return np.asarray(values / values.sum(), dtype=np.float64)


def sinc(size: int, cutoff: float) -> Kernel:
    """Return the circular low-pass filter, whose ringing looks like over-sharpening.

    The cutoff is in radians per pixel, in (0, π]. The sum of (size, size) is 1; `size` is odd.
    """
    across = np.arange(size) - size // 2
    radius = np.hypot(*np.meshgrid(across, across))
    safe = np.where(radius == 0, 1, radius)
    values = cutoff * special.j1(cutoff * safe) / (2 * np.pi * safe)
    values[radius == 0] = cutoff**2 / (4 * np.pi)
    return np.asarray(values / values.sum(), dtype=np.float64)
