"""The Enhancer: image in, enhanced image out.

Evaluation, command, page and registered model use the same Enhancer, so the measured results are
those that users get.
"""

import copy
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from facesr import images
from facesr.devices import choose_dtype, pick_device
from facesr.enhance.agreement import agrees
from facesr.enhance.colour import ColourFix, back_project, fix_colour
from facesr.enhance.ensemble import run_ensemble
from facesr.enhance.tiles import Progress, Tiler
from facesr.errors import ParamsError
from facesr.files import digest
from facesr.images.faces import find_faces, restore_faces
from facesr.images.photos import MAX_PIXELS, Photo, fill_transparent
from facesr.models.checkpoints import Network, describe, load_chain, load_networks, save_networks
from facesr.names import Precision


@dataclass(frozen=True, kw_only=True)
class EnhanceOptions:
    """Options of an enhancement; without size and scale the networks' own scale."""

    size: int | None = None
    """Longer side of the result in pixels."""
    scale: float | None = None
    """Side of the result over side of the image, as an alternative to `size`."""
    strength: float = 1.0
    """Mixture of the weights: 1 for the crisp ones after adversarial training, 0 for the faithful
    ones before it (Wang et al. 2018, section 3.4, https://arxiv.org/abs/1809.00219)."""
    colour: ColourFix = "wavelet"
    """Correction of the result's colours; see `colour.fix_colour`."""
    back_projections: int = 0
    """Corrections that make the reduced result equal the image, for clean images only; see
    `colour.back_project`."""
    self_ensemble: bool = False
    """Mean over the image's eight mirrored and rotated forms: slightly better, eight times as long.
    """
    tile: int | None = None
    """Side in pixels of the tiles of a large image; None chooses it."""
    faces: Literal["off", "also", "only"] = "off"
    """Search for faces to restore one by one; `only` enlarges the rest with bicubic interpolation.
    Without a face, the whole image is enhanced."""


DEFAULTS = EnhanceOptions()


class Result(NamedTuple):
    """Enhanced image with its model and sizes."""

    image: Tensor
    """(3, H, W) float32 RGB in [0, 1], on the CPU."""
    seconds: float
    model: str
    """Version and first digits of the weights' md5, such as `facesr/3 (5f0e6ac1)`."""
    input_size: tuple[int, int]
    """Height and width in pixels."""
    output_size: tuple[int, int]
    faces: int = 0
    """Number of restored faces."""


class Enhancer:
    """Chain of networks that each enlarge by a whole scale; bicubic without any.

    Safe to share between threads.

    Example:
        >>> import torch
        >>> Enhancer.bicubic().enhance(torch.zeros(3, 16, 24), EnhanceOptions(scale=2)).image.shape
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
        """Move networks to the device and into inference.

        Args:
            networks: Networks in the order of the chain.
            device: `auto`, `cpu`, `cuda` or `mps`.
            model: Name for results and metadata.
            precision: See `facesr.devices.choose_dtype`.
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
    def from_checkpoint(
        cls,
        path: Path | str,
        *,
        name: str = "",
        device: str = "auto",
        precision: Precision = "auto",
    ) -> Self:
        """Load the chain in a weights file, named after it by default, or raise CheckpointError."""
        path = Path(path)
        networks = load_networks(path)
        model = f"{name or path.name} ({digest(path, 'md5')[:8]})"
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
        """Chain the networks of several weights files, as `checkpoints.load_chain`."""
        model = " + ".join(path.stem for path in paths)
        networks = load_chain(paths, fidelity=fidelity)
        return cls(networks, device, model=model, precision=precision)

    @classmethod
    def bicubic(cls) -> Self:
        """Return an Enhancer without networks."""
        return cls([], "cpu", model="bicubic")

    def save(self, path: Path) -> None:
        """Write the whole chain as one safetensors file; equal weights give equal bytes."""
        save_networks(path, self.networks)

    @property
    def scale(self) -> int:
        """Enlargement by the whole chain; 1 without networks."""
        return int(describe(self.networks)["scale"])

    @property
    def has_strength(self) -> bool:
        """True if `strength` can be other than 1."""
        return any(network.fidelity is not None for network in self.networks)

    def check_strength(self, strength: float) -> None:
        """Raise ParamsError unless `enhance` can use this strength."""
        if not 0 <= strength <= 1:
            raise ParamsError(f"Strength {strength:g} does not lie between 0 and 1.")
        if strength != 1 and self.networks and not self.has_strength:
            raise ParamsError(
                f"{self.model} holds one set of weights only: strength must be 1, not {strength:g}."
            )

    def enhance(
        self,
        image: Tensor,
        options: EnhanceOptions = DEFAULTS,
        *,
        on_progress: Progress | None = None,
    ) -> Result:
        """Enlarge and restore an image.

        Networks run in their order until the wanted size is reached; one Lanczos resize gives the
        exact size. The proportions stay. An image that already has the wanted size is returned as
        it is, unless the networks restore without enlarging.

        Args:
            image: (3, h, w) float32 RGB in [0, 1].
            on_progress: Called with (tiles done, tiles in total).

        Raises:
            ParamsError: A value does not fit, or the networks have one strength only.
            DataError: The memory does not suffice for the smallest tile.
        """
        faces = find_faces(image) if options.faces != "off" else []
        if not faces:
            return self._enhance_whole(image, options, on_progress)
        start = time.perf_counter()
        height, width = image.shape[-2:]
        target = self.target_size(height, width, options)
        if options.faces == "also":
            restored = self._enhance_whole(image, options, None).image
        else:
            restored = images.resize(image, target, "bicubic").clamp(0, 1)
        own = replace(options, size=None, scale=self.scale)

        def restore(crop: Tensor) -> Tensor:
            return self._enhance_whole(crop, own, on_progress).image

        restore_faces(restored, image, faces, restore)
        seconds = time.perf_counter() - start
        return Result(restored, seconds, self.model, (height, width), target, len(faces))

    def _enhance_whole(
        self, image: Tensor, options: EnhanceOptions, on_progress: Progress | None
    ) -> Result:
        start = time.perf_counter()
        _, height, width = image.shape
        target = self.target_size(height, width, options)
        modules = self._choose(options.strength, target[1] / width)
        if modules:
            tiler = Tiler(
                modules, self.device, tile=options.tile, dtype=self.find_dtype(), lock=self._lock
            )
            run = partial(run_ensemble, tiler) if options.self_ensemble else tiler.run
            restored = fix_colour(run(image, target, on_progress), image, options.colour)
        else:
            method: images.Filter = "lanczos" if self.networks else "bicubic"
            restored = images.resize(image, target, method).clamp(0, 1)
            if on_progress:
                on_progress(1, 1)
        back_project(restored, image, options.back_projections)
        seconds = time.perf_counter() - start
        return Result(restored, seconds, self.model, (height, width), target)

    def enhance_photo(
        self,
        photo: Photo,
        options: EnhanceOptions = DEFAULTS,
        *,
        max_pixels: int = MAX_PIXELS,
        on_progress: Progress | None = None,
    ) -> tuple[Photo, Result]:
        """Enhance an image file's content, with its transparency, as `enhance`.

        Raises:
            ParamsError: As `enhance`, or the result would have more than `max_pixels`.
            DataError: As `enhance`.
        """
        _, height, width = photo.colour.shape
        height, width = self.target_size(height, width, options)
        if height * width > max_pixels:
            raise ParamsError(
                f"The result would have {width} x {height} pixels, more than {max_pixels}. "
                "Ask for a smaller one, or raise --max-pixels."
            )
        result = self.enhance(fill_transparent(photo).colour, options, on_progress=on_progress)
        alpha, notes = photo.alpha, photo.notes
        if alpha is not None:
            alpha = images.resize(alpha, (height, width), "bicubic").clamp(0, 1)
        if options.faces != "off" and not result.faces:
            notes = (*notes, "no face was found: the whole image is enhanced")
        return replace(photo, colour=result.image, alpha=alpha, notes=notes), result

    def target_size(self, height: int, width: int, options: EnhanceOptions) -> tuple[int, int]:
        """Return height and width of the result; raise ParamsError for a meaningless size."""
        factor = self.scale if options.scale is None else options.scale
        if options.size is not None:
            factor = options.size / max(height, width)
            if options.scale is not None:
                raise ParamsError("Give either a size or a scale, not both.")
        if not 0 < factor < math.inf:
            raise ParamsError("Size and scale must be above zero and finite.")
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _choose(self, strength: float, factor: float) -> list[nn.Module]:
        """Return the first networks that reach the factor."""
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
        """Return the modules of a strength; the last mixture is cached."""
        self.check_strength(strength)
        if strength == 1 or not self.networks:
            return [network.module for network in self.networks]
        mixture = self._mixture
        if mixture is None or mixture[0] != strength:
            mixture = (strength, [_mixed(network, strength) for network in self.networks])
            self._mixture = mixture
        return mixture[1]

    def find_dtype(self) -> torch.dtype:
        """Return the type that networks compute in; the first call may try both."""
        if self._dtype is None:
            modules = [network.module for network in self.networks]
            self._dtype = choose_dtype(
                self.precision,
                self.device,
                agrees=lambda: agrees(modules, self.device, self._lock),
            )
        return self._dtype


def _mixed(network: Network, strength: float) -> nn.Module:
    """Return (1 - strength) of the fidelity weights plus strength of the others."""
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
