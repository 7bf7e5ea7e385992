"""Enlargement without learning: what every network has to beat."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from facesr import images
from facesr.enhance.colour import back_project
from facesr.names import BICUBIC

Method = Callable[[Tensor, int], Tensor]
"""From (3, h, w) and a side in pixels to (3, side, side), both float32 RGB in [0, 1]."""


def enlarge(lr: Tensor, side: int, *, method: images.Filter) -> Tensor:
    """Enlarge (3, h, h) to (3, side, side) with one of Pillow's filters, clamped to [0, 1]."""
    return images.resize(lr, (side, side), method).clamp(0, 1)


def back_projected(lr: Tensor, side: int, *, method: images.Filter, times: int) -> Tensor:
    """As `enlarge`, with `times` corrections of `colour.back_project`."""
    return back_project(images.resize(lr, (side, side), method), lr, times, method)


bicubic: Method = partial(enlarge, method="bicubic")


def build_baselines(back_projections: int) -> dict[str, Method]:
    """Return the rows that head every table, by name."""
    return {
        BICUBIC: bicubic,
        "nearest": partial(enlarge, method="nearest"),
        "Lanczos": partial(enlarge, method="lanczos"),
        f"Lanczos + {back_projections} back-projections": partial(
            back_projected, method="lanczos", times=back_projections
        ),
    }
