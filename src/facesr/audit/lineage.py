"""Origin of a version of the registered model: code, data, parameters, measurement."""

import json
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facesr.config import parse_yaml
from facesr.data.manifest import read_manifest, source_of
from facesr.names import FULL_SIZE
from facesr.stats import read_table, served_means
from facesr.tracking.aliases import PROMOTED, REASON, SINCE, WITHDRAWN
from facesr.tracking.history import git
from facesr.tracking.provenance import FILE, parse_environment
from facesr.tracking.records import Record, read_artifact, read_record
from facesr.tracking.runs import MANIFESTS_FOLDER, SCORES
from facesr.tracking.versions import WEIGHTS_MD5

_DECISIONS = (REASON, SINCE, PROMOTED, WITHDRAWN)
# Of `describe`: what fills screens, and what fits into a line.
_LONG = ("files", "params", "runs")
_IN_A_LINE = ("code", "environment")
_LAST_TRAINING = "train_upsampler"
_ENVIRONMENT = ("device", "fastai", "torch", "torchvision")


def describe(root: Path, name: str) -> dict[str, Any]:
    """Return everything that is known of a version, named as for `read_record`."""
    record = read_record(root, name)
    tags = {**record.tags, **record.version.tags}
    params = read_artifact(root, record.run_id, "params.yaml")
    trained = read_artifact(root, record.stages.get(_LAST_TRAINING, ""), FILE)
    environment = {**tags, **parse_environment(trained or "")}
    return {
        "version": record.version.number,
        "aliases": list(record.aliases),
        "decisions": {
            tag: tags[tag] for tag in (REASON, SINCE, PROMOTED, WITHDRAWN) if tag in tags
        },
        "weights_md5": tags.get(WEIGHTS_MD5, ""),
        "code": {
            "revision": tags.get("git.rev", "unknown"),
            "dirty": tags.get("git.dirty", "unknown"),
        },
        "experiment": tags.get("dvc.exp_name", ""),
        "profile": tags.get("profile", ""),
        "environment": {name: environment.get(name, "unknown") for name in _ENVIRONMENT},
        "images": _count_images(root, record),
        "files": {
            tag.removeprefix("dvc.md5."): value
            for tag, value in sorted(tags.items())
            if tag.startswith("dvc.md5.")
        },
        "measurement": _measurement(read_artifact(root, record.run_id, SCORES) or ""),
        "params": dict(sorted(record.params.items())),
        "runs": {"parent": record.run_id, **record.stages},
        "commands": _commands(root, record.version.number, tags, params),
    }


def as_text(lineage: Mapping[str, Any], *, everything: bool = False) -> str:
    """Format the result of `describe`; `everything` adds files, parameters and all metrics."""
    lines: list[str] = []

    def add(name: str, value: object, indent: int = 0) -> None:
        label = f"{'  ' * indent}{name}"
        if isinstance(value, Mapping) and value and (indent or name in _LONG):
            lines.append(label)
            for inner, content in value.items():
                lines.append(f"{'  ' * (indent + 1) + str(inner):<20} {content}")
        elif isinstance(value, Mapping):
            for inner, content in value.items():
                add(f"{name}: {inner}", _in_a_line(content))
        else:
            lines.append(f"{label:<20} {_in_a_line(value)}")

    for name, value in lineage.items():
        if name == "commands":
            lines += ["to make it again", *(f"  {command}" for command in value)]
        elif name == "measurement":
            shown = [row for row in value if everything or row["metric"] == "psnr"]
            lines.append(f"measurement (mean, 95 % interval, {FULL_SIZE})")
            lines += [f"  {row['set']:<10} {_row(row)}" for row in shown]
        elif name in _IN_A_LINE:
            lines.append(f"{name:<20} {_in_a_line(value)}")
        elif everything or name not in _LONG:
            add(name.replace("_", " "), value)
    if not everything:
        lines.append("files, parameters, runs and all metrics: --all")
    return "\n".join(lines)


def _in_a_line(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {content}" for name, content in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value) if value != "" else "-"


def _row(row: Mapping[str, Any]) -> str:
    return (
        f"{row['metric']:<22} {row['mean']:.5g} [{row['low']:.5g}, {row['high']:.5g}]  "
        f"against bicubic {row['gain']:+.4g} [{row['gain_low']:+.4g}, {row['gain_high']:+.4g}]  "
        f"{row['images']} images"
    )


def _count_images(root: Path, record: Record) -> dict[str, Any]:
    """Count the faces by split, source and licence, from the manifest stored with their run."""
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
    return [
        {
            **{"set": set_name, "metric": metric, "images": own.images},
            **{"mean": own.mean, "low": own.low, "high": own.high},
            **{"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high},
        }
        for set_name, metric, own, gain in served_means(read_table(text))
        if own.images
    ]


def _commands(root: Path, number: int, tags: Mapping[str, str], params: str | None) -> list[str]:
    revision = tags.get("git.rev")
    if not revision:
        return ["# The revision that trained it is unknown."]
    before = git(root, "show", f"{revision}:./params.yaml")
    lines = []
    if tags.get("git.dirty") == "true":
        lines.append("# The code had changes that no revision holds: it may come out otherwise.")
    if params is None or before is None:
        return [*lines, f"facesr reproduce {number}"]
    path = Path("params.yaml")
    changes = _overrides(parse_yaml(before, path), parse_yaml(params, path))
    settings = " ".join(f"-S {shlex.quote(change)}" for change in changes)
    # No changes: as the revision is.
    lines += [f"git checkout {revision}", f"dvc exp run {settings}".rstrip()]
    return [*lines, f"facesr reproduce {number}   # in a folder apart, and compares"]


def _overrides(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Return options of `dvc exp run -S` that change the first parameters to the second."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [] if before == after else [f"{prefix}={_literal(after)}"]
    found = []
    for name in [*before, *(name for name in after if name not in before)]:
        path = f"{prefix}.{name}" if prefix else str(name)
        if name not in after:
            found.append(f"~{path}")
        elif name not in before:
            found.append(f"+{path}={_literal(after[name])}")
        else:
            found += _overrides(before[name], after[name], path)
    return found


def _literal(value: Any) -> str:
    """Write a value in the grammar of Hydra, which DVC reads."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{_literal(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_][\w/.-]*", value):
        quoted = value.replace("'", "\\'")
        return f"'{quoted}'"
    return value if isinstance(value, str) else json.dumps(value)
