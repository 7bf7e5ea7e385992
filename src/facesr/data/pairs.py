"""Pairs of a face in both resolutions, and batches of them."""

import json
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facesr import images
from facesr.data import packs
from facesr.data.degradation import Degradation, operations
from facesr.errors import DataError
from facesr.parallel import cores

HR = "hr"
LR = "lr"
# In the folder of low-resolution views, where trainings are to draw new ones.
FRESH = "fresh.json"
# In the folder of originals: the words that sample sheets carry.
NOTICE = "notice.txt"
# Batches that are made while the training works on another one.
BATCHES_AHEAD = 2
WHOLE = slice(None)
"""Shard of a process that trains alone."""


class FreshViews(NamedTuple):
    """Random low-resolution views, drawn during the training."""

    degradation: Degradation
    sizes: tuple[float, float]
    """Bounds of a face's size as a share of the original's, in (0, 1]: large and small faces have
    different detail."""

    def to_json(self) -> str:
        """Return all of its numbers."""
        recipes = json.loads(self.degradation.to_json())
        return json.dumps({"sizes": self.sizes, "recipes": recipes}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the output of `to_json`."""
        content = json.loads(text)
        least, most = content["sizes"]
        return cls(Degradation.from_json(json.dumps(content["recipes"])), (least, most))


class Pairs(NamedTuple):
    """Images of one size each, matched by file stem."""

    stems: tuple[str, ...]
    lr: Tensor
    """(N, 3, h, w) uint8."""
    hr: Tensor
    """(N, 3, H, W) uint8."""
    fresh: FreshViews | None = None
    """None if only the stored views exist."""
    notice: str = ""
    """Words for the title of a sheet that shows these images."""

    @property
    def scale(self) -> int:
        """Side of hr over side of lr."""
        return self.hr.shape[-1] // self.lr.shape[-1]


def load_pairs(lr: Path, hr: Path, *, hr_size: int) -> Pairs:
    """Open two packs, or read two folders of image files, with equal stems.

    Args:
        hr_size: Side of the originals in pixels; image files are reduced to it (bicubic, 8 bit).

    Raises:
        DataError: There are no images, the stems differ, or a size does not fit.
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
            f"The images in {lr} have sides of {small.shape[-1]} px, which does not divide "
            f"{hr_size}. Run: dvc repro -f degrade"
        )
    file = lr / FRESH
    fresh = FreshViews.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None
    file = hr / NOTICE
    notice = file.read_text(encoding="utf-8") if file.is_file() else ""
    return Pairs(stems, small, large, fresh, notice)


def _open(folder: Path, side: int | None) -> tuple[tuple[str, ...], Tensor]:
    if packs.is_pack(folder):
        return packs.read_stems(folder), packs.read_pack(folder, side)
    if not folder.is_dir() or not (files := {path.stem: path for path in images.find(folder)}):
        raise DataError(f"{folder} holds no images. Run: dvc repro degrade")
    stems = tuple(sorted(files))
    loaded = []
    for stem in tqdm(stems, unit="image", desc="load", disable=None):
        image = images.read(files[stem])
        if side is not None:
            image = images.resize(image, (side, side), "bicubic")
        loaded.append(images.to_uint8(image))
    if len({image.shape for image in loaded}) > 1:
        raise DataError(f"The images in {folder} differ in size. Run: dvc repro -f degrade")
    return stems, images.stack(loaded)


class Crop(NamedTuple):
    """A square of one pair, in low-resolution pixels."""

    pair: int
    top: int
    left: int
    side: int
    mirrored: bool


def draw_crops(
    pairs: Pairs, indices: np.ndarray, *, crop_size: int, rng: np.random.Generator
) -> list[Crop]:
    """Draw one square from each chosen pair, at a random place and mirrored by chance.

    Args:
        indices: (N,) positions in `pairs`.
        crop_size: Side in low-resolution pixels; squares that are to be reduced are larger.
        rng: Source of place, size and mirroring.
    """
    side = pairs.lr.shape[-1]
    crops = []
    for index in indices:
        reach = min(side, round(crop_size / _draw_size(pairs.fresh, rng)))
        top, left = (int(rng.integers(side - reach + 1)) for _ in range(2))
        crops.append(Crop(int(index), top, left, reach, bool(rng.random() < 0.5)))
    return crops


def _draw_size(fresh: FreshViews | None, rng: np.random.Generator) -> float:
    least, most = fresh.sizes if fresh else (1, 1)
    # As many crops between a quarter and a half as between a half and all.
    return most if least == most else math.exp(rng.uniform(math.log(least), math.log(most)))


def cut(pairs: Pairs, crops: list[Crop]) -> tuple[Tensor, Tensor]:
    """Return crops of one side as lr (N, 3, h, h) and hr (N, 3, H, H), float32 in [0, 1]."""
    return (
        images.from_uint8(torch.stack([_square(pairs.lr, crop, 1) for crop in crops])),
        images.from_uint8(torch.stack([_square(pairs.hr, crop, pairs.scale) for crop in crops])),
    )


def _square(faces: Tensor, crop: Crop, scale: int) -> Tensor:
    top, left, side = (scale * one for one in (crop.top, crop.left, crop.side))
    square = faces[crop.pair, :, top : top + side, left : left + side]
    return square.flip(-1) if crop.mirrored else square


class TrainBatches:
    """Batches of random crops: each iteration is the next epoch.

    Order, place, size and mirroring of crops follow from (seed, epoch) alone. If the pairs have
    fresh views, every crop gets a new one, from (seed, epoch, position): on the device, on a CPU in
    threads on all cores, a few batches ahead. A view does not depend on the number of threads.

    Args:
        batch_size: Crops of a whole batch.
        crop_size: Side in low-resolution pixels.
        crops_per_pair: Crops in an epoch.
        device: Device of fresh views; stored ones are on the CPU.
        shard: Crops of each batch for this process.

    Raises:
        DataError: An epoch has fewer crops than a batch.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        batch_size: int,
        crop_size: int,
        crops_per_pair: int,
        seed: int,
        device: torch.device,
        shard: slice = WHOLE,
    ) -> None:
        self.count = len(pairs.stems) * crops_per_pair
        if self.count < batch_size:
            raise DataError(
                f"A batch of {batch_size} is larger than the {self.count} crops of an epoch. "
                "Lower batch_size or raise crops_per_pair."
            )
        self.pairs = pairs
        self.batch_size = self.crops = batch_size
        self.crop_size = crop_size
        self.seed = seed
        self.device = device
        self.shard = shard
        self.go_to(0, 0)

    def go_to(self, epoch: int, batch: int) -> None:
        """Continue with `epoch` at its batch number `batch`."""
        self.epoch, self._start = epoch, batch

    def __len__(self) -> int:
        """Return the number of complete batches in an epoch."""
        return self.count // self.crops

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, start = self.epoch, self._start
        rng = np.random.default_rng((self.seed, epoch))
        self.go_to(epoch + 1, 0)
        order = rng.permutation(self.count) % len(self.pairs.stems)
        drawn = (
            draw_crops(self.pairs, indices, crop_size=self.crop_size, rng=rng)
            for indices in order[: len(self) * self.crops].reshape(-1, self.crops)
        )
        return self._cut(islice(drawn, start, None), epoch, start)

    def _cut(
        self, batches: Iterator[list[Crop]], epoch: int, start: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if self.pairs.fresh is None:
            return (cut(self.pairs, crops[self.shard]) for crops in batches)
        return draw_views(
            self.pairs,
            batches,
            crop_size=self.crop_size,
            seed=self.seed,
            epoch=epoch,
            start=start * self.crops,
            device=self.device,
            shard=self.shard,
        )


def draw_views(
    pairs: Pairs,
    batches: Iterator[list[Crop]],
    *,
    crop_size: int,
    seed: int,
    epoch: int,
    device: torch.device,
    shard: slice = WHOLE,
    start: int = 0,
    workers: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield an epoch's batches with new low-resolution views, as `cut` does with the stored ones.

    Args:
        pairs: Pairs with fresh views.
        batches: Crops by batch.
        crop_size: Side of the views in pixels; a larger crop of the original is reduced first.
        epoch: A crop's view follows from seed, epoch, and the crop's position in the epoch.
        device: Device of the computation and the batches.
        shard: Crops of each batch for this process; positions count all of them.
        start: Position in the epoch of the first crop of `batches`.
        workers: Threads; None takes one for each core, and one for a GPU.
    """
    assert pairs.fresh
    degradation, hr_size = pairs.fresh.degradation, pairs.scale * crop_size

    def view(position: int, crop: Crop) -> tuple[Tensor, Tensor]:
        hr = images.from_uint8(_square(pairs.hr, crop, pairs.scale).to(device))
        if crop.side != crop_size:
            hr = images.round_to_8bit(operations.resize(hr, hr_size, "bicubic"))
        rng = np.random.default_rng((seed, epoch, position))
        return degradation(hr, lr_size=crop_size, rng=rng), hr

    def collected(views: list[Future[tuple[Tensor, Tensor]]]) -> tuple[Tensor, Tensor]:
        lr, hr = zip(*(one.result() for one in views), strict=True)
        return torch.stack(lr), torch.stack(hr)

    workers = workers or (cores() if device.type == "cpu" else 1)
    position = start
    with ThreadPoolExecutor(workers) as pool:
        queued: deque[list[Future[tuple[Tensor, Tensor]]]] = deque()
        for crops in batches:
            own = list(enumerate(crops, position))[shard]
            queued.append([pool.submit(view, place, crop) for place, crop in own])
            position += len(crops)
            if len(queued) > BATCHES_AHEAD:
                yield collected(queued.popleft())
        for views in queued:
            yield collected(views)


class CriticBatches(TrainBatches):
    """Crops of originals and of generated images in equal parts, labelled 1 and 0."""

    def __init__(self, pairs: Pairs, *, batch_size: int, **arguments: Any) -> None:
        # Half of a batch are originals, half the generated images of the same faces.
        half = max(1, min(batch_size // 2, len(pairs.stems)))
        super().__init__(
            pairs, batch_size=half, crops_per_pair=1, device=torch.device("cpu"), **arguments
        )
        self.batch_size = 2 * half

    def _cut(self, batches: Iterator[list[Crop]], *_: int) -> Iterator[tuple[Tensor, Tensor]]:
        labels = torch.cat([torch.ones(self.crops), torch.zeros(self.crops)])  # (N,)
        for crops in batches:
            generated, original = cut(self.pairs, crops)
            yield torch.cat([original, generated])[self.shard], labels[self.shard]


class WholeBatches:
    """Every pair once, whole and in order."""

    def __init__(self, pairs: Pairs, *, batch_size: int) -> None:
        self.pairs = pairs
        self.batch_size = batch_size

    def go_to(self, epoch: int, batch: int) -> None:
        """Do nothing: all epochs are alike, and each iteration is a whole one."""

    def __len__(self) -> int:
        return -(-len(self.pairs.stems) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.pairs.stems), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            yield images.from_uint8(self.pairs.lr[chosen]), images.from_uint8(self.pairs.hr[chosen])
