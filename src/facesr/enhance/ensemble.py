"""Mean over an image's eight mirrored and rotated forms."""

import itertools

import torch
from torch import Tensor

from facesr.enhance.tiles import Progress, Tiler

TURNS = 4
FORMS = 2 * TURNS


def run_ensemble(
    tiler: Tiler, image: Tensor, target: tuple[int, int], on_progress: Progress | None = None
) -> Tensor:
    """Run `tiler.run` on every form of the image; return the mean of the results.

    Errors differ from form to form and partly cancel: geometric self-ensemble (Timofte et al. 2016,
    section 3.4, https://arxiv.org/abs/1511.02228).

    Args:
        image: (3, h, w) float32 in [0, 1].
        target: Height and width of the result in pixels.
        on_progress: Called with the tiles of all forms.
    """
    mean = torch.zeros(3, *target)
    for number, (turns, mirrored) in enumerate(itertools.product(range(TURNS), (False, True))):

        def report(done: int, count: int, before: int = number) -> None:
            if on_progress:
                on_progress(before * count + done, FORMS * count)

        form = torch.rot90(image.flip(-1) if mirrored else image, turns, (-2, -1)).contiguous()
        size = target if turns % 2 == 0 else (target[1], target[0])
        back = torch.rot90(tiler.run(form, size, report), -turns, (-2, -1))
        mean.add_(back.flip(-1) if mirrored else back, alpha=1 / FORMS)
    return mean
