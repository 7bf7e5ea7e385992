"""What each design decision is worth: one Markdown table, every row trainings of its own.

    python -m benchmarks.ablation FACES [--names 'pattern'] [--side 48] [--faces 160] [--epochs 12]

The rows build on each other: the paper's design first, then one change after the other, then
adversarial trainings from the last generator. Every training runs the stages themselves, on the
smoke profile with the changes of `VARIATIONS`, in a folder of its own below OUTPUT: what is done is
not trained again, and what was interrupted goes on. Low-resolution views are a quarter of the side,
packed as JPEG; the paper's design gets them enlarged. All seeds share pictures and splits. Seconds
are those of the processor, one thread, so that other work on the machine counts little.
"""

import argparse
import contextlib
import copy
import hashlib
import importlib
import json
import math
import shutil
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn
from tqdm import tqdm

from facesr import images, metrics
from facesr.checkpoints import load_network
from facesr.files import written_whole
from facesr.models import residual_unet
from facesr.models.blocks import enlarge_bicubic
from facesr.models.residual_unet import ResidualUNet, build_residual_unet
from facesr.pairs import HR, LR, load_pairs

ROOT = Path(__file__).parents[1]
SCALE = 4
SHOWN = ("psnr", "ms_ssim", "gradient_energy_ratio")
DATA = ("fetch_faces", "fetch_selfies", "degrade")
# Of the pictures; trainings have seeds of their own.
DATA_SEED = 7

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


class PlainUNet(ResidualUNet):
    """The residual U-Net without what makes it residual: it has to draw the whole picture."""

    def forward(self, x: Tensor) -> Tensor:
        """As the residual U-Net's."""
        return super().forward(x) - enlarge_bicubic(x, self.scale)


def build_plain_unet(**values: Any) -> nn.Module:
    """Builds it; the last layer does not start at zero."""
    network = build_residual_unet(**values)
    network.__class__ = PlainUNet
    last = next(one for one in reversed(network.head) if isinstance(one, nn.Conv2d))
    last.reset_parameters()
    return network


class Variation(NamedTuple):
    """A row: what it changes in the row before it, as dotted names below the profile."""

    name: str
    changes: dict[str, Any]
    residual: bool = True
    """Whether residual networks are that."""
    stages: tuple[str, ...] = ("train_generator",)


GAN = ("train_critic", "train_gan")

VARIATIONS = (
    Variation(
        "paper design",
        {
            "enlarged": True,
            "degrade.fresh": False,
            "train_generator.network": FASTAI,
            "train_generator.content": {"normalised_mse": 1.0},
        },
    ),
    Variation(
        "a small network, not residual", {"train_generator.network": RESIDUAL}, residual=False
    ),
    Variation("+ residual to the input", {}),
    Variation("+ L1", {"train_generator.content": {"l1": 1.0}}),
    Variation("+ low-resolution grid", {"enlarged": False}),
    Variation(
        "+ wavelet detail loss", {"train_generator.content": {"l1": 1.0, "high_frequency": 1.0}}
    ),
    Variation(
        "- wavelet, + fresh degradations",
        {"train_generator.content": {"l1": 1.0}, "degrade.fresh": True},
    ),
    Variation(
        "GAN: patch critic",
        {"train_critic.network": PATCH, "train_gan.ema_decay": 0.0},
        stages=GAN,
    ),
    Variation("+ EMA", {"train_gan.ema_decay": 0.95}, stages=GAN),
    Variation(
        "+ EMA, U-Net critic",
        {"train_critic.network": {"kind": "unet_critic", "features": 16}},
        stages=GAN,
    ),
    Variation(
        "+ EMA, global critic",
        {"train_critic.network": {"kind": "global_critic", "features": 16, "side": 32}},
        stages=GAN,
    ),
    Variation(
        "+ EMA, patch critic, texture loss",
        {"train_critic.network": PATCH, "train_gan.texture_weight": 1.0e-3},
        stages=GAN,
    ),
)


class Training(NamedTuple):
    """One row with one seed, in a folder of its own."""

    variation: Variation
    seed: int
    params: dict[str, Any]
    folder: Path
    data: Path
    """Folder of its pictures."""


def main() -> None:
    """Trains what is not done yet and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faces", type=Path, help="folder of photographs")
    parser.add_argument("--names", default="*", help="pattern of their names (default: all)")
    parser.add_argument("--side", type=int, default=48, help="of the faces in px (%(default)s)")
    parser.add_argument("--count", type=int, default=200, help="faces in all (%(default)s)")
    parser.add_argument("--epochs", type=int, default=14, help="of generators (%(default)s)")
    parser.add_argument("--batches", type=int, default=200, help="of GANs (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2], help="of every row")
    parser.add_argument("--output", type=Path, default=Path(".ablation"), help="(%(default)s)")
    parser.add_argument("--table", action="store_true", help="only print what is done")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    parsed.output.mkdir(parents=True, exist_ok=True)
    # Seed by seed: whoever stops early has all rows once.
    trainings = [one for seed in parsed.seeds for one in _plan(parsed, seed)]
    if not parsed.table:
        for training in tqdm(trainings, unit="training"):
            if not _result(training).is_file():
                _train(training, parsed.side)
    print(_table(trainings, parsed))


def _plan(parsed: argparse.Namespace, seed: int) -> list[Training]:
    profile = _base_profile(parsed)
    planned: list[Training] = []
    generator = ""
    for variation in VARIATIONS:
        for name, value in variation.changes.items():
            _set(profile, name, value)
        params = _params(profile, side=parsed.side, seed=seed)
        pictures = _params(profile, side=parsed.side, seed=DATA_SEED)["profiles"]["smoke"]
        data = parsed.output / f"pictures-{_digest(pictures, 'fetch_faces', 'degrade', 'sizes')}"
        sections = ("training", "train_generator", "sizes", "degrade", "fetch_faces")
        own = _digest(params["profiles"]["smoke"], *sections, *variation.stages)
        start = generator if variation.stages == GAN else ""
        name = f"{own}-{start}-{variation.residual:d}-seed{seed}"
        if variation.stages != GAN:
            generator = own
        folder = (parsed.output / name).resolve()
        planned.append(Training(variation, seed, params, folder, data.resolve()))
    return planned


def _digest(profile: dict[str, Any], *sections: str) -> str:
    text = json.dumps([profile[name] for name in sections], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _result(training: Training) -> Path:
    return training.folder / "result.json"


def _train(training: Training, side: int) -> None:
    if not (training.data / "done").is_file():
        shutil.rmtree(training.data, ignore_errors=True)
        with _inside(training.data, training.params | {"seed": DATA_SEED}):
            for stage in DATA:
                _run(stage)
        (training.data / "done").touch()
    with _inside(training.folder, training.params):
        data = Path("data")
        data.mkdir(exist_ok=True)
        if not (data / "pairs").exists():
            (data / "pairs").symlink_to(training.data / "data" / "pairs")
        if training.variation.stages == GAN:
            _take_generator(training)
        residual_unet.build_residual_unet = (
            build_residual_unet if training.variation.residual else build_plain_unet
        )
        try:
            seconds = sum(_run(stage) for stage in training.variation.stages)
            weights = "gan" if training.variation.stages == GAN else "generator"
            network = load_network(Path(f"models/{weights}.safetensors")).module
            found = _measure(network, side) | {"seconds": seconds}
        finally:
            residual_unet.build_residual_unet = build_residual_unet
        found["parameters"] = sum(one.numel() for one in network.parameters())
        found |= {f"input.{name}": value for name, value in _measure(None, side).items()}
        with written_whole(_result(training)) as beside:
            beside.write_text(json.dumps(found))


def _take_generator(training: Training) -> None:
    """The generator of the last row before the GANs, with the same seed."""
    start = training.folder.name.split("-")[1]
    source = training.folder.parent / f"{start}--1-seed{training.seed}"
    for name in ("models", "data/generated"):
        shutil.copytree(source / name, name, dirs_exist_ok=True)


@contextlib.contextmanager
def _inside(folder: Path, params: dict[str, Any]) -> Any:
    """Works in a folder that holds these parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "removed.csv").write_bytes((ROOT / "removed.csv").read_bytes())
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    with contextlib.chdir(folder):
        yield


def _base_profile(parsed: argparse.Namespace) -> dict[str, Any]:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    profile = copy.deepcopy(params["profiles"]["smoke"])
    for section in ("fetch_faces", "fetch_selfies"):
        profile[section] |= {"source": "folder", "path": str(parsed.faces.resolve())}
        profile[section] |= {"names": parsed.names, "minimum_size": 1}
    profile["fetch_faces"] |= {"count": parsed.count, "valid_fraction": 0.05, "test_fraction": 0.2}
    # No selfies are looked at; pictures may not stand in two splits, so these are drawn.
    profile["fetch_selfies"] |= {"source": "generated", "count": 1}
    profile["training"] |= {"checkpoint_minutes": 1.0, "precision": "auto"}
    generator, critic, gan = (profile[f"train_{one}"] for one in ("generator", "critic", "gan"))
    _everywhere(generator, epochs=parsed.epochs, batch_size=8, crops_per_pair=1, report_every=20)
    _everywhere(critic, epochs=2, batch_size=8, report_every=5)
    critic["crop_size"] = parsed.side * 3 // 4
    gan |= {"batches": parsed.batches, "batch_size": 8, "report_every": 20}
    gan |= {"content": {"l1": 1.0}, "feature_weight": 0.0, "texture_weight": 0.0}
    gan |= {"adversarial_weight": 1.0e-2, "generator_learning_rate": 2.0e-4}
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


def _params(profile: dict[str, Any], *, side: int, seed: int) -> dict[str, Any]:
    profile = copy.deepcopy(profile)
    enlarged = profile.pop("enlarged")
    lr_size = side if enlarged else side // SCALE
    profile["sizes"] = {"hr_size": side, "generator_size": side, "lr_size": lr_size}
    profile["degrade"] |= {"recipe": "ablation", "validation_sets": []}
    for section, share in (("train_generator", 1.0), ("train_gan", 0.75)):
        _everywhere(profile[section], crop_size=int(lr_size * share))
    _everywhere(profile["train_upsampler"], crop_size=side // 2)
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    recipe = {
        "kind": "crappify",
        # Both grids start from all pixels, pack a quarter of the side, and enlarge or do not.
        "base_scale": side // lr_size,
        "reduction": float(SCALE),
        "jpeg_quality": [60, 95],
    }
    params |= {"profile": "smoke", "seed": seed}
    params["recipes"] = params["recipes"] | {"ablation": recipe}
    params["profiles"] = {"smoke": profile}
    return params


def _run(stage: str) -> float:
    """Runs a stage in the working folder and returns the seconds of the processor."""
    start = time.process_time()
    importlib.import_module(f"stages.{stage}").main()
    return time.process_time() - start


def _measure(network: nn.Module | None, side: int) -> dict[str, float]:
    """Means over the test faces; without a network of the bicubic enlargement."""
    folder = Path("data/pairs/test")
    pairs = load_pairs(folder / LR, folder / HR, hr_size=side)
    found = []
    for position in range(len(pairs.stems)):
        lr = images.from_uint8(torch.as_tensor(pairs.lr[position]))
        hr = images.from_uint8(torch.as_tensor(pairs.hr[position]))
        with torch.inference_mode():
            sr = network(lr[None])[0] if network else enlarge_bicubic(lr[None], pairs.scale)[0]
        found.append(metrics.measure(images.round_to_8bit(sr.clamp(0, 1))[None], hr[None], SHOWN))
    return {name: sum(float(one[name]) for one in found) / len(found) for name in SHOWN}


def _table(trainings: list[Training], parsed: argparse.Namespace) -> str:
    labels = [metrics.label(name, parsed.side) for name in SHOWN]
    lines = [
        "| " + " | ".join(["row", *labels, "training, s", "parameters", "seeds"]) + " |",
        "| --- | " + " | ".join(["---:"] * (len(labels) + 3)) + " |",
    ]
    for number, variation in enumerate(VARIATIONS):
        done = [
            json.loads(_result(one).read_text())
            for one in trainings
            if one.variation is variation and _result(one).is_file()
        ]
        if not done:
            continue
        if not number:
            cells = [_spread([done[0][f"input.{name}"]], name) for name in SHOWN]
            lines.append("| " + " | ".join(["input, enlarged", *cells, "–", "–", "–"]) + " |")
        cells = [_spread([one[name] for one in done], name) for name in SHOWN]
        seconds = statistics.mean(one["seconds"] for one in done)
        size = f"{done[0]['parameters'] / 1e6:.1f} M"
        cells += [f"{seconds:.0f}", size, str(len(done))]
        lines.append("| " + " | ".join([variation.name, *cells]) + " |")
    return "\n".join(lines)


def _spread(values: list[float], name: str) -> str:
    """Mean, and where there are several values its standard error."""
    digits = {"psnr": 2, "ms_ssim": 4}.get(name, 3)
    text = f"{statistics.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"
    return text


if __name__ == "__main__":
    main()
