"""requirements.lock fits every extra at once."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


LOCK = {
    normalised(name): version
    for name, version in (
        line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines()
    )
}


def unmet(requirements: list[str]) -> list[str]:
    """What the requirements, and what they bring, ask for and the lock does not have."""
    found, seen, todo = [], set(), [(text, "pyproject.toml") for text in requirements]
    while todo:
        text, by = todo.pop()
        requirement = Requirement(text)
        name = normalised(requirement.name)
        if name == "facesr" or (text, by) in seen:
            continue
        seen.add((text, by))
        # The lock leaves CUDA to torch.
        if re.match("nvidia|cuda|triton|setuptools|pip$", name):
            continue
        if name not in LOCK or not requirement.specifier.contains(LOCK[name], prereleases=True):
            found.append(f"{by} asks for {text}, the lock has {LOCK.get(name)}")
        try:
            brought = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for one in brought:
            marker = Requirement(one).marker
            extras = {"", *requirement.extras}
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                todo.append((one, name))
    return found


def test_every_extra_installs_together_at_the_versions_of_the_lock():
    wanted = [one for extra, many in EXTRAS.items() if extra != "gpu" for one in many]
    assert unmet(wanted) == []


def test_two_pins_of_one_package_are_noticed(monkeypatch):
    monkeypatch.setitem(LOCK, "botocore", "1.44.8")
    assert any("aiobotocore asks for botocore" in line for line in unmet(EXTRAS["s3"]))


def test_s3_is_in_the_extras_that_promise_it():
    names = {
        extra: {normalised(Requirement(one).name) for one in EXTRAS[extra]} for extra in EXTRAS
    }
    assert "boto3" in names["server"]
    assert "dvc[s3]" in EXTRAS["s3"][0]
