"""The board as pictures: where the methods do worst."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from facesr import images, reports
from facesr.config import ScoreboardParams
from facesr.pairs import HR, LR
from facesr.scoreboard.scoring import Restore, Row, build_methods
from facesr.tables import BICUBIC

# On the sample sheet.
SHOWN = 6
SHOWN_SIDE = 320
CROP_SIDE = 192
# Between the places that are compared, in pixels.
STEP = 8


def write_worst(
    rows: Sequence[Row],
    models: Mapping[str, Restore],
    params: ScoreboardParams,
    *,
    inputs: Path,
    output: Path,
) -> None:
    """Writes `worst.png`: the pictures on which the first model gains least over bicubic.

    Args:
        rows: Of `score`.
        models: The first one sorts.
        params: Scales of the conditions, and the sources that may be shown.
        inputs: Stored inputs.
        output: Gets the sheet.
    """
    first = next(iter(models))
    psnr = {row[:4]: row.values["psnr"] for row in rows}
    gains = {
        (source, condition, stem): value - psnr[source, condition, stem, BICUBIC]
        for (source, condition, stem, method), value in psnr.items()
        if method == first and source in params.shown
    }
    worst = sorted(gains, key=lambda one: gains[one])[:SHOWN]
    columns: dict[str, list[Tensor]] = {"low-res": [], BICUBIC: []}
    columns |= {name: [] for name in models} | {"original": []}
    methods = build_methods(params.back_projections, models)
    notes = []
    for source, condition, stem in worst:
        place = inputs / source / condition
        lr, hr = images.read(place / LR / f"{stem}.png"), images.read(place / HR / f"{stem}.png")
        columns["low-res"].append(lr)
        columns["original"].append(hr)
        for name in (BICUBIC, *models):
            columns[name].append(methods[name](lr, params.conditions[condition].scale)[0])
        gain = gains[source, condition, stem]
        notes.append(f"{source} {stem}, {condition}: {first} {gain:+.2f} dB over bicubic")
    reports.write_sheet(
        output / "worst.png", columns, cell=SHOWN_SIDE, title="Smallest gains first", notes=notes
    )


def write_samples(
    methods: Mapping[str, Restore], params: ScoreboardParams, *, inputs: Path, output: Path
) -> None:
    """Writes `samples.jpg`: one picture under each of some conditions, its middle, pixel by pixel.

    Nothing is chosen: they are the first pictures of the first source that may be shown.

    Args:
        methods: Are shown between bicubic and original.
        params: Conditions and side, and the sources that may be shown.
        inputs: Stored inputs.
        output: Gets the sheet.
    """
    source, side = params.shown[0], params.samples.side
    everything = build_methods(params.back_projections, methods)
    columns: dict[str, list[Tensor]] = {"low-res": [], BICUBIC: []}
    columns |= {name: [] for name in methods} | {"original": []}
    notes = []
    for position, condition in enumerate(params.samples.conditions):
        place, scale = inputs / source / condition, params.conditions[condition].scale
        files = images.find(place / HR)
        name = files[position % len(files)].name
        lr, hr = images.read(place / LR / name), images.read(place / HR / name)
        columns["low-res"].append(_middle(lr, side // scale))
        columns["original"].append(_middle(hr, side))
        for method in (BICUBIC, *methods):
            columns[method].append(_middle(everything[method](lr, scale)[0], side))
        notes.append(f"{source} {Path(name).stem}, {condition}")
    reports.write_sheet(
        output / "samples.jpg", columns, cell=side, title="The middle, pixel by pixel", notes=notes
    )


def _middle(picture: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 for length in picture.shape[-2:])
    return picture[:, top : top + side, left : left + side]


class Spot(NamedTuple):
    """A square of an original, in its pixels."""

    source: str
    stem: str
    top: int
    left: int
    error: float
    """Mean squared error of the method that chose it."""


def write_hardest(
    methods: Mapping[str, Restore], params: ScoreboardParams, *, inputs: Path, output: Path
) -> None:
    """Writes `hardest.png`: the places that the first method restores worst, from all methods.

    Args:
        methods: The first one chooses; all are shown between bicubic and original.
        params: Size and number of the places, and the sources that may be shown.
        inputs: Stored inputs.
        output: Gets the sheet.
    """
    crops, scale = params.crops, params.conditions[params.crops.condition].scale
    chooser = next(iter(methods.values()))
    spots: list[Spot] = []
    for source in params.shown:
        for path in images.find(inputs / source / crops.condition / HR):
            hr = images.read(path)
            lr = images.read(path.parents[1] / LR / path.name)
            error = (chooser(lr, scale)[0] - hr).square()
            found = _find_spots(error.mean(0), side=crops.side, count=crops.per_picture)
            spots += [Spot(source, path.stem, *place) for place in found]
    spots = sorted(spots, key=lambda spot: -spot.error)[: crops.count]
    everything = build_methods(params.back_projections, methods)
    shown = {name: everything[name] for name in (BICUBIC, *methods)}
    columns: dict[str, list[Tensor]] = {"original": [], **{name: [] for name in shown}}
    whole: dict[tuple[str, str], dict[str, Tensor]] = {}
    for source, stem in tqdm({spot[:2]: 0 for spot in spots}, unit="picture", desc="hardest"):
        place = inputs / source / crops.condition
        hr, lr = (images.read(place / kind / f"{stem}.png") for kind in (HR, LR))
        whole[source, stem] = {"original": hr}
        whole[source, stem] |= {name: method(lr, scale)[0] for name, method in shown.items()}
    for spot in spots:
        rows, across = (slice(start, start + crops.side) for start in (spot.top, spot.left))
        for name, picture in whole[spot.source, spot.stem].items():
            columns[name].append(picture[:, rows, across])
    reports.write_sheet(
        output / "hardest.png",
        columns,
        cell=CROP_SIDE,
        title=f"Where {next(iter(methods))} does worst: {crops.condition}",
        notes=[f"{spot.source} {spot.stem}, {spot.left}, {spot.top}" for spot in spots],
    )


def _find_spots(error: Tensor, *, side: int, count: int) -> list[tuple[int, int, float]]:
    """Top, left and mean error of the worst squares of (H, W) that do not overlap."""
    means = F.avg_pool2d(error[None], side, stride=STEP)[0]  # (h, w)
    found: list[tuple[int, int, float]] = []
    for position in means.flatten().argsort(descending=True).tolist():
        top, left = (STEP * index for index in divmod(position, means.shape[1]))
        if all(max(abs(top - other[0]), abs(left - other[1])) >= side for other in found):
            found.append((top, left, float(means.flatten()[position])))
        if len(found) == count:
            break
    return found
