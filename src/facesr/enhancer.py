"""The finished tool: picture in, picture out.

The same Enhancer serves evaluation, command, page and registered model, so what is measured is
what is served.
"""

import copy
import hashlib
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from facesr import images
from facesr.checkpoints import Network, describe, load_chain, load_networks, save_networks
from facesr.colour import ColourFix, back_project, fix_colour
from facesr.devices import pick_device
from facesr.ensemble import run_ensemble
from facesr.errors import ParamsError
from facesr.photos import MAX_PIXELS, Photo, fill_transparent
from facesr.precision import Precision, choose_dtype
from facesr.tiles import Progress, Tiler


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
        self,
        networks: Sequence[Network],
        device: str = "auto",
        *,
        model: str = "unnamed",
        precision: Precision = "auto",
    ) -> None:
        """Takes networks over: they move to the device and to inference.

        Args:
            networks: In the order in which a picture passes them.
            device: `auto`, `cpu`, `cuda` or `mps`.
            model: Name for results and metadata.
            precision: See `facesr.precision`.
        """
        self.device = pick_device(device)
        self.networks = [
            network._replace(module=_ready(network.module, self.device)) for network in networks
        ]
        self.model = model
        self.precision = precision
        # fastai's U-Nets hand their skips over through hooks, which threads would mix up.
        self._lock = threading.Lock()
        self._dtype: torch.dtype | None = None
        self._mixture: tuple[float, list[nn.Module]] | None = None

    @classmethod
    def from_registry(
        cls,
        reference: str = "facesr@champion",
        *,
        root: Path | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> Self:
        """Fetches a version of the registered model.

        Args:
            reference: `facesr@champion` (any alias) or `facesr/3` (a number).
            root: Project whose MLflow store is asked where MLFLOW_TRACKING_URI is not set; the
                working directory where it is None.
            device: As in the constructor.
            precision: As in the constructor.

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
        return cls(load_networks(path), device, model=model, precision=precision)

    @classmethod
    def from_checkpoint(
        cls, path: Path | str, *, device: str = "auto", precision: Precision = "auto"
    ) -> Self:
        """Loads the chain of a weights file, as stages and the registry hold them.

        Raises:
            CheckpointError: The file is missing, damaged or not ours.
        """
        path = Path(path)
        networks = load_networks(path)
        model = f"{path.name} ({_short_md5(path)})"
        return cls(networks, device, model=model, precision=precision)

    @classmethod
    def from_files(
        cls,
        paths: Sequence[Path],
        *,
        fidelity: Path | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> Self:
        """Chains the networks of several weights files, as `checkpoints.load_chain`.

        Raises:
            CheckpointError: A file is missing, damaged or does not fit.
        """
        model = " + ".join(path.stem for path in paths)
        networks = load_chain(paths, fidelity=fidelity)
        return cls(networks, device, model=model, precision=precision)

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

    def check_strength(self, strength: float) -> None:
        """Refuse a strength that `enhance` would refuse for every image.

        Raises:
            ParamsError: It does not lie between 0 and 1, or the networks have one strength only.
        """
        if not 0 <= strength <= 1:
            raise ParamsError(f"Strength {strength:g} does not lie between 0 and 1.")
        if strength != 1 and self.networks and not self.has_strength:
            raise ParamsError(
                f"{self.model} holds one set of weights only: strength must be 1, not {strength:g}."
            )

    def enhance(
        self,
        picture: Tensor,
        *,
        size: int | None = None,
        scale: float | None = None,
        strength: float = 1.0,
        colour: ColourFix = "wavelet",
        back_projections: int = 0,
        self_ensemble: bool = False,
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
            self_ensemble: Takes the mean over the picture's eight mirrored and turned forms: a
                little better, eight times as long.
            tile: Side in pixels of the parts in which a large picture is worked on.
            on_progress: Told the tiles that are done and their number.

        Raises:
            ParamsError: A value does not fit, or the networks have one strength only.
            DataError: The memory does not suffice for the smallest tile.
        """
        return self.enhance_batch(
            [picture],
            size=size,
            scale=scale,
            strength=strength,
            colour=colour,
            back_projections=back_projections,
            self_ensemble=self_ensemble,
            tile=tile,
            on_progress=on_progress,
        )[0]

    def enhance_batch(
        self,
        pictures: Sequence[Tensor],
        *,
        size: int | None = None,
        scale: float | None = None,
        strength: float = 1.0,
        colour: ColourFix = "wavelet",
        back_projections: int = 0,
        self_ensemble: bool = False,
        tile: int | Literal["auto"] = "auto",
        on_progress: Progress | None = None,
    ) -> list[Result]:
        """As `enhance`, for one or more pictures of one size, which a GPU takes several at a time.

        Each result has its part of the seconds.

        Raises:
            ParamsError: As `enhance`, or the sizes differ.
            DataError: As `enhance`.
        """
        if not pictures:
            return []
        start = time.perf_counter()
        height, width = pictures[0].shape[-2:]
        if any(picture.shape[-2:] != (height, width) for picture in pictures):
            raise ParamsError("The pictures of a batch must have one size. Sort them by size.")
        target = self.target_size(height, width, size=size, scale=scale)
        modules = self._choose(strength, target[1] / width)
        if modules:
            tiler = Tiler(
                modules,
                self.device,
                tile=None if tile == "auto" else tile,
                dtype=self._find_dtype(),
                lock=self._lock,
            )
            run = partial(run_ensemble, tiler) if self_ensemble else tiler.run_batch
            enlarged = run(pictures, target, on_progress)
            for image, picture in zip(enlarged, pictures, strict=True):
                fix_colour(image, picture, colour)
        else:
            method: images.Filter = "lanczos" if self.networks else "bicubic"
            enlarged = [images.resize(each, target, method).clamp(0, 1) for each in pictures]
            if on_progress:
                on_progress(1, 1)
        for image, picture in zip(enlarged, pictures, strict=True):
            back_project(image, picture, back_projections)
        seconds = (time.perf_counter() - start) / len(pictures)
        return [Result(image, seconds, self.model, (height, width), target) for image in enlarged]

    def enhance_photo(
        self, photo: Photo, *, max_pixels: int = MAX_PIXELS, **options: Any
    ) -> tuple[Photo, Result]:
        """Enlarges and restores a picture file's content; transparency keeps its smooth edge.

        Args:
            photo: What `photos.read` gave.
            max_pixels: A larger result is refused before the work begins.
            options: Those of `enhance`.

        Raises:
            ParamsError: As `enhance`, or the result would be too large.
        """
        height, width = photo.colour.shape[-2:]
        target = self.target_size(
            height, width, size=options.get("size"), scale=options.get("scale")
        )
        if target[0] * target[1] > max_pixels:
            raise ParamsError(
                f"The result would have {target[1]} x {target[0]} pixels, more than {max_pixels}. "
                "Ask for a smaller one, or raise --max-pixels."
            )
        result = self.enhance(fill_transparent(photo).colour, **options)
        alpha = photo.alpha
        if alpha is not None:
            alpha = images.resize(alpha, target, "bicubic").clamp(0, 1)
        return replace(photo, colour=result.image, alpha=alpha, is_filled=False), result

    def target_size(
        self, height: int, width: int, *, size: int | None = None, scale: float | None = None
    ) -> tuple[int, int]:
        """Gives height and width of the result for a picture, as `enhance` will.

        Raises:
            ParamsError: Both size and scale are given, or one makes no sense.
        """
        if size is None and scale is None:
            scale = self.scale
        return _target_size(height, width, size=size, scale=scale)

    def _choose(self, strength: float, factor: float) -> list[nn.Module]:
        """Gives the first networks that reach the factor, or none where there is nothing to add."""
        modules = self._mix(strength)
        if factor <= 1 and self.scale > 1:
            return []
        reached = 1
        for position, module in enumerate(modules):
            if position and reached >= factor:
                return modules[:position]
            reached *= int(module.scale)  # type: ignore[arg-type]
        return modules

    def _mix(self, strength: float) -> list[nn.Module]:
        """Gives the modules of a strength; the last mixture is kept: most callers stay with it."""
        self.check_strength(strength)
        if strength == 1 or not self.networks:
            return [network.module for network in self.networks]
        mixture = self._mixture
        if mixture is None or mixture[0] != strength:
            mixture = (strength, [_mixed(network, strength) for network in self.networks])
            self._mixture = mixture
        return mixture[1]

    def _find_dtype(self) -> torch.dtype:
        if self._dtype is None:
            modules = [network.module for network in self.networks]
            self._dtype = choose_dtype(self.precision, modules, self.device, lock=self._lock)
        return self._dtype


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
    return _ready(module, next(module.parameters()).device)


def _ready(module: nn.Module, device: torch.device) -> nn.Module:
    # Convolutions are faster with the channels side by side.
    return module.eval().to(device).to(memory_format=torch.channels_last)


def _short_md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()[:8]


def _target_size(
    height: int, width: int, *, size: int | None, scale: float | None
) -> tuple[int, int]:
    if (size is None) == (scale is None):
        raise ParamsError("Give either a size or a scale, not both.")
    factor = float(scale) if scale is not None else float(size or 0) / max(height, width)
    if not 0 < factor < math.inf:
        raise ParamsError("Size and scale must be above zero and finite.")
    return max(1, round(height * factor)), max(1, round(width * factor))
