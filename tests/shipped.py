"""The project's files as they are shipped, whatever a user has done in this checkout since."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from facesr.config import Params, load_params
from facesr.errors import ParamsError

ROOT = Path(__file__).parents[1]
_FOLDERS = ("src", "stages")
_FILES = (".dvcignore", ".gitignore", "dvc.yaml", "pyproject.toml", "requirements.lock")


@cache
def shipped_params() -> str:
    """Return params.yaml as committed, so that a user's experiments change no test.

    Where the committed file does not fit config.py, a developer is changing both: the file of the
    working tree counts then.
    """
    present = (ROOT / "params.yaml").read_text(encoding="utf-8")
    committed = subprocess.run(
        ["git", "show", "HEAD:./params.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text(committed.stdout, encoding="utf-8")
        try:
            load_params(path, any_device=True)
        except ParamsError:
            return present
    return committed.stdout


def load_shipped() -> Params:
    """Return the default profile as shipped."""
    with tempfile.TemporaryDirectory() as folder:
        return load_params(write_params(Path(folder)))


def write_params(root: Path) -> Path:
    """Write the shipped params.yaml into a folder and return its path."""
    path = root / "params.yaml"
    path.write_text(shipped_params(), encoding="utf-8")
    return path


def copy_project(root: Path) -> None:
    """Copy what the pipeline needs, and nothing that a run of it has made, into a folder."""
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy2(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    shutil.copy2(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    (root / "removed.csv").write_text("sha256,origin_sha256\n", encoding="utf-8")
    write_params(root)
