"""Measurement of one Enhancer on a folder of photographs."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from facesr import images, reports, stats
from facesr.data.pairs import Pairs
from facesr.enhance.enhancer import Enhancer
from facesr.errors import DataError, ParamsError
from facesr.evaluation.baselines import build_baselines
from facesr.evaluation.scores import Score, column, enhanced_by, score
from facesr.names import BICUBIC


def score_folder(
    enhancer: Enhancer,
    folder: Path,
    *,
    names: str,
    hr_size: int,
    scale: int,
    jpeg_quality: tuple[int, int],
    back_projections: int,
    seed: int,
    label: str,
) -> str:
    """Scores an Enhancer on a folder of photographs, from clean and from JPEG reductions.

    Args:
        enhancer: The method under test.
        folder: Photographs of at least hr_size pixels.
        names: Pattern of the file names to take.
        hr_size: Side of the originals in pixels.
        scale: hr_size over the side of the low-resolution view.
        jpeg_quality: Bounds of the quality drawn for each image, both included.
        back_projections: Corrections of the row that knows the reduction.
        seed: Draws the qualities.
        label: Name of the Enhancer's row.

    Returns:
        Markdown: mean PSNR in dB and mean gain over bicubic ± standard error.

    Raises:
        DataError: No image fits the pattern, or one cannot be read or is too small.
        ParamsError: scale does not divide hr_size.
    """
    if hr_size % scale:
        raise ParamsError(f"The scale {scale} does not divide the size {hr_size}.")
    files = [path for path in images.find(folder) if fnmatch(path.name, names)]
    if not files:
        raise DataError(f"{folder} holds no image named {names}. Name others.")
    lr_size = (hr_size // scale, hr_size // scale)
    hrs = [images.round_to_8bit(images.read_square(path, hr_size)) for path in files]
    clean = [images.round_to_8bit(images.resize(hr, lr_size, "bicubic")) for hr in hrs]
    rng = np.random.default_rng(seed)
    qualities = rng.integers(jpeg_quality[0], jpeg_quality[1] + 1, size=len(files))
    packed = [
        images.read(images.encode_jpeg(lr, quality=int(quality), chroma_halved=True))
        for lr, quality in zip(clean, qualities, strict=True)
    ]
    methods = {**build_baselines(back_projections), label: enhanced_by(enhancer)}
    columns: list[list[str]] = []
    for name, lrs in (("clean", clean), ("JPEG", packed)):
        pairs = Pairs(
            tuple(path.stem for path in files),
            images.to_uint8(images.stack(lrs)),
            images.to_uint8(images.stack(hrs)),
        )
        scores = score(methods, pairs, label=name, names=("psnr",))
        for metric in ("psnr", "psnr_gain"):
            columns.append([_mean(scores, method, metric) for method in methods])
    rows = [[method, *cells] for method, *cells in zip(methods, *columns, strict=True)]
    header = ["method", "clean, dB", "gain", "JPEG, dB", "gain"]
    low, high = jpeg_quality
    return (
        f"{len(files)} images of {hr_size} px in {folder} ({names}), x{scale}, "
        f"JPEG quality {low} to {high}, mean PSNR RGB, gain over bicubic ± standard error\n\n"
        f"{reports.markdown_table(header, rows)}"
    )


def _mean(scores: Sequence[Score], method: str, metric: str) -> str:
    if metric == "psnr":
        return f"{stats.summarise(column(scores, method, metric)).mean:.2f}"
    gain = stats.paired_difference(column(scores, method, "psnr"), column(scores, BICUBIC, "psnr"))
    return f"{gain.mean:+.2f} ± {gain.standard_error:.2f}"
