"""Pairs: one face in both resolutions, from files, and in batches."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facesr import images, packs
from facesr.degradation import Degradation
from facesr.devices import pick_device
from facesr.errors import DataError
from facesr.parallel import cores

HR = "hr"
LR = "lr"
# In the folder of low-resolution views, where trainings are to draw new ones.
FRESH = "fresh.json"
# Batches that are made while the training works on another one.
BATCHES_AHEAD = 2


class Pairs(NamedTuple):
    """Pictures of one size each, matched by file stem."""

    stems: tuple[str, ...]
    lr: Tensor
    """(N, 3, h, w) uint8."""
    hr: Tensor
    """(N, 3, H, W) uint8."""
    degradation: Degradation | None = None
    """Makes new low-resolution views; None where the stored ones are all there are."""

    @property
    def scale(self) -> int:
        """Side of hr over side of lr."""
        return self.hr.shape[-1] // self.lr.shape[-1]


def load_pairs(lr: Path, hr: Path, *, hr_size: int) -> Pairs:
    """Opens two packs, or reads two folders of picture files, with equal stems.

    Args:
        lr: The networks' inputs.
        hr: The originals.
        hr_size: Side of the originals in pixels; picture files are reduced to it (bicubic, 8 bit).

    Raises:
        DataError: There are no pictures, the stems differ, or a size does not fit.
    """
    stems, small = _open(lr, None)
    hr_stems, large = _open(hr, hr_size)
    if stems != hr_stems:
        odd = sorted(set(stems) ^ set(hr_stems))
        difference = f"{odd[0]} is in one of them only" if odd else "their order differs"
        raise DataError(
            f"{lr} and {hr} do not hold the same faces: {difference}. Run: dvc repro -f degrade"
        )
    if hr_size % small.shape[-1]:
        raise DataError(
            f"The pictures in {lr} have sides of {small.shape[-1]} px, which does not divide "
            f"{hr_size}. Run: dvc repro -f degrade"
        )
    fresh = lr / FRESH
    degradation = (
        Degradation.from_json(fresh.read_text(encoding="utf-8")) if fresh.is_file() else None
    )
    return Pairs(stems, small, large, degradation)


def _open(folder: Path, side: int | None) -> tuple[tuple[str, ...], Tensor]:
    if packs.is_pack(folder):
        return packs.read_stems(folder), packs.read_pack(folder, side)
    if not folder.is_dir() or not (files := {path.stem: path for path in images.find(folder)}):
        raise DataError(f"{folder} holds no pictures. Run: dvc repro degrade")
    stems = tuple(sorted(files))
    pictures = []
    for stem in tqdm(stems, unit="picture", desc="load"):
        picture = images.read(files[stem])
        if side is not None:
            picture = images.resize(picture, (side, side), "bicubic")
        pictures.append(images.to_uint8(picture))
    if len({picture.shape for picture in pictures}) > 1:
        raise DataError(f"The pictures in {folder} differ in size. Run: dvc repro -f degrade")
    return stems, images.stack(pictures)


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
    return cut(pairs, draw_crops(pairs, indices, crop_size=crop_size, rng=rng), crop_size=crop_size)


class Crop(NamedTuple):
    """A square of one pair, in low-resolution pixels."""

    pair: int
    top: int
    left: int
    mirrored: bool


def draw_crops(
    pairs: Pairs, indices: np.ndarray, *, crop_size: int, rng: np.random.Generator
) -> list[Crop]:
    """Draws what `crop_and_flip` cuts."""
    height, width = pairs.lr.shape[-2:]
    return [
        Crop(
            int(index),
            int(rng.integers(height - crop_size + 1)),
            int(rng.integers(width - crop_size + 1)),
            bool(rng.random() < 0.5),
        )
        for index in indices
    ]


def cut(pairs: Pairs, crops: list[Crop], *, crop_size: int) -> tuple[Tensor, Tensor]:
    """Gives the crops as lr (N, 3, h, h) and hr (N, 3, H, H), float32 in [0, 1]."""
    scale = pairs.scale
    lr_crops, hr_crops = [], []
    for pair, top, left, mirrored in crops:
        lr = pairs.lr[pair, :, top : top + crop_size, left : left + crop_size]
        hr = pairs.hr[
            pair,
            :,
            scale * top : scale * (top + crop_size),
            scale * left : scale * (left + crop_size),
        ]
        if mirrored:
            lr, hr = lr.flip(-1), hr.flip(-1)
        lr_crops.append(lr)
        hr_crops.append(hr)
    return images.from_uint8(torch.stack(lr_crops)), images.from_uint8(torch.stack(hr_crops))


class TrainBatches:
    """Endless variety, finite epochs: each iteration over it is the next epoch.

    Order, position and mirroring follow from (seed, epoch) alone. Where the pairs have a
    degradation, every crop gets a new low-resolution view, from (seed, epoch, position): on the
    GPU where there is one, else in threads on all cores, a few batches ahead. A view does not
    depend on the number of threads.
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
        self._start = 0

    def go_to(self, epoch: int, batch: int) -> None:
        """Makes the next iteration that of `epoch`, from its batch number `batch` on."""
        self.epoch, self._start = epoch, batch

    def __len__(self) -> int:
        """Batches in an epoch; an incomplete last one is left out."""
        return len(self.pairs.stems) * self.crops_per_pair // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, start = self.epoch, self._start
        rng = np.random.default_rng((self.seed, epoch))
        self.go_to(epoch + 1, 0)
        order = rng.permutation(len(self.pairs.stems) * self.crops_per_pair)
        order %= len(self.pairs.stems)
        drawn = (
            draw_crops(
                self.pairs,
                order[batch * self.batch_size : (batch + 1) * self.batch_size],
                crop_size=self.crop_size,
                rng=rng,
            )
            for batch in range(len(self))
        )
        stored = (
            cut(self.pairs, crops, crop_size=self.crop_size) for crops in islice(drawn, start, None)
        )
        if self.pairs.degradation is None:
            return stored
        return degrade_afresh(
            stored,
            self.pairs.degradation,
            seed=self.seed,
            epoch=epoch,
            start=start * self.batch_size,
            device=pick_device(),
        )


def degrade_afresh(
    batches: Iterator[tuple[Tensor, Tensor]],
    degradation: Degradation,
    *,
    seed: int,
    epoch: int,
    device: torch.device,
    start: int = 0,
    workers: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Replaces the low-resolution views of an epoch's batches by new ones.

    Args:
        batches: lr (N, 3, h, h) and hr (N, 3, H, H) in [0, 1].
        degradation: Makes the views from hr.
        seed: Of all epochs.
        epoch: A crop's view follows from seed, epoch, and the crop's position in the epoch.
        device: Where the work is done and the batches lie.
        start: Position in the epoch of the first crop of `batches`.
        workers: Threads; None takes one for each core, and one for a GPU.
    """

    def view(position: int, hr: Tensor, lr_size: int) -> Tensor:
        rng = np.random.default_rng((seed, epoch, position))
        return degradation(hr, lr_size=lr_size, rng=rng)

    workers = workers or (cores() if device.type == "cpu" else 1)
    position = start
    with ThreadPoolExecutor(workers) as pool:
        queued: deque[tuple[list[Future[Tensor]], Tensor]] = deque()
        for lr, hr in batches:
            hr = hr.to(device)
            queued.append(
                (
                    [
                        pool.submit(view, position + offset, one, lr.shape[-1])
                        for offset, one in enumerate(hr)
                    ],
                    hr,
                )
            )
            position += len(hr)
            if len(queued) > BATCHES_AHEAD:
                views, originals = queued.popleft()
                yield torch.stack([one.result() for one in views]), originals
        for views, originals in queued:
            yield torch.stack([one.result() for one in views]), originals


class CriticBatches:
    """Crops of originals and of generated pictures in equal parts, labelled 1 and 0.

    Each iteration is the next epoch; order and crops follow from (seed, epoch) alone.
    """

    def __init__(self, pairs: Pairs, *, batch_size: int, crop_size: int, seed: int) -> None:
        # Half of a batch are originals, half the generated pictures of the same faces.
        self.half = max(1, min(batch_size // 2, len(pairs.stems)))
        self.pairs = pairs
        self.crop_size = crop_size
        self.seed = seed
        self.epoch = 0
        self._start = 0

    def go_to(self, epoch: int, batch: int) -> None:
        """Makes the next iteration that of `epoch`, from its batch number `batch` on."""
        self.epoch, self._start = epoch, batch

    def __len__(self) -> int:
        return len(self.pairs.stems) // self.half

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        start = self._start
        self.go_to(self.epoch + 1, 0)
        order = rng.permutation(len(self.pairs.stems))
        labels = torch.cat([torch.ones(self.half), torch.zeros(self.half)])  # (N,)
        for batch in range(len(self)):
            indices = order[batch * self.half : (batch + 1) * self.half]
            crops = draw_crops(self.pairs, indices, crop_size=self.crop_size, rng=rng)
            if batch < start:
                continue
            generated, original = cut(self.pairs, crops, crop_size=self.crop_size)
            yield torch.cat([original, generated]), labels


class WholeBatches:
    """Every pair once, whole and in order."""

    def __init__(self, pairs: Pairs, *, batch_size: int) -> None:
        self.pairs = pairs
        self.batch_size = batch_size

    def go_to(self, epoch: int, batch: int) -> None:
        """Changes nothing: all epochs are alike, and each iteration is a whole one."""

    def __len__(self) -> int:
        return -(-len(self.pairs.stems) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.pairs.stems), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            yield images.from_uint8(self.pairs.lr[chosen]), images.from_uint8(self.pairs.hr[chosen])
