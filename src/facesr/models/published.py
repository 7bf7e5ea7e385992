"""Weights of published networks, which are not part of facesr.

Their files lie in the folder that the environment variable FACESR_WEIGHTS names, or in the cache of
torchvision. Nothing is downloaded.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from facesr.errors import CheckpointError, ParamsError

VARIABLE = "FACESR_WEIGHTS"

# (output channels, input channels, height, width)
Shape = tuple[int, ...]


def find(*names: str) -> Path | None:
    """Return the first file of these names in the named folder, else in torchvision's cache.

    Raises:
        ParamsError: FACESR_WEIGHTS names no folder.
    """
    folders = [Path(torch.hub.get_dir(), "checkpoints")]
    if named := os.environ.get(VARIABLE):
        if not Path(named).is_dir():
            raise ParamsError(f"{VARIABLE}={named} is no folder. Correct it, or unset it.")
        folders.insert(0, Path(named))
    paths = (folder / name for folder in folders for name in names)
    return next((path for path in paths if path.is_file()), None)


def read_convolutions(path: Path, shapes: Sequence[Shape]) -> list[tuple[Tensor, Tensor]]:
    """Return weights and biases of a network's convolutions in float32, from input to output.

    Args:
        path: Checkpoint of torchvision (`features.0.weight` and so on), or safetensors with the
            names `conv0.weight`, `conv0.bias` and so on.
        shapes: Of the weights.

    Raises:
        CheckpointError: The file is damaged, or its tensors have other names or shapes.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    # What unpickling other bytes leads to.
    except (
        SafetensorError,
        RuntimeError,
        UnpicklingError,
        LookupError,
        EOFError,
        OSError,
    ) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__})") from error
    try:
        keys = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
        layers = [
            (tensors[f"{key}.weight"].float(), tensors[f"{key}.bias"].float())
            for key in sorted(keys, key=_position)
            if key.startswith(("conv", "features."))
        ]
    except (AttributeError, KeyError) as error:
        raise CheckpointError(f"{path} holds another network ({error})") from error
    if [tuple(weight.shape) for weight, _ in layers] != list(shapes):
        raise CheckpointError(f"{path} holds another network: its layers have other shapes")
    return layers


def _position(key: str) -> int:
    return int(re.sub(r"\D", "", key) or 0)
