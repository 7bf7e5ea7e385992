"""The project's files as they are shipped: a user's params.yaml and results change no test."""

import shutil
from pathlib import Path

from facesr.config import read_yaml
from facesr.profiles import compose

ROOT = Path(__file__).parents[1]
PROFILES = tuple(sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
_FOLDERS = ("profiles", "samples", "src", "stages")
_FILES = (".dvcignore", ".gitignore", "dvc.yaml", "pyproject.toml", "requirements.lock")


def write_params(root: Path, profile: str = "small") -> Path:
    """Write a profile's params.yaml and recipes.yaml into a folder and return the former's path."""
    path = root / "params.yaml"
    path.write_text(compose(profile, ROOT / "profiles"), encoding="utf-8")
    shutil.copy2(ROOT / "recipes.yaml", root / "recipes.yaml")
    return path


def profile_values(root: Path, profile: str = "small") -> dict:
    """Return the content of a profile's params.yaml."""
    return read_yaml(write_params(root, profile))


def copy_project(root: Path, profile: str = "smoke") -> None:
    """Copy what the pipeline needs, and nothing that a run of it has made, into a folder."""
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy2(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    shutil.copy2(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    (root / "removed.csv").write_text("sha256,origin_sha256\n", encoding="utf-8")
    write_params(root, profile)
