"""Measurement: every method on every pair, in tables that name their baseline."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facesr import images, metrics, reports
from facesr.baselines import Method, build_baselines
from facesr.config import EvaluateParams, Sizes
from facesr.enhancer import Enhancer
from facesr.errors import DataError, ParamsError
from facesr.pairs import HR, LR, Pairs, load_pairs
from facesr.tables import (
    BICUBIC,
    FULL_SIZE,
    GAN,
    GAN_ENLARGED,
    GENERATOR,
    GENERATOR_SIZE,
    INPUT,
    ORIGINAL,
    UPSAMPLED,
)


class Score(NamedTuple):
    """One picture, one method."""

    stem: str
    method: str
    values: Mapping[str, float]


def evaluate(
    params: EvaluateParams,
    *,
    sizes: Sizes,
    sets: Mapping[str, Path],
    generator: Path,
    gan: Path,
    upsampler: Path,
    report: Path,
    summary: Path,
) -> None:
    """Measures the trained networks beside the baselines on held-out pairs.

    Args:
        params: Baselines and guards.
        sizes: Sides of the two tables.
        sets: Folders of pairs by the name of the set.
        generator: Weights.
        gan: Weights.
        upsampler: Weights.
        report: Gets `per_image.csv`, `tables.md` and a sample sheet for each set.
        summary: Gets the means with their standard errors as JSON.

    Raises:
        DataError: Pairs are missing or look mis-matched.
        CheckpointError: Weights are missing or damaged.
    """
    baselines = build_baselines(params.back_projections)
    tables: dict[str, dict[str, Method]] = {
        GENERATOR_SIZE: {
            **baselines,
            GENERATOR: _method(Enhancer.from_files([generator])),
            GAN: _method(Enhancer.from_files([gan])),
        },
        FULL_SIZE: {
            **baselines,
            GAN_ENLARGED: _enlarged(Enhancer.from_files([gan])),
            UPSAMPLED: _method(Enhancer.from_files([gan, upsampler])),
        },
    }
    sides = {GENERATOR_SIZE: sizes.generator_size, FULL_SIZE: sizes.hr_size}
    rows: list[dict[str, str | float]] = []
    means: dict[str, dict[str, object]] = {}
    texts = [INTRODUCTION]
    for set_name, folder in sets.items():
        means[set_name] = {}
        for size_name, methods in tables.items():
            pairs = load_pairs(folder / LR, folder / HR, hr_size=sides[size_name])
            scores = score(methods, pairs, label=f"{set_name}, {size_name}")
            refuse_strangers(scores, minimum=params.minimum_psnr, where=str(folder))
            rows += [
                {"set": set_name, "size": size_name, "method": s.method, "stem": s.stem, **s.values}
                for s in scores
            ]
            means[set_name][size_name.replace(" ", "_")] = summarise(scores)
            texts.append(
                f"## {set_name.capitalize()}, {size_name}: {sizes.lr_size} → {sides[size_name]} px"
                f"\n\n{table(scores, side=sides[size_name])}"
            )
        # The last table's pairs and scores are those at full size.
        _write_sheet(
            report / "sheets" / f"{set_name}.png",
            pairs,
            scores,
            sizes=sizes,
            methods=tables,
            count=params.sheet_pictures,
            title=f"{set_name}: {sizes.lr_size} px to {sizes.generator_size} and {sizes.hr_size}",
        )
    reports.write_csv(report / "per_image.csv", rows)
    reports.write_text(report / "tables.md", "\n\n".join(texts) + "\n")
    reports.write_json(summary, means)


def score(
    methods: Mapping[str, Method],
    pairs: Pairs,
    *,
    label: str,
    names: Sequence[str] = metrics.NAMES,
) -> list[Score]:
    """Restores every picture by every method and measures the 8-bit results.

    Args:
        methods: By name; the order is that of the tables.
        pairs: lr and hr; hr is square.
        label: For the progress bar.
        names: Of the metrics.
    """
    side = pairs.hr.shape[-1]
    scores = []
    for position, stem in enumerate(tqdm(pairs.stems, unit="picture", desc=label)):
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
    """Stops where the pictures of a pair show different faces.

    Unrelated faces score about 8 dB, bicubic on matched pairs 21 and more.

    Raises:
        DataError: The mean PSNR of bicubic is below `minimum` dB.
    """
    mean = reports.summarise(_column(scores, BICUBIC, "psnr")).mean
    if mean < minimum:
        raise DataError(
            f"Pairs look mis-matched: bicubic reaches {mean:.1f} dB in {where}, below "
            f"{minimum:g} dB. Check that hr and lr of one name show one face."
        )


def summarise(scores: Sequence[Score]) -> dict[str, object]:
    """Gives mean and standard error of every metric by method, with the gain over bicubic."""
    result: dict[str, object] = {"count": len({score.stem for score in scores})}
    for method in _methods(scores):
        columns: dict[str, object] = {}
        for name in metrics.NAMES:
            column = reports.summarise(_column(scores, method, name))
            columns[name] = {"mean": column.mean, "standard_error": column.standard_error}
        gain = reports.paired_difference(
            _column(scores, method, "psnr"), _column(scores, BICUBIC, "psnr")
        )
        columns["psnr_gain"] = {"mean": gain.mean, "standard_error": gain.standard_error}
        result[method] = columns
    return result


def table(scores: Sequence[Score], *, side: int) -> str:
    """Renders mean ± standard error as Markdown, one row a method, with the number of pictures."""
    header = ["method", *(metrics.label(name, side) for name in metrics.NAMES)]
    rows = []
    for method in _methods(scores):
        row = [method]
        for name in metrics.NAMES:
            column = reports.summarise(_column(scores, method, name))
            row.append(f"{column.mean:.4g} ± {column.standard_error:.2g}")
        rows.append(row)
    count = len({score.stem for score in scores})
    return f"{count} pictures, mean ± standard error.\n\n{reports.markdown_table(header, rows)}"


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
        jpeg_quality: Bounds of the quality drawn for each picture, both included.
        back_projections: Corrections of the row that knows the reduction.
        seed: Draws the qualities.
        label: Name of the Enhancer's row.

    Returns:
        Markdown: mean PSNR in dB and mean gain over bicubic ± standard error.

    Raises:
        DataError: No picture fits the pattern, or one cannot be read or is too small.
        ParamsError: scale does not divide hr_size.
    """
    if hr_size % scale:
        raise ParamsError(f"The scale {scale} does not divide the size {hr_size}.")
    files = [path for path in images.find(folder) if fnmatch(path.name, names)]
    if not files:
        raise DataError(f"{folder} holds no picture named {names}. Name others.")
    lr_size = (hr_size // scale, hr_size // scale)
    hrs = [images.round_to_8bit(images.read_square(path, hr_size)) for path in files]
    clean = [images.round_to_8bit(images.resize(hr, lr_size, "bicubic")) for hr in hrs]
    rng = np.random.default_rng(seed)
    qualities = rng.integers(jpeg_quality[0], jpeg_quality[1] + 1, size=len(files))
    packed = [
        images.read(images.encode_jpeg(lr, quality=int(quality), chroma_halved=True))
        for lr, quality in zip(clean, qualities, strict=True)
    ]
    methods = {**build_baselines(back_projections), label: _method(enhancer)}
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
        f"{len(files)} pictures of {hr_size} px in {folder} ({names}), x{scale}, "
        f"JPEG quality {low} to {high}, mean PSNR RGB, gain over bicubic ± standard error\n\n"
        f"{reports.markdown_table(header, rows)}"
    )


def _mean(scores: Sequence[Score], method: str, metric: str) -> str:
    if metric == "psnr":
        return f"{reports.summarise(_column(scores, method, metric)).mean:.2f}"
    gain = reports.paired_difference(
        _column(scores, method, "psnr"), _column(scores, BICUBIC, "psnr")
    )
    return f"{gain.mean:+.2f} ± {gain.standard_error:.2f}"


def _methods(scores: Iterable[Score]) -> list[str]:
    return list(dict.fromkeys(score.method for score in scores))


def _column(scores: Iterable[Score], method: str, metric: str) -> list[float]:
    return [score.values[metric] for score in scores if score.method == method]


def _method(enhancer: Enhancer) -> Method:
    return lambda lr, side: enhancer.enhance(lr, size=side).image


def _enlarged(enhancer: Enhancer) -> Method:
    def method(lr: Tensor, side: int) -> Tensor:
        restored = enhancer.enhance(lr).image
        return images.resize(restored, (side, side), "bicubic").clamp(0, 1)

    return method


def _write_sheet(
    path: Path,
    pairs: Pairs,
    scores: Sequence[Score],
    *,
    sizes: Sizes,
    methods: Mapping[str, Mapping[str, Method]],
    count: int,
    title: str,
) -> None:
    shown = [
        (GENERATOR_SIZE, BICUBIC, sizes.generator_size),
        (GENERATOR_SIZE, GENERATOR, sizes.generator_size),
        (GENERATOR_SIZE, GAN, sizes.generator_size),
        (FULL_SIZE, UPSAMPLED, sizes.hr_size),
    ]
    lrs = [images.from_uint8(lr) for lr in pairs.lr[:count]]
    columns = {INPUT: lrs}
    for size_name, method, side in shown:
        columns[method] = [methods[size_name][method](lr, side) for lr in lrs]
    columns[ORIGINAL] = [images.from_uint8(hr) for hr in pairs.hr[:count]]
    notes = []
    for stem in pairs.stems[:count]:
        values = [f"{s.method} {s.values['psnr']:.2f}" for s in scores if s.stem == stem]
        notes.append(f"{stem}: PSNR at {sizes.hr_size} px in dB: {', '.join(values)}")
    reports.write_sheet(path, columns, cell=sizes.hr_size, title=title, notes=notes)


INTRODUCTION = """\
# Evaluation

Bicubic comes first: a method below it has not learned anything. `Lanczos + back-projections` needs
no learning either, but knows how clean pictures were reduced. Every result is rounded to 8 bits
before it is measured. PSNR is the mean over pictures, peak 255, over all values of R, G and B. MSE
and L1 are in grey levels of 0 to 255; "L1 sum" adds all values of a picture up, as the study did.
"Clipped" is the share of values at 0 or 255 (over-exposure); "luma shift" the change of mean
brightness; "gradient energy" that of the result over that of the original (below 1: smoother).

**The study's own figures cannot be reproduced.** It reports PSNR 4.3 dB at 128 px and 4.37 to
4.46 dB at 512 px. Its MSE of 25,652 beside a mean difference of 73 grey levels is impossible for an
error averaged over all values: the squared errors of three channels were added up and divided by
height and width only, which lowers PSNR by 4.77 dB. What remains is the distance of two unrelated
faces: the lists of results and originals were paired in unsorted order. Matched pairs score 20 to
35 dB; unrelated faces, measured rightly, about 8 dB."""
