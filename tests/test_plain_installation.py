"""`pip install facesr` without extras enhances with the starter."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from facesr.errors import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = {"dvc", "mlflow", "fastai", "dlib-bin", "imagecodecs", "ray"}


def closure(requirements):
    """Names of the installed distributions that the requirements bring."""
    found, todo = set(), list(requirements)
    while todo:
        requirement = Requirement(todo.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            found.add(name)
            todo += distribution(name).requires or []
        except PackageNotFoundError:
            found.discard(name)  # a package of another platform
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder with links to a plain installation's packages, and a way to run facesr there."""
    folder = tmp_path_factory.mktemp("packages")
    for name in closure(PROJECT["dependencies"]):
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top not in ("..", "bin") and not (folder / top).exists():
                (folder / top).symlink_to(distribution(name).locate_file(top))
    path = os.pathsep.join([str(ROOT / "src"), str(folder)])

    def run(*arguments):
        code = "import sys; from facesr.cli import main; main(sys.argv[1:])"
        return subprocess.run(
            # -S: without the packages of the environment that runs the tests.
            [sys.executable, "-S", "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_it_brings_none_of_the_heavy_packages():
    assert not closure(PROJECT["dependencies"]) & HEAVY


def test_every_named_extra_exists():
    assert set(EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


def test_it_enhances_with_the_starter(plain, tmp_path):
    Image.new("RGB", (24, 16), "teal").save(tmp_path / "a.png")
    Image.new("RGB", (24, 16), "teal").save(tmp_path / "b.jpg")
    done = plain("enhance", tmp_path / "a.png", tmp_path / "b.jpg", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (96, 64)
        assert "starter" in image.getexif()[0x0131]


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (("enhance", "a.png", "-o", "out", "--faces"), "dlib", "faces"),
        pytest.param(
            *(("enhance", "a.tif", "-o", "out"), "tifffile", "sixteen-bit"),
            marks=pytest.mark.slow,
        ),
        (("profile", "paper"), "ruamel", "train"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(plain, tmp_path, arguments, package, extra):
    Image.new("RGB", (24, 16), "teal").save(tmp_path / "a.png")
    Image.new("RGB", (24, 16), "teal").save(tmp_path / "a.tif")
    named = [tmp_path / one if one.startswith("a.") or one == "out" else one for one in arguments]
    done = plain(*named)
    assert done.returncode == 1
    assert f"pip install 'facesr[{extra}]'" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr
