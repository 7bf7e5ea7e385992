"""Enlargement without learning: what every network has to beat."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from facesr import images
from facesr.tables import BICUBIC

Method = Callable[[Tensor, int], Tensor]
"""From (3, h, w) and a side in pixels to (3, side, side), both float32 RGB in [0, 1]."""


def enlarge(lr: Tensor, side: int, *, method: images.Filter) -> Tensor:
    """Enlarges (3, h, h) to (3, side, side) with one of Pillow's filters, clamped to [0, 1]."""
    return images.resize(lr, (side, side), method).clamp(0, 1)


def back_project(lr: Tensor, side: int, *, method: images.Filter, times: int) -> Tensor:
    """Enlarges, then adds what the reduction of the result still lacks, `times` times.

    Irani and Peleg 1991, https://doi.org/10.1016/1049-9652(91)90045-L. It needs the reduction to
    be known; bicubic is assumed.

    Args:
        lr: (3, h, h) in [0, 1].
        side: Of the result in pixels.
        method: Filter of all enlargements.
        times: Corrections.

    Returns:
        (3, side, side) in [0, 1].
    """
    size, small = (side, side), (lr.shape[-2], lr.shape[-1])
    sr = images.resize(lr, size, method)
    for _ in range(times):
        sr = sr + images.resize(lr - images.resize(sr, small, "bicubic"), size, method)
    return sr.clamp(0, 1)


def build_baselines(back_projections: int) -> dict[str, Method]:
    """Gives the rows that head every table, by name."""
    return {
        BICUBIC: partial(enlarge, method="bicubic"),
        "nearest": partial(enlarge, method="nearest"),
        "Lanczos": partial(enlarge, method="lanczos"),
        f"Lanczos + {back_projections} back-projections": partial(
            back_project, method="lanczos", times=back_projections
        ),
    }
