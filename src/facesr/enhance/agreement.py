"""Agreement of bfloat16 with float32 on a chain of networks."""

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn

from facesr import images
from facesr.devices import without_tf32
from facesr.enhance.tiles import Tiler

logger = logging.getLogger(__name__)

AGREEMENT = 50.0
"""Lowest PSNR in dB of a bfloat16 result against float32."""
SIDE = 64
"""Side of the test image in pixels."""

Lock = AbstractContextManager[object]


def agrees(networks: Sequence[nn.Module], device: torch.device, lock: Lock | None = None) -> bool:
    """Return whether a chain of networks on the device may compute in bfloat16."""
    agreement = measure_agreement(networks, device, lock)
    logger.debug("bfloat16 agrees with float32 to %.1f dB", agreement)
    return agreement >= AGREEMENT


@without_tf32()
def measure_agreement(
    networks: Sequence[nn.Module], device: torch.device, lock: Lock | None = None
) -> float:
    """Return the PSNR in dB between both types on a test image; `lock` is held meanwhile."""
    noise = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    shapes = images.resize(noise[:, :8, :8], (SIDE, SIDE), "bicubic")
    image = (shapes + 0.2 * (noise - 0.5)).clamp(0, 1)
    exact, rounded = (
        tiler.run(image, (SIDE * tiler.scale, SIDE * tiler.scale))
        for tiler in (
            Tiler(networks, device, dtype=dtype, lock=lock)
            for dtype in (torch.float32, torch.bfloat16)
        )
    )
    return -10 * math.log10(max(float((exact - rounded).square().mean()), 1e-12))
