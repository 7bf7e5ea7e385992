"""From a face to its low-resolution view, and to the pair of both."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from facesr import images, reports
from facesr.config import DegradeParams
from facesr.errors import DataError
from facesr.manifest import Entry, read_manifest
from facesr.pairs import HR, LR

# On the sample sheet.
SHOWN_PER_SPLIT = 3
SHOWN_SIDE = 256


def degrade(hr: Tensor, params: DegradeParams, *, lr_size: int, rng: np.random.Generator) -> Tensor:
    """Makes the low-resolution view that a cheap camera would have taken.

    Order: blur, reduction, noise, JPEG (the first-order chain of Zhang et al. 2021,
    https://arxiv.org/abs/2103.14006), then enlargement where the JPEG was smaller than the result.

    Args:
        hr: Face, (3, H, H) float32 RGB in [0, 1].
        params: Chances and ranges.
        lr_size: Side of the result in pixels.
        rng: Source of all randomness; the same state gives the same picture.

    Returns:
        (3, lr_size, lr_size) float32 in [0, 1], on the 8-bit grid.

    Raises:
        DataError: The face is not square, or smaller than its view.
    """
    height, width = hr.shape[-2:]
    if height != width or height < params.reduced_size:
        raise DataError(
            f"A face of {width} x {height} pixels cannot be reduced to {params.reduced_size}. "
            "Give square pictures of at least that side."
        )
    # All draws are made, used or not, so that one chance does not shift the others.
    clean, blurred, noisy, packed = rng.random(4)
    sigma = rng.uniform(*params.blur_sigma)
    noise_sigma = rng.uniform(*params.noise_sigma)
    quality = int(rng.integers(params.jpeg_quality[0], params.jpeg_quality[1] + 1))
    dirty = clean >= params.clean_probability

    picture = hr
    if dirty and blurred < params.blur_probability:
        spread = sigma * height / params.reduced_size
        picture = torch.from_numpy(
            ndimage.gaussian_filter(picture.numpy(), (0, spread, spread), mode="reflect")
        )
    reduced = (params.reduced_size, params.reduced_size)
    picture = images.resize(picture, reduced, params.reduction_filter)
    if dirty and noisy < params.noise_probability:
        noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(noise_sigma / 255)
        picture = picture + torch.from_numpy(noise)
    picture = images.round_to_8bit(picture)
    if dirty and packed < params.jpeg_probability:
        picture = images.read(images.encode_jpeg(picture, quality=quality, chroma_halved=True))
    return images.round_to_8bit(images.resize(picture, (lr_size, lr_size), params.reduction_filter))


def write_pairs(
    sources: Sequence[Path],
    outputs: Mapping[str, Path],
    params: DegradeParams,
    *,
    lr_size: int,
    seed: int,
    report: Path,
) -> None:
    """Writes the pairs of fetched folders: `OUTPUT/hr/STEM.png` and `OUTPUT/lr/STEM.png`.

    Args:
        sources: Folders with a manifest each.
        outputs: Folder for each split of the manifests; emptied first.
        params: The degradation.
        lr_size: Side of the low-resolution view in pixels.
        seed: Every picture has a random generator of its own, from the seed and its content.
        report: Gets `sheet.png` with the first pairs of each split.

    Raises:
        DataError: A manifest is missing, or a picture in it is, or one stands in two splits.
    """
    entries = [(folder, entry) for folder in sources for entry in read_manifest(folder)]
    _check_splits_are_apart([entry for _, entry in entries])
    for output in outputs.values():
        shutil.rmtree(output, ignore_errors=True)
    shown: dict[str, list[Tensor]] = {LR: [], HR: []}
    notes: list[str] = []
    for folder, entry in tqdm(entries, unit="pair", desc="degrade"):
        hr = images.read(folder / entry.file)
        # Seeded by content: adding a picture changes no other pair.
        rng = np.random.default_rng((seed, int(entry.sha256[:16], 16)))
        lr = degrade(hr, params, lr_size=lr_size, rng=rng)
        output = outputs[entry.split]
        (output / HR).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / entry.file, output / HR / entry.file)
        images.write(output / LR / entry.file, lr)
        if notes.count(entry.split) < SHOWN_PER_SPLIT:
            notes.append(entry.split)
            shown[LR].append(lr)
            shown[HR].append(hr)
    reports.write_sheet(report / "sheet.png", shown, cell=SHOWN_SIDE, title="Pairs", notes=notes)


def _check_splits_are_apart(entries: Sequence[Entry]) -> None:
    splits: dict[str, str] = {}
    for entry in entries:
        split = splits.setdefault(entry.sha256, entry.split)
        if split != entry.split:
            raise DataError(
                f"{entry.origin} is in {split} and in {entry.split}: it would be trained on and "
                "measured. Give fetch_faces and fetch_selfies different folders in params.yaml."
            )
