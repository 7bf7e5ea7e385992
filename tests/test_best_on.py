"""The command that trains the profile `best` on a folder of photographs."""

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from shipped import shipped_params
from test_stages import Project

from facesr import images
from facesr.config import load_params
from facesr.manifest import read_manifest
from facesr.sources.generated import draw

ROOT = Path(__file__).parents[1]
SMALL = ("HR_SIZE=96", "GENERATOR_SIZE=48", "LR_SIZE=24")


def settings(*arguments):
    """What `make best-on` sets in params.yaml, by dotted name."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "best-on", "READY=", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = shlex.split(printed.replace("\\\n", " ").splitlines()[0])
    given = [words[i + 1] for i, word in enumerate(words) if word == "-S"]
    return {name: yaml.safe_load(value) for name, value in (one.split("=", 1) for one in given)}


@pytest.mark.parametrize("profile", ["best", "smoke"])
def test_everything_that_the_command_sets_exists_and_fits(profile, tmp_path):
    sizes = SMALL if profile == "smoke" else ()
    content = yaml.safe_load(shipped_params())
    changes = settings(f"PROFILE={profile}", "PHOTOS=/my photos", *sizes)
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        assert last in section, key
        section[last] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    params = load_params(tmp_path / "params.yaml", any_device=True)
    assert params.profile == profile
    assert params.fetch_faces.path == params.fetch_selfies.path == "/my photos"
    assert (params.fetch_faces.names, params.fetch_selfies.names) == ("[!l]*", "lon_*")


@pytest.mark.slow
def test_the_command_trains_on_a_folder_and_registers_the_result(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    project = Project(root)
    for number, name in enumerate([*"abcdefghij", "lon_a", "lon_b", "lon_c"]):
        images.write(tmp_path / "my photos" / f"{name}.png", draw(7, number, 96))
    project.run(
        *("make", "best-on", "READY=", "RUN=", "PROFILE=smoke", *SMALL, "CROPS=2", "GAN_BATCHES=4"),
        f"PHOTOS={tmp_path / 'my photos'}",
    )
    trained = {Path(entry.origin).name for entry in read_manifest(root / "data/faces")}
    assert trained == {f"{name}.png" for name in "abcdefghij"}
    assert len(read_manifest(root / "data/selfies")) == 3
    assert project.count("model_versions") == 1
