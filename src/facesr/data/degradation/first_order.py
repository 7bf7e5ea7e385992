"""One pass of blur, reduction, noise and JPEG, and fastai's simpler degradation."""

import numpy as np
from torch import Tensor

from facesr import images
from facesr.config import CrappifyParams, FirstOrderParams
from facesr.data.degradation import operations


def crappify(
    image: Tensor, params: CrappifyParams, *, lr_size: int, rng: np.random.Generator
) -> Tensor:
    """Reduce strongly, compress as JPEG, enlarge again.

    As `crappify` of fastai's super-resolution lesson (https://github.com/fastai/course-v3,
    lesson7-superres-gan), without the number that it writes into the image.
    """
    reduced = _reduced_side(image, params.reduction)
    quality = int(rng.integers(params.jpeg_quality[0], params.jpeg_quality[1] + 1))
    image = images.round_to_8bit(operations.resize(image, reduced, "bilinear"))
    image = operations.pack_as_jpeg(image, quality)
    return operations.resize(image, lr_size, "bilinear")


def first_order(
    image: Tensor, params: FirstOrderParams, *, lr_size: int, rng: np.random.Generator
) -> Tensor:
    """Blur, reduce, add noise and compress as JPEG, each by chance; resize to the result.

    With every chance at 1 this is the training degradation of GFP-GAN (Wang et al. 2021,
    https://arxiv.org/abs/2101.04061, section 4.1), whose result is enlarged to the original's side.
    """
    # All draws are made, used or not, so that one chance does not shift the others.
    clean, blurred, noisy, packed = rng.random(4)
    sigma = rng.uniform(*params.blur_sigma)
    noise_sigma = rng.uniform(*params.noise_sigma)
    quality = int(rng.integers(params.jpeg_quality[0], params.jpeg_quality[1] + 1))
    # What a simple chain does not use comes from a generator of its own, for the same reason.
    extra = rng.spawn(1)[0]
    directed = extra.random() < params.anisotropic_probability
    second_sigma = extra.uniform(*params.blur_sigma)
    angle = extra.uniform(-np.pi, np.pi)
    reduced = _reduced_side(image, extra.uniform(*params.reduction))
    method: images.Filter = params.filters[int(extra.integers(len(params.filters)))]
    dirty = clean >= params.clean_probability

    blurs = dirty and blurred < params.blur_probability
    if blurs and not directed:
        image = operations.blur_and_resize(image, sigma, reduced, method)
    else:
        if blurs:
            image = operations.blur_directed(image, (sigma, second_sigma), angle)
        image = operations.resize(image, reduced, method)
    if dirty and noisy < params.noise_probability:
        image = operations.add_gaussian_noise(image, noise_sigma, rng)
    image = images.round_to_8bit(image)
    if dirty and packed < params.jpeg_probability:
        image = operations.pack_as_jpeg(image, quality)
    return operations.resize(image, lr_size, method)


def _reduced_side(image: Tensor, reduction: float) -> int:
    return max(1, round(image.shape[-1] / reduction))
