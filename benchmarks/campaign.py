"""The quality campaign: short trainings that differ in one thing, measured on real faces.

    python -m benchmarks.campaign [--work .campaign] [--processes N] [--table] DATA [NAME...]

Every one of `benchmarks.experiments` runs the stages themselves on the profile `starter` with its
changes, and is measured on the scoreboard's stored inputs (London, US officials, FFHQ; clean, JPEG,
blur + noise + JPEG, first and second order; x4). No picture that is measured is trained on.
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
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from torchvision.utils import make_grid
from tqdm import tqdm

from benchmarks.experiments import (
    BASE,
    EXPERIMENTS,
    GAN,
    GENERATOR,
    PICTURES,
    ROOT,
    STEPS,
    Experiment,
    phases,
)
from facesr import images, paths, reports, stats
from facesr.checkpoints import average, load_network, save_networks
from facesr.config import ScoreboardParams, ScoreboardSource, load_params
from facesr.enhancer import Enhancer
from facesr.pairs import HR, LR, load_pairs
from facesr.scoreboard import Restore, build_methods, choose_files, make_inputs, score
from facesr.tables import BICUBIC
from facesr.training.restore import restore_all

CONDITIONS = (
    "clean x4",
    "JPEG x4",
    "blur noise JPEG x4",
    "first order x4",
    "second order x4",
)
SOURCES = {"london": 12, "officials": 24, "ffhq": 64}
"""All faces of the scoreboard that no row has been trained on."""
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
            gain = stats.paired_difference(psnr, [bicubic[key]["psnr"] for key in keys])
            gains.append(f"{gain.mean:+.2f}")
            change = stats.paired_difference(psnr, [other[key]["psnr"] for key in keys])
            differences.append(f"{change.mean:+.3f} ± {change.standard_error:.3f}")
            energy = [own[key]["gradient_energy_ratio"] for key in keys]
            energies.append(f"{stats.summarise(energy).mean:.2f}")
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
