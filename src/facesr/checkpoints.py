"""Weights in files: safetensors that carry the networks' architecture in their metadata.

One file holds a chain of one or more networks. Equal weights give equal bytes, so DVC's md5 tells
whether a training came out the same.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from facesr.errors import CheckpointError, FaceSRError
from facesr.files import written_whole
from facesr.models import build

# One key only: safetensors writes several in no fixed order.
METADATA_KEY = "facesr"


class Network(NamedTuple):
    """A network and the plain values that build it again."""

    architecture: Mapping[str, Any]
    module: nn.Module


def save_networks(path: Path, networks: Sequence[Network]) -> None:
    """Writes the networks as one file, beside it first and then renamed.

    Args:
        path: Ends in .safetensors.
        networks: In the order in which a picture passes them.
    """
    tensors: dict[str, Tensor] = {}
    for position, network in enumerate(networks):
        for name, tensor in network.module.state_dict().items():
            tensors[f"{position}.{name}"] = tensor.detach().cpu().contiguous()
    metadata = json.dumps([dict(network.architecture) for network in networks], sort_keys=True)
    with written_whole(path) as beside:
        beside.write_bytes(save(tensors, {METADATA_KEY: metadata}))


def load_networks(path: Path) -> list[Network]:
    """Builds the networks of a file and fills them, on the CPU, ready for evaluation.

    Raises:
        CheckpointError: The file is missing, damaged, not ours, or does not fit its architecture.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. Run: dvc repro")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Delete it and run: dvc repro"
        ) from error
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{path} was not written by facesr. Give a file of its stages.")
    try:
        architectures = [dict(values) for values in json.loads(metadata[METADATA_KEY])]
        modules = [build(architecture) for architecture in architectures]
    # Values that no builder expects fail anywhere inside it.
    except (FaceSRError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The networks that {path} describes cannot be built: {error}"
        ) from error
    networks = []
    for position, (architecture, module) in enumerate(zip(architectures, modules, strict=True)):
        prefix = f"{position}."
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            # PyTorch's first line only says that there is an error; the tensors come after it.
            reason = textwrap.shorten(str(error).split(":", 1)[-1], 200)
            raise CheckpointError(
                f"The weights in {path} do not fit the {architecture.get('kind')} that it names "
                f"({reason}). Train it again with: dvc repro"
            ) from error
        networks.append(Network(architecture, module.eval()))
    return networks


def load_network(path: Path) -> Network:
    """Gives the only network of a file.

    Raises:
        CheckpointError: As `load_networks`, or the file holds a chain.
    """
    networks = load_networks(path)
    if len(networks) != 1:
        raise CheckpointError(f"{path} holds {len(networks)} networks where one was expected.")
    return networks[0]
