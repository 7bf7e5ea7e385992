"""Names: of the evaluation's sets, methods, sizes and metrics, and of number formats."""

import re
from pathlib import Path
from typing import Literal, NamedTuple

Precision = Literal["auto", "float32", "bfloat16"]
"""`auto` takes bfloat16 where that saves time."""

MODEL_VARIABLE = "FACESR_MODEL"
"""Environment variable for the model that serves in the registry's place."""

FACES = "faces"
SELFIES = "selfies"

BICUBIC = "bicubic"
STARTER = "starter"
"""Network in the package."""
GENERATOR = "generator"
GAN = "GAN"
GAN_ENLARGED = "GAN + bicubic"
UPSAMPLED = "GAN + up-sampler"
"""Registered chain."""

INPUT = "low-res"
ORIGINAL = "original"

GENERATOR_SIZE = "generator size"
FULL_SIZE = "full size"

OPERATING_POINTS = {0.0: "faithful", 1.0: "crisp"}
"""Names of the ends of `strength`."""

LABELS = {
    "psnr": "PSNR, dB ↑",
    "psnr_y": "PSNR Y, dB ↑",
    "ssim": "SSIM ↑",
    "ms_ssim": "MS-SSIM ↑",
    "gmsd": "GMSD ↓",
    "mse": "MSE ↓",
    "l1_mean": "L1 mean ↓",
    "l1_sum": "L1 sum ↓",
    "clipped_fraction": "clipped →0",
    "luma_shift": "luma shift →0",
    "gradient_energy_ratio": "gradient energy →1",
    "lpips": "LPIPS ↓",
    "identity": "identity ↑",
    "eyes_colour": "colour error of the eyes ↓",
    "skin_colour": "colour error of the skin ↓",
}

LEARNED = ("lpips", "identity")
"""Metrics by networks whose weights facesr does not bring."""
HEADLINES = ("psnr_gain", "psnr", "ssim", *LEARNED)
"""Metrics of an evaluation set in metrics.json and in MLflow's run of a state."""
COLOURS = ("eyes_colour", "skin_colour")
"""Metrics of faces cut in FFHQ's manner."""


class EvaluationSet(NamedTuple):
    """Folders of an evaluation set."""

    pairs: Path
    images: Path
    """Those that the pairs were made of, with their manifest."""


def headline_key(set_name: str, metric: str) -> str:
    """Return how metrics.json and MLflow, which groups by what is before /, name a headline."""
    return f"{set_name}/{metric}"


def metric_name(name: str) -> str:
    """Replace what MLflow refuses in the name of a metric."""
    return re.sub(r"[^\w\-. :/]", "_", name)
