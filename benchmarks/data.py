"""Speed of decoding, degrading and packing images.

Run: make bench-data, on an idle computer. Everything is made of the samples in a temporary folder.
Rates are images per second, the median of several rounds. `--faces` makes a shorter run.
"""

import argparse
import hashlib
import os
import platform
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from facesr import images
from facesr.config import DegradeParams, Params, Recipes, Sizes, load_params
from facesr.data import packs
from facesr.data.degradation import Degradation
from facesr.data.degrade import write_pairs
from facesr.data.fetch import fetch
from facesr.data.manifest import read_manifest
from facesr.data.pairs import FreshViews, TrainBatches, load_pairs
from facesr.parallel import cores
from facesr.reports import markdown_table

ROUNDS = 5
SIDE = 1024
GENERATOR = 512
LR = 128
DRAWN = 8
SAMPLES = sorted(Path("samples/london").glob("*.jpg"))


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=512, help=f"of {SIDE} px for the scaling")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(any_device=True)
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as silent:
        root = Path(folder)
        with redirect_stderr(silent):
            load = f"load {os.getloadavg()[0]:.1f} at the start"
            print(f"{platform.machine()}, {cores()} cores, {load}", flush=True)
            one_core(root)
            degradations(params.recipes)
            packing(root)
            scaling(root, params, parsed.faces)


def rate(work: Callable[[], object], count: int = 1) -> float:
    """Images per second, the median of some rounds; the first one only warms up."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        seconds.append(timed(work))
    return count / statistics.median(seconds)


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table(title: str, rows: list[tuple[str, float]]) -> None:
    """Print a table with the rates beside the first one's."""
    first = rows[0][1]
    cells = [[name, f"{value:.3g}", f"{value / first:.2f}"] for name, value in rows]
    header = [title, "images/s", "beside the first"]
    print(f"\n{markdown_table(header, cells)}", flush=True)


def plain_pillow(*sources: Path | BytesIO) -> None:
    """Decode as a script of three lines would."""
    for source in sources:
        with Image.open(source) as image:
            np.asarray(image.convert("RGB"))


def one_core(root: Path) -> None:
    """Decoding beside plain Pillow."""
    face = sample(1, SIDE)
    path = root / "face.png"
    images.write(path, face)
    jpeg = images.encode_jpeg(face, quality=95, chroma_halved=True)
    table(
        f"decode, {SIDE} px, one core",
        [
            ("PNG, plain Pillow", rate(lambda: plain_pillow(path))),
            ("PNG, images.read", rate(lambda: images.read(path))),
            ("JPEG, plain Pillow", rate(lambda: plain_pillow(BytesIO(jpeg)))),
            ("JPEG, images.read", rate(lambda: images.read(jpeg))),
        ],
    )


def degradations(recipes: Recipes) -> None:
    """Every recipe: whole faces, the stored start of `best`, the crops of a training; one core."""
    for side, lr_size in ((SIDE, LR), (GENERATOR, LR), (256, 64)):
        face = images.round_to_8bit(sample(1, side))
        rows = [("plain Pillow: bicubic, JPEG", rate(partial(pillow_only, face, lr_size)))]
        for name in recipes:
            degradation = Degradation(name, recipes)
            if degradation.base_scale * lr_size <= side:
                rows.append((name, rate(partial(degrade_some, degradation, face, lr_size), DRAWN)))
        table(f"degrade, {side} to {lr_size} px, one core", rows)


def pillow_only(face: Tensor, lr_size: int) -> None:
    """What a script of ten lines would do."""
    buffer = BytesIO()
    small = images.to_pillow(face).resize((lr_size, lr_size), Image.Resampling.BICUBIC)
    small.save(buffer, "JPEG", quality=75)
    np.asarray(Image.open(buffer))


def degrade_some(degradation: Degradation, face: Tensor, lr_size: int) -> None:
    """Some draws of a recipe."""
    for number in range(DRAWN):
        degradation(face, lr_size=lr_size, rng=np.random.default_rng((7, number)))


def packing(root: Path) -> None:
    """Writing and reading images as PNG files and in a pack, one core."""
    faces = [images.to_uint8(sample(index, GENERATOR)) for index in range(DRAWN)]
    decoded = [Image.fromarray(face.permute(1, 2, 0).numpy()) for face in faces]
    files = [root / f"pack{index}.png" for index in range(DRAWN)]

    def save() -> None:
        for image, file in zip(decoded, files, strict=True):
            image.save(file)

    def pack() -> None:
        with packs.new_pack(root / "pack", [file.stem for file in files], [GENERATOR]) as part:
            for index, face in enumerate(faces):
                packs.writable(part, GENERATOR)[index] = face.numpy()

    def read_pack() -> None:
        # All of it, as a training's epoch does.
        packs.read_pack(root / "pack").clone()

    rates = {work: rate(work, DRAWN) for work in (save, pack)}
    reading = rate(lambda: plain_pillow(*files), DRAWN)
    table(
        f"pack, {GENERATOR} px, one core",
        [
            ("written as PNG, plain Pillow", rates[save]),
            ("written into a pack", rates[pack]),
            ("read from PNG, plain Pillow", reading),
            ("read from a pack", rate(read_pack, DRAWN)),
        ],
    )


def faces(root: Path, params: Params, count: int, side: int) -> Path:
    """A fetched folder of images."""
    write_source(root, count, side)
    return fetch_source(root, params, count, side)


def sample(number: int, side: int) -> Tensor:
    """Return one of the samples, (3, side, side) in [0, 1]."""
    face = images.read(SAMPLES[number % len(SAMPLES)])
    return images.resize(face, (side, side), "lanczos").clamp(0, 1)


def write_source(root: Path, count: int, side: int) -> None:
    """Write images that differ in a few pixels."""
    source = root / f"source{count}"
    source.mkdir()
    faces = [
        images.to_uint8(sample(index, side)).permute(1, 2, 0).numpy() for index in range(DRAWN)
    ]
    for index in range(count):
        image = faces[index % DRAWN].copy()
        image[0, :4] = np.frombuffer(index.to_bytes(12, "big"), np.uint8).reshape(4, 3)
        Image.fromarray(image).save(source / f"{index:06d}.png", compress_level=1)


def fetch_source(root: Path, params: Params, count: int, side: int) -> Path:
    """What the stage does with them."""
    output = root / f"faces{count}"
    fetch(
        params.fetch_faces.model_copy(
            update={"source": "folder", "path": str(root / f"source{count}"), "count": count}
        ),
        size=side,
        seed=7,
        splits={"train": 0.9, "valid": 0.1},
        output=output,
        report=root / "report",
        removed=root / "removed.csv",
    )
    return output


def pairs(root: Path, params: Params, source: Path, sizes: Sizes, workers: int | None) -> Path:
    """Write the pairs of a fetched folder."""
    output = root / f"pairs{workers}"
    write_pairs(
        [source],
        {"train": output / "train", "valid": output / "valid"},
        DegradeParams(recipe="gfpgan", fresh=False, fresh_sizes=(1.0, 1.0), validation="one"),
        recipes=params.recipes,
        suite=(),
        sizes=sizes,
        validation_sets=output / "valid_sets",
        seed=7,
        report=root / "report",
        workers=workers,
    )
    return output


def digest(folder: Path) -> str:
    """Of every file below a folder, by name and content."""
    found = hashlib.md5()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:12]


def plain_pairs(faces: list[Path]) -> None:
    """Pairs as a script of ten lines would make them: what decoding and Pillow alone cost."""
    rng = np.random.default_rng(7)
    kept = np.empty((len(faces), SIDE, SIDE, 3), np.uint8)
    for index, file in enumerate(faces):
        with Image.open(file) as face:
            rgb = face.convert("RGB")
        kept[index] = rgb
        start = rgb.resize((GENERATOR, GENERATOR), Image.Resampling.BICUBIC)
        blurred = start.filter(ImageFilter.GaussianBlur(2))
        small = np.asarray(blurred.resize((LR, LR), Image.Resampling.BICUBIC))
        noisy = (small + rng.normal(0, 5, small.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(BytesIO(), "JPEG", quality=75)


def scaling(root: Path, params: Params, count: int) -> None:
    """Pairs of faces of 1024 px on one core and two, and reading them in a training."""
    source = faces(root, params, count, SIDE)
    sizes = Sizes(hr_size=SIDE, generator_size=GENERATOR, lr_size=LR)
    decoded = [source / entry.file for entry in read_manifest(source)]
    decoding = timed(lambda: deque(map(images.read, decoded), maxlen=0))  # Keeps none of them.
    plain = timed(lambda: plain_pairs(decoded))
    rows = [
        ("decoding only, one core", count / decoding),
        ("plain Pillow: blur, noise, JPEG, kept in memory", count / plain),
    ]
    # Sheets of all recipes cost the same for any number of faces.
    with patch("facesr.data.degrade._write_sheets"):
        for workers in sorted({1, 2, cores()}):
            seconds = timed(partial(pairs, root, params, source, sizes, workers))
            name = f"pairs, {workers} processes, md5 {digest(root / f'pairs{workers}')}"
            rows.append((name, count / seconds))
    table(f"{count} faces of {SIDE} px to packs of {SIDE}, {GENERATOR} and {LR} px", rows)
    loaded = load_pairs(root / "pairs1/train/lr", root / "pairs1/train/hr", hr_size=GENERATOR)
    batched = partial(
        TrainBatches,
        **{"batch_size": 16, "crop_size": 64, "crops_per_pair": 4, "seed": 7},
        device=torch.device("cpu"),
    )
    batches = batched(loaded)

    def decode() -> None:
        for path in decoded[:16]:
            images.resize(images.read(path), (GENERATOR, GENERATOR), "bicubic")

    views = FreshViews(Degradation("mixture", params.recipes), (1.0, 1.0))
    again = batched(loaded._replace(fresh=views))
    table(
        f"training batches of 16 crops, {GENERATOR} px faces",
        [
            (f"from PNG files of {SIDE} px", rate(decode, 16)),
            ("from packs", rate(lambda: list(batches), 16 * len(batches))),
            ("from packs, fresh mixture, all cores", rate(lambda: list(again), 16 * len(again))),
        ],
    )


if __name__ == "__main__":
    main()
