"""Generated images: dead leaves and drawn portraits, so that training needs no photograph.

Achddou, Gousseau, Ladjal 2021 and 2023 (see `dead_leaves`): networks trained on such images
carry over to photographs.
"""

import numpy as np
import torch
from torch import Tensor

from facesr import images
from facesr.drawing.dead_leaves import draw_dead_leaves
from facesr.drawing.people import draw_person
from facesr.drawing.portraits import draw_portrait

# Smaller images are drawn at least this large and reduced, as a camera would: eyes and strands
# cannot be drawn with fewer pixels.
_SMALLEST_DRAWN = 128


def draw(seed: int, index: int, size: int) -> Tensor:
    """Draw one image: a portrait for odd indices, dead leaves for even ones.

    Args:
        seed: Of the whole set.
        index: Number of the image; each has a random generator of its own, so that neither the
            order of the calls nor their number changes an image.
        size: Side in pixels, 32 to 1024 as a rule.

    Returns:
        (3, size, size) float32 RGB in [0, 1].
    """
    rng = np.random.default_rng((seed, index))
    drawn_size = size * -(-_SMALLEST_DRAWN // size)
    brush = draw_portrait if index % 2 else draw_dead_leaves
    image = torch.from_numpy(np.clip(brush(rng, drawn_size), 0, 1))
    return images.resize(image, (size, size), "lanczos").clamp(0, 1)


def describe(seed: int, index: int) -> dict[str, str | int | float]:
    """Say what `draw` draws: dead leaves, or a portrait of whom."""
    if index % 2 == 0:
        return {"kind": "dead leaves"}
    # The first that a portrait takes from its random generator.
    person = draw_person(np.random.default_rng((seed, index)))
    return {
        "kind": "portrait",
        "skin": _third(person.darkness, ("light", "medium", "dark")),
        "age": _third(person.age, ("young", "middle", "old")),
        "hair": person.style,
        "beard": person.beard,
        "glasses": int(person.has_glasses),
        "hat": int(person.has_hat),
    }


def _third(value: float, names: tuple[str, str, str]) -> str:
    return names[min(2, int(3 * value))]
