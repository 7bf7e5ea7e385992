"""The quality campaign: short trainings that differ in one thing, measured on real faces.

    python -m benchmarks.campaign [--work .campaign] [--processes N] [--table] DATA [NAME...]

Every experiment runs the stages themselves on the profile `starter` with the changes of
`EXPERIMENTS`, and is measured on the scoreboard's stored inputs (London, US officials, FFHQ; clean,
JPEG, blur + noise + JPEG, first and second order; x4). No picture that is measured is trained on.
What is done is kept in the working folder and not done again, so that the campaign can be stopped,
prolonged and repeated; other inputs measure what is trained once more.
The table compares each experiment with the one that it names, picture by picture; its cells hold
the conditions one after another.
"""

import argparse
import contextlib
import csv
import functools
import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor
from torchvision.utils import make_grid
from tqdm import tqdm

from facesr import images, paths, reports
from facesr.checkpoints import Network, load_network, save_networks
from facesr.config import ScoreboardParams, ScoreboardSource, load_params
from facesr.enhancer import Enhancer
from facesr.models import build
from facesr.pairs import HR, LR, load_pairs
from facesr.scoreboard import Restore, build_methods, choose_files, make_inputs, score
from facesr.tables import BICUBIC
from facesr.training.restore import restore_all

ROOT = Path(__file__).parents[1]
CONDITIONS = (
    "clean x4",
    "JPEG x4",
    "blur noise JPEG x4",
    "first order x4",
    "second order x4",
)
SOURCES = {"london": 12, "officials": 24, "ffhq": 64}
"""All faces of the scoreboard that no row has been trained on."""
PICTURES = 320
"""Drawn pictures of a short training."""
DRAWN = {"both": PICTURES, **dict.fromkeys(("wide", "people", "scales"), PICTURES // 2)}
"""Drawn pictures beside photographs."""
MOSAIC = 512  # px
OTHER_SIZES = {"officials": {256: 1}, "ffhq": {128: 4}}
MOSAICS = {
    "wide": OTHER_SIZES,
    "people": OTHER_SIZES,
    "scales": {
        "officials": {256: 1, 171: 1, 128: 1, 103: 1},
        "ffhq": {128: 2, 171: 2, 103: 2, 86: 2},
    },
}
"""Sides of the faces in mosaics, px, and how often the faces are arranged anew."""
SHARE_TRAINED = 0.9
STEPS = 1500
"""Of a short training; schedules with other crops see as many pixels."""

GENERATOR = ("train_generator",)
GAN = ("train_critic", "train_gan")
BASE = {
    "degrade.fresh": False,
    "degrade.fresh_sizes": [1.0, 1.0],
    "train_generator.init_from": "",
    "train_generator.content": {"l1": 1.0},
}
"""What every training has unless it says otherwise, whatever the starter was trained with."""
PHASE = {"crop_size": 40, "batch_size": 8, "learning_rate": 6.0e-4, "encoder_learning_rate": 6.0e-4}


class Experiment(NamedTuple):
    """One training or one way to use a trained network."""

    question: str
    changes: Mapping[str, Any] = {}
    """Dotted names below the profile."""
    than: str = "base"
    """The experiment that it is compared with."""
    pictures: str = "generated"
    """Trained on: generated, faces, both, wide, which has faces of other sizes as well, people,
    which has other people of every source that is measured, or scales, which has more sizes."""
    start: str = ""
    """Experiment or weights file that is gone on from."""
    stages: tuple[str, ...] = GENERATOR
    options: Mapping[str, Any] = {}
    """Of Enhancer.enhance."""
    seed_offset: int = 0
    mean_of: tuple[str, ...] = ()
    """Experiments whose weights are averaged, instead of a training."""


def phases(*changes: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule of the common number of pixels, shared out among its phases."""
    rows = []
    for change in changes:
        phase = {**PHASE, **change}
        crops = STEPS * PHASE["batch_size"] * PHASE["crop_size"] ** 2 / phase["crop_size"] ** 2
        epochs = round(crops / len(changes) / (PICTURES * SHARE_TRAINED))
        rows.append({**phase, "epochs": max(1, epochs)})
    return {"train_generator.phases": rows, "train_generator.crops_per_pair": 1}


def long(count: int, epochs: int, learning_rate: float, batch_size: int = 8) -> dict[str, Any]:
    """A schedule over so many pictures, twelve crops of each in an epoch."""
    rates = {"learning_rate": learning_rate, "encoder_learning_rate": learning_rate}
    return {
        "fetch_faces.count": count,
        "train_generator.crops_per_pair": 12,
        "train_generator.phases": [{**PHASE, "batch_size": batch_size, "epochs": epochs, **rates}],
    }


NETWORK = {
    "kind": "residual_unet",
    "backbone": "resnet18",
    "pretrained": False,
    "width": 64,
    "levels": 2,
    "decoder_blocks": 1,
    "body_blocks": 8,
    "unshuffle": 1,
    "head": "direct",
}
STARTER = str(ROOT / "src/facesr/starter/starter.safetensors")
TUNE = phases({"learning_rate": 2.0e-4, "encoder_learning_rate": 2.0e-4})
FRESH = TUNE | {"train_generator.content": {"log_mse": 1.0}, "degrade.fresh": True}
BEST = long(640, epochs=16, learning_rate=4.0e-4) | {
    "train_generator.content": {"log_mse": 1.0},
    "degrade.fresh": True,
}
DEEP = {"train_generator.network": {**NETWORK, "body_blocks": 16}, **BEST}


def go_on(question: str, start: str, pictures: str, schedule: Mapping[str, Any]) -> Experiment:
    """A deep network goes on, half of its input clean, and is compared with where it began."""
    return Experiment(
        question,
        {**DEEP, **schedule, "degrade.recipe": "columns"},
        start=start,
        than=start,
        pictures=pictures,
    )


def ensemble(name: str) -> Experiment:
    """Another row's network, used eight times."""
    return Experiment(
        "its mean over eight mirrored and turned results",
        start=name,
        than=name,
        stages=(),
        options={"self_ensemble": True},
    )


def mean(question: str, *names: str) -> Experiment:
    """The mean of the weights of other rows, the last of which it is compared with."""
    return Experiment(question, than=names[-1], stages=(), mean_of=names)


def gan(
    question: str,
    *,
    critic: Mapping[str, Any] | None = None,
    start: str = "shipped",
    pictures: str = "faces",
    **changes: Any,
) -> Experiment:
    """An adversarial training of some minutes, from the starter on faces if nothing is said."""
    base = {
        "batches": 1600,
        "batch_size": 8,
        "crop_size": 32,
        "generator_learning_rate": 1.0e-4,
        "critic_learning_rate": 4.0e-4,
        "beta1": 0.0,
        "ema_decay": 0.99,
        "adversarial_loss": "relativistic",
        "adversarial_weight": 2.0e-2,
    }
    patch = {"kind": "patch_critic", "features": 32, "blocks": 3, "dropout": 0.0}
    return Experiment(
        f"GAN: {question}",
        {
            "train_critic.network": critic or patch,
            **{f"train_gan.{name}": value for name, value in (base | changes).items()},
        },
        than=start,
        start=STARTER if start == "shipped" else start,
        stages=GAN,
        pictures=pictures,
    )


def long_gan(question: str, start: str, pictures: str, **changes: Any) -> Experiment:
    """A GAN from a long training, held to the original by squared error if nothing is said."""
    content = {"content": {"mse": 16.0}}
    return gan(question, start=start, pictures=pictures, **(content | changes))


HELD = {"mse": 6.0, "local_log_mse": 0.012}
"""The content of gan-on, which others add to."""


def detail_gan(question: str, start: str, *, local_energy: float, **changes: Any) -> Experiment:
    """A GAN held as gan-on is, and asked for detail where the original has some."""
    content = {**HELD, "local_energy": local_energy}
    return long_gan(question, start, "people", content=content, **changes)


EXPERIMENTS = {
    "base": Experiment("L1, mild degradations, 8 crops of 40 px"),
    "seed": Experiment("how much is chance?", seed_offset=1),
    "charbonnier": Experiment("Charbonnier", {"train_generator.content": {"charbonnier": 1.0}}),
    "ms-ssim": Experiment("L1 + MS-SSIM", {"train_generator.content": {"l1": 1.0, "ms_ssim": 0.1}}),
    "mse": Experiment("squared error", {"train_generator.content": {"mse": 10.0}}),
    "log-mse": Experiment(
        "the logarithm of the squared error", {"train_generator.content": {"log_mse": 1.0}}
    ),
    "epsilon": Experiment("Adam's epsilon of 1e-5", {"train_generator.epsilon": 1.0e-5}),
    "wavelet": Experiment(
        "L1 + wavelet detail", {"train_generator.content": {"l1": 1.0, "high_frequency": 0.1}}
    ),
    "resnet34": Experiment(
        "a ResNet34 for context", {"train_generator.network": {**NETWORK, "backbone": "resnet34"}}
    ),
    "no-unet": Experiment(
        "no coarse grid: the same cost in residual blocks",
        {"train_generator.network": {**NETWORK, "levels": 1, "body_blocks": 11}},
    ),
    "more-unet": Experiment(
        "a third grid for two blocks of detail",
        {"train_generator.network": {**NETWORK, "levels": 3, "body_blocks": 6}},
    ),
    "narrow": Experiment(
        "half the width, twice the steps",
        {
            "train_generator.network": {**NETWORK, "width": 32},
            **phases({"batch_size": 16}, {"batch_size": 16}),
        },
    ),
    "large-crops": Experiment("3 crops of 64 px", phases({"crop_size": 64, "batch_size": 3})),
    "small-crops": Experiment("22 crops of 24 px", phases({"crop_size": 24, "batch_size": 22})),
    "growing-crops": Experiment(
        "crops of 24, then 40, then 64 px",
        phases({"crop_size": 24, "batch_size": 22}, {}, {"crop_size": 64, "batch_size": 3}),
    ),
    "fast": Experiment(
        "twice the rate", phases({"learning_rate": 1.2e-3, "encoder_learning_rate": 1.2e-3})
    ),
    "clean": Experiment("clean reductions only", {"degrade.recipe": "bicubic"}),
    "mixture": Experiment("recipe mixture", {"degrade.recipe": "mixture"}),
    "broad": Experiment(
        "recipe broad: two thirds mild, one third of mixture", {"degrade.recipe": "broad"}
    ),
    "fresh": Experiment("a new degradation of every crop", {"degrade.fresh": True}),
    "faces": Experiment("faces alone", pictures="faces"),
    "both": Experiment("generated pictures and faces", pictures="both"),
    "shipped": Experiment("the starter that ships, as it is", start=STARTER, stages=()),
    "tune-generated": Experiment(
        "the starter, tuned on generated pictures", TUNE, start=STARTER, than="shipped"
    ),
    "tune-faces": Experiment(
        "the starter, tuned on faces", TUNE, start=STARTER, than="shipped", pictures="faces"
    ),
    "tune-both": Experiment(
        "the starter, tuned on both", TUNE, start=STARTER, than="shipped", pictures="both"
    ),
    "tune-fresh": Experiment(
        "the starter, tuned on generated pictures, fresh degradations",
        FRESH,
        start=STARTER,
        than="shipped",
    ),
    "tune-sizes": Experiment(
        "the same, of all sizes from a quarter on",
        {**FRESH, "degrade.fresh_sizes": [0.25, 1.0]},
        start=STARTER,
        than="tune-fresh",
    ),
    "back-projection": Experiment(
        "two back-projections afterwards",
        start=STARTER,
        than="shipped",
        stages=(),
        options={"back_projections": 2},
    ),
    "no-colour-fix": Experiment(
        "no colour fix", start=STARTER, than="shipped", stages=(), options={"colour": "none"}
    ),
    "self-ensemble": Experiment(
        "mean of eight mirrored and turned results",
        start=STARTER,
        than="shipped",
        stages=(),
        options={"self_ensemble": True},
    ),
    "tune-long": Experiment(
        "the starter, tuned on both, four times as long",
        long(576, epochs=6, learning_rate=3.0e-4),
        start=STARTER,
        than="shipped",
        pictures="both",
    ),
    "tune-wide": Experiment(
        "the starter, tuned on faces of three sizes",
        long(640, epochs=2, learning_rate=2.0e-4),
        start=STARTER,
        than="shipped",
        pictures="wide",
    ),
    "tune-best": Experiment(
        "the logarithm of the squared error, eight times as long, fresh degradations",
        BEST,
        start=STARTER,
        than="shipped",
        pictures="wide",
    ),
    "tune-on": Experiment(
        "tune-best once more as long, from where it ended",
        BEST,
        start="tune-best",
        than="tune-best",
        pictures="wide",
    ),
    "tune-deep": Experiment(
        "twice the blocks behind the starter's, other people of all three sources",
        {**DEEP, **long(660, 21, 4.0e-4)},
        start=STARTER,
        than="shipped",
        pictures="people",
    ),
    "deep-on": go_on(
        "tune-deep twice as long again, half of the input clean",
        "tune-deep",
        "people",
        long(660, 40, 4.0e-4, batch_size=16),
    ),
    "deep-mean": mean("the mean of the weights of both", "tune-deep", "deep-on"),
    "mean-scales": go_on(
        "deep-mean goes on for a sixth of that, faces of six sizes",
        "deep-mean",
        "scales",
        long(900, 5, 2.0e-4, batch_size=16),
    ),
    "scales-mean": mean("the mean of the weights of both", "deep-mean", "mean-scales"),
    "scales-on": go_on(
        "scales-mean goes on five times as long as mean-scales",
        "scales-mean",
        "scales",
        long(900, 24, 3.0e-4, batch_size=16),
    ),
    "scales-on-mean": mean("the mean of the weights of both", "scales-mean", "scales-on"),
    "best-ensemble": ensemble("tune-best"),
    "deep-ensemble": ensemble("tune-deep"),
    "mean-ensemble": ensemble("deep-mean"),
    "scales-ensemble": ensemble("scales-mean"),
    "on-ensemble": ensemble("tune-on"),
    "scales-on-ensemble": ensemble("scales-on-mean"),
    "gan": gan("patch critic, relativistic, 0.02"),
    "gan-strong": gan("weight 0.1", adversarial_weight=0.1),
    "gan-best": long_gan(
        "from tune-on, on its pictures, squared error, weight 0.04",
        "tune-on",
        "wide",
        adversarial_weight=4.0e-2,
    ),
    "gan-best-light": long_gan(
        "the same, weight 0.033", "tune-on", "wide", adversarial_weight=3.3e-2
    ),
    "gan-deep": long_gan(
        "the same from tune-deep, on its pictures",
        "tune-deep",
        "people",
        adversarial_weight=3.3e-2,
    ),
    "gan-local": long_gan(
        "held patch by patch, the less the more the input leaves open",
        "tune-deep",
        "people",
        content={"local_log_mse": 0.03},
        adversarial_weight=3.3e-2,
    ),
    "gan-on": long_gan(
        "from deep-on, held by both, twice as long",
        "deep-on",
        "people",
        content=HELD,
        adversarial_weight=3.3e-2,
        batches=3200,
    ),
    "gan-octaves": detail_gan(
        "gan-on and detail of the original's coarseness, patch by patch",
        "deep-on",
        local_energy=0.006,
        adversarial_weight=3.3e-2,
        batches=3200,
    ),
    "gan-calm": detail_gan(
        "three times as much of it, half the critic's weight, half as long",
        "deep-on",
        local_energy=0.018,
        adversarial_weight=1.6e-2,
    ),
    "gan-linear": detail_gan(
        "energies compared by their differences, a quarter of gan-on's steps",
        "deep-on",
        local_energy=0.02,
        adversarial_weight=1.6e-2,
        epsilon=1.0e-8,
        batches=800,
    ),
    "gan-sharp": detail_gan(
        "the same from scales-on-mean, more of both, twice as long",
        "scales-on-mean",
        local_energy=0.03,
        adversarial_weight=2.0e-2,
        epsilon=1.0e-8,
    ),
    "gan-mask": detail_gan(
        "gan-linear from scales-on-mean, a quarter of the critic, twice the energy",
        "scales-on-mean",
        local_energy=0.04,
        adversarial_weight=4.0e-3,
        epsilon=1.0e-8,
        batches=800,
    ),
    "gan-mean": detail_gan(
        "the mean of possible energies asked for, not their median, half as long",
        "scales-on-mean",
        local_energy=0.02,
        adversarial_weight=1.6e-2,
        epsilon=1.0e-8,
        batches=400,
    ),
    "gan-square": detail_gan(
        "the same by squares, which leave skin alone, and half as much again of it",
        "scales-on-mean",
        local_energy=0.03,
        adversarial_weight=1.6e-2,
        epsilon=1.0e-8,
        batches=400,
    ),
    "gan-adam": gan("Adam's epsilon of 1e-8", epsilon=1.0e-8),
    "gan-hinge": gan("hinge", adversarial_loss="hinge"),
    "gan-features": gan("+ the critic's features", feature_weight=0.1),
    "gan-texture": gan("+ Gram matrices of the critic's features", texture_weight=1.0),
    "gan-no-average": gan("the last step instead of EMA", ema_decay=0.0),
    "gan-unet-critic": gan("U-Net critic", critic={"kind": "unet_critic", "features": 32}),
    "gan-energy": gan(
        "+ as much gradient energy as the original", content={"l1": 1.0, "gradient_energy": 0.02}
    ),
    "gan-light": gan(
        "weight 0.006, more for gradient energy",
        content={"l1": 1.0, "gradient_energy": 0.03},
        adversarial_weight=6.0e-3,
    ),
    "energy": gan(
        "as much gradient energy, no critic's opinion",
        content={"l1": 1.0, "gradient_energy": 0.02},
        adversarial_weight=0.0,
    ),
}


def main() -> None:
    """Runs what is not done yet and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_common_arguments(parser)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EXPERIMENTS)} (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="of a training (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="of a training (%(default)s)")
    parser.add_argument("--table", action="store_true", help="only print what is done")
    parsed = parser.parse_intermixed_args()
    torch.set_num_threads(parsed.threads)
    work, photographs = parsed.work.resolve(), parsed.photographs.resolve()
    names = parsed.names or list(EXPERIMENTS)
    if parsed.table:
        print(_table(work, names))
        return
    params = load_params(any_device=True)
    board = choose_board(params.scoreboard)
    digest = make_inputs(
        board, recipes=params.recipes, root=photographs, folder=work / "inputs", seed=params.seed
    )
    for name in tqdm(names, unit="experiment"):
        experiment = EXPERIMENTS[name]
        key = json.dumps([experiment, STEPS, PICTURES, _digest_start(work, experiment)])
        folder = work / name
        trained, scored = folder / "trained.json", folder / "scored.txt"
        if not trained.is_file() or json.loads(trained.read_text())["key"] != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            seconds = _train(work, name, photographs, parsed.processes)
            trained.write_text(json.dumps({"key": key, "seconds": seconds}))
        if scored.is_file() and scored.read_text() == digest:
            continue
        baselines = build_methods(board.back_projections, {})
        methods = {BICUBIC: baselines[BICUBIC], name: _restore(work, name)}
        rows = score(work / "inputs", board, methods, ("psnr", "gradient_energy_ratio"))
        reports.write_csv(
            folder / "scores.csv",
            [{**row._asdict(), "values": json.dumps(dict(row.values))} for row in rows],
        )
        scored.write_text(digest)
    print(_table(work, names))


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """What the campaign and everything that looks at its rows is told."""
    parser.add_argument("photographs", type=Path, help="root of params.yaml's scoreboard")
    parser.add_argument("--work", type=Path, default=Path(".campaign"), help="(%(default)s)")


def choose_board(board: ScoreboardParams) -> ScoreboardParams:
    """The part of the scoreboard that a row of the campaign is measured on."""
    sources = {
        name: board.sources[name].model_copy(update={"count": count})
        for name, count in SOURCES.items()
    }
    conditions = {name: board.conditions[name] for name in CONDITIONS}
    return board.model_copy(update={"sources": sources, "conditions": conditions})


def _train(work: Path, name: str, photographs: Path, processes: int) -> float:
    """Runs the experiment's stages in its folder and returns the seconds of the trainings."""
    experiment, folder = EXPERIMENTS[name], work / name
    if experiment.mean_of:
        networks = [load_network(_weights(work, other)) for other in experiment.mean_of]
        (folder / paths.GENERATOR).parent.mkdir()
        save_networks(folder / paths.GENERATOR, [average(networks)])
        return 0.0
    if not experiment.stages:
        return 0.0
    params = _params(work, name, photographs)
    data = _prepare(work, params)
    if experiment.start and experiment.stages == GENERATOR:
        training = params["profiles"]["starter"]["train_generator"]
        training["init_from"] = str(_weights(work, experiment.start))
    with _inside(folder, params):
        Path("data").mkdir()
        Path("data/pairs").symlink_to(data / "data/pairs")
        if experiment.stages == GAN:
            paths.GENERATOR.parent.mkdir()
            shutil.copyfile(_weights(work, experiment.start), paths.GENERATOR)
            digest = sha256(paths.GENERATOR.read_bytes()).hexdigest()[:12]
            restored = data / f"restored-{digest}"
            if not restored.is_dir():
                part = restored.with_name(f"{restored.name}.part")
                _restore_all(params["profiles"]["starter"]["sizes"]["generator_size"], part)
                part.rename(restored)
            paths.GENERATOR_IMAGES.parent.mkdir()
            paths.GENERATOR_IMAGES.symlink_to(restored)
        start = time.perf_counter()
        for stage in experiment.stages:
            if processes == 1:
                importlib.import_module(f"stages.{stage}").main()
            else:
                _run_on_processes(stage, processes)
        return time.perf_counter() - start


def _run_on_processes(stage: str, count: int) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    ended = subprocess.run(
        [sys.executable, *command, "-m", f"stages.{stage}"], env=os.environ | environment
    )
    if ended.returncode:
        raise SystemExit(f"error: {stage} failed on {count} processes. It says why above.")


def average(networks: Sequence[Network]) -> Network:
    """Gives a network with the mean of the weights of some of one architecture."""
    architecture = networks[0].architecture
    if any(network.architecture != architecture for network in networks):
        raise SystemExit("error: only networks of one architecture have a mean.")
    states = [network.module.state_dict() for network in networks]
    module = build(architecture)
    module.load_state_dict(
        {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    )
    return Network(architecture, module)


def _params(work: Path, name: str, photographs: Path) -> dict[str, Any]:
    """params.yaml with the experiment's changes, as the stages read it."""
    experiment = EXPERIMENTS[name]
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["seed"] += experiment.seed_offset
    profile = params["profiles"]["starter"]
    params |= {"profile": "starter", "profiles": {"starter": profile}}
    profile["fetch_faces"] |= {"count": PICTURES, "valid_fraction": 0.05, "test_fraction": 0.05}
    profile["fetch_selfies"]["count"] = 1
    profile["degrade"]["validation_sets"] = []
    profile["training"]["checkpoint_minutes"] = 5.0
    for key, value in {**BASE, **phases({}), **experiment.changes}.items():
        *parents, last = key.split(".")
        functools.reduce(lambda node, parent: node[parent], parents, profile)[last] = value
    if experiment.pictures != "generated":
        chosen = _collect_photographs(work, photographs, experiment.pictures)
        profile["fetch_faces"] |= {"source": "folder", "path": str(chosen)}
    return params


def _prepare(work: Path, params: Mapping[str, Any]) -> Path:
    """Makes the pictures and pairs, once for all experiments that share them."""
    profile = params["profiles"]["starter"]
    sections = [params["seed"], params["recipes"], profile["degrade"], profile["fetch_faces"]]
    data = work / "data" / sha256(json.dumps(sections).encode()).hexdigest()[:12]
    if not data.is_dir():
        part = data.with_name(f"{data.name}.part")
        with _inside(part, params):
            for stage in ("fetch_faces", "fetch_selfies", "degrade"):
                importlib.import_module(f"stages.{stage}").main()
        part.rename(data)
    return data


@contextlib.contextmanager
def _inside(folder: Path, params: Mapping[str, Any]) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / paths.REMOVED).write_bytes((ROOT / paths.REMOVED).read_bytes())
    with contextlib.chdir(folder):
        yield


def _collect_photographs(work: Path, photographs: Path, kind: str) -> Path:
    """Collects faces that the scoreboard does not show, for "both" and "wide" beside drawn ones."""
    folder = work / "photographs" / kind
    if not folder.is_dir():
        part = folder.with_name(f"{kind}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        params = load_params(any_device=True)
        board = params.scoreboard
        unseen = functools.partial(_unseen, photographs=photographs, seed=params.seed)
        files = unseen(board.sources["officials"])
        if kind in ("people", "scales"):
            # The scoreboard shows everyone of London, the campaign measures some.
            files += unseen(choose_board(board).sources["london"])
        if kind != "faces":
            drawn = _prepare(work, _params(work, "base", photographs))
            files += images.find(drawn / paths.FACES)[: DRAWN[kind]]
        for path in files:
            shutil.copyfile(path, part / path.name)
        for source, sides in MOSAICS.get(kind, {}).items():
            others = unseen(board.sources[source])
            for side, arrangements in sides.items():
                label = source if side in OTHER_SIZES[source] else f"{source}{side}"
                _write_mosaics(others, side, part / label, arrangements=arrangements)
        part.rename(folder)
    return folder


def _unseen(source: ScoreboardSource, photographs: Path, seed: int) -> list[Path]:
    """The photographs that are not among the source's chosen ones."""
    everyone = source.model_copy(update={"count": sys.maxsize})
    shown = set(choose_files(source, photographs, seed))
    return [path for path in choose_files(everyone, photographs, seed) if path not in shown]


def _write_mosaics(files: Sequence[Path], side: int, folder: Path, *, arrangements: int) -> None:
    """Lays faces of `side` pixels side by side in pictures as large as all others.

    A face of 128 px has other detail than one of 512, and the pipeline has one size.
    """
    across = math.ceil(MOSAIC / side)
    faces = [images.read_square(path, side) for path in files]
    rng = np.random.default_rng(side)
    for arrangement in range(arrangements):
        order = rng.permutation(len(faces))
        for number, start in enumerate(range(0, len(faces) - across**2 + 1, across**2)):
            chosen = [faces[position] for position in order[start : start + across**2]]
            mosaic = make_grid(chosen, nrow=across, padding=0)[:, :MOSAIC, :MOSAIC]
            images.write(folder / f"{folder.name}-{arrangement}-{number:03}.png", mosaic)


def _restore_all(side: int, folder: Path) -> None:
    network = load_network(paths.GENERATOR).module
    splits = {
        split: load_pairs(folder / LR, folder / HR, hr_size=side)
        for split, folder in (("train", paths.TRAIN_PAIRS), ("valid", paths.VALID_PAIRS))
    }
    restore_all(network, splits, folder, between=lambda: None)


def _digest_start(work: Path, experiment: Experiment) -> str:
    """Of the weights that are begun with: a row is trained again when they are others."""
    digests = []
    for name in filter(None, (experiment.start, *experiment.mean_of)):
        weights = _weights(work, name)
        if not weights.is_file():
            raise SystemExit(f"error: {name} has not been trained. Name it before.")
        digests.append(sha256(weights.read_bytes()).hexdigest())
    return " ".join(digests)


def _weights(work: Path, name: str) -> Path:
    """The file of an experiment, or of the one that it starts from."""
    if name not in EXPERIMENTS:
        return Path(name)
    experiment = EXPERIMENTS[name]
    if not experiment.stages and not experiment.mean_of:
        return _weights(work, experiment.start)
    return work / name / (paths.GAN if experiment.stages == GAN else paths.GENERATOR)


def _restore(work: Path, name: str) -> Restore:
    experiment = EXPERIMENTS[name]
    enhancer = Enhancer.from_checkpoint(_weights(work, name))

    def restore(lr: Tensor, scale: int) -> tuple[Tensor, float]:
        result = enhancer.enhance(lr, scale=scale, **experiment.options)
        return result.image, result.seconds

    return restore


def _table(work: Path, names: Sequence[str]) -> str:
    header = ["row", "question", "gain, dB", "than", "difference", "gradient energy", "training, s"]
    lines = []
    for name in names:
        experiment = EXPERIMENTS[name]
        own, bicubic, seconds = read_scores(work, name)
        other = read_scores(work, experiment.than)[0]
        if own.keys() - other.keys():
            raise SystemExit(f"error: {experiment.than} was measured on other faces. Name it too.")
        gains, differences, energies = [], [], []
        for condition in CONDITIONS:
            keys = [key for key in own if key[1] == condition]
            psnr = [own[key]["psnr"] for key in keys]
            gain = reports.paired_difference(psnr, [bicubic[key]["psnr"] for key in keys])
            gains.append(f"{gain.mean:+.2f}")
            change = reports.paired_difference(psnr, [other[key]["psnr"] for key in keys])
            differences.append(f"{change.mean:+.3f} ± {change.standard_error:.3f}")
            energy = [own[key]["gradient_energy_ratio"] for key in keys]
            energies.append(f"{reports.summarise(energy).mean:.2f}")
        compared = (
            [experiment.than, " / ".join(differences)] if experiment.than != name else ["", ""]
        )
        lines.append(
            [name, experiment.question, " / ".join(gains), *compared]
            + [" / ".join(energies), f"{seconds:.0f}"]
        )
    return f"{' / '.join(CONDITIONS)}\n\n{reports.markdown_table(header, lines)}"


Key = tuple[str, str, str]
"""Source, condition and stem."""
Scores = dict[Key, dict[str, float]]


def read_scores(work: Path, name: str) -> tuple[Scores, Scores, float]:
    """Values by picture: the experiment's, bicubic's; and the seconds."""
    path = work / name / "scores.csv"
    if not path.is_file():
        raise SystemExit(f"error: {name} has not been measured. Name it too.")
    own: Scores = {}
    bicubic: Scores = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            scores = bicubic if row["method"] == BICUBIC else own
            scores[row["source"], row["condition"], row["stem"]] = json.loads(row["values"])
    return own, bicubic, json.loads((work / name / "trained.json").read_text())["seconds"]


if __name__ == "__main__":
    main()
