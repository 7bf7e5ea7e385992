"""Colours of a face cut in FFHQ's manner: errors in eyes and skin, and the skin's tone."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor
from torch.nn import functional as F

# Rows, and columns of the left and the right one, as shares of the side: eyes near 0.475 of the
# height, a quarter of the width apart.
Places = tuple[tuple[float, float], tuple[tuple[float, float], tuple[float, float]]]
CHEEKS: Places = ((0.57, 0.67), ((0.33, 0.43), (0.57, 0.67)))
EYES: Places = ((0.45, 0.50), ((0.345, 0.405), (0.595, 0.655)))
PLACES = {"eyes_colour": EYES, "skin_colour": CHEEKS}

TONES = {"light": 41.0, "intermediate": 10.0, "dark": -math.inf}
"""Lowest angle of each group. Chardon's six classes, two by two."""


def measure(sr: Tensor, hr: Tensor, scale: int, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the mean colour error of eyes or cheeks, CIEDE2000, of images reduced `scale` times.

    The reduction leaves the colours that the input shows, without the detail that it does not.

    Args:
        sr: (N, 3, H, W) sRGB in [0, 1].
        hr: Their original, (3, H, W).
        scale: Reduction by means over squares of so many pixels.
        names: Keys of `PLACES`.
    """
    if not names:
        return {}
    labs = _to_lab(F.avg_pool2d(torch.cat([hr[None], sr]), scale))
    found = {}
    for name in names:
        original, *restored = (_pixels_at(one, PLACES[name]) for one in labs)
        errors = [float(deltaE_ciede2000(original, one).mean()) for one in restored]
        found[name] = torch.tensor(errors)
    return found


def _to_lab(images: Tensor) -> list[np.ndarray]:
    """Return (H, W, 3) in CIE L*a*b* for each of (N, 3, H, W)."""
    return [rgb2lab(one.permute(1, 2, 0).numpy()) for one in images]


def _pixels_at(lab: np.ndarray, places: Places) -> np.ndarray:
    """Return (pixels, 3) of both places of (H, W, 3)."""
    height, width = lab.shape[:2]
    rows = slice(*(round(share * height) for share in places[0]))
    parts = [lab[rows, slice(*(round(share * width) for share in one))] for one in places[1]]
    return np.concatenate([part.reshape(-1, 3) for part in parts])


def measure_angle(face: Tensor) -> float:
    """Individual typology angle of the cheeks in degrees: large for light skin.

    arctan((L* - 50) / b*) of the median over both cheeks, after Chardon et al. 1991
    (https://doi.org/10.1111/j.1467-2494.1991.tb00561.x). Illumination moves it: it sorts images
    into groups, it does not describe a person.

    Args:
        face: (3, H, W) sRGB in [0, 1], cut around the face.
    """
    pixels = _pixels_at(_to_lab(face[None])[0], CHEEKS)
    lightness, _, yellow = np.median(pixels, axis=0)
    return math.degrees(math.atan2(lightness - 50, yellow))


def name_tone(angle: float) -> str:
    """The group of an angle in degrees."""
    return next(name for name, lowest in TONES.items() if angle >= lowest)
