"""torchvision's networks with their ImageNet weights."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models as zoo

from facesr.errors import CheckpointError
from facesr.models import published

# Networks of plain convolutions, whose features also do without the classifier.
PLAIN = ("vgg16", "vgg19")


def load_backbone(name: str, *, instead: str = "set pretrained: false") -> Any:
    """Return torchvision's network with its ImageNet weights.

    Those of vgg16 and vgg19 are also read from the folder of FACESR_WEIGHTS, from torchvision's
    file or from vgg16_features_fp16.safetensors, which holds the convolutions only; the classifier
    is random then.

    Raises:
        CheckpointError: The weights are damaged or of another network, or are not on this computer
            and cannot be fetched; do `instead`.
    """
    weights = zoo.get_model_weights(name).IMAGENET1K_V1
    file = weights.url.rsplit("/", 1)[-1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    digest = file.removesuffix(".pth").rsplit("-", 1)[-1]
    advice = f"Put {file}, whose SHA-256 begins with {digest}, into {folder}, or {instead}."
    found = published.find(file, f"{name}_features_fp16.safetensors") if name in PLAIN else None
    if found:
        return _fill(zoo.get_model(name, weights=None), found, advice)
    try:
        return zoo.get_model(name, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"The ImageNet weights of {name} cannot be fetched ({error}). {advice}"
        ) from error


def _fill(network: Any, file: Path, advice: str) -> Any:
    layers = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    try:
        stored = published.read_convolutions(file, [tuple(one.weight.shape) for one in layers])
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {advice}") from error
    for layer, (weight, bias) in zip(layers, stored, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})
    return network
