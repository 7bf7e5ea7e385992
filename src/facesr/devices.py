"""The device that trains and enhances."""

import torch
from torch import nn

from facesr.errors import ParamsError


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name, `auto` for a GPU if any; raise ParamsError if it is missing."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    kind = name.partition(":")[0]
    if kind not in available:
        raise ParamsError(f"There is no device {name}. Choose auto, cpu, cuda or mps.")
    if not available[kind]:
        raise ParamsError(f"This computer offers no {kind} device to PyTorch. Choose auto or cpu.")
    return torch.device(name)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device or the computer is out of memory."""
    # PyTorch has a class of its own for a GPU's allocator only; the others raise RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    )


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
