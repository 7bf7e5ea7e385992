"""Losses; images are float32 RGB in [0, 1], critics' outputs are logits."""

from facesr.losses.adversarial import ADVERSARIAL_LOSSES, AdversarialLoss, gradient_penalty
from facesr.losses.content import ContentLoss
from facesr.losses.features import feature_distance, texture_distance

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "ContentLoss",
    "feature_distance",
    "gradient_penalty",
    "texture_distance",
]
