"""The command that trains the profile `best` on a folder of photographs."""

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from facesr.config import load_params

ROOT = Path(__file__).parents[1]


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
    sizes = ("HR_SIZE=96", "GENERATOR_SIZE=48", "LR_SIZE=24") if profile == "smoke" else ()
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
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
