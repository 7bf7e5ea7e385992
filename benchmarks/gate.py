"""How often the gate promotes by luck, among twenty versions of equal quality.

The starter serves first. Each version differs from it image by image by noise alone, and a version
that passes is what the next one must beat. Prints how often any of the twenty passes, for margins
of one and two standard errors and for the one-sided t-test of `publish.confidence`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from facesr.config import load_params
from facesr.reports import markdown_table

IMAGES = (3, 16, 32, 300)
VERSIONS = 20
REPEATS = 4000

Noise = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, size=shape),
    "skewed": lambda rng, shape: rng.lognormal(size=shape) - np.exp(0.5),
}


def false_promotions(noise: Noise, images: int, factor: float, *, repeats: int) -> float:
    """Return the share of repeats in which at least one of the equal versions is promoted.

    Args:
        noise: Differences between images, of mean zero.
        images: Number of evaluation images.
        factor: The margin in standard errors of the mean paired difference.
        repeats: Number of simulations.
    """
    rng = np.random.default_rng(0)
    serving = noise(rng, (repeats, images))
    promoted = np.zeros(repeats, dtype=bool)
    for _ in range(VERSIONS):
        version = noise(rng, (repeats, images))
        ahead = version - serving
        error = ahead.std(axis=1, ddof=1) / np.sqrt(images)
        passes = ahead.mean(axis=1) > factor * error
        serving[passes] = version[passes]
        promoted |= passes
    return float(promoted.mean())


def student(confidence: float, images: int) -> float:
    """Return the margin of the gate in standard errors."""
    return float(stats.t.ppf(confidence, images - 1))


def main() -> None:
    """Print the table."""
    confidence = load_params(any_device=True).publish.confidence
    header = [
        "differences, images",
        "1 standard error",
        "2",
        f"t-test, {confidence:g}",
        "its margin, standard errors",
    ]
    rows = []
    for name, noise in NOISES.items():
        for images in IMAGES:
            margins = (1.0, 2.0, student(confidence, images))
            shares = (false_promotions(noise, images, each, repeats=REPEATS) for each in margins)
            rows.append(
                [f"{name}, {images}", *(f"{share:.1%}" for share in shares), f"{margins[-1]:.1f}"]
            )
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
