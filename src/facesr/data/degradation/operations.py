"""Elementary degradations: blur, resizing, noise, JPEG.

Images are (3, H, W) float32 RGB in [0, 1] on any device, and stay on it. On the CPU, Pillow
resizes; elsewhere matrix products compute the same up to rounding. Only JPEG always runs on the
CPU.
"""

import functools
import math
from typing import Any

import numpy as np
import torch
from scipy import fft, ndimage
from torch import Tensor

from facesr import images
from facesr.data.degradation.kernels import Kernel, gaussian

# Kernels end at this many sigmas, as SciPy's.
TRUNCATE = 4.0


def blur_and_resize(image: Tensor, sigma: float, side: int, method: images.Filter) -> Tensor:
    """Blur a square image with a round Gaussian, then resize it, in one step.

    Both are separable, so that their weights along one side can be multiplied first: equal up to
    rounding, and up to twelve times as fast as one after the other.

    Args:
        image: (3, H, H).
        sigma: Spread in pixels; the border is mirrored.
        side: Side of the result in pixels.
    """
    weights = resize_matrix(image.shape[-1], side, method)
    # Blurring is its own transpose, also at a mirrored border: instead of the image's rows, those
    # of the resizing are blurred.
    weights = ndimage.gaussian_filter1d(weights, sigma, axis=1, mode="reflect", truncate=TRUNCATE)
    on_device = torch.from_numpy(weights).to(image.device)
    return on_device @ image @ on_device.T


def blur_directed(image: Tensor, sigmas: tuple[float, float], angle: float) -> Tensor:
    """Blur with an elliptic Gaussian: spread in pixels along and across a direction."""
    size = 2 * int(TRUNCATE * max(sigmas) + 0.5) + 1
    return convolve(image, gaussian(size, sigmas, angle))


def convolve(image: Tensor, kernel: Kernel) -> Tensor:
    """Convolve every channel with one kernel of odd side; the border is mirrored."""
    height, width = image.shape[-2:]
    radius = len(kernel) // 2
    # Of all sizes that leave room for the border, the one that is transformed fastest.
    size = [fft.next_fast_len(length + 2 * radius, real=True) for length in (height, width)]
    spectrum = torch.fft.rfft2(_mirror(image, radius), s=size)
    # The kernel is symmetric about its middle, so that convolution and correlation are one.
    kernel_on_device = torch.as_tensor(kernel, dtype=torch.float32, device=image.device)
    product = spectrum.mul_(torch.fft.rfft2(kernel_on_device, s=size))
    blurred: Tensor = torch.fft.irfft2(product, s=size)
    return blurred[:, 2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width]


def resize(image: Tensor, side: int, method: images.Filter) -> Tensor:
    """Resize a square image with an anti-aliased filter."""
    if image.device.type == "cpu":
        return images.resize(image, (side, side), method)
    if image.shape[-1] == side:
        return image
    weights = torch.from_numpy(resize_matrix(image.shape[-1], side, method)).to(image.device)
    return weights @ image @ weights.T


@functools.lru_cache(maxsize=256)
def resize_matrix(before: int, after: int, method: images.Filter) -> "np.ndarray[Any, Any]":
    """Return the weights (after, before) that Pillow's resize applies along one side."""
    # Resizing the unit vectors gives them, whatever the filter.
    unit = torch.eye(before)[None]  # (1, before, before)
    columns = images.resize(unit, (after, before), method)[0].numpy()
    return np.ascontiguousarray(columns, dtype=np.float32)


def add_gaussian_noise(
    image: Tensor, sigma: float, rng: np.random.Generator, *, grey: bool = False
) -> Tensor:
    """Add white noise, sigma in grey levels of 255; `grey` gives the channels the same."""
    shape = (1, *image.shape[1:]) if grey else tuple(image.shape)
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma / 255)
    return image + torch.from_numpy(noise).to(image.device)


def add_poisson_noise(
    image: Tensor, scale: float, rng: np.random.Generator, *, grey: bool = False
) -> Tensor:
    """Add `scale` times photon noise.

    As in Real-ESRGAN, the image's brightest value stands for as many photons as it has distinct
    8-bit values, rounded up to a power of two.
    """
    pixels = images.to_uint8(image.cpu()).numpy()
    clean = pixels.astype(np.float32) / 255
    if grey:
        clean = (clean * np.array(images.LUMA, np.float32)[:, None, None]).sum(0, keepdims=True)
    distinct = np.unique(clean).size if grey else np.count_nonzero(np.bincount(pixels.ravel()))
    levels = 2 ** math.ceil(math.log2(max(2, distinct)))
    noise = rng.poisson(clean * levels).astype(np.float32) / np.float32(levels) - clean
    return image + torch.from_numpy(noise * np.float32(scale)).to(image.device)


def pack_as_jpeg(image: Tensor, quality: int) -> Tensor:
    """Compress as JPEG of a quality, with colour at half the resolution, and decode."""
    packed = images.encode_jpeg(image.cpu(), quality=quality, chroma_halved=True)
    return images.read(packed).to(image.device)


def _mirror(image: Tensor, radius: int) -> Tensor:
    # As SciPy's "reflect": the border pixel is repeated, and small images are mirrored again.
    places = []
    for length in image.shape[-2:]:
        positions = torch.arange(-radius, length + radius) % (2 * length)
        places.append(torch.minimum(positions, 2 * length - 1 - positions).to(image.device))
    return image[:, places[0]][:, :, places[1]]
