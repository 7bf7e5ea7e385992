"""Weights files: safetensors with the networks' architecture in their metadata.

One file holds a chain of one or more networks, as tensors `POSITION.NAME`. A network may have a
second operating point, `fidelity.POSITION.NAME`: the weights of the same architecture before the
adversarial training. Equal weights give equal bytes, so DVC's md5 shows whether a training gave the
same result.
"""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from facesr.errors import CheckpointError, FaceSRError
from facesr.files import atomic_write
from facesr.models import build

# One key only: safetensors writes several in no fixed order.
METADATA_KEY = "facesr"
FIDELITY = "fidelity"
DEPTH = "body_blocks"
GRAIN = "grain"


class Network(NamedTuple):
    """Network and the plain values that build it again."""

    architecture: Mapping[str, Any]
    module: nn.Module
    fidelity: Mapping[str, Tensor] | None = None
    """Faithful weights, the other end of `strength`."""


def save_networks(path: Path, networks: Sequence[Network], *, halved: bool = False) -> None:
    """Write the networks as one file, atomically.

    Args:
        path: Ends in .safetensors.
        networks: Networks in the order of the chain.
        halved: Store float16 instead of float32: half the bytes; the networks run in float32 again
            once loaded.
    """
    tensors: dict[str, Tensor] = {}
    for position, network in enumerate(networks):
        for name, tensor in network.module.state_dict().items():
            tensors[f"{position}.{name}"] = tensor
        for name, tensor in (network.fidelity or {}).items():
            tensors[f"{FIDELITY}.{position}.{name}"] = tensor
    for name, tensor in tensors.items():
        stored = tensor.half() if halved and tensor.is_floating_point() else tensor
        tensors[name] = stored.detach().cpu().contiguous()
    metadata = json.dumps([dict(network.architecture) for network in networks], sort_keys=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, {METADATA_KEY: metadata}))


def load_networks(path: Path) -> list[Network]:
    """Load the networks of a file on the CPU, in evaluation mode.

    Raises:
        CheckpointError: The file is missing, damaged, of another program, or does not fit its
            architecture.
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
        fidelity = _below(f"{FIDELITY}.{position}.", tensors) or None
        # The default point is filled last, and stays.
        for weights in filter(None, (fidelity, _below(f"{position}.", tensors))):
            _fill(module, weights, architecture, path)
        networks.append(Network(architecture, module.eval(), fidelity))
    return networks


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _fill(
    module: nn.Module, weights: Mapping[str, Tensor], architecture: Mapping[str, Any], path: Path
) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        # PyTorch's first line only says that there is an error; the tensors come after it.
        reason = textwrap.shorten(str(error).split(":", 1)[-1], 200)
        raise CheckpointError(
            f"The weights in {path} do not fit the {architecture.get('kind')} that it names "
            f"({reason}). Train it again with: dvc repro"
        ) from error


def load_chain(paths: Sequence[Path], *, fidelity: Path | None = None) -> list[Network]:
    """Chain the networks of several files.

    Args:
        paths: Files in the order of the chain.
        fidelity: Weights of the first network before its adversarial training.

    Raises:
        CheckpointError: A file is missing, damaged or holds more than one network, or `fidelity` is
            of another architecture, except for the grain that an adversarial training may add.
    """
    networks = [load_network(path) for path in paths]
    if fidelity:
        other = load_network(fidelity)
        wanted = dict(networks[0].architecture)
        without = {name: value for name, value in wanted.items() if name != GRAIN}
        if dict(other.architecture) not in (wanted, without):
            raise CheckpointError(
                f"{fidelity} and {paths[0]} hold different networks, whose weights cannot be "
                "mixed. Run: dvc repro train_gan"
            )
        networks[0] = networks[0]._replace(fidelity=grow(other, wanted).module.state_dict())
    return networks


def load_network(path: Path) -> Network:
    """Return the only network of a file; raise CheckpointError for a chain or a damaged file."""
    networks = load_networks(path)
    if len(networks) != 1:
        raise CheckpointError(f"{path} holds {len(networks)} networks where one was expected.")
    return networks[0]


def average(networks: Sequence[Network]) -> Network:
    """Return a network with the mean of the weights of several.

    The mean of trainings with one start is often better than each of them (Wortsman et al. 2022,
    https://arxiv.org/abs/2203.05482).

    Args:
        networks: Of one architecture; second operating points are left out. Integers, such as the
            batch count of a batch norm, are those of the first.

    Raises:
        CheckpointError: They are of several architectures.
    """
    architecture = networks[0].architecture
    if any(dict(network.architecture) != dict(architecture) for network in networks):
        raise CheckpointError("Networks of several architectures have no mean. Name others.")
    states = [network.module.state_dict() for network in networks]
    module = build(architecture)
    module.load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(0)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in states[0].items()
        }
    )
    return Network(architecture, module.eval())


def load_start(path: Path, architecture: Mapping[str, Any], *, faithful: bool) -> Network:
    """Return the network of a file or chain as the start of a training of this architecture.

    One with fewer `body_blocks` gets more of them and restores as before. Grain is removed.

    Args:
        architecture: `kind` and the plain values of its builder.
        faithful: Take the faithful weights of a network that has two sets.

    Raises:
        CheckpointError: The file is missing or damaged, or holds no such network.
    """
    networks = load_networks(path)
    changing = {DEPTH: None, GRAIN: None}
    fitting = [
        one
        for one in networks
        if {**one.architecture, **changing} == {**architecture, **changing}
        and _depth(one.architecture) <= _depth(architecture)
    ]
    if fitting:
        start = max(fitting, key=lambda one: _depth(one.architecture))
        if faithful and start.fidelity is not None:
            start.module.load_state_dict(start.fidelity)
        return grow(start, architecture)
    wanted = dict(architecture)
    held = " and ".join(_differences(dict(network.architecture), wanted) for network in networks)
    raise CheckpointError(
        f"{path} cannot start this training: it holds {held}; the training's network has "
        f"{_plain(wanted)}. Change init_from or network."
    )


def grow(network: Network, architecture: Mapping[str, Any]) -> Network:
    """Add blocks or grain, which change nothing at first, or remove grain."""
    module = build(architecture)
    held, state = network.module.state_dict(), module.state_dict()
    module.load_state_dict({name: held.get(name, tensor) for name, tensor in state.items()})
    return Network(architecture, module)


def _depth(architecture: Mapping[str, Any]) -> int:
    return int(architecture.get(DEPTH, 0))


def _differences(architecture: dict[str, Any], wanted: dict[str, Any]) -> str:
    if architecture.get("kind") != wanted.get("kind"):
        return _plain(architecture)
    return _plain(
        {name: value for name, value in architecture.items() if value != wanted.get(name)}
    )


def _plain(values: Mapping[str, Any]) -> str:
    return "(" + ", ".join(f"{name} {value}" for name, value in sorted(values.items())) + ")"


def describe(networks: Sequence[Network]) -> dict[str, Any]:
    """Return a chain's networks and scale as plain values."""
    return {
        "scale": math.prod(int(network.architecture["scale"]) for network in networks),
        "networks": [dict(network.architecture) for network in networks],
    }
