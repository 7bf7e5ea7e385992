"""The device that trains and enhances, and the floating-point type that it computes in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from facesr.errors import ParamsError
from facesr.names import Precision


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


def choose_dtype(
    precision: Precision, device: torch.device, *, agrees: Callable[[], bool] = lambda: True
) -> torch.dtype:
    """Return bfloat16 or float32.

    Args:
        precision: `auto` is bfloat16 on devices with instructions for it if the results agree.
        agrees: Returns whether results in bfloat16 are close enough to those in float32.
    """
    is_bfloat16 = precision == "bfloat16"
    if precision == "auto":
        is_bfloat16 = has_fast_bfloat16(device) and agrees()
    return torch.bfloat16 if is_bfloat16 else torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Compute in `dtype` while weights and inputs stay in float32.

    Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740; bfloat16 needs no loss scaling.
    """
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


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


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 saves time; on other devices it is emulated, slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older PyTorch does not know; float32 is right everywhere.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and any(
        capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")
    )


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
