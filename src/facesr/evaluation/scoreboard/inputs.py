"""Originals and their low-resolution views, made once."""

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from facesr import images, reports
from facesr.data.degradation import Degradation
from facesr.data.pairs import HR, LR
from facesr.errors import DataError
from facesr.evaluation.scoreboard.settings import (
    SCOREBOARD_FILE,
    ScoreboardParams,
    ScoreboardSource,
)
from facesr.files import atomic_folder, digest

KEY = "key.txt"


def make_inputs(
    params: ScoreboardParams,
    *,
    root: Path,
    folder: Path,
    seed: int,
) -> str:
    """Write `FOLDER/SOURCE/CONDITION/{hr,lr}/STEM.png` where they are not there already.

    Args:
        params: Sources and conditions.
        root: Folder of the sources' paths.
        folder: Gets the inputs; emptied when their definition or a photograph has changed.
        seed: Chooses images and draws degradations, together with each image's content.

    Returns:
        A digest of all inputs: equal digests, equal pixels.

    Raises:
        DataError: A source is missing, has no image of its names, or an image is too small.
    """
    files = {name: choose_files(one, root, seed) for name, one in params.sources.items()}
    key = json.dumps(
        {
            "seed": seed,
            "sources": params.model_dump(mode="json")["sources"],
            "photographs": {
                name: {stem: digest(path, "sha256") for stem, path in chosen.items()}
                for name, chosen in files.items()
            },
            "conditions": {
                name: [one.scale, Degradation(one.recipe, params.recipes).to_json()]
                for name, one in params.conditions.items()
            },
        },
        sort_keys=True,
    )
    if not (folder / KEY).is_file() or (folder / KEY).read_text(encoding="utf-8") != key:
        with atomic_folder(folder) as part:
            for name, chosen in files.items():
                _make_source(params, name, chosen, folder=part, seed=seed)
            reports.write_text(part / KEY, key)
    pixels = hashlib.sha256()
    for path in images.find(folder):
        pixels.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return pixels.hexdigest()[:16]


def _make_source(
    params: ScoreboardParams, name: str, files: Mapping[str, Path], *, folder: Path, seed: int
) -> None:
    hr_size = params.sources[name].hr_size
    for stem, path in tqdm(files.items(), unit="image", desc=name, disable=None):
        hr = images.round_to_8bit(_read(path, hr_size, params.multiple))
        content = int(hashlib.sha256(images.encode_png(hr)).hexdigest()[:16], 16)
        for label, condition in params.conditions.items():
            lr = Degradation(condition.recipe, params.recipes)(
                hr,
                lr_size=hr.shape[-1] // condition.scale,
                rng=np.random.default_rng((seed, content)),
            )
            images.write(folder / name / label / HR / f"{stem}.png", hr)
            images.write(folder / name / label / LR / f"{stem}.png", lr)


def stems_of(folder: Path, source: str, condition: str) -> list[str]:
    """Return the names of the inputs of a source under a condition."""
    return [path.stem for path in images.find(folder / source / condition / HR)]


def read_input(folder: Path, source: str, condition: str, stem: str) -> tuple[Tensor, Tensor]:
    """Return an input and its original, as `make_inputs` has written them."""
    lr, hr = (images.read(folder / source / condition / kind / f"{stem}.png") for kind in (LR, HR))
    return lr, hr


def choose_files(source: ScoreboardSource, root: Path, seed: int) -> dict[str, Path]:
    """Return the photographs of a source by the name of their inputs.

    Raises:
        DataError: There are none, or two would have inputs of one name.
    """
    place = root / source.path
    files = [path for path in images.find(place) if fnmatch(path.name, source.pattern)]
    if not files:
        raise DataError(
            f"{place} holds no image named {source.pattern}. Choose another folder or pattern."
        )
    chosen: dict[str, Path] = {}
    for position in sorted(np.random.default_rng(seed).permutation(len(files))[: source.count]):
        path = files[position]
        stem = path.relative_to(place).with_suffix("").as_posix().replace("/", "_")
        if stem in chosen:
            raise DataError(f"{chosen[stem]} and {path} differ in their endings only. Rename one.")
        chosen[stem] = path
    return chosen


def _read(path: Path, hr_size: int, multiple: int) -> Tensor:
    square = images.centre_square(images.read(path))
    side = square.shape[-1]
    if side < (hr_size or multiple):
        raise DataError(
            f"{path} has a side of {side} px where {hr_size or multiple} px are needed. Remove it, "
            f"or lower hr_size in {SCOREBOARD_FILE}."
        )
    if hr_size:
        return images.resize(square, (hr_size, hr_size), "lanczos").clamp(0, 1)
    # The customary test sets are never resized.
    side = side // multiple * multiple
    return square[:, :side, :side]
