"""The board as images: where the methods do worst."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from facesr import images
from facesr.evaluation.baselines import Method, bicubic
from facesr.evaluation.scoreboard.board import Scores
from facesr.evaluation.scoreboard.inputs import read_input, stems_of
from facesr.evaluation.scoreboard.settings import ScoreboardParams, ScoreboardPart
from facesr.names import BICUBIC, INPUT, ORIGINAL
from facesr.reports import sheets

# On the sample sheet.
SHOWN = 6
SHOWN_SIDE = 320
CROP_SIDE = 192


def write_worst(
    scores: Scores,
    models: Mapping[str, Method],
    params: ScoreboardParams,
    *,
    inputs: Path,
    output: Path,
) -> None:
    """Write `worst.png`: the images on which the first model gains least over bicubic.

    Args:
        scores: Of `score`.
        models: The first one sorts.
        params: The sources that may be shown.
        inputs: Stored inputs.
        output: Gets the sheet.
    """
    first = next(iter(models))
    gains: dict[tuple[str, str, str], float] = {}
    for place, part in scores.items():
        psnr = {(one.stem, one.method): one.values["psnr"] for one in part}
        gains |= {
            (*place, stem): value - psnr[stem, BICUBIC]
            for (stem, method), value in psnr.items()
            if method == first and place[0] in params.shown
        }
    worst = sorted(gains, key=gains.__getitem__)[:SHOWN]
    shown = [_restore(*place, models, inputs) for place in worst]
    notes = [
        f"{source} {stem}, {condition}: {first} {gains[source, condition, stem]:+.2f} dB over "
        "bicubic"
        for source, condition, stem in worst
    ]
    sheets.write_sheet(
        output / "worst.png",
        _columns(shown),
        cell=SHOWN_SIDE,
        title="Smallest gains first",
        notes=notes,
    )


def write_samples(
    methods: Mapping[str, Method], params: ScoreboardParams, *, inputs: Path, output: Path
) -> None:
    """Write `samples.jpg`: one image under each of some conditions, its middle, pixel by pixel.

    Nothing is chosen: they are the first images of the first source that may be shown.

    Args:
        methods: Are shown between bicubic and original.
        params: Conditions and side, and the sources that may be shown.
        inputs: Stored inputs.
        output: Gets the sheet.
    """
    source, side = params.shown[0], params.samples.side
    shown, notes = [], []
    for position, condition in enumerate(params.samples.conditions):
        stems = stems_of(inputs, source, condition)
        stem = stems[position % len(stems)]
        whole = _restore(source, condition, stem, methods, inputs)
        sides = dict.fromkeys(whole, side) | {INPUT: side // params.conditions[condition].scale}
        shown.append({name: images.centre_square(whole[name], sides[name]) for name in whole})
        notes.append(f"{source} {stem}, {condition}")
    sheets.write_sheet(
        output / "samples.jpg",
        _columns(shown),
        cell=side,
        title="The middle, pixel by pixel",
        notes=notes,
    )


def _restore(
    source: str,
    condition: str,
    stem: str,
    models: Mapping[str, Method],
    inputs: Path,
) -> dict[str, Tensor]:
    """Return one stored input, what bicubic and the models make of it, and its original."""
    lr, hr = read_input(inputs, source, condition, stem)
    methods = {BICUBIC: bicubic, **models}
    restored = {name: method(lr, hr.shape[-1]) for name, method in methods.items()}
    return {INPUT: lr, **restored, ORIGINAL: hr}


def _columns(shown: Sequence[Mapping[str, Tensor]]) -> dict[str, list[Tensor]]:
    """From images by name, a row each, to the columns of a sheet."""
    return {name: [row[name] for row in shown] for name in (shown[0] if shown else ())}


class Spot(NamedTuple):
    """A square of an image where the method that chooses does worst."""

    error: float
    """Its mean squared error."""
    note: str
    """Which image, and its left and top in pixels."""
    crops: dict[str, Tensor]
    """By column."""


def write_hardest(
    methods: Mapping[str, Method], params: ScoreboardParams, *, inputs: Path, output: Path
) -> None:
    """Write `hardest/PART.jpg`: where the first method does worst on faces, from all methods.

    Every part of the face has a sheet of its own, with one place from each of its worst images:
    by the error alone all places would be hair. Without faces there are no sheets.

    Args:
        methods: The first one chooses; all are shown between original and bicubic.
        params: Parts, size and number of the places, and the sources that may be shown.
        inputs: Stored inputs.
        output: Gets the sheets.
    """
    crops, first = params.crops, next(iter(methods))
    spots: dict[str, list[Spot]] = {name: [] for name in crops.parts}
    for source in (name for name in params.shown if params.sources[name].faces):
        stems = stems_of(inputs, source, crops.condition)
        for stem in tqdm(stems, unit="image", desc="hardest", disable=None):
            whole = _restore(source, crops.condition, stem, methods, inputs)
            for name, part in crops.parts.items():
                top, left, error = _find_spot(whole[first], whole[ORIGINAL], part, side=crops.side)
                rows, across = (slice(start, start + crops.side) for start in (top, left))
                # A copy, for a view would hold the whole image.
                own = {
                    one: whole[one][:, rows, across].clone()
                    for one in (ORIGINAL, BICUBIC, *methods)
                }
                spots[name].append(Spot(error, f"{source} {stem}, {left}, {top}", own))
    for name, found in spots.items():
        if not found:
            continue
        worst = sorted(found, key=lambda spot: -spot.error)[: crops.count]
        sheets.write_sheet(
            output / "hardest" / f"{name}.jpg",
            _columns([spot.crops for spot in worst]),
            cell=CROP_SIDE,
            title=f"Where {first} does worst: {name}, {crops.condition}",
            notes=[spot.note for spot in worst],
        )


def _find_spot(
    sr: Tensor, hr: Tensor, part: ScoreboardPart, *, side: int
) -> tuple[int, int, float]:
    """Top, left and mean error of the worst square with its middle in a part of the face.

    Args:
        sr: (3, H, H).
        hr: (3, H, H).
        part: Squares that it would put over the border lie at the border.
        side: Of the square in pixels.
    """
    error = (sr - hr).square().mean(0)  # (H, H)

    def start(share: float) -> int:
        return min(max(round(share * len(error) - side / 2), 0), len(error) - side)

    top, bottom = map(start, part.down)
    left, right = map(start, part.across)
    means = F.avg_pool2d(error[None, top : bottom + side, left : right + side], side, stride=1)[0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return top + row, left + column, float(means.max())
