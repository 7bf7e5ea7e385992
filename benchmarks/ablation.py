"""What each design decision is worth: one Markdown table, every row a training of its own.

    python -m benchmarks.ablation FACES [--names 'pattern'] [--side 64] [--faces 160] [--epochs 12]

The rows build on each other: the paper's design first, then one change after the other, then
adversarial trainings from the last generator. Every row runs the stages themselves, on the smoke
profile with the changes of `VARIATIONS`, in a folder that is deleted afterwards. Low-resolution
views are a quarter of the side, packed as JPEG; the paper's design gets them enlarged. Seconds are
those of the processor, one thread, so that other work on the machine counts little.
"""

import argparse
import contextlib
import copy
import importlib
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn
from tqdm import tqdm

from facesr import images, metrics
from facesr.checkpoints import load_network
from facesr.pairs import HR, LR, load_pairs

ROOT = Path(__file__).parents[1]
SCALE = 4
SHOWN = ("psnr", "ms_ssim", "gradient_energy_ratio")

FASTAI = {
    "kind": "fastai_unet",
    "backbone": "resnet18",
    "pretrained": False,
    "self_attention": True,
}
RESIDUAL = {
    "kind": "residual_unet",
    "backbone": "resnet18",
    "pretrained": False,
    "width": 24,
    "levels": 3,
    "decoder_blocks": 1,
    "body_blocks": 4,
    "unshuffle": 1,
    "head": "direct",
}
PATCH = {"kind": "patch_critic", "features": 16, "blocks": 2, "dropout": 0.15}


class Variation(NamedTuple):
    """A row: what it changes in the row before it, as dotted names below the profile."""

    name: str
    changes: dict[str, Any]
    stages: tuple[str, ...]


PAIRS = ("fetch_faces", "fetch_selfies", "degrade", "train_generator")
GENERATOR = ("train_generator",)
CRITIC = ("train_critic", "train_gan")
GAN = ("train_gan",)

VARIATIONS = (
    Variation(
        "paper design",
        {
            "enlarged": True,
            "degrade.fresh": False,
            "train_generator.network": FASTAI,
            "train_generator.content": {"normalised_mse": 1.0},
        },
        PAIRS,
    ),
    Variation("+ residual to the input", {"train_generator.network": RESIDUAL}, GENERATOR),
    Variation("+ L1", {"train_generator.content": {"l1": 1.0}}, GENERATOR),
    Variation("+ low-resolution grid", {"enlarged": False}, PAIRS),
    Variation(
        "+ wavelet detail loss",
        {"train_generator.content": {"l1": 1.0, "high_frequency": 1.0}},
        GENERATOR,
    ),
    Variation(
        "- wavelet, + fresh degradations",
        {"train_generator.content": {"l1": 1.0}, "degrade.fresh": True},
        PAIRS,
    ),
    Variation(
        "GAN: patch critic",
        {"train_critic.network": PATCH, "train_gan.ema_decay": 0.0},
        CRITIC,
    ),
    Variation("+ EMA", {"train_gan.ema_decay": 0.95}, GAN),
    Variation(
        "+ EMA, U-Net critic",
        {"train_critic.network": {"kind": "unet_critic", "features": 16}},
        CRITIC,
    ),
    Variation(
        "+ EMA, global critic",
        {"train_critic.network": {"kind": "global_critic", "features": 16, "side": 32}},
        CRITIC,
    ),
    Variation(
        "+ EMA, patch critic, texture loss",
        {"train_critic.network": PATCH, "train_gan.texture_weight": 1.0e-3},
        CRITIC,
    ),
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faces", type=Path, help="folder of photographs")
    parser.add_argument("--names", default="*", help="pattern of their names (default: all)")
    parser.add_argument("--side", type=int, default=64, help="of the faces in px (%(default)s)")
    parser.add_argument("--count", type=int, default=160, help="faces in all (%(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="of generators (%(default)s)")
    parser.add_argument("--batches", type=int, default=200, help="of GANs (%(default)s)")
    parser.add_argument("--only", type=int, default=len(VARIATIONS), help="first rows only")
    parsed = parser.parse_args()
    profile = _base_profile(parsed)
    torch.set_num_threads(1)
    labels = [metrics.label(name, parsed.side) for name in SHOWN]
    print("| " + " | ".join(["row", *labels, "training, s"]) + " |")
    print("| --- | " + " | ".join(["---:"] * (len(labels) + 1)) + " |")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        work = Path(folder)
        (work / "removed.csv").write_bytes((ROOT / "removed.csv").read_bytes())
        for number, variation in enumerate(tqdm(VARIATIONS[: parsed.only], unit="row")):
            for name, value in variation.changes.items():
                _set(profile, name, value)
            _write_params(work, profile, side=parsed.side)
            spent = {stage: _run(stage) for stage in variation.stages}
            if not number:
                print(_row("input, enlarged", _measure(work, None, parsed.side), seconds=0))
            weights = "gan" if variation.stages[-1] == "train_gan" else "generator"
            network = load_network(work / f"models/{weights}.safetensors").module
            seconds = sum(took for stage, took in spent.items() if stage.startswith("train"))
            row = _row(variation.name, _measure(work, network, parsed.side), seconds=seconds)
            print(row, flush=True)


def _base_profile(parsed: argparse.Namespace) -> dict[str, Any]:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = copy.deepcopy(params["profiles"]["smoke"])
    for section in ("fetch_faces", "fetch_selfies"):
        profile[section] |= {"source": "folder", "path": str(parsed.faces.resolve())}
        profile[section] |= {"names": parsed.names, "minimum_size": 1}
    profile["fetch_faces"] |= {"count": parsed.count, "valid_fraction": 0.05, "test_fraction": 0.2}
    # No selfies are looked at; pictures may not stand in two splits, so these are drawn.
    profile["fetch_selfies"] |= {"source": "generated", "count": 1}
    profile["training"] |= {"checkpoint_minutes": 60.0}
    generator, critic, gan = (profile[f"train_{one}"] for one in ("generator", "critic", "gan"))
    _everywhere(generator, epochs=parsed.epochs, batch_size=8, crops_per_pair=1, report_every=20)
    _everywhere(critic, epochs=2, batch_size=8, report_every=5)
    critic["crop_size"] = parsed.side * 3 // 4
    gan |= {"batches": parsed.batches, "batch_size": 8, "report_every": 20}
    gan |= {"content": {"l1": 1.0}, "feature_weight": 0.0, "texture_weight": 0.0}
    gan |= {"adversarial_weight": 2.0e-3, "generator_learning_rate": 2.0e-4}
    return profile


def _everywhere(node: Any, **values: Any) -> None:
    """Sets the keys of `values` wherever they stand below a section."""
    if isinstance(node, list):
        for one in node:
            _everywhere(one, **values)
    if isinstance(node, dict):
        for name in node:
            if name in values:
                node[name] = values[name]
            else:
                _everywhere(node[name], **values)


def _set(profile: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for parent in parents:
        profile = profile[parent]
    profile[last] = value


def _write_params(work: Path, profile: dict[str, Any], *, side: int) -> None:
    profile = copy.deepcopy(profile)
    enlarged = profile.pop("enlarged")
    lr_size = side if enlarged else side // SCALE
    profile["sizes"] = {"hr_size": side, "generator_size": side, "lr_size": lr_size}
    profile["degrade"] |= {"recipe": "ablation", "validation_sets": []}
    for section, share in (("train_generator", 1.0), ("train_gan", 0.75)):
        _everywhere(profile[section], crop_size=int(lr_size * share))
    _everywhere(profile["train_upsampler"], crop_size=side // 2)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    recipe = {
        "kind": "crappify",
        # Both grids start from all pixels, pack a quarter of the side, and enlarge or do not.
        "base_scale": side // lr_size,
        "reduction": float(SCALE),
        "jpeg_quality": [60, 95],
    }
    params |= {"profile": "smoke", "recipes": params["recipes"] | {"ablation": recipe}}
    params["profiles"] = {"smoke": profile}
    (work / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def _run(stage: str) -> float:
    """Runs a stage in the working folder and returns the seconds of the processor."""
    start = time.process_time()
    importlib.import_module(f"stages.{stage}").main()
    return time.process_time() - start


def _measure(work: Path, network: nn.Module | None, side: int) -> dict[str, float]:
    """Means over the test faces; without a network of the enlarged input."""
    folder = work / "data/pairs/test"
    pairs = load_pairs(folder / LR, folder / HR, hr_size=side)
    found = []
    for position in range(len(pairs.stems)):
        lr = images.from_uint8(torch.as_tensor(pairs.lr[position]))
        hr = images.from_uint8(torch.as_tensor(pairs.hr[position]))
        if network is None:
            sr = lr
        else:
            with torch.inference_mode():
                sr = network(lr[None])[0].clamp(0, 1)
        found.append(metrics.measure(images.round_to_8bit(sr)[None], hr[None], SHOWN))
    return {name: sum(float(one[name]) for one in found) / len(found) for name in SHOWN}


def _row(name: str, values: dict[str, float], *, seconds: float) -> str:
    cells = [f"{values['psnr']:.2f}", f"{values['ms_ssim']:.4f}"]
    cells += [f"{values['gradient_energy_ratio']:.3f}", f"{seconds:.0f}" if seconds else "–"]
    return f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
