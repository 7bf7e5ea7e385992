"""The tiny network of every test that needs one, and no network's quality."""

import torch

from facesr.models import build
from facesr.models.checkpoints import Network, grow

ARCHITECTURE = {
    "kind": "residual_unet",
    "backbone": "resnet18",
    "pretrained": False,
    "width": 4,
    "levels": 2,
    "decoder_blocks": 1,
    "body_blocks": 1,
    "unshuffle": 1,
    "head": "direct",
    "scale": 2,
}


def network(*, seed: int = 0, visible: float = 0.02, **changes: object) -> Network:
    """Random weights.

    Args:
        seed: Of the weights.
        visible: Deviation of the last layer's weights: what the network adds to bicubic
            enlargement, which zero leaves as it is.
        changes: To `ARCHITECTURE`.
    """
    torch.manual_seed(seed)
    architecture = {**ARCHITECTURE, **changes}
    module = build(architecture)
    with torch.no_grad():
        module.head[-2].weight.normal_(std=visible)
    return Network(architecture, module)


def with_grain(given: Network, amplitude: float) -> Network:
    """The same network with noise of one amplitude everywhere."""
    grown = grow(given, {**given.architecture, "grain": True})
    torch.nn.init.constant_(grown.module.grain.amplitude.bias, amplitude)
    return grown._replace(module=grown.module.eval())


def with_fidelity(given: Network) -> Network:
    """The same network with a second set of weights, for other strengths."""
    weights = {name: 0.9 * tensor for name, tensor in given.module.state_dict().items()}
    return given._replace(fidelity=weights)
