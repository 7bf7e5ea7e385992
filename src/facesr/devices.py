"""The device that trains and enhances, and the seeds on it."""

import torch
from torch import nn


def pick_device(name: str = "auto") -> torch.device:
    """Gives the device of that name; `auto` takes the GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def count_parameters(network: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(parameter.numel() for parameter in network.parameters())
