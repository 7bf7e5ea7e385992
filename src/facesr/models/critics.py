"""Critics: networks that judge whether an image is an original.

All take (N, 3, H, W) RGB in [0, 1] and return (N, P) logits, positive for "original", for P parts
of the image. They work on the ImageNet scale, as the generator's loss does in fastai's lesson.
"""

from typing import NamedTuple

from fastai.layers import ConvLayer, SequentialEx
from fastai.vision.gan import gan_critic
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from facesr.errors import ParamsError
from facesr.models.blocks import ImageNetScale

SLOPE = 0.2


class CriticOutput(NamedTuple):
    """Logits of a critic and its features."""

    logits: Tensor
    """(N, P)."""
    features: list[Tensor]
    """One (N, C, h, w) for each layer, for losses that compare features."""


class Critic(nn.Module):
    """Base class of all critics."""

    def __init__(self) -> None:
        super().__init__()
        self.imagenet = ImageNetScale()

    def forward_with_features(self, x: Tensor) -> CriticOutput:
        """Return logits and features of (N, 3, H, W) in [0, 1]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, P) logits of (N, 3, H, W) in [0, 1]."""
        return self.forward_with_features(x).logits


class PatchCritic(Critic):
    """fastai's gan_critic: one logit for each patch, 25 of them at a side of 128 px."""

    def __init__(self, features: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.layers = gan_critic(nf=features, n_blocks=blocks, p=dropout)

    def forward_with_features(self, x: Tensor) -> CriticOutput:
        """Return logits and features of (N, 3, H, W) in [0, 1]."""
        outputs = []
        x = self.imagenet.normalise(x)
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, ConvLayer | SequentialEx):
                outputs.append(x)
        return CriticOutput(x.flatten(1), outputs[:-1])  # The last one is the logits' own map.


class UNetCritic(Critic):
    """Critic with one logit for each pixel and its surroundings.

    The layout is that of Real-ESRGAN (Wang et al. 2021, https://arxiv.org/abs/2107.10833), after
    Schönfeld et al. 2020 (https://arxiv.org/abs/2002.12655): three halvings, three doublings with
    additive skips, spectral norm everywhere but in the first and the last layer.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(4)]
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.downs = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False))
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.ups = nn.ModuleList(
            spectral_norm(nn.Conv2d(b, a, 3, padding=1, bias=False))
            for a, b in reversed(list(zip(widths, widths[1:], strict=False)))
        )
        self.ends = nn.ModuleList(
            spectral_norm(nn.Conv2d(features, features, 3, padding=1, bias=False)) for _ in range(2)
        )
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def forward_with_features(self, x: Tensor) -> CriticOutput:
        """Return H W logits an image, and features, of (N, 3, H, W) in [0, 1]."""
        features = [F.leaky_relu(self.first(self.imagenet.normalise(x)), SLOPE)]
        for down in self.downs:
            features.append(F.leaky_relu(down(features[-1]), SLOPE))
        y = features[-1]
        for up, skip in zip(self.ups, features[-2::-1], strict=True):
            y = F.interpolate(y, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            y = F.leaky_relu(up(y), SLOPE) + skip
            features.append(y)
        for end in self.ends:
            y = F.leaky_relu(end(y), SLOPE)
        return CriticOutput(self.last(y).flatten(1), features)  # (N, H W)


class GlobalCritic(Critic):
    """Critic with one logit for the whole image, reduced to one side."""

    def __init__(self, features: int, side: int) -> None:
        super().__init__()
        if side < 8 or side & (side - 1):
            raise ParamsError(f"The global critic's side must be 8, 16, 32, ..., not {side}.")
        self.side = side
        halvings = side.bit_length() - 3  # down to 4 x 4
        widths = [features * 2 ** min(level, 3) for level in range(halvings)]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1))
            for a, b in zip([3, *widths], widths, strict=False)
        )
        self.last = nn.Conv2d(widths[-1], 1, 4)

    def forward_with_features(self, x: Tensor) -> CriticOutput:
        """Return one logit an image, and features, of (N, 3, H, W) in [0, 1]."""
        size = (self.side, self.side)
        y = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        y = self.imagenet.normalise(y)
        features = []
        for layer in self.layers:
            y = F.leaky_relu(layer(y), SLOPE)
            features.append(y)
        return CriticOutput(self.last(y).flatten(1), features)  # (N, 1)


def build_patch_critic(*, features: int, blocks: int, dropout: float) -> PatchCritic:
    """Build the critic from plain values; `features` 128 and `blocks` 3 are fastai's own."""
    return PatchCritic(features, blocks, dropout)


def build_unet_critic(*, features: int) -> UNetCritic:
    """Build the critic from plain values; `features` 64 are Real-ESRGAN's own."""
    return UNetCritic(features)


def build_global_critic(*, features: int, side: int) -> GlobalCritic:
    """Build the critic from plain values; raise ParamsError unless the side is 8, 16, 32, ..."""
    return GlobalCritic(features, side)
