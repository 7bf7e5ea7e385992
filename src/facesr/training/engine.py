"""Computation of a step: precision, compilation, micro-batches."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from facesr.devices import autocast, is_out_of_memory
from facesr.models.critics import Critic, CriticOutput
from facesr.training.processes import Processes

logger = logging.getLogger(__name__)

Report = TypeVar("Report", bound=tuple[Tensor, ...] | Tensor)


@contextlib.contextmanager
def accelerated(
    *networks: nn.Module, dtype: torch.dtype, device: torch.device, compiled: bool
) -> Iterator[None]:
    """Let networks compute in `dtype` for the block; inputs and outputs stay float32.

    Weights and optimizer stay in float32, see `precision.autocast`. On GPUs, and in bfloat16
    everywhere, memory is channels-last, as the convolutions need it. Features of a critic, and of a
    network that returns lists, stay in `dtype`; their losses are in float32.

    Args:
        *networks: Changed in place and restored at the end.
        dtype: torch.float32 or torch.bfloat16.
    """
    channels_last = dtype == torch.bfloat16 or device.type == "cuda"
    # A critic's `forward` goes through the other, which losses of its features call alone.
    entries = [
        "forward_with_features" if isinstance(one, Critic) else "forward" for one in networks
    ]
    for network, entry in zip(networks, entries, strict=True):
        compute = getattr(network, entry)
        if compiled:
            # One program for each shape: trainings have few, and the compiler fails on some
            # convolutions whose sizes it leaves open.
            compute = torch.compile(compute, dynamic=False)
        if channels_last:
            network.to(memory_format=torch.channels_last)
            compute = _with_channels_last(compute, dtype, device)
        setattr(network, entry, compute)
    try:
        yield
    finally:
        for network, entry in zip(networks, entries, strict=True):
            delattr(network, entry)
            network.to(memory_format=torch.contiguous_format)


def _with_channels_last(
    compute: Callable[[Tensor], Any], dtype: torch.dtype, device: torch.device
) -> Callable[[Tensor], Any]:
    def converted(x: Tensor) -> Any:
        with autocast(dtype, device):
            y = compute(x.contiguous(memory_format=torch.channels_last))
        if isinstance(y, CriticOutput):
            return y._replace(logits=y.logits.float())
        return y.float() if isinstance(y, Tensor) else y

    return converted


def load_optimizer(optimizer: Any, saved: Mapping[str, Any]) -> None:
    """Load the state in a checkpoint into an optimizer.

    The state's memory gets the order of the weights, since the fused step reads both side by side.
    """
    optimizer.load_state_dict(saved)
    for weight, state in optimizer.state.items():
        for name, tensor in state.items():
            if isinstance(tensor, Tensor) and tensor.shape == weight.shape:
                state[name] = torch.empty_like(weight).copy_(tensor)


class MicroBatches:
    """Number of parts of a batch, increased if memory is short.

    The gradient is that of the whole batch except for rounding, with two exceptions: dropout draws
    other masks, and batch norm (`fastai_unet`) normalises over a part and moves its running
    statistics part by part.

    Attributes:
        count: Parts of every training step, processed one after another.
    """

    def __init__(self, count: int, *, most: int, processes: Processes) -> None:
        self.count = count
        self.most = most
        self.processes = processes

    def run(self, compute: Callable[[int], Report], size: int) -> Report:
        """Return `compute(count)`, with twice the count for as long as it runs out of memory.

        Args:
            compute: Begins anew when it is called again.
            size: Size of this process's batch, which all parts share equally.

        Raises:
            RuntimeError: There is too little memory, and the batch cannot be divided further: it is
                at `most`, cannot be halved, or other processes continue with their own parts.
        """
        while True:
            try:
                return compute(self.count)
            except (RuntimeError, MemoryError) as error:
                doubled = 2 * self.count
                fits = doubled <= self.most and size % doubled == 0 and self.processes.count == 1
                if not fits or not is_out_of_memory(error):
                    raise
            # Here the error no longer holds on to the tensors of the step.
            self.count = doubled
            if self.processes.device.type == "cuda":
                torch.cuda.empty_cache()
            logger.warning(
                "The memory of %s is too small for a batch of %d in %d parts: goes on with %d. "
                "To begin so, set training.accumulate: %d.",
                *(self.processes.device, size, doubled // 2, doubled, doubled),
            )


class SharedStep:
    """Optimizer that steps once for all parts of a batch and all processes.

    A step written for one batch and one process, `zero_grad(); loss.backward(); step()`, can be
    called part by part: gradients add up, and the last part's `step` averages them.
    """

    def __init__(self, optimizer: Optimizer, *, parts: int, processes: Processes) -> None:
        self.optimizer = optimizer
        self.parts = parts
        self.processes = processes
        self._part = 0

    def begin(self, parts: int) -> None:
        """Begin a batch of so many parts, even if the previous one is incomplete."""
        self.parts = parts
        self._part = 0

    def zero_grad(self) -> None:
        """Clear the gradients before the first part."""
        if self._part == 0:
            self.optimizer.zero_grad()

    def step(self) -> None:
        """Step after the last part."""
        self._part = (self._part + 1) % self.parts
        if self._part:
            return
        if self.parts > 1:
            for parameter in self._parameters():
                if parameter.grad is not None:
                    parameter.grad /= self.parts
        self.processes.average_gradients(self._parameters())
        self.optimizer.step()

    def gradient_norm(self) -> Tensor:
        """Return the norm of the last step's gradient, a scalar on the device."""
        return gradient_norm(self._parameters())

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]


class SpectralVectors:
    """Vectors of a network's spectral norms, which each pass in training moves.

    All parts of a batch start from the same vectors, as the whole batch does in one pass, and so
    does a batch that is repeated in smaller parts.
    """

    def __init__(self, network: nn.Module) -> None:
        # By name, in PyTorch's older form of spectral norm and in the newer one.
        self._places = [
            (module, name)
            for module in network.modules()
            for name, _ in module.named_buffers(recurse=False)
            if name.endswith(("_u", "_v"))
        ]
        self._kept = [tensor.clone() for tensor in self._tensors()]

    def _tensors(self) -> list[Tensor]:
        return [module.get_buffer(name) for module, name in self._places]

    def keep(self) -> None:
        """Store the vectors."""
        self._copy(self._kept, self._tensors())

    def restore(self) -> None:
        """Restore the vectors that `keep` stored."""
        self._copy(self._tensors(), self._kept)

    def _copy(self, targets: list[Tensor], sources: list[Tensor]) -> None:
        if targets:
            torch._foreach_copy_(targets, sources)


def gradient_norm(parameters: Iterator[nn.Parameter]) -> Tensor:
    """Return the norm over all gradients, a scalar on the device."""
    return nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
