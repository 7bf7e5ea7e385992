"""Provenance of weights: revision, device, versions and times of the training; DVC experiments."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from facesr.files import atomic_write
from facesr.tracking.history import git
from facesr.tracking.lockfile import ALSO

# Written by every training beside its curves, so that DVC's cache and remotes carry it along.
FILE = "provenance.json"
_BEGAN, _ENDED = "began", "ended"
# What decides how the trainings and their data come out; parameters are recorded apart.
_CODE = ("src", "stages", "dvc.yaml", "recipes.yaml", "removed.csv", "requirements.lock")


def environment(root: Path) -> dict[str, str]:
    """Return revision, device and versions of this process, without unknown ones.

    The code is dirty if it differs from the revision.
    """
    revision = git(root, "rev-parse", "HEAD")
    status = git(root, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    found = {
        "git.rev": revision or "",
        "git.dirty": str(bool(status)).lower() if revision else "",
        "device": _torch_device(),
        **installed_versions(("fastai", "torch", "torchvision")),
    }
    return {tag: value for tag, value in found.items() if value}


def write_environment(report: Path, found: Mapping[str, str], began: float) -> None:
    """Write provenance.json into the report of a training that ends now.

    Args:
        began: In s since 1970; of the last part, if the training was interrupted.
    """
    content = {**found, _BEGAN: f"{began:.3f}", _ENDED: f"{time.time():.3f}"}
    with atomic_write(report / FILE) as temporary:
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        temporary.write_text(text, encoding="utf-8")


def read_environment(report: Path) -> dict[str, str]:
    """Return revision, device and versions of a training; empty if it has none."""
    try:
        text = (report / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    return parse_environment(text)


def training_tags(report: Path) -> dict[str, str]:
    """Return the tags of a training: revision, dirty flag and device, without unknown ones."""
    found = read_environment(report)
    return {tag: found[tag] for tag in ("git.rev", "git.dirty", "device") if tag in found}


def parse_environment(text: str) -> dict[str, str]:
    """Return what `read_environment` returns, from the text of provenance.json."""
    return {tag: value for tag, value in _parse(text).items() if tag not in (_BEGAN, _ENDED)}


def read_times(report: Path) -> tuple[int, int] | None:
    """Return when a training began and ended, in ms since 1970; None if unknown."""
    try:
        found = _parse((report / FILE).read_text(encoding="utf-8"))
        began, ended = (int(float(found[name]) * 1000) for name in (_BEGAN, _ENDED))
    except (OSError, ValueError, KeyError):
        return None
    return began, ended


def _parse(text: str) -> dict[str, str]:
    try:
        return {str(tag): str(value) for tag, value in dict(json.loads(text)).items()}
    except (TypeError, ValueError):
        return {}


def experiment_tags(profile: str, names: Sequence[str]) -> dict[str, str]:
    """Return the tags of a state: profile, and experiments, the first of which names the run."""
    tags = {
        "dvc.exp_name": next(iter(names), ""),
        **{f"{ALSO}{name}": "true" for name in names[1:]},
        "dvc.exp_baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "profile": profile,
    }
    return {tag: value for tag, value in tags.items() if value}


def _torch_device() -> str:
    """Return the names of the GPUs that this process may use, else `cpu`."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ", ".join(sorted({torch.cuda.get_device_name(i) for i in range(count)})) or "cpu"


def device_name() -> str:
    """Return the names of the GPUs, else `cpu`, without loading PyTorch, which takes seconds."""
    try:
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        names = []
    return ", ".join(sorted({name.strip() for name in names if name.strip()})) or "cpu"


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the installed packages, without build labels."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            # A build label such as +cpu cannot be asked of the package index.
            found[package] = version(package).partition("+")[0]
    return found
