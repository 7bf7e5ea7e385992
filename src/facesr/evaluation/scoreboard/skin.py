"""Skin tone of a face image, by which results are grouped."""

import math

import numpy as np
from skimage.color import rgb2lab
from torch import Tensor

# Cheeks of a face cut in FFHQ's manner (eyes near 0.475 of the height, a quarter of the width
# apart): rows, columns of the left one, columns of the right one, as shares of the side.
CHEEK_ROWS = (0.57, 0.67)
CHEEK_COLUMNS = ((0.33, 0.43), (0.57, 0.67))

TONES = {"light": 41.0, "intermediate": 10.0, "dark": -math.inf}
"""Lowest angle of each group. Chardon's six classes, two by two."""


def measure_angle(face: Tensor) -> float:
    """Individual typology angle of the cheeks in degrees: large for light skin.

    arctan((L* - 50) / b*) of the median over both cheeks, after Chardon et al. 1991
    (https://doi.org/10.1111/j.1467-2494.1991.tb00561.x). Illumination moves it: it sorts images
    into groups, it does not describe a person.

    Args:
        face: (3, H, W) sRGB in [0, 1], cut around the face.
    """
    height, width = face.shape[-2:]
    rows = slice(*(round(share * height) for share in CHEEK_ROWS))
    cheeks = []
    for columns in CHEEK_COLUMNS:
        left, right = (round(share * width) for share in columns)
        cheeks.append(face[:, rows, left:right].reshape(3, -1).T.numpy())
    lightness, _, yellow = np.median(rgb2lab(np.concatenate(cheeks)), axis=0)
    return math.degrees(math.atan2(lightness - 50, yellow))


def name_tone(angle: float) -> str:
    """The group of an angle in degrees."""
    return next(name for name, lowest in TONES.items() if angle >= lowest)
