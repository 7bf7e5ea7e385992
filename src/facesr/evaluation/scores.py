"""Scores: every method on every pair, and what is made of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from tqdm import tqdm

from facesr import images, metrics, reports, stats
from facesr.data.pairs import Pairs
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.enhance.precision import without_tf32
from facesr.errors import DataError
from facesr.evaluation.baselines import Method
from facesr.names import BICUBIC


class Score(NamedTuple):
    """One image, one method."""

    stem: str
    method: str
    values: Mapping[str, float]


@without_tf32()
def score(
    methods: Mapping[str, Method],
    pairs: Pairs,
    *,
    label: str,
    names: Sequence[str] = metrics.NAMES,
) -> list[Score]:
    """Restore every image by every method and measure the 8-bit results.

    Args:
        methods: By name; the order is that of the tables.
        pairs: lr and hr; hr is square.
        label: For the progress bar.
        names: Of the metrics.
    """
    side = pairs.hr.shape[-1]
    scores = []
    for position, stem in enumerate(tqdm(pairs.stems, unit="image", desc=label, disable=None)):
        lr = images.from_uint8(pairs.lr[position])
        hr = images.from_uint8(pairs.hr[position])
        restored = [images.round_to_8bit(method(lr, side)) for method in methods.values()]
        values = metrics.measure(torch.stack(restored), hr.expand(len(methods), -1, -1, -1), names)
        scores += [
            Score(stem, method, {name: float(column[row]) for name, column in values.items()})
            for row, method in enumerate(methods)
        ]
    return scores


def refuse_strangers(scores: Sequence[Score], *, minimum: float, where: str) -> None:
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


def summarise(scores: Sequence[Score]) -> dict[str, object]:
    """Return mean and standard error of every metric by method, with the gain over bicubic."""
    result: dict[str, object] = {"count": len({score.stem for score in scores})}
    for method in methods_of(scores):
        columns: dict[str, object] = {}
        for name in metrics.NAMES:
            summary = stats.summarise(column(scores, method, name))
            columns[name] = {"mean": summary.mean, "standard_error": summary.standard_error}
        gain = stats.paired_difference(
            column(scores, method, "psnr"), column(scores, BICUBIC, "psnr")
        )
        columns["psnr_gain"] = {"mean": gain.mean, "standard_error": gain.standard_error}
        result[method] = columns
    return result


def table(scores: Sequence[Score], *, side: int) -> str:
    """Render mean ± standard error as Markdown, one row a method, with the number of images."""
    header = ["method", *(metrics.label(name, side) for name in metrics.NAMES)]
    rows = []
    for method in methods_of(scores):
        row = [method]
        for name in metrics.NAMES:
            summary = stats.summarise(column(scores, method, name))
            row.append(f"{summary.mean:.4g} ± {summary.standard_error:.2g}")
        rows.append(row)
    count = len({score.stem for score in scores})
    return f"{count} images, mean ± standard error.\n\n{reports.markdown_table(header, rows)}"


def methods_of(scores: Iterable[Score]) -> list[str]:
    """Names of the methods, in the order of the tables."""
    return list(dict.fromkeys(score.method for score in scores))


def column(scores: Iterable[Score], method: str, metric: str) -> list[float]:
    """One metric of one method, a value an image."""
    return [score.values[metric] for score in scores if score.method == method]


def enhanced_by(enhancer: Enhancer) -> Method:
    """Make a method of an Enhancer."""
    return lambda lr, side: enhancer.enhance(lr, EnhanceOptions(size=side)).image
