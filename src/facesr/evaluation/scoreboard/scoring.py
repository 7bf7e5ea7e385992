"""Methods and their values on every stored input."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from facesr import images, metrics
from facesr.data.pairs import HR, LR
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.enhance.precision import without_tf32
from facesr.evaluation.baselines import build_baselines
from facesr.evaluation.scoreboard.settings import ScoreboardParams

NAMES = (
    "psnr",
    "psnr_y",
    "ssim",
    "ms_ssim",
    "gmsd",
    "gradient_energy_ratio",
    "clipped_fraction",
    "luma_shift",
)

Restore = Callable[[Tensor, int], tuple[Tensor, float]]
"""From (3, h, w) and a scale to (3, H, W) in [0, 1] and the seconds that it took."""


class Row(NamedTuple):
    """One image, one method."""

    source: str
    condition: str
    stem: str
    method: str
    values: Mapping[str, float]


@without_tf32()
def score(
    folder: Path,
    params: ScoreboardParams,
    methods: Mapping[str, Restore],
    names: Sequence[str] = NAMES,
) -> list[Row]:
    """Measure the methods on every stored input.

    Args:
        folder: Written by `make_inputs`.
        params: Sources and conditions.
        methods: By the name of their row; see `build_methods`.
        names: Metrics; MS-SSIM is left out where the image is too small.
    """
    rows = []
    for source in params.sources:
        for label, condition in params.conditions.items():
            place = folder / source / label
            for path in tqdm(
                images.find(place / HR), unit="image", desc=f"{source}, {label}", disable=None
            ):
                hr, lr = images.read(path), images.read(place / LR / path.name)
                restored, seconds = zip(
                    *(method(lr, condition.scale) for method in methods.values()), strict=True
                )
                large = hr.shape[-1] > params.ms_ssim_above
                measured = [name for name in names if name != "ms_ssim" or large]
                columns = metrics.measure(
                    torch.stack([images.round_to_8bit(one) for one in restored]),
                    hr.expand(len(methods), -1, -1, -1),
                    measured,
                )
                for position, method in enumerate(methods):
                    values = {name: float(columns[name][position]) for name in measured}
                    values["seconds"] = seconds[position]
                    rows.append(Row(source, label, path.stem, method, values))
    return rows


def build_methods(back_projections: int, models: Mapping[str, Restore]) -> dict[str, Restore]:
    """Return the enlargements without learning, and the models."""
    methods: dict[str, Restore] = {}
    for name, baseline in build_baselines(back_projections).items():
        methods[name] = lambda lr, scale, one=baseline: (one(lr, lr.shape[-1] * scale), 0.0)  # type: ignore[misc]
    return methods | dict(models)


def restore_with(enhancer: Enhancer, strength: float) -> Restore:
    """Return the Enhancer's way to restore."""

    def restore(lr: Tensor, scale: int) -> tuple[Tensor, float]:
        result = enhancer.enhance(lr, EnhanceOptions(scale=scale, strength=strength))
        return result.image, result.seconds

    return restore
