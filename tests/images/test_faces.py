"""Faces in a whole photograph: detection, geometry, pasting."""

import math

import pytest
import skimage.data
import torch
from torch import Tensor

from facesr import images
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.images.faces import Box, cut, find_faces, paste, reduce_to_detail, restore_faces
from facesr.images.photos import Photo
from facesr.models.checkpoints import Network

ASTRONAUT = Box(148, 24, 152, 152)  # around the eyes and hair, judged by eye


def psnr(first: Tensor, second: Tensor) -> float:
    return -10 * math.log10(float((first - second).square().mean()) + 1e-12)


def astronaut() -> Tensor:
    """A photograph that scikit-image ships, (3, 512, 512)."""
    return images.from_uint8(torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1))


def waves(height: int, width: int, scale: float = 1) -> Tensor:
    """A smooth scene, drawn by formula at any scale, (3, scale height, scale width)."""
    y = (torch.arange(round(height * scale))[:, None] + 0.5) / scale
    x = (torch.arange(round(width * scale))[None, :] + 0.5) / scale
    planes = [
        torch.sin(x / 9 + y / 17),
        torch.cos(y / 11 - x / 23),
        torch.sin(x / 7) * torch.cos(y / 8),
    ]
    return 0.5 + 0.4 * torch.stack(planes)


def enlarge_exactly(crop: Tensor) -> Tensor:
    side = 4 * crop.shape[-1]
    return images.resize(crop, (side, side), "lanczos").clamp(0, 1)


def test_the_face_of_a_photograph_is_found_and_nothing_else():
    (face,) = find_faces(astronaut())
    assert face == pytest.approx(ASTRONAUT, abs=20)


def test_a_face_is_found_at_the_same_place_in_a_photograph_beyond_the_detectors_size():
    large = images.resize(astronaut(), (2200, 2200), "bicubic").clamp(0, 1)
    (face,) = find_faces(large)
    assert [value * 512 / 2200 for value in face] == pytest.approx(ASTRONAUT, abs=20)


def test_an_image_without_a_face_has_none():
    assert find_faces(waves(200, 300)) == []


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_face_comes_back_to_its_place_when_the_photograph_grows(scale):
    box = Box(50.3, 40.7, 101.4, 101.4)
    crop = cut(waves(200, 240), box, 128)
    photograph = torch.zeros(3, 200 * scale, 240 * scale)
    paste(photograph, crop, Box(*(value * scale for value in box)))
    inside = (slice(None), slice(60 * scale, 120 * scale), slice(70 * scale, 130 * scale))
    truth = waves(200, 240, scale)
    assert psnr(photograph[inside], truth[inside]) > 60
    # Half a pixel off, the fault that is copied from restorer to restorer, is seen here.
    shifted = torch.zeros_like(photograph)
    left, top, width, height = (value * scale for value in box)
    paste(shifted, crop, Box(left + 0.5, top + 0.5, width, height))
    assert psnr(shifted[inside], truth[inside]) < 50


def test_a_face_that_is_reduced_fourfold_is_anti_aliased():
    image = astronaut()
    crop = cut(image, Box(100, 20, 240, 240), 60)
    reference = images.resize(image[:, 20:260, 100:340], (60, 60), "lanczos").clamp(0, 1)
    assert psnr(crop, reference) > 42


def test_beyond_the_edge_a_cut_repeats_the_edge():
    image = waves(100, 100)
    crop = cut(image, Box(-20, -20, 60, 60), 60)
    assert torch.allclose(crop[:, :18, :18], image[:, :1, :1].expand(3, 18, 18), atol=0.01)
    assert psnr(crop[:, 24:, 24:], image[:, 4:40, 4:40]) > 60


def test_a_pasted_face_fades_into_the_photograph_but_not_into_its_edge():
    photograph = torch.zeros(3, 100, 100)
    paste(photograph, torch.ones(3, 50, 50), Box(-10, 30, 50, 50))
    row = photograph[0, 55]
    assert row[0] == 1
    assert 0 < row[38] < 0.2
    assert row[41:].max() == 0
    assert (row[:40].diff() <= 0).all()


def test_an_exact_restorer_leaves_no_seam_in_a_photograph_of_any_proportion():
    image = waves(133, 171)
    photograph = waves(133, 171, 1)  # the size of the result is not a whole multiple
    photograph = images.resize(photograph, (333, 429), "lanczos").clamp(0, 1)
    before = photograph.clone()
    face = Box(40, 30, 80, 80)
    assert restore_faces(photograph, image, [face], enlarge_exactly) == 1
    assert psnr(photograph, before) > 45


def test_a_sharp_face_goes_to_the_networks_as_large_as_it_is():
    face = cut(astronaut(), ASTRONAUT, 152)
    assert reduce_to_detail(face) is face


def test_a_blurred_face_is_reduced_to_the_size_that_holds_its_detail():
    sharp = cut(astronaut(), ASTRONAUT, 76)
    blurred = images.resize(sharp, (152, 152), "bicubic").clamp(0, 1)
    assert reduce_to_detail(blurred).shape == (3, 76, 76)


def test_a_sharp_face_that_does_not_grow_is_left_alone():
    image = astronaut()
    photograph = image.clone()
    assert restore_faces(photograph, image, [ASTRONAUT], enlarge_exactly) == 0
    assert torch.equal(photograph, image)


class White(torch.nn.Module):
    """Enlarges twofold into white, so that it is seen where it was."""

    scale = 2
    multiple = 1

    def forward(self, x):
        return torch.ones(x.shape[0], 3, 2 * x.shape[2], 2 * x.shape[3])


def enhance(image, faces):
    options = EnhanceOptions(scale=2, colour="none", faces=faces)
    enhancer = Enhancer([Network({"scale": 2}, White())], "cpu", precision="float32")
    return enhancer.enhance_photo(Photo(image), options)


def test_only_the_faces_of_a_photograph_go_through_the_networks():
    after, result = enhance(astronaut(), "only")
    assert after.notes == ()
    assert result.output_size == (1024, 1024)
    assert after.colour[:, 140:260, 390:510].min() > 0.999  # inside the face
    around = images.resize(astronaut(), (1024, 1024), "bicubic").clamp(0, 1)
    assert torch.equal(after.colour[:, 500:], around[:, 500:])


def test_on_request_the_networks_enlarge_the_rest_too():
    after, _ = enhance(astronaut(), "also")
    assert after.colour.min() > 0.999


def test_without_a_face_the_whole_image_is_enhanced_and_that_is_reported():
    after, _ = enhance(waves(100, 120), "only")
    assert after.colour.min() > 0.999
    assert after.notes == ("no face was found: the whole image is enhanced",)
