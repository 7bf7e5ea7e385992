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
draws should cost less.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from benchmarks.campaign import CONDITIONS, add_common_arguments, choose_board, read_scores
from facesr import choice, images, metrics, reports
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
    """PSNR over bicubic, dB, that an unsharp mask leaves at each of `SHARES`."""


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
    make_inputs(
        board, recipes=params.recipes, root=parsed.photographs, folder=inputs, seed=params.seed
    )
    enhancer = choice.load(parsed.model, root=Path())
    curves: dict[str, list[list[float]]] = {}
    table = []
    for condition in CONDITIONS:
        starts = [
            measure(enhancer, path, path.parents[1] / LR / path.name)
            for source in tqdm(board.sources, unit="source", desc=condition)
            for path in images.find(inputs / source / condition / HR)
        ]
        own = reports.summarise([start.gain for start in starts])
        share = reports.summarise([start.share for start in starts])
        estimated = [[remaining_gain(start, share) for share in SHARES] for start in starts]
        sharpened = [start.sharpened for start in starts]
        curves[condition] = []
        for name, gains in zip(WAYS, (estimated, sharpened), strict=True):
            summaries = [reports.summarise(column) for column in zip(*gains, strict=True)]
            curves[condition].append([one.mean for one in summaries])
            table.append(
                [condition, name, f"{own.mean:+.2f} at {share.mean:.2f}"]
                + [f"{one.mean:+.2f} ± {one.standard_error:.2f}" for one in summaries]
            )
    header = ["condition", "", parsed.model, *(f"at {share:.1f}" for share in SHARES)]
    print(reports.markdown_table(header, table))
    draw(curves, {row: _points(parsed.work, row) for row in parsed.rows}, parsed.work)


def measure(enhancer: Enhancer, original: Path, reduced: Path) -> Start:
    """Restores a stored input and measures result and original."""
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
        sharpened=tuple(
            best_sharpened(sr, hr, share) - float(values["psnr"][1]) for share in SHARES
        ),
    )


def best_sharpened(sr: Tensor, hr: Tensor, share: float) -> float:
    """PSNR in dB of the best unsharp mask that gives sr that share of hr's gradient energy."""
    energy = share * float(_energy(hr))
    pictures = torch.stack([images.round_to_8bit(sharpen(sr, one, energy)) for one in RADII])
    return float(metrics.psnr(pictures, hr.expand_as(pictures)).max())


def sharpen(picture: Tensor, radius: float, energy: float) -> Tensor:
    """Gives a picture so much gradient energy by an unsharp mask; what has it already stays.

    The energy of picture + m detail is E(picture) + 2 m C + m^2 E(detail): a quadratic in m.

    Args:
        picture: (3, H, W).
        radius: Standard deviation of the mask in pixels.
        energy: As `metrics.gradient_energy` counts it.
    """
    side = 2 * math.ceil(3 * radius) + 1
    detail = picture - gaussian_blur(picture, [side, side], [radius, radius])
    own, of_detail, of_both = (_energy(one) for one in (picture, detail, picture + detail))
    cross = (of_both - own - of_detail) / 2
    amount = ((cross.square() + of_detail * (energy - own).clamp(min=0)).sqrt() - cross) / of_detail
    return picture + amount.float() * detail


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


def _points(work: Path, row: str) -> dict[str, tuple[float, float]]:
    """Mean gradient energy and gain of a row of the campaign, by condition."""
    own, bicubic, _ = read_scores(work, row)
    points = {}
    for condition in CONDITIONS:
        keys = [key for key in own if key[1] == condition]
        gains = [own[key]["psnr"] - bicubic[key]["psnr"] for key in keys]
        shares = [own[key]["gradient_energy_ratio"] for key in keys]
        points[condition] = (reports.summarise(shares).mean, reports.summarise(gains).mean)
    return points


if __name__ == "__main__":
    main()
