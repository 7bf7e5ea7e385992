"""Where a run comes from: revision, experiment, device and versions."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from facesr.tracking.lockfile import ALSO


def provenance(
    root: Path, results: Sequence[Path], profile: str, names: Sequence[str]
) -> dict[str, str]:
    """Where a run comes from; what is unknown is left out.

    `names` are those of the DVC experiments that it is of.

    A working tree is dirty when anything but `results`, which the pipeline writes itself, differs
    from its revision. Device and versions are those of the computer that publishes.
    """
    unchanged = ["--", ".", *(f":(exclude){path.as_posix()}" for path in results)]
    revision = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=no", *unchanged)
    tags = {
        "git.rev": revision,
        "git.dirty": str(bool(status)).lower() if revision else "",
        "dvc.exp_name": next(iter(names), ""),
        **{f"{ALSO}{name}": "true" for name in names[1:]},
        "dvc.exp_baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "profile": profile,
        "device": device_name(),
        **installed_versions(("fastai", "torch", "torchvision")),
    }
    return {tag: value for tag, value in tags.items() if value}


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


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
    """The installed versions, without build labels, of those that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            # A build label such as +cpu cannot be asked of the package index.
            found[package] = version(package).partition("+")[0]
    return found
