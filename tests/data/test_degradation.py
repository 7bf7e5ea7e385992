import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import j1
from shipped import ROOT

from facesr import images, metrics
from facesr.config import load_recipes
from facesr.data.degradation import Degradation, operations
from facesr.data.degradation.kernels import gaussian, sinc
from facesr.errors import DataError

RECIPES, _ = load_recipes(ROOT / "recipes.yaml")
DRAWN = [name for name, recipe in RECIPES.items() if recipe.kind != "bicubic"]


def face(side):
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    image = np.stack([x, y, (np.sin(40 * x * y) + 1) / 2])
    return images.round_to_8bit(torch.from_numpy(image))


def rng(number=0):
    return np.random.default_rng((7, number))


@pytest.mark.parametrize("name", RECIPES)
def test_one_seed_gives_one_view_of_the_right_size_on_the_8_bit_grid(name):
    degradation = Degradation(name, RECIPES)
    hr = face(8 * 16)
    for number in range(6):
        lr = degradation(hr, lr_size=16, rng=rng(number))
        assert lr.shape == (3, 16, 16)
        assert torch.equal(lr, images.round_to_8bit(lr))
        assert torch.equal(lr, degradation(hr, lr_size=16, rng=rng(number)))


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_other_seeds_give_other_views(name):
    degradation = Degradation(name, RECIPES)
    views = [degradation(face(128), lr_size=16, rng=rng(number)) for number in range(8)]
    assert any(not torch.equal(views[0], other) for other in views[1:])


def test_web_does_what_its_numbers_say():
    # The chain written out again, with the draws in the order that stored pairs rest on.
    recipe = RECIPES["web"]
    hr = face(128)
    for number in range(30):
        draws = rng(number)
        clean, _, noisy, packed = draws.random(4)
        draws.uniform(*recipe.blur_sigma)
        sigma = draws.uniform(*recipe.noise_sigma)
        quality = int(draws.integers(recipe.jpeg_quality[0], recipe.jpeg_quality[1] + 1))
        expected = images.resize(hr, (16, 16), "bicubic")
        if clean >= recipe.clean_probability and noisy < recipe.noise_probability:
            noise = draws.standard_normal((3, 16, 16), dtype=np.float32)
            expected = expected + torch.from_numpy(noise * np.float32(sigma / 255))
        expected = images.round_to_8bit(expected)
        if clean >= recipe.clean_probability and packed < recipe.jpeg_probability:
            expected = images.read(
                images.encode_jpeg(expected, quality=quality, chroma_halved=True)
            )
        lr = Degradation("web", RECIPES)(hr, lr_size=16, rng=rng(number))
        assert torch.equal(lr, expected)


def test_a_worse_jpeg_and_a_worse_recipe_are_farther_from_the_clean_view():
    hr = face(512)
    clean = Degradation("bicubic", RECIPES)(hr, lr_size=64, rng=rng())

    def distance(name):
        views = [Degradation(name, RECIPES)(hr, lr_size=64, rng=rng(i)) for i in range(12)]
        return float(torch.stack([metrics.psnr(v[None], clean[None])[0] for v in views]).mean())

    assert distance("resized") > distance("gfpgan") > distance("difface")


def test_a_mixture_draws_its_parts_by_their_weights():
    light = {
        **RECIPES,
        "mixture": RECIPES["mixture"].model_copy(
            update={"weights": {"bicubic": 3.0, "crappify": 1.0}}
        ),
    }
    hr = face(64)
    clean = Degradation("bicubic", RECIPES)(hr, lr_size=16, rng=rng())
    mixture = Degradation("mixture", light)
    same = [torch.equal(mixture(hr, lr_size=16, rng=rng(i)), clean) for i in range(200)]
    assert 0.65 < np.mean(same) < 0.85


def test_a_face_below_the_start_is_refused():
    with pytest.raises(DataError, match="63 x 63 pixels cannot be degraded .* starts from 64 px"):
        Degradation("gfpgan", RECIPES)(face(63), lr_size=16, rng=rng())


def test_a_recipe_survives_its_file():
    written = Degradation("mixture", RECIPES)
    read = Degradation.from_json(written.to_json())
    assert read.name == "mixture"
    assert set(read.recipes) == {"mixture", "resized", "gfpgan", "difface", "real_esrgan"}
    lr = [one(face(64), lr_size=16, rng=rng(3)) for one in (written, read)]
    assert torch.equal(*lr)


def test_convolution_agrees_with_scipy():
    image = face(24)
    kernel = gaussian(21, (3.0, 1.2), 0.7)
    expected = ndimage.convolve(image.numpy(), kernel[None], mode="reflect")
    assert np.abs(operations.convolve(image, kernel).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("sigma", [0.1, 2.0, 15.0])
@pytest.mark.parametrize("side", [5, 24, 31])
def test_blur_and_resizing_in_one_agree_with_scipy_and_pillow_one_after_the_other(
    method, sigma, side
):
    image = face(24)
    blurred = ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="reflect")
    expected = images.resize(torch.from_numpy(blurred), (side, side), method)
    found = operations.blur_and_resize(image, sigma, side, method)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_directed_blur_along_the_rows_leaves_constant_rows():
    rows = torch.rand(3, 32, 1, generator=torch.Generator().manual_seed(1)).expand(3, 32, 32)
    along = operations.blur_directed(rows, (4.0, 0.05), 0.0)
    across = operations.blur_directed(rows, (4.0, 0.05), math.pi / 2)
    assert torch.allclose(along, rows, atol=1e-5)
    assert (across - rows).abs().max() > 0.1


@pytest.mark.parametrize("method", ["area", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("side", [7, 24, 61])
def test_the_devices_resizing_agrees_with_pillows(method, side):
    image = face(24)
    weights = torch.from_numpy(operations.resize_matrix(24, side, method))
    expected = images.resize(image, (side, side), method)
    assert torch.allclose(weights @ image @ weights.T, expected, atol=1e-5)


def test_noise_has_the_strength_that_is_asked_for():
    grey = torch.full((3, 128, 128), 0.5)
    noise = operations.add_gaussian_noise(grey, 10, rng()) - grey
    assert float(noise.std()) * 255 == pytest.approx(10, rel=0.03)
    same = operations.add_gaussian_noise(grey, 10, rng(), grey=True)
    assert torch.equal(same[0], same[2])
    # One distinct value: two photons at white, one at mid-grey, whose spread is its square root.
    photons = operations.add_poisson_noise(grey, 1.0, rng()) - grey
    assert float(photons.std()) == pytest.approx(math.sqrt(0.5 / 2), rel=0.03)


def test_the_sinc_kernel_passes_low_frequencies_and_stops_high_ones():
    kernel = sinc(21, math.pi / 3)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() < 0
    radius = 5.0
    ratio = (math.pi / 3 * j1(math.pi / 3 * radius) / (2 * math.pi * radius)) / (
        (math.pi / 3) ** 2 / (4 * math.pi)
    )
    assert kernel[10, 15] / kernel[10, 10] == pytest.approx(ratio)
    spectrum = np.abs(np.fft.fft2(kernel, s=(96, 96)))
    assert spectrum[4, 0] > 0.8
    assert spectrum[40, 0] < 0.2


def test_a_plateau_is_flatter_than_a_gaussian():
    bell = gaussian(21, (2.0, 2.0), 0.0)
    flat = gaussian(21, (2.0, 2.0), 0.0, power=2.0, plateau=True)
    assert flat[10, 11] / flat[10, 10] > bell[10, 11] / bell[10, 10]
    assert bell[10, 12] / bell[10, 10] == pytest.approx(math.exp(-0.5))
