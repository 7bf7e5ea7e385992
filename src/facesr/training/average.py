"""Exponential moving average of a network's weights."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


class ExponentialMovingAverage:
    """Exponential moving average of a network's weights, kept as plain tensors."""

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move (1 - decay) of the way to the network; integer buffers are copied."""
        state = network.state_dict()
        moving = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.tensors[name] for name in moving],
            [state[name] for name in moving],
            weight=1 - self.decay,
        )
        for name in state.keys() - set(moving):
            self.tensors[name].copy_(state[name])

    def copy_to(self, network: nn.Module) -> None:
        """Copy the averaged weights to the network."""
        network.load_state_dict(self.tensors)

    @contextlib.contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Replace the network's weights by the averaged ones for the block."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self.copy_to(network)
        try:
            yield
        finally:
            network.load_state_dict(own)
