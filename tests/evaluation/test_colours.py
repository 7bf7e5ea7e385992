import numpy as np
import pytest
import torch

from facesr.evaluation.colours import measure, measure_angle, name_tone

NAMES = ("eyes_colour", "skin_colour")


def grey(level):
    return torch.full((3, 128, 128), level)


def lightness(level):
    return 116 * np.cbrt(((level + 0.055) / 1.055) ** 2.4) - 16


def test_the_error_of_a_grey_is_ciede2000_of_its_lightness():
    # For greys CIEDE2000 is the difference in L* over S_L (Sharma et al. 2005, equations 7 and 15).
    first, second = lightness(0.4), lightness(0.5)
    offset = ((first + second) / 2 - 50) ** 2
    expected = (second - first) / (1 + 0.015 * offset / np.sqrt(20 + offset))
    found = measure(torch.stack([grey(0.4), grey(0.5)]), grey(0.4), 4, NAMES)
    for name in NAMES:
        assert found[name].tolist() == pytest.approx([0, expected], abs=1e-3)


def test_eyes_and_skin_are_measured_at_their_places():
    blue_eyes, red_cheeks = grey(0.4), grey(0.4)
    blue_eyes[2, 56:66, 40:88] = 0.8
    red_cheeks[0, 70:88, 40:88] = 0.8
    found = measure(torch.stack([blue_eyes, red_cheeks]), grey(0.4), 4, NAMES)
    assert found["eyes_colour"][0] > 10 > 0.01 > found["eyes_colour"][1]
    assert found["skin_colour"][1] > 10 > 0.01 > found["skin_colour"][0]


def test_detail_within_the_reduction_is_no_error_of_colour():
    checks = grey(0.4) + 0.1 * (torch.arange(128) % 2 * 2 - 1)
    found = measure(checks[None], grey(0.4), 4, NAMES)
    assert max(one.item() for one in found.values()) < 1e-3


@pytest.mark.parametrize(
    ("skin", "tone"),
    [
        ((0.87, 0.72, 0.62), "light"),
        ((0.68, 0.52, 0.40), "intermediate"),
        ((0.30, 0.20, 0.15), "dark"),
    ],
)
def test_skin_is_sorted_by_the_lightness_of_the_cheeks(skin, tone):
    face = torch.zeros(3, 96, 96)  # hair and background say nothing
    face[:, 50:70, 25:71] = torch.tensor(skin)[:, None, None]
    assert name_tone(measure_angle(face)) == tone


def test_the_typology_angle_is_that_of_its_definition():
    # sRGB (0.5, 0.4, 0.3) is L* 44.36, b* 17.96 by the CIE's formulae.
    face = torch.tensor([0.5, 0.4, 0.3])[:, None, None].expand(3, 64, 64)
    linear = [((one + 0.055) / 1.055) ** 2.4 for one in (0.5, 0.4, 0.3)]
    y = 0.2126729 * linear[0] + 0.7151522 * linear[1] + 0.0721750 * linear[2]
    z = (0.0193339 * linear[0] + 0.1191920 * linear[1] + 0.9503041 * linear[2]) / 1.08883
    lightness, yellow = 116 * np.cbrt(y) - 16, 200 * (np.cbrt(y) - np.cbrt(z))
    expected = np.degrees(np.arctan2(lightness - 50, yellow))
    assert measure_angle(face) == pytest.approx(expected, abs=0.05)
