"""Choice of the floating-point type of a chain of networks."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import nn

from facesr import images
from facesr.devices import has_fast_bfloat16
from facesr.enhance.tiles import Tiler

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
"""`auto` takes bfloat16 on devices with instructions for it if a test image comes out within
`AGREEMENT` of float32."""

AGREEMENT = 50.0
"""Lowest PSNR in dB of a bfloat16 result against float32."""
SIDE = 64
"""Side of the test image in pixels."""


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute in full float32: convolutions on NVIDIA GPUs use TF32, of 10 bits, by default."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def choose_dtype(
    precision: Precision,
    networks: Sequence[nn.Module],
    device: torch.device,
    *,
    lock: AbstractContextManager[object] | None = None,
) -> torch.dtype:
    """Return the type; `auto` may run the networks twice on a small image.

    Args:
        lock: Held while networks compute.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if not has_fast_bfloat16(device):
        return torch.float32
    agreement = measure_agreement(networks, device, lock=lock)
    logger.debug("bfloat16 agrees with float32 to %.1f dB", agreement)
    return torch.bfloat16 if agreement >= AGREEMENT else torch.float32


@without_tf32()
def measure_agreement(
    networks: Sequence[nn.Module],
    device: torch.device,
    *,
    lock: AbstractContextManager[object] | None = None,
) -> float:
    """Return the PSNR in dB between both types on an image of coarse and fine structure."""
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
