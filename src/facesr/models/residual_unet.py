"""U-Net on the low-resolution grid that adds to the bicubic enlargement.

The encoder gives context, the blocks at the finest grid carry the detail, a sub-pixel head enlarges
(Shi et al. 2016, https://arxiv.org/abs/1609.05158). The last layer starts at zero: an untrained
network is exactly bicubic enlargement. Blocks follow EDSR (Lim et al. 2017,
https://arxiv.org/abs/1707.02921): no normalisation outside the encoder.
"""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from facesr.errors import ParamsError
from facesr.models.blocks import (
    GRAIN_PERIOD,
    Grain,
    ImageNetScale,
    ResidualBlock,
    SubPixelUp,
    enlarge_bicubic,
    pad_to_multiple,
)
from facesr.models.encoders import Encoder, build_encoder

Head = Literal["direct", "stepwise"]
"""`stepwise` doubles the side with a convolution each; `direct` goes in one step, on the input's
grid, at a tenth of the cost."""


class ResidualUNet(nn.Module):
    """Network that enlarges `scale` times; tiles start on multiples of `multiple` input pixels."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        scale: int,
        decoder_blocks: int,
        body_blocks: int,
        unshuffle: int,
        head: Head,
        grain: bool,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.unshuffle = unshuffle
        self.coarsest = unshuffle * encoder.strides[-1]
        self.multiple = math.lcm(self.coarsest, GRAIN_PERIOD // scale if grain else 1)
        self.imagenet = ImageNetScale()
        self.encoder = encoder

        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for level in range(len(encoder.widths) - 1, 0, -1):
            width_in, width = encoder.widths[level], encoder.widths[level - 1]
            halves = encoder.strides[level] > encoder.strides[level - 1]
            narrow = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
            self.ups.append(SubPixelUp(width_in, width) if halves else narrow)
            self.decoders.append(
                nn.Sequential(*(ResidualBlock(width) for _ in range(decoder_blocks)))
            )
        width = encoder.widths[0]
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(body_blocks)))

        factor = scale * unshuffle
        self.grain = Grain(width, factor) if grain else None
        steps: list[nn.Module] = []
        if head == "stepwise":
            for _ in range(int(math.log2(factor))):
                steps += [SubPixelUp(width, width), nn.LeakyReLU(0.1, inplace=True)]
            factor = 1
        last = nn.Conv2d(width, 3 * factor**2, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.head = nn.Sequential(*steps, last, nn.PixelShuffle(factor))

    @property
    def skips(self) -> int:
        """Number of connections from the encoder to the decoder."""
        return len(self.decoders)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 3, scale h, scale w), unclamped, from (N, 3, h, w) in [0, 1]."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.coarsest)
        z = F.pixel_unshuffle(self.imagenet.normalise(padded), self.unshuffle)
        features = self.encoder(z)
        y = features.pop()
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            y = decoder(up(y) + features.pop())
        detail = self.body(y)
        y = self.head(detail)  # (N, 3, scale * padded h, scale * padded w)
        if self.grain is not None:
            y = y + self.grain(detail)  # (N, 1, ...): all colours alike
        y = y[..., : height * self.scale, : width * self.scale]
        restored: Tensor = enlarge_bicubic(x, self.scale) + y
        return restored


def build_residual_unet(
    *,
    backbone: str,
    pretrained: bool,
    width: int,
    levels: int,
    decoder_blocks: int,
    body_blocks: int,
    unshuffle: int,
    head: Head,
    scale: int,
    grain: bool = False,
    fetch: bool = False,
) -> ResidualUNet:
    """Build the network from plain values; `fetch` fills a pretrained encoder.

    `grain` is added by an adversarial training; files of networks without it do not contain the
    key.

    Raises:
        ParamsError: A value does not fit; scale and unshuffle must be powers of two.
        CheckpointError: Pretrained weights are missing.
    """
    for name, value in (("scale", scale), ("unshuffle", unshuffle)):
        if value & (value - 1):
            raise ParamsError(f"The residual U-Net's {name} must be 1, 2, 4 or 8, not {value}.")
    encoder = build_encoder(
        backbone,
        channels=3 * unshuffle**2,
        width=width,
        levels=levels,
        pretrained=pretrained,
        fetch=fetch,
    )
    return ResidualUNet(
        encoder,
        scale=scale,
        decoder_blocks=decoder_blocks,
        body_blocks=body_blocks,
        unshuffle=unshuffle,
        head=head,
        grain=grain,
    )
