"""A chain of networks over an image of any size, in overlapping tiles.

At a tile's border a network sees its own padding, so tiles overlap and fade into each other. One
batch of tiles at a time is on the device, and no intermediate image is held whole: each tile passes
all networks and the final resize before it is added.
"""

import gc
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facesr import images
from facesr.devices import autocast, is_out_of_memory
from facesr.errors import DataError

logger = logging.getLogger(__name__)

# Sides in pixels: of a tile's result and of a tile, and what two tiles share of either.
RESULT, TILE = 512, 128
RESULT_OVERLAP, OVERLAP = 64, 16
# Tiles on the device at a time; a processor gains nothing from more than one.
CPU_BATCH, GPU_BATCH = 1, 4

Progress = Callable[[int, int], None]
"""Called with (tiles done, tiles in total)."""


class Span(NamedTuple):
    """Tile along one side of the image."""

    start: int
    stop: int
    first: int
    """First pixel of its result in the target."""
    weights: Tensor
    """Weights of its pixels, whose sum over all spans is one everywhere."""
    box: tuple[float, float]
    """Part of the networks' result that these pixels show, from 0 to 1."""


class Tiler:
    """A chain of networks with its tile size."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        device: torch.device,
        *,
        tile: int | None = None,
        dtype: torch.dtype = torch.float32,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        """Choose the tile size.

        Args:
            networks: Each has `scale`, and `multiple`, the grid on which its tiles must start.
            tile: Side in pixels of the image; None chooses it.
            dtype: Of the arithmetic; a result that is not finite is computed again in float32.
            lock: Held while networks compute.
        """
        self.networks = networks
        self.device = device
        self.dtype = dtype
        self.lock = lock or nullcontext()
        self.scale, self.multiple = 1, 1
        for network in networks:
            own = int(network.multiple)  # type: ignore[arg-type]
            self.multiple = math.lcm(self.multiple, own // math.gcd(own, self.scale))
            self.scale *= int(network.scale)  # type: ignore[arg-type]
        self.overlap = self._align(max(RESULT_OVERLAP // self.scale, OVERLAP))
        self.side = self._side(tile or max(RESULT // self.scale, TILE))

    def run(
        self, image: Tensor, target: tuple[int, int], on_progress: Progress | None = None
    ) -> Tensor:
        """Enlarge an image to a size; when memory runs out, halve the tile and continue.

        Args:
            image: (3, h, w) float32 in [0, 1], on the CPU.
            target: Height and width of the result in pixels.
            on_progress: Called after every batch of tiles.

        Returns:
            (3, *target) float32 in [0, 1], on the CPU.

        Raises:
            DataError: The memory does not suffice for the smallest tile.
        """
        return self._run([image], target, on_progress)[0].clamp_(0, 1)

    def _run(
        self, inputs: Sequence[Tensor], target: tuple[int, int], on_progress: Progress | None = None
    ) -> list[Tensor]:
        rows, columns = (
            _spans(side, wanted, self.side, self.overlap)
            for side, wanted in zip(inputs[0].shape[-2:], target, strict=True)
        )
        results = [torch.zeros(3, *target) for _ in inputs]
        limit = CPU_BATCH if self.device.type == "cpu" else GPU_BATCH
        done = 0
        for batch in _batches(len(inputs), rows, columns, limit):
            parts = [
                inputs[index][:, row.start : row.stop, column.start : column.stop]
                for index, row, column in batch
            ]
            restored = self._restore(torch.stack(parts))
            for part, (index, row, column) in zip(restored, batch, strict=True):
                _lay_down(results[index], part, row, column)
            done += len(batch)
            if on_progress:
                on_progress(done, len(inputs) * len(rows) * len(columns))
        return results

    def _restore(self, parts: Tensor) -> Tensor:
        """Enlarge (N, 3, h, w) to (N, 3, scale h, scale w), in smaller tiles if memory runs out."""
        height, width = parts.shape[-2:]
        if max(height, width) <= self.side + self.overlap:
            try:
                return self._compute(parts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).partition("\n")[0]
            # Outside of the handler: the traceback holds the tensors of the failed attempt.
            self._halve(max(height, width), reason)
        size = (height * self.scale, width * self.scale)
        return torch.stack(self._run(list(parts), size))

    def _halve(self, failed: int, reason: str) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = self._side(min(self.side, failed) // 2)
        if half + self.overlap >= failed:
            raise DataError(
                f"The memory of {self.device} does not suffice for a tile of {failed} pixels "
                f"({reason}). Close other programs, or use another device."
            )
        logger.warning("out of memory on %s: tiles of %d pixels from here on", self.device, half)
        self.side = half

    def _compute(self, parts: Tensor) -> Tensor:
        restored = self._forward(parts, self.dtype)
        if self.dtype != torch.float32 and not restored.isfinite().all():
            logger.warning("values in %s are not finite: repeated in float32", self.dtype)
            restored = self._forward(parts, torch.float32)
        return restored.cpu()

    def _forward(self, parts: Tensor, dtype: torch.dtype) -> Tensor:
        restored = parts.to(self.device, memory_format=torch.channels_last)
        with self.lock, autocast(dtype, self.device), torch.inference_mode():
            for network in self.networks:
                restored = network(restored).float().clamp(0, 1)
        return restored

    def _side(self, tile: int) -> int:
        """Return the next side on the grid that is larger than the overlap."""
        return max(self._align(tile), 2 * self.overlap)

    def _align(self, side: int) -> int:
        return -(-side // self.multiple) * self.multiple


def _spans(side: int, target: int, tile: int, overlap: int) -> list[Span]:
    """Divide a side; the last span may be shorter, so that all begin on the grid.

    Neighbours fade into each other along a raised cosine over the middle half of their overlap. The
    outer quarters have weight zero: there a network has seen its own padding.
    """
    factor = target / side
    starts = [0]
    if side > tile + overlap:
        starts = list(range(0, side - overlap, tile - overlap))
    spans = []
    for position, start in enumerate(starts):
        is_last = position + 1 == len(starts)
        stop = side if is_last else start + tile
        first = math.ceil(start * factor)
        last = target if is_last else math.floor(stop * factor)
        centres = (torch.arange(first, last, dtype=torch.float64) + 0.5) / factor
        weights = torch.ones(last - first, dtype=torch.float64)
        if position:
            weights *= _rise(centres, start, overlap)
        if not is_last:
            weights *= 1 - _rise(centres, starts[position + 1], overlap)
        box = ((first / factor - start) / (stop - start), (last / factor - start) / (stop - start))
        spans.append(Span(start, stop, first, weights.float(), box))
    return spans


def _rise(centres: Tensor, start: int, overlap: int) -> Tensor:
    return torch.sin(((centres - start) / overlap * 2 - 0.5).clamp(0, 1) * math.pi / 2) ** 2


def _batches(
    count: int, rows: Sequence[Span], columns: Sequence[Span], limit: int
) -> Iterator[list[tuple[int, Span, Span]]]:
    """Yield batches of equal tiles in reading order, over all images."""
    for row in rows:
        for _, group in groupby(columns, key=lambda column: column.stop - column.start):
            equal = [(index, row, column) for column in group for index in range(count)]
            for start in range(0, len(equal), limit):
                yield equal[start : start + limit]


def _lay_down(result: Tensor, part: Tensor, row: Span, column: Span) -> None:
    height, width = part.shape[-2:]
    size = (len(row.weights), len(column.weights))
    left, right = (min(edge * width, width) for edge in column.box)
    top, bottom = (min(edge * height, height) for edge in row.box)
    if (height, width) != size:
        part = images.resize(part, size, "lanczos", box=(left, top, right, bottom))
    place = result[:, row.first : row.first + size[0], column.first : column.first + size[1]]
    place += part * row.weights[:, None] * column.weights
