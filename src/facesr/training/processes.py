"""One training on one or several processes, as torchrun starts them.

Every process holds the whole networks and takes its share of every batch. Gradients are averaged in
one message before the optimizer's step; losses that compare the images of a batch get the logits of
all processes (`turns`). The gradient is that of the whole batch except for rounding, with two
exceptions: dropout draws other masks in each process, and batch norm (`fastai_unet`) normalises
over a process's own share; the running statistics of process 0 are saved.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from facesr.devices import pick_device
from facesr.errors import ParamsError


@dataclass(frozen=True)
class Processes:
    """This process among all that share a training."""

    rank: int
    """Number of the process; only process 0 writes files."""
    count: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True if this process writes files."""
        return self.rank == 0

    def close(self) -> None:
        """Leave the process group."""
        if self.count > 1:
            distributed.destroy_process_group()

    def average(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.count == 1:
            return tensor
        total = tensor.clone()
        distributed.all_reduce(total)
        return total / self.count

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.count == 1:
            return
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([one.flatten() for one in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        sizes = [one.numel() for one in gradients]
        for gradient, mean in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))

    @property
    def shard(self) -> slice:
        """This process's share of a batch: every count-th entry."""
        return slice(self.rank, None, self.count)

    def collect(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, of one shape (...), as (count, ...)."""
        if self.count == 1:
            return tensor[None]
        tensors = [torch.empty_like(tensor) for _ in range(self.count)]
        distributed.all_gather(tensors, tensor.contiguous())
        return torch.stack(tensors)

    def from_first(self, tensor: Tensor) -> Tensor:
        """Overwrite the tensor by that of process 0, and return it."""
        if self.count > 1:
            distributed.broadcast(tensor, src=0)
        return tensor

    def all_reduce_max(self, values: Sequence[int]) -> list[int]:
        """Return the largest of each value over the processes."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, device=self.device)
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
        return [int(value) for value in tensor.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Return the value of every process, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values


def join_processes() -> Processes:
    """Join the processes that torchrun starts; raise ParamsError if they do not meet."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    device = pick_device()
    if count == 1:
        return Processes(0, 1, device)
    try:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (LookupError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParamsError(
            f"{count} processes were started, but this one does not find the others ({reason}). "
            "Start them with: torchrun --standalone --nproc-per-node COUNT -m stages.NAME"
        ) from error
    return Processes(distributed.get_rank(), count, device)


def check_division(batch_size: int, parts: int, processes: Processes) -> None:
    """Raise ParamsError unless all parts of a batch have the same size."""
    pieces = parts * processes.count
    if batch_size % pieces:
        raise ParamsError(
            f"A batch of {batch_size} cannot be divided into {pieces} equal parts: training."
            f"accumulate is {parts}, on {processes.count} processes. Change one of the three."
        )
