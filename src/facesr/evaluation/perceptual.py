"""Metrics by published networks: how different two images look, and whether it is the same face.

Their weights are not part of facesr (`facesr.models.published`). A metric without its weights or
its package is undefined, nan, for every image.
"""

import logging
import math
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facesr import images
from facesr.errors import CheckpointError, import_extra
from facesr.images.faces import BOX_CENTRE_X, BOX_CENTRE_Y, BOX_SIDE, Box, find_faces
from facesr.models import published
from facesr.names import LEARNED

logger = logging.getLogger(__name__)

ALEXNET_FILES = ("alexnet-owt-7be5be79.pth", "lpips_alex_fp16.safetensors")
ALEXNET_SHAPES: tuple[published.Shape, ...] = (
    (64, 3, 11, 11),
    (192, 64, 5, 5),
    (384, 192, 3, 3),
    (256, 384, 3, 3),
    (256, 256, 3, 3),
)
GET_ALEXNET = (
    "Get it with: python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\", "
    f"or put {ALEXNET_FILES[0]} into the folder of {published.VARIABLE}."
)
# Side in pixels below which nothing is left of an image after AlexNet's poolings.
SMALLEST = 31
# Distance of two drawn images by ImageNet's weights; float16 changes it by less than 1e-4.
KNOWN_DISTANCE = 0.2929
KNOWN_TOLERANCE = 1e-3

LANDMARKS = "shape_predictor_5_face_landmarks.dat"
FACE_NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
GET_FACE_NETWORK = (
    "Get both files with: pip install 'facesr[identity]', or put them into the folder of "
    f"{published.VARIABLE}."
)

Metric = Callable[[Tensor, Tensor], Tensor]
"""From restored images (N, 3, H, W) and their original (3, H, W), both in [0, 1], to (N,)."""


def measure(sr: Tensor, hr: Tensor, names: Sequence[str] = LEARNED) -> dict[str, Tensor]:
    """Return the metrics of restored images, nan where a metric is not available.

    Args:
        sr: (N, 3, H, W) in [0, 1].
        hr: Their original, (3, H, W) in [0, 1].
        names: Of `LEARNED`.

    Raises:
        CheckpointError: A file of weights is damaged or of another network.
        ParamsError: FACESR_WEIGHTS names no folder.
    """
    place = os.environ.get(published.VARIABLE)
    return {name: LOADERS[name](place)(sr, hr) for name in names}


def _unavailable(sr: Tensor, hr: Tensor) -> Tensor:
    return torch.full((len(sr),), math.nan)


class Lpips:
    """Learned perceptual distance on AlexNet, version 0.1; 0 for equal images, larger is worse.

    Zhang et al. 2018, https://arxiv.org/abs/1801.03924.
    """

    def __init__(self, convolutions: Sequence[tuple[Tensor, Tensor]]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package names torchvision's options of 2021
            # Random features, which a download would replace otherwise.
            self.network = import_extra("lpips").LPIPS(net="alex", pnet_rand=True, verbose=False)
        layers = [one for one in self.network.net.modules() if isinstance(one, nn.Conv2d)]
        for layer, (weight, bias) in zip(layers, convolutions, strict=True):
            layer.load_state_dict({"weight": weight, "bias": bias})

    @torch.inference_mode()
    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Return the distances (N,); nan for images below 31 px."""
        if min(hr.shape[-2:]) < SMALLEST:
            return _unavailable(sr, hr)
        # One original for all: its features are computed once.
        distances: Tensor = self.network(sr, hr[None], normalize=True)
        return distances.flatten()


@cache
def load_lpips(_: str | None) -> Metric:
    """Return LPIPS, for a value of FACESR_WEIGHTS, and log why if it is not available."""
    path = published.find(*ALEXNET_FILES)
    if find_spec("lpips") is None:
        logger.info("LPIPS is not available. Run: pip install 'facesr[train]'")
        return _unavailable
    if path is None:
        logger.info("LPIPS is not available: AlexNet's weights are missing. %s", GET_ALEXNET)
        return _unavailable
    try:
        metric = Lpips(published.read_convolutions(path, ALEXNET_SHAPES))
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {GET_ALEXNET}") from error
    first, second = _drawn()
    if abs(float(metric(first[None], second)) - KNOWN_DISTANCE) > KNOWN_TOLERANCE:
        raise CheckpointError(f"{path} does not hold ImageNet's AlexNet. {GET_ALEXNET}")
    return metric


def _drawn() -> tuple[Tensor, Tensor]:
    """Return two images, (3, 64, 64), by formula."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    waves = torch.stack([torch.sin(x / 5), torch.cos(y / 7), torch.sin((x + y) / 9)])
    return 0.5 + 0.4 * waves, 0.5 + 0.4 * waves.sign()


class Identity:
    """Cosine between dlib's descriptors of the original's face and the restored one.

    The network is dlib's ResNet of 29 layers, 128 numbers a face (King 2017,
    http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html). 1 is the same face.
    Its descriptors point in similar directions and are 1.3 to 1.6 long. Of 45 people of the London
    set, neutral and smiling, those of one person have cosines of 0.98 to 1.00 (mean 0.990), of two
    people 0.70 to 0.95 (mean 0.834); dlib's limit for one person, a Euclidean distance of 0.6, is
    about 0.91. Cosines of other networks cannot be compared with these.

    Face and landmarks are those of the original for both images, so that a blurred face does not
    move its own frame.
    """

    def __init__(self, landmarks: Any, network: Any) -> None:
        """Take dlib's `shape_predictor` and `face_recognition_model_v1`."""
        self.landmarks = landmarks
        self.network = network

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Return the cosines (N,) of the largest face; nan if the original shows none."""
        faces = find_faces(hr)
        if not faces:
            return _unavailable(sr, hr)
        points = self.landmarks(_pixels(hr), _rectangle(faces[0]))
        own, *others = (
            torch.tensor(list(self.network.compute_face_descriptor(_pixels(image), points)))
            for image in (hr, *sr)
        )
        return F.cosine_similarity(torch.stack(others).double(), own.double()[None])


def _rectangle(face: Box) -> Any:
    """Return the box of dlib's detector, for which its landmarks are made, in FFHQ's square."""
    x, y = face.left + BOX_CENTRE_X * face.width, face.top + BOX_CENTRE_Y * face.height
    half = BOX_SIDE * face.width / 2
    sides = (x - half, y - half, x + half, y + half)
    return import_extra("dlib").rectangle(*(round(side) for side in sides))


def _pixels(image: Tensor) -> Any:
    """Return (3, H, W) in [0, 1] as (H, W, 3), 8 bits."""
    return images.to_uint8(image).permute(1, 2, 0).contiguous().numpy()


@cache
def load_identity(_: str | None) -> Metric:
    """Return the identity metric, for a value of FACESR_WEIGHTS, and log why if there is none."""
    landmarks, network = (_find_dlib(name) for name in (LANDMARKS, FACE_NETWORK))
    if find_spec("dlib") is None:
        logger.info("Identity is not available. Run: pip install 'facesr[identity]'")
        return _unavailable
    if landmarks is None or network is None:
        logger.info("Identity is not available: dlib's weights are missing. %s", GET_FACE_NETWORK)
        return _unavailable
    dlib = import_extra("dlib")
    try:
        return Identity(
            dlib.shape_predictor(str(landmarks)), dlib.face_recognition_model_v1(str(network))
        )
    except RuntimeError as error:
        raise CheckpointError(
            f"{landmarks} or {network} is damaged or holds another network. {GET_FACE_NETWORK}"
        ) from error


def _find_dlib(name: str) -> Path | None:
    if path := published.find(name):
        return path
    # Importing the package would need setuptools, of which it uses a part that is gone.
    spec = find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec else None
    paths = (Path(folder, "models", name) for folder in folders or ())
    return next((path for path in paths if path.is_file()), None)


LOADERS: dict[str, Callable[[str | None], Metric]] = {
    "lpips": load_lpips,
    "identity": load_identity,
}
