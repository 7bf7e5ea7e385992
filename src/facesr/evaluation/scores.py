"""Scores: every method on every pair, and what is made of them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from facesr import images, metrics, reports, stats
from facesr.data.pairs import HR, LR, Pairs, load_pairs
from facesr.devices import without_tf32
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.errors import DataError
from facesr.evaluation import colours, perceptual
from facesr.evaluation.baselines import Method
from facesr.names import BICUBIC, COLOURS, LEARNED, Precision

# A measurement does not depend on the device, whatever serves there.
PRECISION: Precision = "float32"
# Those of the tables.
NAMES = (*metrics.NAMES, *LEARNED)
# What `evaluate` writes down of how it measured.
MEASUREMENT = "measurement.json"


class Score(NamedTuple):
    """One image, one method."""

    stem: str
    method: str
    values: Mapping[str, float]
    """By metric; nan where a metric is not available."""
    seconds: float


@without_tf32()
def score_image(
    stem: str,
    lr: Tensor,
    hr: Tensor,
    methods: Mapping[str, Method],
    names: Sequence[str] = NAMES,
) -> list[Score]:
    """Restore an image by every method and measure the 8-bit results.

    Args:
        stem: Names the image.
        lr: (3, h, h).
        hr: (3, H, H).
        methods: By name; the order is that of the tables.
        names: Of the metrics.
    """
    restored, seconds = [], []
    for method in methods.values():
        start = time.perf_counter()
        restored.append(images.round_to_8bit(method(lr, hr.shape[-1])))
        seconds.append(time.perf_counter() - start)
    sr = torch.stack(restored)
    learned = [name for name in names if name in LEARNED]
    coloured = [name for name in names if name in COLOURS]
    plain = [name for name in names if name not in (*learned, *coloured)]
    columns = {
        **metrics.measure(sr, hr.expand_as(sr), plain),
        **perceptual.measure(sr, hr, learned),
        **colours.measure(sr, hr, hr.shape[-1] // lr.shape[-1], coloured),
    }
    return [
        Score(stem, method, {name: float(columns[name][row]) for name in names}, seconds[row])
        for row, method in enumerate(methods)
    ]


def score(methods: Mapping[str, Method], pairs: Pairs, *, label: str) -> list[Score]:
    """Return the scores of every pair, of which hr is square; `label` heads the progress bar."""
    bar = tqdm(pairs.stems, unit="image", desc=label, disable=None)
    return [
        one
        for stem, lr, hr in zip(bar, pairs.lr, pairs.hr, strict=True)
        for one in score_image(stem, images.from_uint8(lr), images.from_uint8(hr), methods)
    ]


def score_set(methods: Mapping[str, Method], folder: Path, *, side: int, label: str) -> list[Score]:
    """Return the scores of the pairs of an evaluation set, with originals of `side` pixels."""
    return score(methods, load_pairs(folder / LR, folder / HR, hr_size=side), label=label)


def check_pairs_match(scores: Sequence[Score], *, minimum: float, where: str) -> None:
    """Stop where the images of a pair show different faces.

    Unrelated faces score about 8 dB, bicubic on matched pairs 21 and more.

    Raises:
        DataError: The mean PSNR of bicubic is below `minimum` dB.
    """
    mean = stats.summarise(column(scores, BICUBIC, "psnr")).mean
    if mean < minimum:
        raise DataError(
            f"Pairs look mis-matched: bicubic reaches {mean:.1f} dB in {where}, below "
            f"{minimum:g} dB. Check that hr and lr of one name show one face."
        )


def table(scores: Sequence[Score], *, side: int) -> str:
    """Render mean ± standard error as Markdown, one row a method, with the number of images."""
    header = ["method", *(metrics.label(name, side) for name in NAMES)]
    rows = [
        [method, *(stats.summarise(column(scores, method, name)).shown() for name in NAMES)]
        for method in methods_of(scores)
    ]
    count = len({score.stem for score in scores})
    return f"{count} images, mean ± standard error.\n\n{reports.markdown_table(header, rows)}"


def write_table(path: Path, scores: Sequence[tuple[str, str, Score]]) -> None:
    """Write the metrics of set, size and score, a row each, as CSV."""
    rows = [
        {"set": set_name, "size": size, "method": one.method, "stem": one.stem, **one.values}
        for set_name, size, one in scores
    ]
    reports.write_csv(path, rows)


def methods_of(scores: Iterable[Score]) -> list[str]:
    """Names of the methods, in the order of the tables."""
    return list(dict.fromkeys(score.method for score in scores))


def column(scores: Iterable[Score], method: str, metric: str) -> list[float]:
    """One metric of one method, a value an image."""
    return [score.values[metric] for score in scores if score.method == method]


def gain(scores: Sequence[Score], method: str, metric: str = "psnr") -> stats.Summary:
    """Return the paired difference of a method to bicubic."""
    return stats.paired_difference(column(scores, method, metric), column(scores, BICUBIC, metric))


def enhanced_by(enhancer: Enhancer, strength: float = 1.0) -> Method:
    """Make a method of an Enhancer."""
    return lambda lr, side: enhancer.enhance(lr, EnhanceOptions(size=side, strength=strength)).image
