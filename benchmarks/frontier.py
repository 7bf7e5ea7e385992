"""How much detail can be added before a picture falls below bicubic enlargement?

    python -m benchmarks.frontier [--work .campaign] [--model starter] ../shared/data [ROW...]

A network trained for PSNR gives the mean of all originals that fit its input; detail that it cannot
know is missing. Making the result look like an original moves it away from that mean, and the
squared error grows by at least the squared Wasserstein distance between the two kinds of pictures
(Freirich et al. 2021, https://arxiv.org/abs/2107.02555). For stationary Gaussian pictures that
distance follows from the two power spectra alone. This measures the spectra on the campaign's
inputs, prints the gain over bicubic that is left at each share of the original's gradient energy,
and draws it with rows of the campaign, one point each.

It is an estimate, not a law: a network that knows where in a picture detail belongs does better
than a stationary model, one whose start is not quite the mean does worse. Beside it stands what an
unsharp mask makes of the same start, of the radius that is best for each picture: detail that a GAN
draws should cost less. A second table sets each row beside masks of its own gradient energy.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from benchmarks.campaign import (
    CONDITIONS,
    Key,
    Scores,
    add_common_arguments,
    choose_board,
    read_scores,
)
from facesr import choice, images, metrics, reports, stats
from facesr.baselines import enlarge
from facesr.config import load_params
from facesr.enhancer import Enhancer
from facesr.pairs import HR, LR
from facesr.scoreboard import make_inputs

SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ROUNDS = 60
"""Of a bisection over exp(-40) to exp(40)."""
WAYS = ("estimate", "unsharp mask")
RADII = (0.7, 1.0, 1.5, 2.5)
"""Of the unsharp masks, px."""


class Start(NamedTuple):
    """A restored picture: where it stands, and what it could become."""

    gain: float
    """PSNR over bicubic, dB."""
    share: float
    """Gradient energy beside the original's."""
    error: float
    """Squared error of the luma, summed over all frequencies."""
    original: Tensor
    """Power spectrum of the luma, (bins,)."""
    restored: Tensor
    """The same of the restored picture."""
    slope: Tensor
    """Gradient energy of one unit of power, (bins,)."""
    sharpened: tuple[float, ...]
    """PSNR over bicubic, dB, that an unsharp mask leaves at each share that was asked for."""


class Mask(NamedTuple):
    """An unsharp mask; with m of it the picture's energy is own + 2 m cross + m^2 detailed."""

    detail: Tensor
    """The picture less its blurred self, (3, H, W)."""
    own: Tensor
    cross: Tensor
    detailed: Tensor


def main() -> None:
    """Prints the table and draws the frontier."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_common_arguments(parser)
    parser.add_argument("rows", nargs="*", help="of the campaign, to be drawn beside")
    parser.add_argument("--model", default="starter", help="to start from (%(default)s)")
    parsed = parser.parse_intermixed_args()
    params = load_params(any_device=True)
    board = choose_board(params.scoreboard)
    inputs = parsed.work / "inputs"
    digest = make_inputs(
        board, recipes=params.recipes, root=parsed.photographs, folder=inputs, seed=params.seed
    )
    enhancer = choice.load(parsed.model, root=Path())
    rows = {row: _read_row(parsed.work, row, digest) for row in parsed.rows}
    curves: dict[str, list[list[float]]] = {}
    points: dict[str, dict[str, tuple[float, float]]] = {row: {} for row in rows}
    table, beside = [], []
    for condition in CONDITIONS:
        starts: dict[Key, Start] = {}
        for source in tqdm(board.sources, unit="source", desc=condition):
            for path in images.find(inputs / source / condition / HR):
                key = source, condition, path.stem
                shares = [own[key]["gradient_energy_ratio"] for own, _ in rows.values()]
                reduced = path.parents[1] / LR / path.name
                starts[key] = measure(enhancer, path, reduced, [*SHARES, *shares])
        curves[condition], lines = _ways(condition, list(starts.values()))
        table += lines
        for index, (row, scores) in enumerate(rows.items(), start=len(SHARES)):
            masked = {key: start.sharpened[index] for key, start in starts.items()}
            points[row][condition], line = _beside(row, condition, scores, masked)
            beside.append(line)
    header = ["condition", "", parsed.model, *(f"at {share:.1f}" for share in SHARES)]
    print(reports.markdown_table(header, table))
    if beside:
        header = ["condition", "row", "gradient energy", "gain, dB", "unsharp mask", "difference"]
        print(reports.markdown_table(header, beside))
    draw(curves, points, parsed.work)


def _ways(condition: str, starts: Sequence[Start]) -> tuple[list[list[float]], list[list[str]]]:
    """Curves and table rows of estimate and unsharp mask."""
    gain = stats.summarise([start.gain for start in starts]).mean
    share = stats.summarise([start.share for start in starts]).mean
    estimated = [[remaining_gain(start, share) for share in SHARES] for start in starts]
    sharpened = [start.sharpened[: len(SHARES)] for start in starts]
    curves, lines = [], []
    for name, gains in zip(WAYS, (estimated, sharpened), strict=True):
        summaries = [stats.summarise(column) for column in zip(*gains, strict=True)]
        curves.append([one.mean for one in summaries])
        cells = [f"{one.mean:+.2f} ± {one.standard_error:.2f}" for one in summaries]
        lines.append([condition, name, f"{gain:+.2f} at {share:.2f}", *cells])
    return curves, lines


def _beside(
    row: str, condition: str, scores: tuple[Scores, Scores], masked: Mapping[Key, float]
) -> tuple[tuple[float, float], list[str]]:
    """Mean gradient energy and gain of a row, and its line beside masks of the same energy."""
    own, bicubic = scores
    gains = [own[key]["psnr"] - bicubic[key]["psnr"] for key in masked]
    share = fmean(own[key]["gradient_energy_ratio"] for key in masked)
    gain, mask = fmean(gains), fmean(masked.values())
    difference = stats.paired_difference(gains, list(masked.values()))
    return (share, gain), [
        *(condition, row, f"{share:.2f}", f"{gain:+.2f}", f"{mask:+.2f}"),
        f"{difference.mean:+.2f} ± {difference.standard_error:.2f}",
    ]


def measure(enhancer: Enhancer, original: Path, reduced: Path, shares: Sequence[float]) -> Start:
    """Restores a stored input, measures result and original, and sharpens to the shares."""
    hr, lr = images.read(original), images.read(reduced)
    side = hr.shape[-1]
    sr = images.round_to_8bit(enhancer.enhance(lr, scale=side // lr.shape[-1]).image)
    bicubic = images.round_to_8bit(enlarge(lr, side, method="bicubic"))
    pictures = torch.stack([sr, bicubic])
    values = metrics.measure(pictures, hr.expand_as(pictures), ("psnr", "gradient_energy_ratio"))
    luma = metrics.luma_of(torch.stack([hr, sr]).double())
    spectra, slope = power_spectra(luma)
    return Start(
        gain=float(values["psnr"][0] - values["psnr"][1]),
        share=float(values["gradient_energy_ratio"][0]),
        error=float((luma[0] - luma[1]).square().mean()),
        original=spectra[0],
        restored=spectra[1],
        slope=slope,
        sharpened=tuple(best - float(values["psnr"][1]) for best in best_sharpened(sr, hr, shares)),
    )


def best_sharpened(sr: Tensor, hr: Tensor, shares: Sequence[float]) -> list[float]:
    """PSNR in dB of the best unsharp mask that gives sr each share of hr's gradient energy."""
    masks = [make_mask(sr, radius) for radius in RADII]
    best = []
    for share in shares:
        energy = share * float(_energy(hr))
        pictures = torch.stack([images.round_to_8bit(sharpen(sr, one, energy)) for one in masks])
        best.append(float(metrics.psnr(pictures, hr.expand_as(pictures)).max()))
    return best


def make_mask(picture: Tensor, radius: float) -> Mask:
    """The mask of a picture, (3, H, W), with that standard deviation in pixels."""
    side = 2 * math.ceil(3 * radius) + 1
    detail = picture - gaussian_blur(picture, [side, side], [radius, radius])
    own, detailed, both = (_energy(one) for one in (picture, detail, picture + detail))
    return Mask(detail, own, (both - own - detailed) / 2, detailed)


def sharpen(picture: Tensor, mask: Mask, energy: float) -> Tensor:
    """Gives a picture so much gradient energy by its mask; what has it already stays."""
    lacking = (energy - mask.own).clamp(min=0)
    amount = ((mask.cross.square() + mask.detailed * lacking).sqrt() - mask.cross) / mask.detailed
    return picture + amount.float() * mask.detail


def _energy(picture: Tensor) -> Tensor:
    return metrics.gradient_energy(metrics.luma_of(picture[None].double()))[0]


def power_spectra(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Spectra of square pictures, the same in all directions.

    Args:
        luma: (N, H, H).

    Returns:
        (N, bins): the power of all frequencies of a bin together, so that a row sums to the
        variance of its picture; and (bins,): the mean squared step between neighbours, down and
        right together, that one unit of power makes.
    """
    side = luma.shape[-1]
    window = torch.hann_window(side, dtype=luma.dtype)
    window = window[:, None] * window
    centred = (luma - luma.mean((1, 2), keepdim=True)) * window
    power = torch.fft.fft2(centred).abs().square() / (window.square().mean() * side**4)
    frequency = torch.fft.fftfreq(side, dtype=luma.dtype)
    step = (2 * torch.sin(math.pi * frequency)).square()
    slope = step[:, None] + step
    radius = (frequency[:, None].square() + frequency.square()).sqrt()
    bins = (radius * side).round().long().flatten()

    def gathered(values: Tensor) -> Tensor:
        empty = values.new_zeros(len(values), int(bins.max()) + 1)
        return empty.index_add_(1, bins, values.flatten(1))

    count = gathered(torch.ones_like(slope)[None])[0].clamp(min=1)
    return gathered(power), gathered(slope[None])[0] / count


def remaining_gain(start: Start, share: float) -> float:
    """Gain over bicubic in dB once the picture has that share of the original's gradient energy."""
    cost = least_cost(start.original, start.restored, start.slope, share)
    return start.gain - 10 * math.log10(1 + cost / start.error)


def least_cost(original: Tensor, restored: Tensor, slope: Tensor, share: float) -> float:
    """Squared distance to the nearest picture with enough gradient energy.

    No bin gets more power than the original has, which rules checkerboards out. Of the rest the
    cheapest: a bin's amplitude a with the restored amplitude b costs (a - b)^2 and gives slope a^2,
    so that a = b / (1 - l slope), with the one l that gives the energy asked for.

    Args:
        original: Power by bin, (bins,).
        restored: The same of the picture to start from.
        slope: Gradient energy of a unit of power, (bins,).
        share: Of the original's gradient energy, at most 1.
    """
    ceiling = original.sqrt()
    amplitude = torch.minimum(restored.sqrt(), ceiling)

    def moved(multiplier: float) -> Tensor:
        shrinking = 1 - multiplier * slope
        raised = amplitude / shrinking.clamp(min=1e-9)
        return torch.where(shrinking > 0, raised, math.inf).minimum(ceiling)

    low, high = -40.0, 40.0
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        energy = (slope * moved(math.exp(middle)).square()).sum()
        low, high = (middle, high) if energy < share * (slope * original).sum() else (low, middle)
    return float((moved(math.exp(high)) - amplitude).square().sum())


def draw(
    curves: Mapping[str, Sequence[Sequence[float]]],
    points: Mapping[str, Mapping[str, tuple[float, float]]],
    folder: Path,
) -> None:
    """Draws a panel for each condition into FOLDER/frontier.png."""
    figure = Figure(figsize=(4 * len(curves), 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (condition, ways) in zip(
        figure.subplots(1, len(curves), sharey=True), curves.items(), strict=True
    ):
        for name, gains, line in zip(WAYS, ways, ("-", "--"), strict=True):
            axes.plot(SHARES, gains, line, color=reports.COLOURS[0], label=name)
        for name, own in points.items():
            axes.plot(*own[condition], "o", color=reports.COLOURS[1])
            axes.annotate(name, own[condition], xytext=(5, 4), textcoords="offset points")
        axes.axhline(0, color="black", linewidth=1)
        axes.axvspan(0.9, 1.1, color=reports.COLOURS[2], alpha=0.12)
        axes.set_title(condition, loc="left")
        axes.set_xlabel("gradient energy beside the original's")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("gain over bicubic, dB")
    figure.axes[0].legend(frameon=False)
    figure.savefig(folder / "frontier.png", metadata={"Software": None})


def _read_row(work: Path, row: str, digest: str) -> tuple[Scores, Scores]:
    """Values of a row of the campaign and of bicubic."""
    own, bicubic, _ = read_scores(work, row)
    scored = work / row / "scored.txt"
    if not scored.is_file() or scored.read_text() != digest:
        raise SystemExit(
            f"error: {row} was measured on other inputs, or in part. Run the campaign on it again."
        )
    return own, bicubic


if __name__ == "__main__":
    main()
