"""Building blocks that several networks share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GRAIN_PERIOD = 64
"""Period of the noise of `Grain`, in pixels of the result."""
GRAIN_WINDOW = 9
"""Side of the window that determines its strength, in pixels of the features' grid."""


class ImageNetScale(nn.Module):
    """Conversion between RGB in [0, 1] and the zero-mean scale of ImageNet backbones."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    def normalise(self, x: Tensor) -> Tensor:
        """Convert [0, 1] to the ImageNet scale, (N, 3, H, W)."""
        return (x - self.mean) / self.std

    def restore(self, x: Tensor) -> Tensor:
        """Convert the ImageNet scale to [0, 1], (N, 3, H, W)."""
        return x * self.std + self.mean


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), without normalisation, so that tiles and whole images agree."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        # A block starts as the identity: deep stacks then train from the first step on.
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape as (N, width, h, w)."""
        correction: Tensor = self.second(F.relu(self.first(x)))
        return x + correction


class SubPixelUp(nn.Sequential):
    """Doubling of the side: convolution to four times the maps, then pixel shuffle.

    ICNR initialisation gives the four sub-pixels of a map equal kernels, so that training does not
    start with a checkerboard (Aitken et al. 2017, https://arxiv.org/abs/1707.02937).
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        conv = nn.Conv2d(width_in, 4 * width_out, 3, padding=1)
        with torch.no_grad():
            conv.weight.copy_(conv.weight[::4].repeat_interleave(4, dim=0))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        super().__init__(conv, nn.PixelShuffle(2))


class Grain(nn.Module):
    """Fine noise for texture that the input does not determine, like film grain.

    A deterministic network can only draw what its input determines; of pores and single hairs a
    reduced image determines at most the strength, and a network forced to draw them draws patterns
    of its grid. Film grain is estimated and synthesised the same way in codecs (Norkin and Birkbeck
    2018, https://doi.org/10.1109/DCC.2018.00008): noise of one kind, times an amplitude that
    changes slowly over the image.

    The amplitude is a ReLU of a linear function of the features' strengths around a pixel,
    initially zero. The noise is one repeated field: an image has one result, and tiles that start
    on multiples of `GRAIN_PERIOD` get their part of it.
    """

    noise: Tensor

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.amplitude = nn.Conv2d(2 * width, 1, 1)
        nn.init.zeros_(self.amplitude.weight)
        nn.init.zeros_(self.amplitude.bias)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 1, GRAIN_PERIOD, GRAIN_PERIOD, generator=generator)
        # Fine rather than coarse: more steps, and less of a change, for the same deviation.
        for axis in (2, 3):
            noise = noise - (noise.roll(1, axis) + noise.roll(-1, axis)) / 6
        noise = (noise - noise.mean()) / noise.std()
        # Saved with the weights: another release of PyTorch may draw another field.
        self.register_buffer("noise", noise)

    @property
    def energy(self) -> float:
        """Mean over the pixels of the squared steps to the right and down, at amplitude 1."""
        noise = self.noise
        return sum(float((noise - noise.roll(1, axis)).square().mean()) for axis in (2, 3))

    @staticmethod
    def strengths(features: Tensor) -> Tensor:
        """Return positive and negative parts, (N, width, h, w) to (N, 2 width, h, w)."""
        return torch.cat([F.relu(features), F.relu(-features)], 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the noise for all colours, (N, width, h, w) to (N, 1, factor h, factor w)."""
        border = GRAIN_WINDOW // 2
        padded = F.pad(self.strengths(features), [border] * 4, mode="replicate")
        amplitude = F.relu(self.amplitude(F.avg_pool2d(padded, GRAIN_WINDOW, stride=1))).float()
        if self.factor > 1:
            amplitude = F.interpolate(
                amplitude, scale_factor=float(self.factor), mode="bilinear", align_corners=False
            )
        height, width = amplitude.shape[-2:]
        noise = self.noise.tile(-(-height // GRAIN_PERIOD), -(-width // GRAIN_PERIOD))
        return amplitude * noise[..., :height, :width]


def enlarge_bicubic(x: Tensor, scale: int) -> Tensor:
    """Enlarge (N, 3, h, w) `scale` times, unclamped, with PyTorch's bicubic (a = -0.75)."""
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=float(scale), mode="bicubic", align_corners=False)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, h, w) at the right and the bottom to multiples."""
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if not bottom and not right:
        return x
    # Reflection needs more pixels than it adds; tiny images repeat their border instead.
    mode = "reflect" if bottom < x.shape[-2] and right < x.shape[-1] else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode)
