"""Reads dvc.lock, whose states name runs and versions."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from facesr.config import parse_yaml
from facesr.errors import DataError

PIPELINE_KEY = "dvc.pipeline_key"
STAGE_KEY = "dvc.stage_key"
EVALUATION_KEY = "evaluation.key"
EVALUATION_RUN = "evaluation.run"
# Before the name of a DVC experiment that came to the same state again.
ALSO = "dvc.exp_also."


def read_lock(path: Path) -> dict[str, Any]:
    """Return the entries of dvc.lock without that of `publish` itself."""
    if not path.is_file():
        raise DataError(f"{path} does not exist. Run: dvc repro")
    return parse_lock(path.read_text(encoding="utf-8"), path)


def parse_lock(text: str, path: Path) -> dict[str, Any]:
    """Return the stages in the text of dvc.lock, as `read_lock`; raise DataError without any."""
    content = parse_yaml(text, path)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict) or not all(isinstance(e, dict) for e in stages.values()):
        raise DataError(f"{path} lists no stages. Delete it and run: dvc repro")
    return {name: entry for name, entry in stages.items() if name != "publish"}


def params_of(entry: Mapping[str, Any], files: Collection[str] = ()) -> dict[str, str]:
    """Return a stage's parameters in MLflow's form: `train_gan.batch_size`, `training_seed`.

    Args:
        files: Those to read; without any, all.
    """
    longest = 6000  # characters; MLflow refuses more
    found = {}
    for file, values in entry.get("params", {}).items():
        for name, value in flatten(values) if not files or file in files else ():
            text = value if isinstance(value, str) else json.dumps(value)
            if len(text) > longest:
                text = f"{text[: longest - 1]}…"
            found[name] = text
    return found


def flatten(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield leaves under dotted names; a list of plain values is a leaf."""
    if isinstance(value, dict):
        items: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = enumerate(value)
    else:
        yield prefix, value
        return
    for name, item in items:
        yield from flatten(item, f"{prefix}.{name}" if prefix else str(name))


def md5s(entry: Mapping[str, Any], kind: Literal["deps", "outs"]) -> dict[str, str]:
    """Return path and md5 of a stage's inputs or outputs; "" if DVC identifies a file otherwise."""
    return {item["path"]: str(item.get("md5", "")) for item in entry.get(kind, ())}


def data_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return path and md5 of the images that a stage reads, without manifests."""
    return {
        path: md5
        for path, md5 in md5s(entry, "deps").items()
        if path.startswith("data/") and not path.endswith(".csv")
    }


def md5_tags(md5s: Mapping[str, str]) -> dict[str, str]:
    """Return the tags for files and their md5s."""
    return {f"dvc.md5.{path}": md5 for path, md5 in md5s.items()}


def key_of(entry: Mapping[str, Any]) -> str:
    """Return a short key of a state: equal if and only if commands, parameters and md5s are."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def stage_writing(stages: Mapping[str, Mapping[str, Any]], path: Path) -> str:
    """Return the name of the stage whose out `path` is, as `entry_writing`."""
    entry = entry_writing(stages, path)
    return next(name for name, one in stages.items() if one is entry)


def entry_writing(stages: Mapping[str, Mapping[str, Any]], path: Path) -> Mapping[str, Any]:
    """Return the entry of the stage that writes `path`; raise DataError if there is none."""
    for entry in stages.values():
        if path.as_posix() in md5s(entry, "outs"):
            return entry
    raise DataError(f"dvc.lock names no stage that writes {path}. Run: dvc repro")


def evaluation_tags(stages: Mapping[str, Mapping[str, Any]], metrics: Path) -> dict[str, str]:
    """Return the tags of the images that the metrics were measured on."""
    data = data_of(entry_writing(stages, metrics))
    return {EVALUATION_KEY: key_of(data), **md5_tags(data)}


def params_of_all(
    stages: Mapping[str, Mapping[str, Any]], files: Collection[str] = ()
) -> dict[str, str]:
    """Return the parameters of all stages, as `params_of`."""
    found: dict[str, str] = {}
    for entry in stages.values():
        found |= params_of(entry, files)
    return found
