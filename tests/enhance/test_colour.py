import pytest
import torch

from facesr import images
from facesr.enhance.colour import back_project, fix_colour
from facesr.errors import ParamsError


def textured(side=48, seed=0):
    noise = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))
    coarse = images.resize(noise[:, :6, :6], (side, side), "bicubic")
    return (0.2 + 0.5 * coarse + 0.1 * noise).clamp(0, 1)


def enlarged(image, scale=4):
    side = image.shape[-1] * scale
    return images.resize(image, (side, side), "bicubic").clamp(0, 1)


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_a_tint_is_taken_back(method):
    right = enlarged(textured())
    tinted = (right * 1.06 + torch.tensor([0.03, 0.0, -0.02])[:, None, None]).clamp(0, 1)
    fixed = fix_colour(tinted.clone(), textured(), method)
    assert (tinted - right).abs().mean() > 0.02
    assert (fixed - right).abs().mean() < 0.003


def test_detail_stays_the_networks():
    right = enlarged(textured())
    detail = 0.1 * (torch.rand(right.shape, generator=torch.Generator().manual_seed(1)) - 0.5)
    fixed = fix_colour((right + detail).clamp(0, 1), textured(), "wavelet")
    assert (fixed - right - detail).abs().mean() < 0.003


@pytest.mark.parametrize("method", ["wavelet", "adain"])
def test_a_flat_colour_stays_flat(method):
    reference = torch.tensor([0.2, 0.5, 0.9])[:, None, None].expand(3, 40, 56).contiguous()
    restored = reference[:, :1, :1].expand(3, 160, 224).clone() + 0.02
    fixed = fix_colour(restored, reference, method)
    assert (fixed - reference[:, :1, :1]).abs().max() < 0.5 / 255


def test_the_strips_of_a_large_image_join_without_a_seam(monkeypatch):
    right = enlarged(textured(), 8)
    tinted = (right * 0.9).clamp(0, 1)
    whole = fix_colour(tinted.clone(), textured(), "wavelet")
    monkeypatch.setattr("facesr.enhance.colour.STRIP", 50)
    torch.testing.assert_close(fix_colour(tinted.clone(), textured(), "wavelet"), whole)


def test_none_changes_nothing_and_another_name_is_refused():
    restored = torch.rand(3, 8, 8)
    assert torch.equal(fix_colour(restored.clone(), textured(), "none"), restored)
    with pytest.raises(ParamsError, match="no colour fix haar"):
        fix_colour(restored, textured(), "haar")


def test_back_projection_makes_the_reduced_result_equal_the_input():
    small = textured()
    restored = (enlarged(small) * 1.03 + 0.015).clamp(0, 1)

    def error(image):
        return (images.resize(image, (48, 48), "bicubic") - small).abs().mean()

    before = error(restored)
    assert error(back_project(restored, small, 3)) < before / 10
