"""The networks' own pictures of the training faces, which the next stage learns from."""

from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from facesr import images, packs
from facesr.pairs import Pairs


def restore_all(network: nn.Module, splits: dict[str, Pairs], output: Path) -> None:
    """Writes the pack `OUTPUT/SPLIT` of every pair's picture, as the network restores it.

    Args:
        network: Takes and gives (N, 3, h, w) RGB in [0, 1]; is left in evaluation mode.
        splits: Pairs by the name of their split.
        output: The folder.
    """
    network.eval()
    device = next(network.parameters()).device
    for split, pairs in splits.items():
        side = pairs.hr.shape[-1]
        with packs.new_pack(output / split, pairs.stems, [side]) as pack:
            pictures = packs.writable(pack, side)
            for position in tqdm(range(len(pairs.stems)), unit="picture", desc=f"restore {split}"):
                lr = images.from_uint8(pairs.lr[position : position + 1]).to(device)
                with torch.inference_mode():
                    sr = network(lr)[0]
                pictures[position] = images.to_uint8(sr).cpu().numpy()
