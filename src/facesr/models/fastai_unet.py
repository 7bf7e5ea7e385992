"""fastai's DynamicUnet, the network of the study, on ResNet34 or VGG16.

The network works at the size of its output: a low-resolution picture is enlarged first. Values go
in and come out in [0, 1]; inside they are on the ImageNet scale, limited to (-3, 3) there as in
fastai's super-resolution lesson.
"""

from fastai.layers import NormType
from fastai.vision.learner import create_unet_model
from torch import Tensor, nn
from torchvision import models as zoo

from facesr.models.blocks import ImageNetScale, enlarge_bicubic, pad_to_multiple
from facesr.models.encoders import load_backbone

Y_RANGE = (-3.0, 3.0)
# Sides that are no multiple of the coarsest grid fall back to nearest-neighbour inside the U-Net.
MULTIPLE = 32


def vgg_features(network: nn.Module) -> nn.Module:
    """The cut that leaves the layers one by one.

    fastai's own cut for VGG16 keeps the features as one child: the result has no skip at all and
    still trains without an error.
    """
    features: nn.Module = network.features  # type: ignore[assignment]
    return features


class FastaiUNet(nn.Module):
    """DynamicUnet behind a bicubic enlargement; see the module's docstring.

    Attributes:
        scale: Side of the output over side of the input.
        multiple: Grid on which tiles must start.
    """

    multiple = MULTIPLE

    def __init__(self, unet: nn.Module, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.imagenet = ImageNetScale()
        self.unet = unet

    @property
    def encoder(self) -> nn.Module:
        """The backbone."""
        return self.unet.layers[0]  # type: ignore[index, return-value, unused-ignore]

    @property
    def skips(self) -> int:
        """Connections from the encoder to the decoder."""
        return len(self.unet.sfs)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, h, w) in [0, 1] to (N, 3, scale h, scale w), within the y-range."""
        enlarged = enlarge_bicubic(x, self.scale)  # (N, 3, H, W)
        height, width = enlarged.shape[-2:]
        padded = pad_to_multiple(self.imagenet.normalise(enlarged), MULTIPLE)
        # The last layer marks its output as a fastai picture; plain tensors leave this module.
        y = self.unet(padded).as_subclass(Tensor)
        return self.imagenet.restore(y[..., :height, :width])


def build_fastai_unet(
    *, backbone: str, pretrained: bool, self_attention: bool, scale: int, fetch: bool = False
) -> FastaiUNet:
    """Builds the study's U-Net: weight norm, blurred sub-pixel steps, y-range.

    `fetch` fills a pretrained encoder with torchvision's weights.

    Raises:
        CheckpointError: Pretrained weights are missing.
    """
    if pretrained and fetch:
        load_backbone(backbone)  # says which file is missing; fastai would only show a URLError
    unet = create_unet_model(
        getattr(zoo, backbone),
        n_out=3,
        img_size=(128, 128),
        pretrained=pretrained and fetch,
        cut=vgg_features if backbone == "vgg16_bn" else None,
        norm_type=NormType.Weight,
        blur=True,
        self_attention=self_attention,
        y_range=Y_RANGE,
    )
    return FastaiUNet(unet, scale)
