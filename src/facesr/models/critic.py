"""The critic: fastai's gan_critic, which judges patches.

A patch critic with spectral norm; one logit per patch, positive for "original". The picture is
judged on the ImageNet scale, as the generator's loss is in fastai's lesson.
"""

from fastai.vision.gan import gan_critic
from torch import Tensor, nn

from facesr.models.blocks import ImageNetScale


class Critic(nn.Module):
    """(N, 3, H, W) in [0, 1] to (N, P) logits, one for each of P patches."""

    def __init__(self, features: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.imagenet = ImageNetScale()
        self.layers = gan_critic(nf=features, n_blocks=blocks, p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, P) logits."""
        logits: Tensor = self.layers(self.imagenet.normalise(x))
        return logits.flatten(1)  # (N, P)


def build_critic(*, features: int, blocks: int, dropout: float) -> Critic:
    """Builds the critic from plain values; `features` 128 and `blocks` 3 are fastai's own."""
    return Critic(features, blocks, dropout)
