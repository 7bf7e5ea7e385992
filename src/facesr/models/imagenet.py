"""torchvision's networks with their ImageNet weights."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models as zoo

from facesr.errors import CheckpointError
from facesr.models import published

# torchvision's layouts of VGG without batch norm.
LAYOUTS = {"vgg16": "D", "vgg19": "E"}


def load_backbone(name: str, *, instead: str = "set pretrained: false") -> Any:
    """Return torchvision's network with its ImageNet weights.

    Those of vgg16 and vgg19 are read from the folder of FACESR_WEIGHTS first, from torchvision's
    file or from vgg16_features_fp16.safetensors, which holds the convolutions only: `features`
    without a classifier.

    Raises:
        CheckpointError: The weights are damaged or of another network, or are not on this computer
            and cannot be fetched; do `instead`.
    """
    weights = zoo.get_model_weights(name).IMAGENET1K_V1
    file = weights.url.rsplit("/", 1)[-1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    digest = file.removesuffix(".pth").rsplit("-", 1)[-1]
    advice = f"Put {file}, whose SHA-256 begins with {digest}, into {folder}, or {instead}."
    found = published.find(file, f"{name}_features_fp16.safetensors") if name in LAYOUTS else None
    if found:
        return _read_vgg(name, found, advice)
    try:
        return zoo.get_model(name, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"The ImageNet weights of {name} cannot be fetched ({error}). {advice}"
        ) from error


def _read_vgg(name: str, file: Path, advice: str) -> nn.ModuleDict:
    features = zoo.vgg.make_layers(zoo.vgg.cfgs[LAYOUTS[name]], batch_norm=False)
    layers = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    try:
        stored = published.read_convolutions(file, [tuple(one.weight.shape) for one in layers])
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {advice}") from error
    for layer, (weight, bias) in zip(layers, stored, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})
    return nn.ModuleDict({"features": features})
