"""Pairs: one face in both resolutions, from files, and in batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facesr import images
from facesr.errors import DataError

HR = "hr"
LR = "lr"


class Pairs(NamedTuple):
    """Pictures of one size each, matched by file stem."""

    stems: tuple[str, ...]
    lr: Tensor
    """(N, 3, h, w) uint8."""
    hr: Tensor
    """(N, 3, H, W) uint8."""

    @property
    def scale(self) -> int:
        """Side of hr over side of lr."""
        return self.hr.shape[-1] // self.lr.shape[-1]


def load_pairs(lr: Path, hr: Path, *, hr_size: int) -> Pairs:
    """Loads two folders of pictures with equal stems into memory.

    Args:
        lr: Folder of the networks' inputs.
        hr: Folder of the originals.
        hr_size: The originals are reduced to this side in pixels (bicubic, 8 bit).

    Raises:
        DataError: A folder is empty, the stems differ, or a size does not fit.
    """
    lr_files = {path.stem: path for path in images.find(lr)}
    hr_files = {path.stem: path for path in images.find(hr)}
    if not lr_files:
        raise DataError(f"{lr} holds no pictures. Run: dvc repro degrade")
    if lr_files.keys() != hr_files.keys():
        odd = sorted(lr_files.keys() ^ hr_files.keys())[0]
        raise DataError(
            f"{lr} and {hr} do not hold the same faces: {odd} is in one of them only. "
            "Run: dvc repro -f degrade"
        )
    stems = tuple(sorted(lr_files))
    small = [images.read(lr_files[stem]) for stem in stems]
    large = [
        images.resize(images.read(hr_files[stem]), (hr_size, hr_size), "bicubic")
        for stem in tqdm(stems, unit="pair", desc="load")
    ]
    shapes = {tuple(picture.shape) for picture in small}
    if len(shapes) > 1 or hr_size % small[0].shape[-1]:
        raise DataError(
            f"The pictures in {lr} have sides {sorted(shape[-1] for shape in shapes)}; one side "
            f"that divides {hr_size} is needed. Run: dvc repro -f degrade"
        )
    return Pairs(stems, images.to_uint8(images.stack(small)), images.to_uint8(images.stack(large)))


def crop_and_flip(
    pairs: Pairs, indices: np.ndarray, *, crop_size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cuts one random square from each chosen pair, mirrored by chance, alike in both sizes.

    Args:
        pairs: The pictures.
        indices: (N,) positions in `pairs`.
        crop_size: Side in low-resolution pixels.
        rng: Source of position and mirroring.

    Returns:
        lr (N, 3, crop, crop) and hr (N, 3, scale crop, scale crop), float32 in [0, 1].
    """
    scale = pairs.scale
    height, width = pairs.lr.shape[-2:]
    lr_crops, hr_crops = [], []
    for index in indices:
        top = int(rng.integers(height - crop_size + 1))
        left = int(rng.integers(width - crop_size + 1))
        lr = pairs.lr[index, :, top : top + crop_size, left : left + crop_size]
        hr = pairs.hr[
            index,
            :,
            scale * top : scale * (top + crop_size),
            scale * left : scale * (left + crop_size),
        ]
        if rng.random() < 0.5:
            lr, hr = lr.flip(-1), hr.flip(-1)
        lr_crops.append(lr)
        hr_crops.append(hr)
    return images.from_uint8(torch.stack(lr_crops)), images.from_uint8(torch.stack(hr_crops))


class TrainBatches:
    """Endless variety, finite epochs: each iteration over it is the next epoch.

    Order, position and mirroring follow from (seed, epoch) alone.
    """

    def __init__(
        self, pairs: Pairs, *, batch_size: int, crop_size: int, crops_per_pair: int, seed: int
    ) -> None:
        count = len(pairs.stems) * crops_per_pair
        if count < batch_size:
            raise DataError(
                f"A batch of {batch_size} is larger than the {count} crops of an epoch. "
                "Lower batch_size or raise crops_per_pair."
            )
        self.pairs = pairs
        self.batch_size = batch_size
        self.crop_size = crop_size
        self.crops_per_pair = crops_per_pair
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch; an incomplete last one is left out."""
        return len(self.pairs.stems) * self.crops_per_pair // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        order = rng.permutation(len(self.pairs.stems) * self.crops_per_pair)
        order %= len(self.pairs.stems)
        for batch in range(len(self)):
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield crop_and_flip(self.pairs, indices, crop_size=self.crop_size, rng=rng)


class WholeBatches:
    """Every pair once, whole and in order."""

    def __init__(self, pairs: Pairs, *, batch_size: int) -> None:
        self.pairs = pairs
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.pairs.stems) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.pairs.stems), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            yield images.from_uint8(self.pairs.lr[chosen]), images.from_uint8(self.pairs.hr[chosen])
