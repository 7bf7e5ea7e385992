"""Distances between a network's features of two images, and ImageNet's VGG as such a network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facesr.models.blocks import ImageNetScale
from facesr.models.imagenet import load_backbone

VGG_LAYERS = {
    "vgg16": {2: 0.1, 7: 0.1, 14: 1.0, 21: 1.0, 28: 1.0},
    "vgg19": {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0},
}
"""Positions of the last convolution of each block in torchvision's networks, conv1_2 to conv5_3 or
conv5_4, with their weights in Real-ESRGAN (Wang et al. 2021, https://arxiv.org/abs/2107.10833)."""

TEXTURE_GAIN = 5e3
"""Grams are small next to features: fastai's lesson7-superres multiplies them by w^2 x 5e3
(https://github.com/fastai/course-v3), where w is the layer's weight in the perceptual loss."""


def feature_distance(
    sr: Sequence[Tensor], hr: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Return the weighted sum of the layers' mean absolute differences.

    Johnson et al. 2016, https://arxiv.org/abs/1603.08155.

    Args:
        sr: One (N, C, h, w) for each layer.
        hr: The same; takes no gradient.
        weights: One for each layer; None for equal ones with sum 1.
    """
    weights = weights or [1 / len(sr)] * len(sr)
    distances = [(a.float() - b.detach().float()).abs().mean() for a, b in zip(sr, hr, strict=True)]
    return _weighted(distances, weights)


def texture_distance(
    sr: Sequence[Tensor], hr: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Return the sum of weight^2 x 5e3 x the mean absolute difference of the layers' Gram matrices.

    A Gram matrix shows which features occur together, anywhere: textures are compared without their
    places (Gatys et al. 2015, https://arxiv.org/abs/1508.06576). The weights are those of
    `feature_distance`.
    """
    weights = weights or [1 / len(sr)] * len(sr)
    distances = [(gram(a) - gram(b.detach())).abs().mean() for a, b in zip(sr, hr, strict=True)]
    return _weighted(distances, [TEXTURE_GAIN * weight**2 for weight in weights])


def gram(features: Tensor) -> Tensor:
    """Return the products of the maps over C h w, (N, C, h, w) to (N, C, C), in float32."""
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)  # (N, C, h w)
        return flat @ flat.transpose(1, 2) / flat[0].numel()


class VGGFeatures(nn.Module):
    """VGG16 or VGG19 with ImageNet weights, whose features are taken before the activations.

    After the ReLU most deep features are zero (ESRGAN, Wang et al. 2018,
    https://arxiv.org/abs/1809.00219). The weights are frozen.

    Args:
        name: A key of `VGG_LAYERS`.

    Attributes:
        layer_weights: Weight of each layer's features in a loss.

    Raises:
        CheckpointError: The weights are missing, damaged or of another network.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.positions = list(VGG_LAYERS[name])
        self.layer_weights = list(VGG_LAYERS[name].values())
        self.imagenet = ImageNetScale()
        vgg = load_backbone(name, instead="leave perceptual and texture out of content")
        self.layers = vgg.features[: max(self.positions) + 1]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                # In place it would overwrite the features that are given out.
                layer.inplace = False
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "VGGFeatures":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one (N, C, h, w) for each layer, from (N, 3, H, W) in [0, 1]."""
        features = []
        x = self.imagenet.normalise(x)
        for position, layer in enumerate(self.layers):
            x = layer(x)
            if position in self.positions:
                features.append(x)
        return features


def _weighted(distances: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return torch.stack([weight * one for weight, one in zip(weights, distances, strict=True)]).sum()
