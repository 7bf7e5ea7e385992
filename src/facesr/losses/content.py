"""Content loss: a weighted sum of named distances to the original."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from facesr.losses import pixels
from facesr.losses.features import VGGFeatures, feature_distance, texture_distance

PIXEL_TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": pixels.mse,
    "normalised_mse": pixels.normalised_mse,
    "log_mse": pixels.log_mse,
    "l1": pixels.l1,
    "reduced_l1": pixels.reduced_l1,
    "ms_ssim": pixels.ms_ssim,
}
FEATURE_TERMS: dict[str, Callable[..., Tensor]] = {
    "perceptual": feature_distance,
    "texture": texture_distance,
}


class ContentLoss(nn.Module):
    """Weighted sum of terms.

    Args:
        weights: By names of `PIXEL_TERMS` and `FEATURE_TERMS`.
        features: Network of `FEATURE_TERMS`, a key of `VGG_LAYERS`.

    Raises:
        CheckpointError: A term needs that network, and its weights are missing, damaged or of
            another one.
    """

    def __init__(self, weights: Mapping[Any, float], features: str) -> None:
        super().__init__()
        self.weights = dict(weights)
        needs_features = not FEATURE_TERMS.keys().isdisjoint(weights)
        self.network = VGGFeatures(features) if needs_features else None

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Return a scalar for (N, 3, H, W) in [0, 1] each."""
        total = sr.new_zeros(())
        features = (self.network(sr), self.network(hr)) if self.network else ()
        for name, weight in self.weights.items():
            if name in PIXEL_TERMS:
                term = PIXEL_TERMS[name](sr, hr)
            else:
                assert self.network is not None
                term = FEATURE_TERMS[name](*features, self.network.layer_weights)
            total = total + weight * term
        return total
