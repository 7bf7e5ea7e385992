"""Profiles: presets of params.yaml, each with the differences from profiles/small.yaml."""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from facesr.config import Params, check_params
from facesr.errors import ParamsError

PROFILES = Path("profiles")
# The profile that holds every value; the others hold what differs from it.
BASE = "small"
# Sections that name their own choice of keys: a profile replaces them as a whole.
REPLACED = ("network", "content")


def compose(name: str, folder: Path = PROFILES) -> str:
    """Return params.yaml of a profile, in DVC's format; raise ParamsError if there is none."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ParamsError(
            f"There is no profile {name} in {folder}/. Choose one of {', '.join(known)}."
        )
    writer = YAML()
    writer.default_flow_style = False
    try:
        values = writer.load(folder / f"{BASE}.yaml")
        _merge(values, YAML(typ="safe").load(folder / f"{name}.yaml"))
    except YAMLError as error:
        raise ParamsError(f"{folder}/{name}.yaml is not valid YAML: {error}") from None
    text = StringIO()
    writer.dump(values, text)
    return text.getvalue()


def _merge(values: Any, changes: Any) -> None:
    for key, change in changes.items():
        present = values.get(key)
        if isinstance(change, dict) and isinstance(present, dict) and key not in REPLACED:
            _merge(present, change)
        elif present != change:
            values[key] = change


def load_profile(name: str, root: Path = Path()) -> Params:
    """Return the parameters of a profile of `root`, without writing params.yaml."""
    path = root / PROFILES / f"{name}.yaml"
    return check_params(YAML(typ="safe").load(compose(name, root / PROFILES)), path, root)
