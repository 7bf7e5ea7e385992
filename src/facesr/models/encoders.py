"""Encoders of the residual U-Net: torchvision's backbones at any width, divided by grid.

The blocks are torchvision's, so its ImageNet weights fit at width 64. Pretrained encoders keep
ImageNet's batch statistics fixed; fresh ones have no normalisation. Moving statistics would shift
colours with the crop and forbid the interpolation of weights.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.convnext import CNBlock, LayerNorm2d
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vgg import make_layers
from torchvision.ops import FrozenBatchNorm2d

from facesr.errors import ParamsError
from facesr.models.imagenet import load_backbone

RESNETS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
VGG16_CONVS = (2, 2, 3, 3, 3)
CONVNEXT_DEPTHS = (3, 3, 9, 3)
# ConvNeXt's own start of its blocks' scales (Liu et al. 2022, https://arxiv.org/abs/2201.03545).
LAYER_SCALE = 1e-6

LEVELS = {**dict.fromkeys(RESNETS, 4), "vgg16": 5, "vgg16_bn": 5, "convnext_tiny": 4}
"""Number of grids of each backbone."""
ZOO_WIDTHS = {**dict.fromkeys(LEVELS, 64), "convnext_tiny": 96}
"""Feature maps at the finest grid in torchvision's weights."""


class Encoder(nn.Module):
    """Backbone with a feature tensor per stage, of `widths` channels on grids of `strides`."""

    def __init__(
        self, stages: Sequence[nn.Module], widths: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.widths = tuple(widths)
        self.strides = tuple(strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return (N, widths[i], h / strides[i], w / strides[i]) per stage, from (N, C, h, w)."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def build_encoder(
    backbone: str, *, channels: int, width: int, levels: int, pretrained: bool, fetch: bool
) -> Encoder:
    """Build the first `levels` grids of a backbone with a stride-1 stem of its own.

    Args:
        backbone: A key of `LEVELS`.
        channels: Channels of the input.
        width: Feature maps at the finest grid; `ZOO_WIDTHS` has torchvision's own.
        levels: Grids, each half as fine as the one before.
        pretrained: Use the form with ImageNet's fixed statistics.
        fetch: Load torchvision's weights into a pretrained encoder, except for the stem, which does
            not fit. False if weights are loaded from a file.

    Raises:
        ParamsError: The backbone is unknown, or width or levels do not fit it.
        CheckpointError: The pretrained weights cannot be fetched.
    """
    if backbone not in LEVELS:
        raise ParamsError(f"There is no backbone {backbone!r}. Choose one of {', '.join(LEVELS)}.")
    if pretrained and width != ZOO_WIDTHS[backbone]:
        raise ParamsError(
            f"Pretrained {backbone} weights exist for width {ZOO_WIDTHS[backbone]} only, not "
            f"{width}. Set pretrained: false or width: {ZOO_WIDTHS[backbone]}."
        )
    if levels > LEVELS[backbone]:
        raise ParamsError(f"{backbone} has {LEVELS[backbone]} levels, not {levels}. Lower levels.")
    source = load_backbone(backbone) if pretrained and fetch else None
    widths = [width * 2**level for level in range(levels)]
    if backbone in RESNETS:
        encoder = _resnet(*RESNETS[backbone], channels, widths, pretrained, source)
    elif backbone == "convnext_tiny":
        encoder = _convnext(channels, widths, source)
    else:
        batch_norm = pretrained and backbone == "vgg16_bn"
        encoder = _vgg(VGG16_CONVS[:levels], channels, widths, batch_norm, source)
    if not pretrained:
        _initialise(encoder)
    return encoder


def _resnet(
    block: Any,
    depths: Sequence[int],
    channels: int,
    widths: Sequence[int],
    pretrained: bool,
    source: Any,
) -> Encoder:
    norm: type[nn.Module] = FrozenBatchNorm2d if pretrained else nn.Identity
    stages: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(channels, widths[0], 3, padding=1), nn.ReLU(inplace=True))
    ]
    width_in = widths[0]
    for level, width in enumerate(widths):
        width_out = width * block.expansion
        stride = 2 if level else 1
        shortcut = None
        if stride != 1 or width_in != width_out:
            shortcut = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False), norm(width_out)
            )
        stage = nn.Sequential(
            block(width_in, width, stride, shortcut, norm_layer=norm),
            *(block(width_out, width, norm_layer=norm) for _ in range(depths[level] - 1)),
        )
        if source is not None:
            stage.load_state_dict(getattr(source, f"layer{level + 1}").state_dict())
        stages.append(stage)
        width_in = width_out
    # The stem's grid is that of the first stage; both are skips of the U-Net.
    strides = [1, *(2**level for level in range(len(widths)))]
    return Encoder(stages, [widths[0], *(width * block.expansion for width in widths)], strides)


def _convnext(channels: int, widths: Sequence[int], source: Any) -> Encoder:
    # The norms here look at one pixel at a time, so they keep no statistics and see no tile.
    stages: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
    for level, width in enumerate(widths):
        parts: list[nn.Module] = []
        if level:
            down = nn.Conv2d(widths[level - 1], width, 2, stride=2)
            parts.append(nn.Sequential(LayerNorm2d(widths[level - 1], eps=1e-6), down))
        parts.append(
            nn.Sequential(
                *(CNBlock(width, LAYER_SCALE, 0.0) for _ in range(CONVNEXT_DEPTHS[level]))
            )
        )
        if source is not None:
            # torchvision's features: stem, blocks, then halving and blocks by turns.
            theirs = (
                list(source.features)[2 * level : 2 * level + 2] if level else [source.features[1]]
            )
            for part, their in zip(parts, theirs, strict=True):
                part.load_state_dict(their.state_dict())
        stages.append(nn.Sequential(*parts))
    strides = [1, *(2**level for level in range(len(widths)))]
    return Encoder(stages, [widths[0], *widths], strides)


def _vgg(
    convs: Sequence[int], channels: int, widths: Sequence[int], batch_norm: bool, source: Any
) -> Encoder:
    # torchvision's VGG stops widening at eight times the first width.
    widths = [min(width, 8 * widths[0]) for width in widths]
    layout: list[str | int] = []
    for count, width in zip(convs, widths, strict=True):
        layout += [*([width] * count), "M"]
    layers = [
        FrozenBatchNorm2d(layer.num_features) if isinstance(layer, nn.BatchNorm2d) else layer
        for layer in make_layers(layout, batch_norm=batch_norm)
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
    if any(isinstance(module, CNBlock) for module in encoder.modules()):
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        return
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for module in encoder.modules():
        # Without normalisation a deep stack is stable only if its blocks start as shortcuts.
        if isinstance(module, BasicBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.conv3.weight)
