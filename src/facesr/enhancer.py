"""The finished tool: picture in, picture out.

The same Enhancer serves evaluation, command, page and registered model, so what is measured is
what is served.
"""

import copy
import hashlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from facesr import images
from facesr.checkpoints import Network, describe, load_chain, load_networks, save_networks
from facesr.colour import ColourFix, back_project, fix_colour
from facesr.devices import pick_device
from facesr.errors import ParamsError

# Sides in pixels of a network's output: the tile bounds the memory, whatever the picture.
TILE = 512
OVERLAP = 64

Progress = Callable[[int, int], None]
"""Called with the tiles that are done and their number."""


class Result(NamedTuple):
    """An enhanced picture and how it came about."""

    image: Tensor
    """(3, H, W) float32 RGB in [0, 1], on the CPU."""
    seconds: float
    model: str
    """Such as `facesr/3 (5f0e6ac1)`: the version and the beginning of the weights' md5."""
    input_size: tuple[int, int]
    """Height and width in pixels."""
    output_size: tuple[int, int]


class Enhancer:
    """Chains networks that each enlarge by a whole scale; without any it is bicubic.

    Safe to share between threads.

    Example:
        >>> import torch
        >>> Enhancer.bicubic().enhance(torch.zeros(3, 16, 24), scale=2).image.shape
        torch.Size([3, 32, 48])
    """

    def __init__(
        self, networks: Sequence[Network], device: str = "auto", *, model: str = "unnamed"
    ) -> None:
        self.device = pick_device(device)
        self.networks = [
            network._replace(module=network.module.eval().to(self.device)) for network in networks
        ]
        self.model = model
        # fastai's U-Nets hand their skips over through hooks, which threads would mix up.
        self._lock = threading.Lock()
        self._mixed: tuple[float, list[nn.Module]] = (
            1.0,
            [network.module for network in self.networks],
        )

    @classmethod
    def from_registry(
        cls, reference: str = "facesr@champion", *, root: Path | None = None, device: str = "auto"
    ) -> Self:
        """Fetches a version of the registered model.

        Args:
            reference: `facesr@champion` (any alias) or `facesr/3` (a number).
            root: Project whose MLflow store is asked where MLFLOW_TRACKING_URI is not set; the
                working directory where it is None.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Raises:
            RegistryError: The reference names nothing, or the store does not answer.
            CheckpointError: The weights are damaged.
        """
        # MLflow is slow to import and not needed for a file.
        from facesr.tracking import MODEL, download, find_version

        project = root or Path.cwd()
        version = find_version(project, reference)
        path = download(project, version)
        model = f"{MODEL}/{version.number} ({_short_md5(path)})"
        return cls(load_networks(path), device, model=model)

    @classmethod
    def from_checkpoint(cls, path: Path | str, *, device: str = "auto") -> Self:
        """Loads the chain of a weights file, as stages and the registry hold them.

        Raises:
            CheckpointError: The file is missing, damaged or not ours.
        """
        path = Path(path)
        networks = load_networks(path)
        return cls(networks, device, model=f"{path.name} ({_short_md5(path)})")

    @classmethod
    def from_files(
        cls, paths: Sequence[Path], *, fidelity: Path | None = None, device: str = "auto"
    ) -> Self:
        """Chains the networks of several weights files, as `checkpoints.load_chain`.

        Raises:
            CheckpointError: A file is missing, damaged or does not fit.
        """
        model = " + ".join(path.stem for path in paths)
        return cls(load_chain(paths, fidelity=fidelity), device, model=model)

    @classmethod
    def bicubic(cls) -> Self:
        """The Enhancer that needs no weights."""
        return cls([], "cpu", model="bicubic")

    def save(self, path: Path) -> None:
        """Writes the whole chain as one safetensors file; equal weights give equal bytes."""
        save_networks(path, self.networks)

    @property
    def scale(self) -> int:
        """Enlargement by the whole chain; 1 without networks."""
        return int(describe(self.networks)["scale"])

    @property
    def has_strength(self) -> bool:
        """Whether `strength` can be anything but 1."""
        return any(network.fidelity is not None for network in self.networks)

    def enhance(
        self,
        picture: Tensor,
        *,
        size: int | None = None,
        scale: float | None = None,
        strength: float = 1.0,
        colour: ColourFix = "wavelet",
        back_projections: int = 0,
        tile: int | Literal["auto"] = "auto",
        on_progress: Progress | None = None,
    ) -> Result:
        """Enlarges and restores a picture.

        Networks run in their order until the wanted size is reached; one Lanczos resize gives the
        exact size. The proportions stay. A picture that has the wanted size already is given back
        as it is, unless the networks were made to restore without enlarging.

        Args:
            picture: (3, h, w) float32 RGB in [0, 1].
            size: Longer side of the result in pixels.
            scale: Instead of `size`: side of the result over side of the picture. With neither,
                the networks' own.
            strength: 1 gives the crisp weights after adversarial training, 0 the faithful ones
                before it, between them a mixture of the weights (Wang et al. 2018, section 3.4,
                https://arxiv.org/abs/1809.00219).
            colour: Holds the colours of the result to those of the picture; see
                `colour.fix_colour`.
            back_projections: Corrections that make the reduced result equal the picture; see
                `colour.back_project`. For clean pictures only.
            tile: Side of a tile in pixels of the picture.
            on_progress: Told after every tile.

        Raises:
            ParamsError: A value does not fit, or the networks have one strength only.
        """
        start = time.perf_counter()
        height, width = picture.shape[-2:]
        if size is None and scale is None:
            scale = self.scale
        target = _target_size(height, width, size=size, scale=scale)
        image = self._restore(picture, target, strength=strength)
        if image is picture:
            image = picture.clone()
        if image.shape != picture.shape or self.scale == 1:
            image = fix_colour(image, picture, colour if self.networks else "none")
            image = back_project(image, picture, back_projections)
        return Result(
            image,
            seconds=time.perf_counter() - start,
            model=self.model,
            input_size=(height, width),
            output_size=target,
        )

    def _restore(self, picture: Tensor, target: tuple[int, int], *, strength: float) -> Tensor:
        if not 0 <= strength <= 1:
            raise ParamsError(f"Strength {strength:g} does not lie between 0 and 1.")
        if not self.networks:
            return images.resize(picture, target, "bicubic").clamp(0, 1)
        restored = picture
        with self._lock, torch.inference_mode():
            for network in self._mix(strength):
                if restored is not picture and restored.shape[-1] >= target[1]:
                    break
                restored = run_tiled(network, restored, device=self.device)
        return images.resize(restored, target, "lanczos").clamp(0, 1)

    def _mix(self, strength: float) -> list[nn.Module]:
        """Gives the modules of a strength; the last one is kept, as most callers stay with it."""
        if strength == 1:
            return [network.module for network in self.networks]
        if not self.has_strength:
            raise ParamsError(
                f"{self.model} holds one set of weights only: strength must be 1, not {strength:g}."
            )
        if self._mixed[0] != strength:
            self._mixed = (strength, [_mixed(network, strength) for network in self.networks])
        return self._mixed[1]


def _mixed(network: Network, strength: float) -> nn.Module:
    """(1 - strength) of the fidelity weights, strength of the others."""
    if network.fidelity is None:
        return network.module
    weights = {
        name: torch.lerp(network.fidelity[name].to(tensor), tensor, strength)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in network.module.state_dict().items()
    }
    module = copy.deepcopy(network.module)
    module.load_state_dict(weights)
    return module


def _short_md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()[:8]


def run_tiled(network: nn.Module, picture: Tensor, *, device: torch.device) -> Tensor:
    """Runs a network over overlapping tiles, blended by weights that sum to one.

    Args:
        network: Has `scale`, and `multiple`, the grid on which tiles start.
        picture: (3, h, w) in [0, 1], on the CPU.
        device: Where the network is; only one tile at a time is there.

    Returns:
        (3, scale h, scale w) in [0, 1], on the CPU.
    """
    scale, multiple = int(network.scale), int(network.multiple)  # type: ignore[arg-type]
    height, width = picture.shape[-2:]
    overlap = max(multiple, OVERLAP // scale // multiple * multiple)
    # A coarse grid can make the overlap as large as the tile, which would then never advance.
    tile = max(2 * overlap, TILE // scale // multiple * multiple)
    if max(height, width) <= tile + overlap:
        sr: Tensor = network(picture[None].to(device))[0]
        return sr.clamp(0, 1).cpu()
    total = torch.zeros(3, scale * height, scale * width)
    weight = torch.zeros(1, scale * height, scale * width)
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            part = picture[:, top : top + tile, left : left + tile]
            sr = network(part[None].to(device))[0].clamp(0, 1).cpu()
            rows = _ramp(part.shape[-2] * scale, overlap * scale, top > 0, top + tile < height)
            columns = _ramp(part.shape[-1] * scale, overlap * scale, left > 0, left + tile < width)
            blend = rows[:, None] * columns[None, :]
            place = (
                slice(None),
                slice(top * scale, top * scale + sr.shape[-2]),
                slice(left * scale, left * scale + sr.shape[-1]),
            )
            total[place] += sr * blend
            weight[place] += blend
    return total / weight


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin; the last one may be shorter, so that all begin on the grid."""
    return list(range(0, max(1, side - overlap), tile - overlap))


def _ramp(length: int, overlap: int, rises: bool, falls: bool) -> Tensor:
    """Raised cosine over the middle half of the overlap at inner borders, one elsewhere.

    The outer quarter of the overlap is weighted zero: there the network has seen its own padding.
    """
    ramp = torch.ones(length)
    position = 2 * (torch.arange(overlap) + 0.5) / overlap - 0.5
    flank = torch.sin(position.clamp(0, 1) * torch.pi / 2) ** 2
    if rises:
        ramp[:overlap] *= flank
    if falls:
        ramp[-overlap:] *= flank.flip(0)
    return ramp


def _target_size(
    height: int, width: int, *, size: int | None, scale: float | None
) -> tuple[int, int]:
    if (size is None) == (scale is None):
        raise ParamsError("Give either a size or a scale, not both.")
    factor = float(scale) if scale is not None else float(size or 0) / max(height, width)
    if not 0 < factor < math.inf:
        raise ParamsError("Size and scale must be above zero and finite.")
    return max(1, round(height * factor)), max(1, round(width * factor))
