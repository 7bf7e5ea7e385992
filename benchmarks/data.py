"""How fast pictures become training data: decode, degrade, pack, and DVC's part in it.

Run: make bench-data. Everything is drawn by program in a temporary folder. Rates are pictures per
second, the median of several rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facesr import images
from facesr.config import DegradeParams, Params, Recipes, Sizes, load_params
from facesr.degradation import Degradation
from facesr.manifest import read_manifest
from facesr.pairing import write_pairs
from facesr.pairs import TrainBatches, load_pairs
from facesr.reports import markdown_table
from facesr.sources import fetch
from facesr.sources.generated import draw

ROUNDS = 5
SIDE = 1024
LR = 128


def main() -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="of the run end to end")
    parser.add_argument("--dvc-files", type=int, nargs="*", default=[1_600, 70_000])
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(any_device=True)
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as silent:
        root = Path(folder)
        with redirect_stderr(silent):
            one_core(root)
            degradations(params.recipes)
            scaling(root, params)
            end_to_end(root, params, parsed.files)
        for count in parsed.dvc_files:
            dvc(root / f"dvc{count}", count)


def rate(work: Callable[[], object], pictures: int = 1) -> float:
    """Pictures per second, the median of some rounds; the first one only warms up."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return pictures / statistics.median(seconds)


def table(title: str, rows: list[tuple[str, float]], unit: str = "pictures/s") -> None:
    """Prints a table with the rates beside the first one's."""
    first = rows[0][1]
    cells = [[name, f"{value:.3g}", f"{value / first:.2f}"] for name, value in rows]
    print(f"\n{title}\n\n{markdown_table(['', unit, 'beside the first'], cells)}", flush=True)


def one_core(root: Path) -> None:
    """Decoding and encoding beside plain Pillow."""
    face = draw(7, 1, SIDE)
    path = root / "face.png"
    images.write(path, face)
    jpeg = images.encode_jpeg(face, quality=95, chroma_halved=True)

    def pillow(source: Path | BytesIO) -> None:
        with Image.open(source) as picture:
            np.asarray(picture.convert("RGB"))

    table(
        f"Decode, {SIDE} px, one core",
        [
            ("PNG, plain Pillow", rate(lambda: pillow(path))),
            ("PNG, images.read", rate(lambda: images.read(path))),
            ("JPEG, plain Pillow", rate(lambda: pillow(BytesIO(jpeg)))),
            ("JPEG, images.read", rate(lambda: images.read(jpeg))),
        ],
    )


def degradations(recipes: Recipes) -> None:
    """Every recipe on whole faces and on the crops of a training, one core."""
    for side, lr_size in ((SIDE, LR), (256, 64)):
        face = images.round_to_8bit(images.resize(draw(7, 1, SIDE), (side, side), "bicubic"))
        rows = [("plain Pillow: bicubic, JPEG", rate(partial(pillow_only, face, lr_size)))]
        for name in recipes:
            degradation = Degradation(name, recipes)
            if degradation.base_scale * lr_size <= side:
                rows.append((name, rate(partial(degrade_some, degradation, face, lr_size), 8)))
        table(f"Degrade, {side} to {lr_size} px, one core", rows)


def pillow_only(face: Tensor, lr_size: int) -> None:
    """What a script of ten lines would do."""
    buffer = BytesIO()
    small = images.to_pillow(face).resize((lr_size, lr_size), Image.Resampling.BICUBIC)
    small.save(buffer, "JPEG", quality=75)
    np.asarray(Image.open(buffer))


def degrade_some(degradation: Degradation, face: Tensor, lr_size: int) -> None:
    """Eight draws of a recipe."""
    for number in range(8):
        degradation(face, lr_size=lr_size, rng=np.random.default_rng((7, number)))


def faces(root: Path, params: Params, count: int, side: int) -> Path:
    """A fetched folder of pictures that differ in a few rows."""
    source = root / f"source{count}"
    source.mkdir()
    drawn = [images.to_uint8(draw(7, index, side)).permute(1, 2, 0).numpy() for index in range(8)]
    for index in range(count):
        picture = drawn[index % 8].copy()
        picture[0, :4] = np.frombuffer(index.to_bytes(12, "big"), np.uint8).reshape(4, 3)
        Image.fromarray(picture).save(source / f"{index:06d}.png", compress_level=1)
    output = root / f"faces{count}"
    fetch(
        params.fetch_faces.model_copy(
            update={"source": "folder", "path": str(source), "count": count}
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
    """Writes the pairs of a fetched folder."""
    output = root / f"pairs{workers}"
    write_pairs(
        [source],
        {"train": output / "train", "valid": output / "valid"},
        DegradeParams(recipe="gfpgan", fresh=False, validation_sets=()),
        recipes=params.recipes,
        sizes=sizes,
        validation_sets=output / "valid_sets",
        seed=7,
        report=root / "report",
        workers=workers,
    )
    return output


def scaling(root: Path, params: Params) -> None:
    """Pairs of faces of 1024 px on one core and two, and reading them in a training."""
    count = 96
    source = faces(root, params, count, SIDE)
    sizes = Sizes(hr_size=SIDE, generator_size=512, lr_size=LR)
    rows = []
    decoded = [source / entry.file for entry in read_manifest(source)]
    start = time.perf_counter()
    for path in decoded:
        images.read(path)
    rows.append(("decode only, one core", count / (time.perf_counter() - start)))
    for workers in (1, 2):
        start = time.perf_counter()
        # Sheets of all recipes cost the same for any number of faces.
        with patch("facesr.pairing._write_sheets"):
            pairs(root, params, source, sizes, workers)
        rows.append((f"pairs, {workers} processes", count / (time.perf_counter() - start)))
    table(f"{count} faces of {SIDE} px to packs, start of the processes included", rows)
    loaded = load_pairs(root / "pairs1/train/lr", root / "pairs1/train/hr", hr_size=512)
    batches = TrainBatches(loaded, batch_size=16, crop_size=64, crops_per_pair=4, seed=7)

    def decode() -> None:
        for path in decoded[:16]:
            images.resize(images.read(path), (512, 512), "bicubic")

    fresh = loaded._replace(degradation=Degradation("mixture", params.recipes))
    again = TrainBatches(fresh, batch_size=16, crop_size=64, crops_per_pair=4, seed=7)
    table(
        "Training batches of 16 crops, 512 px faces",
        [
            ("from PNG files of 1024 px", rate(decode, 16)),
            ("from packs", rate(lambda: list(batches), 16 * len(batches))),
            ("from packs, fresh mixture, all cores", rate(lambda: list(again), 16 * len(again))),
        ],
    )


def end_to_end(root: Path, params: Params, count: int) -> None:
    """Many files of 128 px from a folder to packs."""
    start = time.perf_counter()
    source = faces(root, params, count, 128)
    middle = time.perf_counter()
    sizes = Sizes(hr_size=128, generator_size=128, lr_size=32)
    pairs(root, params, source, sizes, None)
    end = time.perf_counter()
    print(
        f"\n{count} files of 128 px: drawn and fetched in {middle - start:.0f} s, "
        f"pairs in {end - middle:.0f} s, all cores",
        flush=True,
    )


def dvc(root: Path, count: int) -> None:
    """A folder of small files between two stages: the first run, and one with nothing to do."""
    root.mkdir()
    (root / "make.py").write_text(
        "import os\nos.makedirs('data/faces')\n"
        f"for i in range({count}):\n"
        "    with open(f'data/faces/{i:06d}.png', 'wb') as file:\n"
        "        file.write(os.urandom(800) + i.to_bytes(4, 'big'))\n"
    )
    (root / "use.py").write_text("open('data/pairs', 'w').write('done')\n")
    (root / "dvc.yaml").write_text(
        f"stages:\n  make:\n    cmd: {sys.executable} make.py\n    deps: [make.py]\n"
        f"    outs: [data/faces]\n  use:\n    cmd: {sys.executable} use.py\n"
        "    deps: [use.py, data/faces]\n    outs: [data/pairs]\n"
    )
    environment = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(root / "config"),
    }
    run = partial(subprocess.run, cwd=root, env=environment, check=True, capture_output=True)
    run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"])
    run([sys.executable, "-m", "dvc", "config", "cache.type", "hardlink,symlink,copy"])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        run([sys.executable, "-m", "dvc", "repro", "--quiet"])
        seconds.append(time.perf_counter() - start)
    print(
        f"\ndvc repro, {count} files: first {seconds[0]:.1f} s, "
        f"nothing to do {min(seconds[1:]):.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
