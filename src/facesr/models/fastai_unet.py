"""fastai's DynamicUnet, the network of the study, on any of its backbones.

The network works at the size of its output: a low-resolution image is enlarged first. Inputs and
outputs are in [0, 1]; inside, values are on the ImageNet scale, limited to (-3, 3) as in fastai's
super-resolution lesson.
"""

from collections.abc import Callable
from typing import Any

from fastai.layers import NormType, PixelShuffle_ICNR
from fastai.vision.learner import create_unet_model
from fastai.vision.models.unet import ResizeToOrig
from torch import Tensor, nn
from torchvision import models as zoo

from facesr.errors import ParamsError
from facesr.models.blocks import ImageNetScale, enlarge_bicubic, pad_to_multiple
from facesr.models.imagenet import load_backbone

Y_RANGE = (-3.0, 3.0)
# Sides that are no multiple of the coarsest grid fall back to nearest-neighbour inside the U-Net.
MULTIPLE = 32


def feature_layers(network: nn.Module) -> nn.Module:
    """Cut a backbone so that the layers of VGG and ConvNeXt are separate children.

    fastai's own cut keeps the features as one child: the result has no skip at all and still trains
    without an error.
    """
    features: nn.Module = network.features  # type: ignore[assignment]
    return features


CUTS: dict[str, int | Callable[[nn.Module], nn.Module]] = {
    # All children but pooling and classifier.
    "resnet18": -2,
    "resnet34": -2,
    "resnet50": -2,
    "vgg16": feature_layers,
    "vgg16_bn": feature_layers,
    "convnext_tiny": feature_layers,
}


class FastaiUNet(nn.Module):
    """DynamicUnet behind a bicubic enlargement by `scale`; tiles start on `multiple`'s grid."""

    multiple = MULTIPLE

    def __init__(self, unet: nn.Module, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.imagenet = ImageNetScale()
        self.unet = unet

    @property
    def encoder(self) -> nn.Module:
        """Backbone."""
        return self.unet.layers[0]  # type: ignore[index, return-value, unused-ignore]

    @property
    def skips(self) -> int:
        """Number of connections from the encoder to the decoder."""
        return len(self.unet.sfs)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 3, scale h, scale w), within the y-range, from (N, 3, h, w) in [0, 1]."""
        enlarged = enlarge_bicubic(x, self.scale)  # (N, 3, H, W)
        height, width = enlarged.shape[-2:]
        padded = pad_to_multiple(self.imagenet.normalise(enlarged), MULTIPLE)
        try:
            # The last layer marks its output as a fastai image; plain tensors leave this module.
            y = self.unet(padded).as_subclass(Tensor)
        finally:
            # Else the skips stay in memory until the next pass, with all that led to them.
            for hook in self.unet.sfs:  # type: ignore[union-attr]
                hook.stored = None
        return self.imagenet.restore(y[..., :height, :width])


def build_fastai_unet(
    *, backbone: str, pretrained: bool, self_attention: bool, scale: int, fetch: bool = False
) -> FastaiUNet:
    """Build the study's U-Net: weight norm, blurred sub-pixel steps, y-range.

    `fetch` fills a pretrained encoder with torchvision's weights.

    Raises:
        ParamsError: The backbone is unknown.
        CheckpointError: Pretrained weights are missing.
    """
    if backbone not in CUTS:
        raise ParamsError(f"There is no backbone {backbone!r}. Choose one of {', '.join(CUTS)}.")

    def build_backbone(pretrained: bool) -> Any:
        # fastai would show a bare URLError where weights are missing.
        return load_backbone(backbone) if pretrained else zoo.get_model(backbone, weights=None)

    unet = create_unet_model(
        build_backbone,
        n_out=3,
        img_size=(128, 128),
        pretrained=pretrained and fetch,
        cut=CUTS[backbone],
        norm_type=NormType.Weight,
        blur=True,
        self_attention=self_attention,
        y_range=Y_RANGE,
    )
    if backbone == "convnext_tiny":
        # Its first layer takes four pixels in one step, of which fastai gives two back only and
        # leaves the rest to nearest-neighbour.
        position = next(i for i, layer in enumerate(unet.layers) if isinstance(layer, ResizeToOrig))
        maps = unet.layers[position - 1][0][0].out_channels // 4
        unet.layers.insert(position, PixelShuffle_ICNR(maps, blur=True, norm_type=NormType.Weight))
    return FastaiUNet(unet, scale)
