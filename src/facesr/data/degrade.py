"""Pairs of fetched faces and their low-resolution views, in packs."""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from tqdm import tqdm

from facesr import images
from facesr.config import DegradeParams, Recipe, Sizes
from facesr.data import packs
from facesr.data.degradation import Degradation
from facesr.data.manifest import Entry, may_be_shown, notice, read_manifest
from facesr.data.pairs import FRESH, HR, LR, NOTICE, FreshViews
from facesr.errors import DataError
from facesr.files import as_write_error, atomic_folder
from facesr.parallel import map_in_processes
from facesr.reports import sheets

# On the sample sheets.
SHOWN_PER_SPLIT = 3
SHOWN_SIDE = 256
FACES_PER_RECIPE = 4
DRAWS_PER_RECIPE = 4

VALID = "valid"


class _Face(NamedTuple):
    position: int
    file: Path
    sha256: str


class _Shown(NamedTuple):
    """A split on the sheets."""

    split: str
    output: Path
    allowed: Mapping[str, Entry]
    """First images that may be shown, by stem."""


class _Work(NamedTuple):
    """Degradation of each face, and the packs of the results."""

    degradation: Degradation
    lr_size: int
    hr_sides: tuple[int, ...]
    seed: tuple[int, ...]
    lr: Path
    hr: Path | None
    """None writes the low-resolution views only."""


def write_pairs(
    sources: Sequence[Path],
    outputs: Mapping[str, Path],
    params: DegradeParams,
    *,
    recipes: Mapping[str, Recipe],
    suite: Sequence[str],
    sizes: Sizes,
    validation_sets: Path,
    seed: int,
    report: Path,
    workers: int | None = None,
) -> None:
    """Write the pairs of fetched folders: the packs `OUTPUT/lr` and `OUTPUT/hr`.

    The result does not depend on the number of processes.

    Args:
        sources: Folders with a manifest each.
        outputs: Folder for each split of the manifests; replaced at the end.
        suite: Names of further recipes for the validation faces.
        sizes: `lr` holds lr_size, `hr` holds generator_size and hr_size.
        validation_sets: Folder for a pack NAME of the validation faces for each recipe of `suite`,
            in the order of the pairs.
        seed: With an image's content, the seed of its random generator.
        report: Folder for `sheet.png` with the first pairs of each split, and a sheet for each
            recipe.
        workers: Processes; None takes one for each core.

    Raises:
        DataError: A manifest or one of its images is missing, an image is in two splits, or the
            disk is too small.
    """
    entries = [(folder, entry) for folder in sources for entry in read_manifest(folder)]
    _check_splits_are_apart([entry for _, entry in entries])
    degradation = Degradation(params.recipe, recipes)
    hr_sides = tuple(sorted({sizes.generator_size, sizes.hr_size}))
    shown: list[_Shown] = []
    jobs: list[tuple[_Work, _Face]] = []
    with as_write_error(validation_sets.parent), ExitStack() as stack:
        sets = stack.enter_context(atomic_folder(validation_sets))
        for split, output in outputs.items():
            # Sorted by stem, as a folder of images is read.
            chosen = sorted(
                (Path(entry.file).stem, folder, entry)
                for folder, entry in entries
                if entry.split == split
            )
            if not chosen:
                shutil.rmtree(output, ignore_errors=True)
                continue
            part = stack.enter_context(atomic_folder(output))
            stems = [stem for stem, _, _ in chosen]
            faces = [
                _Face(position, folder / entry.file, entry.sha256)
                for position, (_, folder, entry) in enumerate(chosen)
            ]
            allowed = [(stem, entry) for stem, _, entry in chosen if may_be_shown(entry)]
            shown.append(_Shown(split, output, dict(allowed[:SHOWN_PER_SPLIT])))
            lr = stack.enter_context(
                packs.new_pack(part / LR, stems, [sizes.lr_size], name=output / LR)
            )
            hr = stack.enter_context(packs.new_pack(part / HR, stems, hr_sides, name=output / HR))
            work = _Work(degradation, sizes.lr_size, hr_sides, (seed,), lr, hr)
            jobs += [(work, face) for face in faces]
            (hr / NOTICE).write_text(notice(entry for *_, entry in chosen), encoding="utf-8")
            if params.fresh:
                fresh = FreshViews(degradation, params.fresh_sizes)
                (lr / FRESH).write_text(fresh.to_json(), encoding="utf-8")
            for name in suite if split == VALID else ():
                views = stack.enter_context(
                    packs.new_pack(sets / name, stems, [sizes.lr_size], name=validation_sets / name)
                )
                # Other draws than those of the pairs, also where the recipe is the same.
                own_seed = (seed, zlib.crc32(name.encode()))
                own = Degradation(name, recipes)
                work = _Work(own, sizes.lr_size, hr_sides, own_seed, views, None)
                jobs += [(work, face) for face in faces]
        results = map_in_processes(_write_face, jobs, workers=workers)
        for _ in tqdm(results, total=len(jobs), unit="view", desc="degrade", disable=None):
            pass
    with as_write_error(report):
        used = {*degradation.recipes, *suite}
        _write_sheets(
            report, shown, {n: recipes[n] for n in recipes if n in used}, sizes=sizes, seed=seed
        )


def _write_face(job: tuple[_Work, _Face]) -> None:
    work, face = job
    hr = images.read(face.file)
    # Seeded by content: adding an image changes no other pair.
    rng = np.random.default_rng((*work.seed, int(face.sha256[:16], 16)))
    needed = work.degradation.base_scale * work.lr_size
    start = hr
    # From the largest to the smallest, so that the degradation starts from the smallest that will
    # do: what a training that draws fresh views starts from as well.
    for side in reversed(work.hr_sides):
        reduced = images.to_uint8(images.resize(hr, (side, side), "bicubic"))
        if side >= needed:
            start = images.from_uint8(reduced)
        if work.hr is not None:
            packs.write(work.hr, side, face.position, reduced.numpy())
    lr = work.degradation(start, lr_size=work.lr_size, rng=rng)
    packs.write(work.lr, work.lr_size, face.position, images.to_uint8(lr).numpy())


def _check_splits_are_apart(entries: Sequence[Entry]) -> None:
    splits: dict[str, str] = {}
    for entry in entries:
        split = splits.setdefault(entry.sha256, entry.split)
        if split != entry.split:
            raise DataError(
                f"{entry.origin} is in {split} and in {entry.split}: it would be trained on and "
                "measured. Give fetch_faces and fetch_selfies different folders in params.yaml."
            )


def _write_sheets(
    report: Path, shown: Sequence[_Shown], recipes: Mapping[str, Recipe], *, sizes: Sizes, seed: int
) -> None:
    pairs: dict[str, list[Tensor]] = {LR: [], HR: []}
    notes: list[str] = []
    for split, output, allowed in shown:
        stems = packs.read_stems(output / LR)
        for kind, side in ((LR, sizes.lr_size), (HR, sizes.hr_size)):
            pack = packs.read_pack(output / kind, side)
            pairs[kind] += [images.from_uint8(pack[stems.index(stem)]) for stem in allowed]
        notes += [f"{split}: {stem}" for stem in allowed]
    if not notes:
        return
    warning = notice(entry for one in shown for entry in one.allowed.values())
    title = f"Pairs{warning}"
    sheets.write_sheet(report / "sheet.png", pairs, cell=SHOWN_SIDE, title=title, notes=notes)
    faces = pairs[HR][:FACES_PER_RECIPE]
    for name in recipes:
        degradation = Degradation(name, recipes)
        if degradation.base_scale * sizes.lr_size > sizes.hr_size:
            continue
        columns = {"original": faces}
        for draw in range(DRAWS_PER_RECIPE):
            columns[f"draw {draw + 1}"] = [
                degradation(
                    face, lr_size=sizes.lr_size, rng=np.random.default_rng((seed, draw, position))
                )
                for position, face in enumerate(faces)
            ]
        sheets.write_sheet(
            report / "recipes" / f"{name}.png",
            columns,
            cell=SHOWN_SIDE,
            title=f"{name}: {sizes.hr_size} to {sizes.lr_size} px{warning}",
        )
