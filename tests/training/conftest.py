import importlib
from pathlib import Path

import pytest
import torch
import yaml
from shipped import profile_values

from facesr import images
from facesr.tracking import provenance

ROOT = Path(__file__).parents[2]
STAGES = ("train_generator", "train_critic", "train_gan", "train_upsampler")
WEIGHTS = {
    "train_generator": "generator",
    "train_critic": "critic",
    "train_gan": "gan",
    "train_upsampler": "upsampler",
}


def smooth_image(side, seed):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=rng)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0].clamp(0, 1)


def make_project(root, **changes):
    """A folder in which the training stages of the smoke profile can run.

    `changes` are dotted names below the profile, with __ for the dot.
    """
    content = profile_values(root, "smoke")
    for key, value in changes.items():
        *parents, last = key.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        assert last in section, key
        section[last] = value
    (root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for split, count in (("train", 6), ("valid", 2)):
        for number in range(count):
            hr = smooth_image(96, number)
            for folder, side in (
                (f"data/pairs/{split}/hr", 96),
                (f"data/pairs/{split}/lr", 24),
            ):
                image = images.resize(hr, (side, side), "bicubic")
                images.write(root / folder / f"face{number}.png", image)
    return root


def run_stage(name, root, monkeypatch):
    monkeypatch.chdir(root)
    importlib.import_module(f"stages.{name}").main()


def outs(name, root):
    """Bytes of everything that a training leaves, but for provenance.json, which has its times."""
    files = [*(root / "reports" / name).rglob("*"), root / f"models/{WEIGHTS[name]}.safetensors"]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in files
        if path.is_file() and path.name != provenance.FILE
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A project whose four trainings ran without a break."""
    root = make_project(tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in STAGES:
            run_stage(name, root, monkeypatch)
    return root
