"""Networks and their builder.

Shape letters in comments: N images, C channels; H, W sides of the high-resolution side; h, w sides
of the low-resolution side. Every network takes and returns float32 RGB in [0, 1].
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from facesr.errors import CheckpointError

KINDS = ("fastai_unet", "residual_unet", "patch_critic", "unet_critic", "global_critic")


def _find_builder(kind: str) -> Callable[..., nn.Module]:
    # fastai and torchvision take seconds to import: only what is built is imported.
    match kind:
        case "fastai_unet":
            from facesr.models.fastai_unet import build_fastai_unet

            return build_fastai_unet
        case "residual_unet":
            from facesr.models.residual_unet import build_residual_unet

            return build_residual_unet
        case "patch_critic":
            from facesr.models.critics import build_patch_critic

            return build_patch_critic
        case "unet_critic":
            from facesr.models.critics import build_unet_critic

            return build_unet_critic
        case "global_critic":
            from facesr.models.critics import build_global_critic

            return build_global_critic
    raise CheckpointError(
        f"There is no network of kind {kind!r}. Choose one of {', '.join(KINDS)}."
    )


def build(architecture: Mapping[str, Any], *, fetch: bool = False) -> nn.Module:
    """Build the network that `architecture` describes.

    Args:
        architecture: `kind` and the plain values of that builder, as in the metadata of weights
            files.
        fetch: Load torchvision's weights into a pretrained encoder; false if weights are loaded
            from a file.

    Raises:
        CheckpointError: The kind is unknown or a value does not belong to it.
    """
    values = dict(architecture)
    if fetch:
        values["fetch"] = True
    kind = str(values.pop("kind", ""))
    builder = _find_builder(kind)
    try:
        return builder(**values)
    except TypeError as error:
        raise CheckpointError(
            f"The values of the {kind} do not fit ({error}). The file may come from another "
            "version of facesr; train it again with: dvc repro"
        ) from error
