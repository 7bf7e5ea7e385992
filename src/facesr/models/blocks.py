"""Building blocks that several networks share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageNetScale(nn.Module):
    """Moves RGB between [0, 1] and the zero-mean scale that ImageNet backbones expect."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    def normalise(self, x: Tensor) -> Tensor:
        """[0, 1] to the ImageNet scale, (N, 3, H, W)."""
        return (x - self.mean) / self.std

    def restore(self, x: Tensor) -> Tensor:
        """The ImageNet scale to [0, 1], (N, 3, H, W)."""
        return x * self.std + self.mean


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), without normalisation, so that tiles and whole pictures agree."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        # A block starts as the identity: deep stacks then train from the first step on.
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) to the same shape."""
        correction: Tensor = self.second(F.relu(self.first(x)))
        return x + correction


class SubPixelUp(nn.Sequential):
    """Doubles the side: conv to four times the maps, then pixel shuffle.

    ICNR initialisation gives the four sub-pixels of a map equal kernels, so that no checkerboard
    is there to be unlearned (Aitken et al. 2017, https://arxiv.org/abs/1707.02937).
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        conv = nn.Conv2d(width_in, 4 * width_out, 3, padding=1)
        with torch.no_grad():
            conv.weight.copy_(conv.weight[::4].repeat_interleave(4, dim=0))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        super().__init__(conv, nn.PixelShuffle(2))


def enlarge_bicubic(x: Tensor, scale: int) -> Tensor:
    """Enlarges (N, 3, h, w) `scale` times, unclamped, with PyTorch's bicubic (a = -0.75)."""
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=float(scale), mode="bicubic", align_corners=False)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Grows (N, C, h, w) at the right and the bottom until the sides are multiples."""
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if not bottom and not right:
        return x
    # Reflection needs more pixels than it adds; tiny pictures repeat their border instead.
    mode = "reflect" if bottom < x.shape[-2] and right < x.shape[-1] else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode)
