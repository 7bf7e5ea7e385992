"""Real-ESRGAN's degradation: two passes of many kinds of blur, resizing, noise and JPEG.

Wang et al. 2021, https://arxiv.org/abs/2107.10833, section 3, except that reductions are
anti-aliased, as everywhere in this project.
"""

import math

import numpy as np
from torch import Tensor

from facesr import images
from facesr.config import PassParams, SecondOrderParams
from facesr.data.degradation import operations
from facesr.data.degradation.kernels import Kernel, gaussian, sinc

METHODS: tuple[images.Filter, ...] = ("area", "bilinear", "bicubic")


def second_order(
    image: Tensor, params: SecondOrderParams, *, lr_size: int, rng: np.random.Generator
) -> Tensor:
    """Degrade twice, the second time around the result's size; apply sinc filter and JPEG."""
    first, second = params.passes
    image = _blur_resize_noise(image, image.shape[-1], first, params, rng)
    image = operations.pack_as_jpeg(image.clamp(0, 1), _quality(first, rng))
    image = _blur_resize_noise(image, lr_size, second, params, rng)
    # The last resizing, with or without ringing, comes before or after the last JPEG.
    ring = rng.random() < params.final_sinc_probability
    kernel = sinc(_kernel_size(params, rng), rng.uniform(math.pi / 3, math.pi))
    quality = _quality(second, rng)
    method = METHODS[int(rng.integers(len(METHODS)))]
    if rng.random() < 0.5:
        image = _finish(image, lr_size, method, kernel if ring else None)
        return operations.pack_as_jpeg(image, quality)
    image = operations.pack_as_jpeg(image.clamp(0, 1), quality)
    return _finish(image, lr_size, method, kernel if ring else None)


def _blur_resize_noise(
    image: Tensor, target: int, one: PassParams, params: SecondOrderParams, rng: np.random.Generator
) -> Tensor:
    if rng.random() < one.blur_probability:
        image = operations.convolve(image, _draw_kernel(one, params, rng))
    side = max(1, round(target * _draw_resizing(one, rng)))
    image = operations.resize(image, side, METHODS[int(rng.integers(len(METHODS)))])
    grey = rng.random() < one.grey_probability
    if rng.random() < one.gaussian_probability:
        sigma = rng.uniform(*one.noise_sigma)
        return operations.add_gaussian_noise(image, sigma, rng, grey=grey)
    return operations.add_poisson_noise(image, rng.uniform(*one.poisson_scale), rng, grey=grey)


def _draw_kernel(one: PassParams, params: SecondOrderParams, rng: np.random.Generator) -> Kernel:
    size = _kernel_size(params, rng)
    if rng.random() < params.sinc_probability:
        # A narrow filter needs a high cut-off, or nothing is left of the image.
        lowest = math.pi / 3 if size < 13 else math.pi / 5
        return sinc(size, rng.uniform(lowest, math.pi))
    sigma = rng.uniform(*one.blur_sigma)
    shape = rng.random()
    if rng.random() < params.anisotropic_probability:
        sigmas, angle = (sigma, rng.uniform(*one.blur_sigma)), rng.uniform(-math.pi, math.pi)
    else:
        sigmas, angle = (sigma, sigma), 0.0
    if shape < params.plateau_probability:
        power = _draw_around_one(params.plateau_power, rng)
        return gaussian(size, sigmas, angle, power=power, plateau=True)
    if shape < params.plateau_probability + params.generalised_probability:
        power = _draw_around_one(params.generalised_power, rng)
        return gaussian(size, sigmas, angle, power=power)
    return gaussian(size, sigmas, angle)


def _draw_around_one(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    # Flat and long-tailed shapes equally often, however far the bounds are from 1.
    low, high = bounds
    return rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)


def _draw_resizing(one: PassParams, rng: np.random.Generator) -> float:
    low, high = one.resizing
    kind = rng.random()
    if kind < one.enlarge_probability:
        return rng.uniform(1, high)
    if kind < one.enlarge_probability + one.reduce_probability:
        return rng.uniform(low, 1)
    return 1.0


def _kernel_size(params: SecondOrderParams, rng: np.random.Generator) -> int:
    low, high = params.kernel_size
    return 2 * int(rng.integers(low // 2, high // 2 + 1)) + 1


def _quality(one: PassParams, rng: np.random.Generator) -> int:
    return int(rng.integers(one.jpeg_quality[0], one.jpeg_quality[1] + 1))


def _finish(image: Tensor, side: int, method: images.Filter, kernel: Kernel | None) -> Tensor:
    image = operations.resize(image, side, method)
    if kernel is not None:
        image = operations.convolve(image, kernel)
    return image.clamp(0, 1)
