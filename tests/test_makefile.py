"""Messages of make before it installs gigabytes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the Makefile alone, and an environment that seems to be ready."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    shutil.copy(MAKEFILE, tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / ".ready").touch()
    return tmp_path


def make_setup(folder, *arguments):
    return subprocess.run(
        ["make", "setup", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_python_that_the_lock_does_not_fit_is_refused_before_anything_is_installed(folder):
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    (folder / ".venv" / ".ready").unlink()
    python = folder / "python"
    for version in ("(3, 11, 2)", "(3, 10, 14)"):
        python.write_text(
            f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {version}; $2"\n'
        )
        python.chmod(0o755)
        done = make_setup(folder, f"PYTHON={python}")
        assert done.returncode != 0
        assert "error: Python 3.11.5 or newer is needed" in done.stdout


def script_of(folder, made_in):
    (folder / ".venv" / "bin" / "dvc").write_text(f"#!{made_in}/.venv/bin/python3.11\n")


def test_a_folder_that_is_no_clone_is_named_before_anything_is_installed(folder):
    done = make_setup(folder)
    assert done.returncode != 0
    assert "this folder is no Git repository. Use git clone" in done.stdout


def test_an_environment_of_another_folder_is_named_with_what_to_run(folder):
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    script_of(folder, "/elsewhere/my project")
    done = make_setup(folder)
    assert done.returncode != 0
    assert ".venv was made in /elsewhere/my project" in done.stdout
    assert "make clean setup" in done.stdout
    script_of(folder, folder)
    assert make_setup(folder).returncode == 0
