"""The board as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from facesr import reports, stats
from facesr.evaluation.baselines import Method
from facesr.evaluation.colours import TONES, measure_angle, name_tone
from facesr.evaluation.scoreboard.inputs import read_input, stems_of
from facesr.evaluation.scoreboard.settings import ScoreboardParams
from facesr.evaluation.scores import Score, gain, methods_of, score_image
from facesr.names import BICUBIC, COLOURS, LABELS, LEARNED

NAMES = (
    "psnr",
    "psnr_y",
    "ssim",
    "ms_ssim",
    "gmsd",
    "gradient_energy_ratio",
    "clipped_fraction",
    "luma_shift",
    *LEARNED,
    *COLOURS,
)

Scores = Mapping[tuple[str, str], Sequence[Score]]
"""By source and condition."""


def score(folder: Path, params: ScoreboardParams, methods: Mapping[str, Method]) -> Scores:
    """Measure the methods on every stored input.

    Args:
        folder: Written by `make_inputs`.
        params: Sources and conditions; MS-SSIM is left out where the image is too small.
        methods: By the name of their row.
    """
    scores: dict[tuple[str, str], list[Score]] = {}
    for place in ((source, label) for source in params.sources for label in params.conditions):
        scores[place] = []
        stems = stems_of(folder, *place)
        for stem in tqdm(stems, unit="image", desc=", ".join(place), disable=None):
            lr, hr = read_input(folder, *place, stem)
            large = hr.shape[-1] > params.ms_ssim_above
            is_face = params.sources[place[0]].faces
            names = [
                name
                for name in NAMES
                if (name != "ms_ssim" or large) and (name not in COLOURS or is_face)
            ]
            scores[place] += score_image(stem, lr, hr, methods, names)
    return scores


def write_board(
    scores: Scores, params: ScoreboardParams, *, digest: str, inputs: Path, output: Path
) -> str:
    """Write `scores.csv` and `table.md` into `output`, and return the table.

    One block for each condition, a row for each source and method: every metric's mean, and the
    gain in PSNR over bicubic ± standard error of the paired difference. Then the gains in PSNR,
    LPIPS, identity and errors of colour over all faces and by skin tone.

    Args:
        scores: Of `score`.
        params: Sources and conditions.
        digest: Of the inputs.
        inputs: Folder of `make_inputs`.
        output: The folder.
    """
    reports.write_csv(
        output / "scores.csv",
        [
            {
                "source": source,
                "condition": condition,
                "stem": one.stem,
                "method": one.method,
                **{name: one.values.get(name, "") for name in NAMES},
                "seconds": one.seconds,
            }
            for (source, condition), part in scores.items()
            for one in part
        ],
    )
    count = len({(source, one.stem) for (source, _), part in scores.items() for one in part})
    blocks = [
        f"Inputs {digest}: {count} photographs. Means, "
        "of LPIPS and identity ± standard error; gain in PSNR over bicubic ± standard error of the "
        "paired difference."
    ]
    header = ["source, method", "gain, dB", *(LABELS[name] for name in NAMES), "seconds"]
    for label in params.conditions:
        lines = []
        for source in params.sources:
            part = scores[source, label]
            for method in methods_of(part):
                own = [one for one in part if one.method == method]
                columns = {
                    name: stats.summarise([one.values[name] for one in own if name in one.values])
                    for name in NAMES
                }
                seconds = stats.summarise([one.seconds for one in own])
                lines.append(
                    [
                        *(f"{source}, {method}", gain(part, method).shown("+.2f", ".2f")),
                        *(_cell(name, column) for name, column in columns.items()),
                        f"{seconds.mean:.4g}",
                    ]
                )
        blocks.append(f"## {label}\n\n{reports.markdown_table(header, lines)}")
    if tones := _read_tones(params, inputs):
        blocks.append(_tone_table(scores, params, tones))
    text = "\n\n".join(blocks) + "\n"
    reports.write_text(output / "table.md", text)
    return text


def _cell(name: str, column: stats.Summary) -> str:
    if name in LEARNED:
        return column.shown(".4f")
    return f"{column.mean:.4g}" if column.finite else ""


def _read_tones(params: ScoreboardParams, inputs: Path) -> dict[tuple[str, str], str]:
    """Skin tones by source and stem."""
    first = next(iter(params.conditions))
    return {
        (name, stem): name_tone(measure_angle(read_input(inputs, name, first, stem)[1]))
        for name, source in params.sources.items()
        if source.faces
        for stem in stems_of(inputs, name, first)
    }


def _tone_table(
    scores: Scores, params: ScoreboardParams, tones: Mapping[tuple[str, str], str]
) -> str:
    groups = {"all": set(tones)}
    for name in TONES:
        if group := {face for face, tone in tones.items() if tone == name}:
            groups[name] = group
    header = ["condition, method", *(f"{name} ({len(group)})" for name, group in groups.items())]
    blocks = [
        "## Faces, all and by skin tone\n\nDifference to bicubic ± standard error; sorted by the "
        "typology angle of the cheeks."
    ]
    for metric in ("psnr", *LEARNED, *COLOURS):
        lines = []
        for label in params.conditions:
            parts = [
                [
                    one
                    for source in params.sources
                    for one in scores[source, label]
                    if (source, one.stem) in group
                ]
                for group in groups.values()
            ]
            form = "+.4f" if metric in LEARNED else "+.2f"
            for method in methods_of(parts[0]):
                if method != BICUBIC:
                    gains = [gain(part, method, metric).shown(form, form[1:]) for part in parts]
                    lines.append([f"{label}, {method}", *gains])
        blocks.append(f"### {LABELS[metric]}\n\n{reports.markdown_table(header, lines)}")
    return "\n\n".join(blocks)
