"""Encoders of the residual U-Net: torchvision's backbones at any width, taken apart by grid.

The blocks are torchvision's, so its ImageNet weights fit at width 64. There are no batch
statistics: pretrained encoders keep ImageNet's, fixed; fresh ones have no normalisation. Moving
statistics would shift colours with the crop and forbid the interpolation of weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers
from torchvision.ops import FrozenBatchNorm2d

from facesr.errors import CheckpointError, ParamsError

RESNET_DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
VGG16_CONVS = (2, 2, 3, 3, 3)
ZOO_WIDTH = 64


class Encoder(nn.Module):
    """Gives one feature tensor per stage, from the finest grid to the coarsest.

    Attributes:
        widths: Channels of each stage's output.
        strides: Side of the input grid over the side of each stage's output.
    """

    def __init__(
        self, stages: Sequence[nn.Module], widths: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.widths = tuple(widths)
        self.strides = tuple(strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, h, w) to one (N, widths[i], h / strides[i], w / strides[i]) per stage."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def build_encoder(
    backbone: str, *, channels: int, width: int, levels: int, pretrained: bool, fetch: bool
) -> Encoder:
    """Builds the first `levels` grids of a backbone with a stride-1 stem.

    Args:
        backbone: resnet18, resnet34 or vgg16_bn.
        channels: Channels of the input.
        width: Feature maps at the finest grid; 64 is torchvision's own.
        levels: Grids, each half as fine as the one before.
        pretrained: Gives the form with ImageNet's fixed statistics.
        fetch: Fills a pretrained encoder with torchvision's weights; the stem, which does not fit,
            stays fresh. False where the weights follow from a file.

    Raises:
        ParamsError: Width or levels do not fit the backbone.
        CheckpointError: The pretrained weights cannot be fetched.
    """
    if pretrained and width != ZOO_WIDTH:
        raise ParamsError(
            f"Pretrained {backbone} weights exist for width {ZOO_WIDTH} only, not {width}. "
            "Set pretrained: false or width: 64."
        )
    grids = RESNET_DEPTHS.get(backbone, VGG16_CONVS)[:levels]
    if len(grids) < levels:
        raise ParamsError(f"{backbone} has {len(grids)} levels, not {levels}. Lower levels.")
    source = load_backbone(backbone) if pretrained and fetch else None
    widths = [width * 2**level for level in range(levels)]
    build = _resnet if backbone in RESNET_DEPTHS else _vgg
    encoder = build(grids, channels, widths, pretrained, source)
    if not pretrained:
        _initialise(encoder)
    return encoder


def _resnet(
    depths: Sequence[int], channels: int, widths: Sequence[int], pretrained: bool, source: Any
) -> Encoder:
    norm: type[nn.Module] = FrozenBatchNorm2d if pretrained else nn.Identity
    stages: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(channels, widths[0], 3, padding=1), nn.ReLU(inplace=True))
    ]
    for level, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        width_in = widths[max(level - 1, 0)]
        stride = 2 if level else 1
        shortcut = None
        if stride != 1:
            shortcut = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride=stride, bias=False), norm(width)
            )
        stage = nn.Sequential(
            BasicBlock(width_in, width, stride, shortcut, norm_layer=norm),
            *(BasicBlock(width, width, norm_layer=norm) for _ in range(depth - 1)),
        )
        if source is not None:
            stage.load_state_dict(getattr(source, f"layer{level + 1}").state_dict())
        stages.append(stage)
    # The stem's grid is that of the first stage; both are skips of the U-Net.
    strides = [1, *(2**level for level in range(len(depths)))]
    return Encoder(stages, [widths[0], *widths], strides)


def _vgg(
    convs: Sequence[int], channels: int, widths: Sequence[int], pretrained: bool, source: Any
) -> Encoder:
    # torchvision's VGG stops widening at eight times the first width.
    widths = [min(width, 8 * widths[0]) for width in widths]
    layout: list[str | int] = []
    for count, width in zip(convs, widths, strict=True):
        layout += [*([width] * count), "M"]
    layers = [
        FrozenBatchNorm2d(layer.num_features) if isinstance(layer, nn.BatchNorm2d) else layer
        for layer in make_layers(layout, batch_norm=pretrained)
    ]
    if source is not None:
        features = nn.Sequential(*list(source.features)[: len(layers)])
        nn.Sequential(*layers).load_state_dict(features.state_dict())
    if channels != 3:
        layers[0] = nn.Conv2d(channels, widths[0], 3, padding=1)
    stages: list[nn.Module] = []
    start = 0
    for position, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            stages.append(nn.Sequential(*layers[start:position]))
            start = position
    return Encoder(stages, widths, [2**level for level in range(len(widths))])


def _initialise(encoder: Encoder) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for module in encoder.modules():
        if isinstance(module, BasicBlock):
            # Without normalisation a deep stack is stable only if its blocks start as shortcuts.
            nn.init.zeros_(module.conv2.weight)


def load_backbone(name: str) -> Any:
    """Gives torchvision's network with its ImageNet weights.

    Raises:
        CheckpointError: The weights are not on this computer and cannot be fetched.
    """
    weights = zoo.get_model_weights(name).IMAGENET1K_V1
    try:
        return zoo.get_model(name, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        file = weights.url.rsplit("/", 1)[-1]
        raise CheckpointError(
            f"The ImageNet weights of {name} cannot be fetched ({error}). Put {file} into "
            f"{folder}, or set pretrained: false."
        ) from error
