"""Originals and their low-resolution views, made once."""

import hashlib
import json
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from facesr import images, reports
from facesr.data.degradation import Degradation
from facesr.data.pairs import HR, LR
from facesr.errors import DataError
from facesr.evaluation.scoreboard.settings import ScoreboardParams, ScoreboardSource
from facesr.files import atomic_folder

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
        folder: Gets the inputs; emptied when their definition has changed.
        seed: Chooses images and draws degradations, together with each image's content.

    Returns:
        A digest of all inputs: equal digests, equal pixels.

    Raises:
        DataError: A source is missing, has no image of its names, or an image is too small.
    """
    key = json.dumps(
        {
            "seed": seed,
            "sources": params.model_dump(mode="json")["sources"],
            "conditions": {
                name: [one.scale, Degradation(one.recipe, params.recipes).to_json()]
                for name, one in params.conditions.items()
            },
        },
        sort_keys=True,
    )
    if not (folder / KEY).is_file() or (folder / KEY).read_text(encoding="utf-8") != key:
        with atomic_folder(folder) as part:
            for name, source in params.sources.items():
                _make_source(params, name, source, root=root, folder=part, seed=seed)
            reports.write_text(part / KEY, key)
    digest = hashlib.sha256()
    for path in images.find(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _make_source(
    params: ScoreboardParams,
    name: str,
    source: ScoreboardSource,
    *,
    root: Path,
    folder: Path,
    seed: int,
) -> None:
    for path in tqdm(choose_files(source, root, seed), unit="image", desc=name, disable=None):
        hr = images.round_to_8bit(_read(path, source.hr_size, params.multiple))
        content = int(hashlib.sha256(images.encode_png(hr)).hexdigest()[:16], 16)
        for label, condition in params.conditions.items():
            lr = Degradation(condition.recipe, params.recipes)(
                hr,
                lr_size=hr.shape[-1] // condition.scale,
                rng=np.random.default_rng((seed, content)),
            )
            images.write(folder / name / label / HR / f"{path.stem}.png", hr)
            images.write(folder / name / label / LR / f"{path.stem}.png", lr)


def choose_files(source: ScoreboardSource, root: Path, seed: int) -> list[Path]:
    """The photographs of a source, which no network of the scoreboard may be trained on.

    Raises:
        DataError: There are none.
    """
    place = root / source.path
    files = [path for path in images.find(place) if fnmatch(path.name, source.names)]
    if not files:
        raise DataError(f"{place} holds no image named {source.names}. Check the scoreboard.")
    chosen = np.random.default_rng(seed).permutation(len(files))[: source.count]
    return [files[position] for position in sorted(chosen)]


def _read(path: Path, hr_size: int, multiple: int) -> Tensor:
    if hr_size:
        return images.read_square(path, hr_size)
    # The customary test sets are never resized.
    square = images.centre_square(images.read(path))
    side = square.shape[-1] // multiple * multiple
    return square[:, :side, :side]
