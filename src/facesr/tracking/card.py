"""Model card: training images, licences, measurements, intended use and limits of a version.

After Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993.
Every number comes from the run's own tables.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from facesr.data.groups import gains_by_group
from facesr.data.manifest import Entry, read_manifest, source_of
from facesr.names import FACES, FULL_SIZE, LEARNED
from facesr.reports import markdown_table, write_text
from facesr.stats import (
    NOT_AVAILABLE,
    Interval,
    Table,
    differences,
    read_table,
    served_means,
    served_rows,
)

# Groups of fewer images are left out; an attribute of more values is no group.
_SMALLEST_GROUP = 2
_MOST_GROUPS = 12
_WORST = 5


def write_card(
    number: int, tags: Mapping[str, str], scores: Path, folders: Mapping[str, Path], path: Path
) -> None:
    """Write the card of a version as Markdown.

    Args:
        scores: Every metric by image, as CSV.
        folders: Fetched folders with their manifest by the name of the evaluation set; one that is
            missing is left out, as after `dvc pull` of the results alone.
    """
    table = read_table(scores.read_text(encoding="utf-8"))
    entries = {
        name: read_manifest(folder)
        for name, folder in folders.items()
        if (folder / "manifest.csv").is_file()
    }
    trained = [entry for entry in entries.get(FACES, []) if entry.split == "train"]
    parts = [
        f"# facesr version {number}",
        f"A chain of networks that enlarges and restores images of faces, trained with profile "
        f"`{tags.get('profile', '?')}` from revision `{tags.get('git.rev', 'unknown')[:12]}`"
        f"{' with uncommitted changes' if tags.get('git.dirty') == 'true' else ''}. "
        f"Weights: md5 `{tags.get('dvc.md5', '?')}`.",
        "## Intended use",
        _USE,
        "## Not for",
        _MISUSE,
        "## Training images",
        _data(trained),
        "## Licences",
        _licences(trained),
        "## Measurement",
        f"The registered chain at {FULL_SIZE}; gain is the mean difference to bicubic, image by "
        "image, with its 95 % interval. Lower is better for mse, l1 and lpips.",
        _measurement(table),
        "## By source and group",
        _groups(table, entries),
        "## Known weak points",
        _weak_points(table),
    ]
    write_text(path, "\n\n".join(parts) + "\n")


_USE = """\
Small or compressed images of faces, to be looked at larger: family photographs, avatars, archive
images, and research on restoration that can be reproduced."""
_MISUSE = """\
- Identifying a person, or evidence of any kind: details that the input lost are invented, plausible
  and not true.
- Medical, forensic or measuring work.
- Images of people who have not agreed to it, where the law asks for that."""


def _data(entries: Sequence[Entry]) -> str:
    if not entries:
        return "The manifest of the training images was not at hand when this was published."
    sources = Counter(source_of(entry) for entry in entries)
    rows = [[source, f"{count}"] for source, count in sources.most_common()]
    identities = len({entry.identity for entry in entries if entry.identity})
    known = f" They show {identities} known identities." if identities else ""
    return f"{len(entries)} faces.{known}\n\n{markdown_table(['source', 'faces'], rows)}"


def _licences(entries: Sequence[Entry]) -> str:
    if not entries:
        return "Unknown, see above."
    licences = Counter(entry.licence or "unknown" for entry in entries)
    rows = [
        [licence, f"{count}", _consequence(licence)] for licence, count in licences.most_common()
    ]
    return markdown_table(["licence", "faces", "consequence"], rows)


def _consequence(licence: str) -> str:
    name = licence.lower()
    if "nc" in name.replace("-", " ").split() or "noncommercial" in name.replace("-", ""):
        return "no commercial use of the images; ask a lawyer before using the weights so"
    if "unknown" in name or not name:
        return "clear it before you pass images or weights on"
    if "cc0" in name or "public domain" in name or "publicdomain" in name:
        return "none"
    if "by" in name.replace("-", " ").split():
        return "name the authors wherever images are shown"
    return "read it before you pass images or weights on"


def _measurement(table: Table) -> str:
    rows = [
        [f"{set_name}: {metric}", f"{own.images}", _mean(own), gain.shown()]
        for set_name, metric, own, gain in served_means(table)
    ]
    return markdown_table(["set: metric", "images", "mean", "gain over bicubic"], rows)


def _mean(own: Interval) -> str:
    return f"{own.mean:.4g}" if own.images else NOT_AVAILABLE


def _groups(table: Table, entries: Mapping[str, Sequence[Entry]]) -> str:
    rows = []
    for set_name, metrics, bicubic in served_rows(table):
        by_stem = {Path(entry.file).stem: entry for entry in entries.get(set_name, [])}
        for metric in ("psnr", *LEARNED):
            gains = differences(metrics.get(metric, {}), bicubic.get(metric, {}))
            groups = gains_by_group(gains, by_stem, smallest=_SMALLEST_GROUP)
            kinds = Counter(one.name for one in groups)
            rows += [
                [
                    *(f"{set_name}: {one.label}: {metric}", one.size),
                    *(one.gain.shown("+.3g"), one.difference.shown("+.3g")),
                ]
                for one in groups
                if kinds[one.name] <= _MOST_GROUPS
            ]
    if not rows:
        return "No group of the evaluation images is large enough for a result of its own."
    return markdown_table(
        ["set: group: metric", "people", "gain over bicubic", "difference to the others"], rows
    )


def _weak_points(table: Table) -> str:
    lines = []
    for set_name, metrics, bicubic in served_rows(table):
        gains = differences(metrics.get("psnr", {}), bicubic.get("psnr", {}))
        if not gains:
            continue
        behind = sum(gain < 0 for gain in gains.values())
        worst = sorted(gains, key=gains.__getitem__)[:_WORST]
        shown = ", ".join(f"{stem} ({gains[stem]:+.2f} dB)" for stem in worst)
        lines.append(
            f"- On {behind} of {len(gains)} {set_name} bicubic has the higher PSNR. "
            f"Smallest gains: {shown}."
        )
    lines += [
        "- Eyes, teeth, glasses and hair are where invented detail shows first.",
        "- Faces unlike the training images, above, are restored worse than these tables say.",
    ]
    return "\n".join(lines)
