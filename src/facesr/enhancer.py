"""The finished tool: picture in, picture out.

The same Enhancer serves evaluation, command, page and registered model, so what is measured is
what is served.
"""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from facesr import images
from facesr.checkpoints import Network, load_network, load_networks, save_networks
from facesr.devices import pick_device
from facesr.errors import ParamsError

# Sides in pixels of a network's output: the tile bounds the memory, whatever the picture.
TILE = 512
OVERLAP = 64


class Enhancer:
    """Chains networks that each enlarge by a whole scale; without any it is bicubic.

    Safe to share between threads.

    Example:
        >>> import torch
        >>> Enhancer.bicubic().enhance(torch.zeros(3, 16, 24), scale=2).shape
        torch.Size([3, 32, 48])
    """

    def __init__(self, networks: Sequence[Network], device: str = "auto") -> None:
        self.device = pick_device(device)
        self.networks = [
            Network(network.architecture, network.module.eval().to(self.device))
            for network in networks
        ]
        # fastai's U-Nets hand their skips over through hooks, which threads would mix up.
        self._lock = threading.Lock()

    @classmethod
    def from_files(cls, paths: Sequence[Path], device: str = "auto") -> Self:
        """Chains the networks of several weights files, in the order of a picture's way.

        Raises:
            CheckpointError: A file is missing, damaged or holds more than one network.
        """
        return cls([load_network(path) for path in paths], device)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> Self:
        """Loads a chain that `save` wrote.

        Raises:
            CheckpointError: The file is missing, damaged or not ours.
        """
        return cls(load_networks(path), device)

    @classmethod
    def bicubic(cls) -> Self:
        """The Enhancer that needs no weights."""
        return cls([], "cpu")

    def save(self, path: Path) -> None:
        """Writes the whole chain as one safetensors file; equal weights give equal bytes."""
        save_networks(path, self.networks)

    def describe(self) -> dict[str, Any]:
        """Gives the chain's networks and scale as plain values."""
        return {
            "scale": self.scale,
            "networks": [dict(network.architecture) for network in self.networks],
        }

    @property
    def scale(self) -> int:
        """Enlargement by the whole chain."""
        product = 1
        for network in self.networks:
            product *= int(network.architecture["scale"])
        return product

    def enhance(
        self, picture: Tensor, *, size: int | None = None, scale: float | None = None
    ) -> Tensor:
        """Enlarges and restores a picture.

        Networks run in their order until the wanted size is reached; one Lanczos resize gives the
        exact size. The proportions stay.

        Args:
            picture: (3, h, w) float32 RGB in [0, 1].
            size: Longer side of the result in pixels.
            scale: Instead of `size`: side of the result over side of the picture.

        Returns:
            (3, H, W) float32 in [0, 1], on the CPU.

        Raises:
            ParamsError: Not exactly one of size and scale, or not positive.
        """
        height, width = picture.shape[-2:]
        target = _target_size(height, width, size=size, scale=scale)
        if not self.networks:
            return images.resize(picture, target, "bicubic").clamp(0, 1)
        restored = picture
        for network in self.networks:
            if restored is not picture and restored.shape[-1] >= target[1]:
                break
            with self._lock, torch.inference_mode():
                restored = run_tiled(network.module, restored, device=self.device)
        return images.resize(restored, target, "lanczos").clamp(0, 1)


def run_tiled(network: nn.Module, picture: Tensor, *, device: torch.device) -> Tensor:
    """Runs a network over overlapping tiles, blended by weights that sum to one.

    Args:
        network: Has `scale`, and `multiple`, the grid on which tiles start.
        picture: (3, h, w) in [0, 1], on the CPU.
        device: Where the network is; only one tile at a time is there.

    Returns:
        (3, scale h, scale w) in [0, 1], on the CPU.
    """
    scale, multiple = int(network.scale), int(network.multiple)  # type: ignore[arg-type]
    height, width = picture.shape[-2:]
    overlap = max(multiple, OVERLAP // scale // multiple * multiple)
    # A coarse grid can make the overlap as large as the tile, which would then never advance.
    tile = max(2 * overlap, TILE // scale // multiple * multiple)
    if max(height, width) <= tile + overlap:
        sr: Tensor = network(picture[None].to(device))[0]
        return sr.clamp(0, 1).cpu()
    total = torch.zeros(3, scale * height, scale * width)
    weight = torch.zeros(1, scale * height, scale * width)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            part = picture[:, top : top + tile, left : left + tile]
            sr = network(part[None].to(device))[0].clamp(0, 1).cpu()
            rows = _ramp(part.shape[-2] * scale, overlap * scale, top > 0, top + tile < height)
            columns = _ramp(part.shape[-1] * scale, overlap * scale, left > 0, left + tile < width)
            blend = rows[:, None] * columns[None, :]
            place = (
                slice(None),
                slice(top * scale, top * scale + sr.shape[-2]),
                slice(left * scale, left * scale + sr.shape[-1]),
            )
            total[place] += sr * blend
            weight[place] += blend
    return total / weight


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin; the last one may be shorter, so that all begin on the grid."""
    return list(range(0, max(1, side - overlap), tile - overlap))


def _ramp(length: int, overlap: int, rises: bool, falls: bool) -> Tensor:
    """Raised cosine over the middle half of the overlap at inner borders, one elsewhere.

    The outer quarter of the overlap is weighted zero: there the network has seen its own padding.
    """
    ramp = torch.ones(length)
    position = 2 * (torch.arange(overlap) + 0.5) / overlap - 0.5
    flank = torch.sin(position.clamp(0, 1) * torch.pi / 2) ** 2
    if rises:
        ramp[:overlap] *= flank
    if falls:
        ramp[-overlap:] *= flank.flip(0)
    return ramp


def _target_size(
    height: int, width: int, *, size: int | None, scale: float | None
) -> tuple[int, int]:
    if (size is None) == (scale is None):
        raise ParamsError("Give either a size or a scale, not both.")
    factor = float(scale) if scale is not None else float(size or 0) / max(height, width)
    if not 0 < factor < math.inf:
        raise ParamsError("Size and scale must be above zero and finite.")
    return max(1, round(height * factor)), max(1, round(width * factor))
