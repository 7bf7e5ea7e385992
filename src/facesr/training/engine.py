"""How a step is computed: in which precision, compiled or not, in how many parts."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from facesr.devices import has_fast_bfloat16, is_out_of_memory
from facesr.models.critics import Critic, CriticOutput
from facesr.training.processes import Processes

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]
Report = TypeVar("Report", bound=tuple[Tensor, ...] | Tensor)


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return bfloat16 where it is asked for, or where `auto` finds instructions for it."""
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return torch.float32 if precision == "float32" else torch.bfloat16


@contextlib.contextmanager
def accelerated(
    *networks: nn.Module, dtype: torch.dtype, device: torch.device, compiled: bool
) -> Iterator[None]:
    """Let networks compute in `dtype` for a while; they take and give float32 all the same.

    Weights and optimizer stay in float32 (autocast, Micikevicius et al. 2018,
    https://arxiv.org/abs/1710.03740; bfloat16 needs no loss scaling). On GPUs, and in bfloat16
    everywhere, the channels lie last in memory, as the convolutions there want them. Features of a
    critic, and of a network that gives lists, stay in `dtype`; the losses of them are in float32.

    Args:
        *networks: Are changed in place, and back at the end.
        dtype: torch.float32 or torch.bfloat16.
        device: Of the networks.
        compiled: Compiles them with torch.compile.
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
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            y = compute(x.contiguous(memory_format=torch.channels_last))
        if isinstance(y, CriticOutput):
            return y._replace(logits=y.logits.float())
        return y.float() if isinstance(y, Tensor) else y

    return converted


def load_optimizer(optimizer: Any, saved: Mapping[str, Any]) -> None:
    """Put the state that a checkpoint holds into an optimizer.

    The state's memory is ordered as the weights' is: the fused step walks through both side by
    side.

    Args:
        optimizer: PyTorch's.
        saved: What its `state_dict` gave.
    """
    optimizer.load_state_dict(saved)
    for weight, state in optimizer.state.items():
        for name, tensor in state.items():
            if isinstance(tensor, Tensor) and tensor.shape == weight.shape:
                state[name] = torch.empty_like(weight).copy_(tensor)


class MicroBatches:
    """Into how many parts a batch is cut; more of them where the memory is too small.

    The gradient is that of the whole batch but for rounding, with two exceptions: dropout draws
    other masks, and batch norm (`fastai_unet`) normalises over a part and moves its running
    statistics part by part.

    Attributes:
        count: MicroBatches; every training step goes through them one after another.
    """

    def __init__(self, count: int, *, most: int, processes: Processes) -> None:
        self.count = count
        self.most = most
        self.processes = processes

    def run(self, compute: Callable[[int], Report], size: int) -> Report:
        """Return `compute(count)`, with twice the count for as long as it runs out of memory.

        Args:
            compute: Begins anew when it is called again.
            size: Of this process's batch, which all parts share equally.

        Raises:
            RuntimeError: There is too little memory, and the batch may not be cut any further: it
                is at `most`, cannot be halved, or other processes go on with their own parts.
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
    """An optimizer that steps once for all parts of a batch, and for all processes.

    A step that is written for one batch and one process,
    `zero_grad(); loss.backward(); step()`, can then be called part by part: gradients add up, and
    the last part's `step` averages them.
    """

    def __init__(self, optimizer: Optimizer, *, parts: int, processes: Processes) -> None:
        self.optimizer = optimizer
        self.parts = parts
        self.processes = processes
        self._part = 0

    def begin(self, parts: int) -> None:
        """Begin a batch of so many parts, whatever became of the one before."""
        self.parts = parts
        self._part = 0

    def zero_grad(self) -> None:
        """Clear the gradients before the first part."""
        if self._part == 0:
            self.optimizer.zero_grad()

    def step(self) -> None:
        """Steps after the last part."""
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
        """Norm of the last step's gradient, a scalar on the device."""
        return gradient_norm(self._parameters())

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]


class SpectralVectors:
    """The vectors of a network's spectral norms, which each pass in training moves.

    All parts of a batch start from the same ones, as the whole batch does in one pass, and so does
    a batch that begins anew in smaller parts.
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
        """Remember the vectors."""
        self._copy(self._kept, self._tensors())

    def restore(self) -> None:
        """Go back to the vectors that `keep` remembered."""
        self._copy(self._tensors(), self._kept)

    def _copy(self, targets: list[Tensor], sources: list[Tensor]) -> None:
        if targets:
            torch._foreach_copy_(targets, sources)


def gradient_norm(parameters: Iterator[nn.Parameter]) -> Tensor:
    """Norm over all gradients, a scalar on the device."""
    return nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
