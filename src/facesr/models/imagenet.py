"""ImageNet's weights of torchvision's networks, from its cache or a named file."""

import pickle
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models.vgg import cfgs, make_layers

from facesr.errors import CheckpointError

VGG = Literal["vgg16", "vgg19"]
LAYOUTS: dict[VGG, str] = {"vgg16": "D", "vgg19": "E"}
"""Names of the layouts in Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556."""


def load_backbone(
    name: str, *, vgg16: Path | None = None, instead: str = "set pretrained: false"
) -> Any:
    """Return torchvision's network with its ImageNet weights.

    Args:
        name: Name in torchvision.
        vgg16: File of VGG16, as `load_vgg` takes it, for `vgg16_bn`: its normalisation, which the
            file lacks, starts as the identity. That is VGG16, not torchvision's vgg16_bn.
        instead: What else to do, for the error.

    Raises:
        CheckpointError: The weights are not on this computer and cannot be fetched, or `vgg16` is
            damaged or of another network.
    """
    if vgg16 and name == "vgg16_bn":
        return _without_normalisation(load_vgg("vgg16", vgg16))
    weights = zoo.get_model_weights(name).IMAGENET1K_V1
    try:
        return zoo.get_model(name, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        file = weights.url.rsplit("/", 1)[-1]
        digest = file.removesuffix(".pth").rsplit("-", 1)[-1]
        raise CheckpointError(
            f"The ImageNet weights of {name} cannot be fetched ({error}). Put {file}, whose "
            f"SHA-256 begins with {digest}, into {folder}, or {instead}."
        ) from error


def load_vgg(name: VGG, file: Path | None) -> nn.Sequential:
    """Return the convolutional layers of VGG16 or VGG19, without batch norm.

    Args:
        name: The network.
        file: .pth of torchvision's whole network, or .safetensors with its names
            (`features.0.weight`) or with `conv0.weight`, `conv1.weight`, ... in order; None for
            torchvision's cache.

    Raises:
        CheckpointError: The file is missing, damaged or of another network, or torchvision's
            weights cannot be fetched.
    """
    if file is None:
        instead = "name another file in training.features.weights"
        layers: nn.Sequential = load_backbone(name, instead=instead).features
        return layers
    tensors = _read(file, name)
    layers = make_layers(cfgs[LAYOUTS[name]], batch_norm=False)
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    positions = [str(place) for place, one in enumerate(layers) if isinstance(one, nn.Conv2d)]
    for number, (position, layer) in enumerate(zip(positions, convolutions, strict=True)):
        for kind, target in layer.named_parameters():
            found = tensors.get(f"features.{position}.{kind}", tensors.get(f"conv{number}.{kind}"))
            if found is None or found.shape != target.shape:
                held = "is missing" if found is None else f"is {tuple(found.shape)}"
                raise CheckpointError(
                    f"{file} does not hold the weights of {name}: features.{position}.{kind} "
                    f"{held}. {_source(name)}"
                )
            with torch.no_grad():
                target.copy_(found)
    extra = {f"conv{len(convolutions)}.weight"} & tensors.keys()
    if extra:
        raise CheckpointError(
            f"{file} does not hold the weights of {name}: it has {extra.pop()} too. {_source(name)}"
        )
    return layers


def _without_normalisation(convolutions: nn.Sequential) -> Any:
    network = zoo.get_model("vgg16_bn", weights=None)
    filled = (layer for layer in convolutions if isinstance(layer, nn.Conv2d))
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            layer.load_state_dict(next(filled).state_dict())
        elif isinstance(layer, nn.BatchNorm2d):
            layer.running_var.fill_(1 - layer.eps)  # type: ignore[union-attr]
    return network


def _read(file: Path, name: VGG) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckpointError(f"{file} with the weights of {name} does not exist. {_source(name)}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{file} is damaged ({reason}). {_source(name)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no weights by name. {_source(name)}")
    return content


def _source(name: VGG) -> str:
    url = zoo.get_model_weights(name).IMAGENET1K_V1.url
    return f"Get {url} and name it in training.features.weights, or leave that ''."
