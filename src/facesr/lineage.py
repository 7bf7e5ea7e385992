"""Where a version of the registered model comes from: code, data, parameters, measurement."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facesr.errors import RegistryError
from facesr.files import written_whole
from facesr.manifest import read_manifest, source_of
from facesr.stats import interval, paired_interval, read_table
from facesr.tables import BICUBIC, FULL_SIZE, UPSAMPLED
from facesr.tracking.aliases import PROMOTED, REASON, SINCE, WITHDRAWN
from facesr.tracking.lockfile import md5s, read_lock
from facesr.tracking.records import Record, read_artifact, read_record
from facesr.tracking.runs import MANIFESTS_FOLDER, SCORES_FOLDER
from facesr.tracking.versions import WEIGHTS_MD5

SCORES = f"{SCORES_FOLDER}/per_image.csv"
_DECISIONS = (REASON, SINCE, PROMOTED, WITHDRAWN)
_ENVIRONMENT = ("device", "fastai", "torch", "torchvision")


def describe(root: Path, name: str) -> dict[str, Any]:
    """Gathers everything that is known of a version, as plain values.

    Args:
        root: The project's root.
        name: As for `read_record`.

    Raises:
        RegistryError: It names nothing, or the store does not answer.
    """
    record = read_record(root, name)
    tags = {**record.tags, **record.version.tags}
    return {
        "version": record.version.number,
        "aliases": list(record.aliases),
        "decisions": {
            tag: tags[tag] for tag in (REASON, SINCE, PROMOTED, WITHDRAWN) if tag in tags
        },
        "weights_md5": tags.get(WEIGHTS_MD5, ""),
        "code": {"revision": tags.get("git.rev", ""), "dirty": tags.get("git.dirty", "")},
        "experiment": tags.get("dvc.exp_name", ""),
        "profile": tags.get("profile", ""),
        "environment": {name: tags[name] for name in _ENVIRONMENT if name in tags},
        "pictures": _count_pictures(root, record),
        "files": {
            tag.removeprefix("dvc.md5."): value
            for tag, value in sorted(tags.items())
            if tag.startswith("dvc.md5.")
        },
        "measurement": _measurement(read_artifact(root, record.run_id, SCORES) or ""),
        "params": dict(sorted(record.params.items())),
        "runs": {"parent": record.run_id, **record.stages},
        "commands": _commands(tags),
    }


def read_lock_of(root: Path, record: Record) -> Mapping[str, Any]:
    """Returns the dvc.lock that a state was published from.

    Raises:
        RegistryError: It is not in the store.
    """
    text = read_artifact(root, record.run_id, "dvc.lock")
    if text is None:
        raise RegistryError(f"The run of {record.name} has lost its dvc.lock. Run: dvc repro")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dvc.lock")
        path.write_text(text, encoding="utf-8")
        return read_lock(path)


def as_text(lineage: Mapping[str, Any]) -> str:
    """Renders what `describe` found for a terminal."""
    lines: list[str] = []

    def add(name: str, value: object, indent: int = 0) -> None:
        label = f"{'  ' * indent}{name}"
        if isinstance(value, Mapping):
            if value:
                lines.append(label)
            for inner, content in value.items():
                add(str(inner), content, indent + 1)
        elif isinstance(value, list):
            lines.append(f"{label:<28} {', '.join(map(str, value))}" if value else f"{label:<28} -")
        else:
            lines.append(f"{label:<28} {value if value != '' else '-'}")

    for name, value in lineage.items():
        if name == "commands":
            lines += ["to make it again", *(f"  {command}" for command in value)]
        elif name == "measurement":
            lines.append(f"measurement (mean, 95 % interval, {FULL_SIZE})")
            lines += [f"  {row['set']:<10} {_row(row)}" for row in value]
        else:
            add(name.replace("_", " "), value)
    return "\n".join(lines)


def _row(row: Mapping[str, Any]) -> str:
    return (
        f"{row['metric']:<22} {row['mean']:.5g} [{row['low']:.5g}, {row['high']:.5g}]  "
        f"against bicubic {row['gain']:+.4g} [{row['gain_low']:+.4g}, {row['gain_high']:+.4g}]  "
        f"{row['pictures']} pictures"
    )


def draw(lock: Mapping[str, Any], path: Path, *, title: str) -> None:
    """Draws the stages and what they hand to each other, with the beginning of every md5.

    Args:
        lock: Entries of dvc.lock by stage.
        path: Ends in .png or .svg.
        title: Stands above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    makers = {out: stage for stage, entry in lock.items() for out in md5s(entry, "outs")}
    needs = {
        stage: {makers[dep] for dep in md5s(entry, "deps") if dep in makers}
        for stage, entry in lock.items()
    }
    columns: dict[str, int] = {}
    while len(columns) < len(needs):
        for stage, before in needs.items():
            if stage not in columns and before <= set(columns):
                columns[stage] = max((columns[one] + 1 for one in before), default=0)
    rows = Counter[int]()
    places: dict[str, tuple[float, float]] = {}
    for stage in lock:
        places[stage] = (columns[stage] * 4.0, -rows[columns[stage]] * 2.4)
        rows[columns[stage]] += 1
    width, height = 4.0 * (max(columns.values()) + 1), 2.4 * max(rows.values())
    figure = Figure(figsize=(width * 0.75, height * 0.75 + 0.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left")
    for stage, before in needs.items():
        for one in before:
            # What skips stages passes below them.
            bend = 0.15 if columns[stage] > columns[one] + 1 else 0
            x, y = places[one]
            to_x, to_y = places[stage]
            axes.annotate(
                "",
                xy=(to_x, to_y),
                xytext=(x + 1.5, y),
                zorder=0,
                arrowprops={
                    "arrowstyle": "->",
                    "color": "#57606a",
                    "shrinkA": 0,
                    "connectionstyle": f"arc3,rad={bend}",
                },
            )
    for stage, (x, y) in places.items():
        outs = md5s(lock[stage], "outs").items()
        text = "\n".join([stage, *(f"{md5[:8]}  {out}" for out, md5 in outs)])
        axes.text(
            *(x, y, text),
            fontsize=8,
            va="center",
            family="monospace",
            bbox={"boxstyle": "round", "facecolor": "#eef4ff", "edgecolor": "#1f6feb"},
        )
    axes.set_xlim(-0.3, width)
    axes.set_ylim(1.2 - height, 1.2)
    axes.axis("off")
    with written_whole(path) as beside:
        figure.savefig(beside, format=path.suffix.removeprefix(".") or "png")


def _count_pictures(root: Path, record: Record) -> dict[str, Any]:
    """Counts the faces by split, source and licence, from the manifest stored with their run."""
    run_id = record.stages.get("fetch_faces", "")
    text = read_artifact(root, run_id, f"{MANIFESTS_FOLDER}/data/faces/manifest.csv")
    if not text:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "manifest.csv").write_text(text, encoding="utf-8")
        entries = read_manifest(Path(folder))
    return {
        "splits": dict(Counter(entry.split for entry in entries)),
        "sources": dict(Counter(source_of(entry) for entry in entries)),
        "licences": dict(Counter(entry.licence or "unknown" for entry in entries)),
    }


def _measurement(text: str) -> list[dict[str, Any]]:
    rows = []
    table = read_table(text)
    for (set_name, size, method), metrics in table.items():
        bicubic = table.get((set_name, size, BICUBIC), {})
        if (size, method) != (FULL_SIZE, UPSAMPLED):
            continue
        for metric, values in metrics.items():
            mean, low, high, pictures = interval(list(values.values()))
            gain = paired_interval(values, bicubic.get(metric, {}))
            rows.append(
                {
                    **{"set": set_name, "metric": metric, "pictures": pictures},
                    **{"mean": mean, "low": low, "high": high},
                    **{"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high},
                }
            )
    return rows


def _commands(tags: Mapping[str, str]) -> list[str]:
    revision = tags.get("git.rev")
    if not revision:
        return ["# The code revision is unknown: the project was not under Git."]
    commands = [f"git checkout {revision}"]
    if tags.get("git.dirty") == "true":
        commands.append("# The working tree had changes of its own; params.yaml is in the run.")
    return [*commands, f"dvc exp run --set-param profile={tags.get('profile', '')}"]
