"""Provenance of weights: revision, device and versions of the training; DVC experiments."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from facesr.files import atomic_write
from facesr.tracking.history import git
from facesr.tracking.lockfile import ALSO

# Written by every training beside its curves, so that DVC's cache and remotes carry it along.
FILE = "provenance.json"
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


def write_environment(report: Path, found: Mapping[str, str]) -> None:
    """Write provenance.json into the report of a training."""
    with atomic_write(report / FILE) as temporary:
        temporary.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_environment(report: Path) -> dict[str, str]:
    """Return the provenance of a training; empty if it has none."""
    try:
        found = json.loads((report / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(tag): str(value) for tag, value in dict(found).items()}


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
