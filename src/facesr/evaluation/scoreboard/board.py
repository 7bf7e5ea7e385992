"""The board as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from facesr import images, reports, stats
from facesr.data.pairs import HR
from facesr.evaluation.scoreboard.scoring import NAMES, Row
from facesr.evaluation.scoreboard.settings import ScoreboardParams
from facesr.evaluation.scoreboard.skin import TONES, measure_angle, name_tone
from facesr.names import BICUBIC, LABELS


def write_board(
    rows: Sequence[Row], params: ScoreboardParams, *, digest: str, inputs: Path, output: Path
) -> str:
    """Write `scores.csv` and `table.md` into `output`, and return the table.

    One block for each condition, a row for each source and method: every metric's mean, and the
    gain in PSNR over bicubic ± standard error of the paired difference. Then the gains over all
    faces and by skin tone.

    Args:
        rows: Of `score`.
        params: Sources and conditions.
        digest: Of the inputs.
        inputs: Folder of `make_inputs`.
        output: The folder.
    """
    reports.write_csv(
        output / "scores.csv",
        [
            {
                "source": row.source,
                "condition": row.condition,
                "stem": row.stem,
                "method": row.method,
                **{name: row.values.get(name, "") for name in (*NAMES, "seconds")},
            }
            for row in rows
        ],
    )
    blocks = [
        f"Inputs {digest}: {len({(row.source, row.stem) for row in rows})} photographs. Means; "
        "gain in PSNR over bicubic ± standard error of the paired difference."
    ]
    header = ["source, method", "gain, dB", *(LABELS[name] for name in NAMES), "seconds"]
    for label in params.conditions:
        lines = []
        for source in params.sources:
            part = [row for row in rows if row.source == source and row.condition == label]
            references = [row.values["psnr"] for row in part if row.method == BICUBIC]
            for method in dict.fromkeys(row.method for row in part):
                own = [row for row in part if row.method == method]
                gain = stats.paired_difference([row.values["psnr"] for row in own], references)
                cells = [f"{source}, {method}", f"{gain.mean:+.2f} ± {gain.standard_error:.2f}"]
                for name in (*NAMES, "seconds"):
                    values = [row.values[name] for row in own if name in row.values]
                    cells.append(f"{stats.summarise(values).mean:.4g}" if values else "")
                lines.append(cells)
        blocks.append(f"## {label}\n\n{reports.markdown_table(header, lines)}")
    if tones := _read_tones(params, inputs):
        blocks.append(_tone_table(rows, params, tones))
    text = "\n\n".join(blocks) + "\n"
    reports.write_text(output / "table.md", text)
    return text


def _read_tones(params: ScoreboardParams, inputs: Path) -> dict[tuple[str, str], str]:
    """Skin tones by source and stem."""
    first = next(iter(params.conditions))
    return {
        (name, path.stem): name_tone(measure_angle(images.read(path)))
        for name, source in params.sources.items()
        if source.faces
        for path in images.find(inputs / name / first / HR)
    }


def _tone_table(
    rows: Sequence[Row], params: ScoreboardParams, tones: Mapping[tuple[str, str], str]
) -> str:
    groups = {"all": list(tones)}
    for name in TONES:
        if group := [face for face, tone in tones.items() if tone == name]:
            groups[name] = group
    psnr = {row[:4]: row.values["psnr"] for row in rows}
    lines = []
    for label in params.conditions:
        for method in dict.fromkeys(row.method for row in rows):
            if method == BICUBIC:
                continue
            cells = [f"{label}, {method}"]
            for group in groups.values():
                keys = [(source, label, stem) for source, stem in group]
                gain = stats.paired_difference(
                    [psnr[*key, method] for key in keys], [psnr[*key, BICUBIC] for key in keys]
                )
                cells.append(f"{gain.mean:+.2f} ± {gain.standard_error:.2f}")
            lines.append(cells)
    header = ["condition, method", *(f"{name} ({len(group)})" for name, group in groups.items())]
    return (
        "## Faces, all and by skin tone\n\nGain in PSNR over bicubic ± standard error, dB; sorted "
        f"by the typology angle of the cheeks.\n\n{reports.markdown_table(header, lines)}"
    )
