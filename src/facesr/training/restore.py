"""The networks' images of the training faces, on which the next stage trains."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facesr import images
from facesr.data import packs
from facesr.data.pairs import Pairs


def restore_all(
    network: nn.Module, splits: dict[str, Pairs], output: Path, *, after_each: Callable[[], None]
) -> None:
    """Write the network's image of every pair as packs `OUTPUT/SPLIT`; stay in evaluation mode.

    `after_each` is called after each image, (3, h, w) RGB in [0, 1], and may raise to stop.
    """
    network.eval()
    device = next(network.parameters()).device
    for split, pairs in splits.items():
        side = pairs.hr.shape[-1]
        with packs.new_pack(output / split, pairs.stems, [side]) as pack:
            for position in tqdm(
                range(len(pairs.stems)), unit="image", desc=f"restore {split}", disable=None
            ):
                lr = images.from_uint8(pairs.lr[position : position + 1]).to(device)
                with torch.inference_mode():
                    sr = network(lr)[0]
                packs.write(pack, side, position, images.to_uint8(sr).cpu().numpy())
                after_each()


class Sheet(NamedTuple):
    """Images of a training, to look at."""

    columns: Mapping[str, Sequence[Tensor]]
    """(3, h, w) in [0, 1] by caption."""
    notice: str
    """Of the pairs that are shown."""
    notes: Sequence[str] = ()
    """A line under each row."""


def restored_sheet(network: nn.Module, pairs: Pairs, *, count: int) -> Sheet:
    """Return the first images of a split as a sample sheet."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    columns: dict[str, list[Tensor]] = {"LR": [], "SR": [], "HR": []}
    for lr, hr in zip(pairs.lr[:count], pairs.hr[:count], strict=True):
        small = images.from_uint8(lr)
        with torch.inference_mode():
            sr = network(small[None].to(device))[0]
        for column, image in zip(columns.values(), (small, sr, images.from_uint8(hr)), strict=True):
            column.append(image.float().cpu().clamp(0, 1))
    network.train(was_training)
    return Sheet(columns, pairs.notice)
