"""Each metric against an independent oracle, a value computed by hand, and a wrong input."""

import numpy as np
import pytest
import skimage.metrics
import torch
from scipy import ndimage

from facesr import metrics
from facesr.errors import DataError


def photograph(seed, size=192):
    """Smooth noise with edges: the statistics matter to no test, structure does."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.random((3, size, size)), (0, 4, 4))
    image = (image - image.min()) / (image.max() - image.min())
    image[:, size // 3 : size // 2, size // 4 : size // 2] *= 0.5
    return torch.from_numpy(image).float()[None]


def damaged(hr, seed=9, strength=0.05):
    noise = torch.from_numpy(np.random.default_rng(seed).normal(0, strength, hr.shape)).float()
    return (hr + noise).clamp(0, 1)


@pytest.fixture
def hr():
    return photograph(1)


@pytest.fixture
def sr(hr):
    return damaged(hr)


def as_numpy(image):
    return image[0].permute(1, 2, 0).double().numpy()


def test_mse_agrees_with_scikit_image(sr, hr):
    expected = skimage.metrics.mean_squared_error(as_numpy(hr) * 255, as_numpy(sr) * 255)
    assert metrics.mse(sr, hr).item() == pytest.approx(expected, rel=1e-5)


def test_psnr_agrees_with_scikit_image(sr, hr):
    expected = skimage.metrics.peak_signal_noise_ratio(as_numpy(hr), as_numpy(sr), data_range=1)
    assert metrics.psnr(sr, hr).item() == pytest.approx(expected, abs=1e-4)


def test_psnr_y_agrees_with_the_formula_of_the_papers(sr, hr):
    def luma(image):
        red, green, blue = np.moveaxis(as_numpy(image), 2, 0)
        return 16 + 65.481 * red + 128.553 * green + 24.966 * blue

    expected = 10 * np.log10(255**2 / np.mean((luma(sr) - luma(hr)) ** 2))
    assert metrics.psnr_y(sr, hr).item() == pytest.approx(expected, abs=1e-3)


def test_gmsd_agrees_with_the_paper_written_again(sr, hr):
    def gradient(image):
        luma = as_numpy(image) @ [0.299, 0.587, 0.114] * 255
        half = luma.reshape(luma.shape[0] // 2, 2, -1, 2).mean((1, 3))
        # SciPy's Prewitt kernel has the weights 1, not 1/3.
        parts = [ndimage.prewitt(half, axis=axis, mode="constant") / 3 for axis in (0, 1)]
        return np.hypot(*parts)

    a, b = gradient(sr), gradient(hr)
    expected = np.std((2 * a * b + 170) / (a**2 + b**2 + 170))
    assert metrics.gmsd(sr, hr).item() == pytest.approx(expected, rel=1e-6)
    assert metrics.gmsd(hr, hr).item() == 0


def test_ssim_agrees_with_scikit_image_inside_the_border(sr, hr):
    _, full = skimage.metrics.structural_similarity(
        as_numpy(hr),
        as_numpy(sr),
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    expected = full[5:-5, 5:-5].mean()
    assert metrics.ssim(sr, hr).item() == pytest.approx(expected, abs=1e-4)


def reference_ms_ssim(sr, hr, window):
    """Wang et al. 2003, written with SciPy: contrast on four levels, all terms on the fifth."""
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    half = window // 2
    taps = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(plane):
        for axis in (0, 1):
            plane = ndimage.correlate1d(plane, taps, axis=axis)
        return plane[half:-half, half:-half]

    values = []
    for channel in range(3):
        a, b = sr[0, channel].double().numpy(), hr[0, channel].double().numpy()
        product = 1.0
        for level, weight in enumerate(weights):
            mean_a, mean_b = blur(a), blur(b)
            covariance = blur(a * b) - mean_a * mean_b
            variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
            contrast = (2 * covariance + 0.03**2) / (variances + 0.03**2)
            luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
            term = (contrast * luminance if level == 4 else contrast).mean()
            product *= max(term, 0) ** weight
            a, b = (p.reshape(p.shape[0] // 2, 2, -1, 2).mean((1, 3)) for p in (a, b))
        values.append(product)
    return np.mean(values)


@pytest.mark.parametrize(("size", "window"), [(192, 11), (128, 7)])
def test_ms_ssim_agrees_with_the_paper_written_again(size, window):
    hr = photograph(2, size)
    sr = damaged(hr)
    expected = reference_ms_ssim(sr, hr, window)
    assert metrics.ms_ssim(sr, hr).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("side", "window"), [(33, 3), (64, 3), (65, 5), (128, 7), (160, 9), (161, 11), (512, 11)]
)
def test_the_window_of_ms_ssim_is_fitted_to_the_size(side, window):
    assert metrics.ms_ssim_window(side) == window
    image = photograph(3, side)
    assert metrics.ms_ssim(image, image).item() == pytest.approx(1, abs=1e-5)


def test_an_image_too_small_for_ms_ssim_is_refused():
    with pytest.raises(DataError, match="more than 32 px"):
        metrics.ms_ssim_window(32)


@pytest.mark.parametrize("offset", [1, 10, 51])
def test_a_constant_offset_gives_the_values_computed_by_hand(offset):
    hr = torch.full((2, 3, 48, 48), 100 / 255)
    sr = torch.full((2, 3, 48, 48), (100 + offset) / 255)
    assert metrics.mse(sr, hr).tolist() == pytest.approx([offset**2] * 2, rel=1e-4)
    assert metrics.psnr(sr, hr)[0].item() == pytest.approx(20 * np.log10(255 / offset), abs=1e-3)
    assert metrics.l1_mean(sr, hr)[1].item() == pytest.approx(offset, rel=1e-4)
    assert metrics.l1_sum(sr, hr)[1].item() == pytest.approx(offset * 3 * 48 * 48, rel=1e-4)
    assert metrics.luma_shift(sr, hr)[0].item() == pytest.approx(offset, rel=1e-4)
    assert metrics.luma_shift(hr, sr)[0].item() == pytest.approx(-offset, rel=1e-4)


def test_equal_images_are_perfect(hr):
    values = {name: column.item() for name, column in metrics.measure(hr, hr).items()}
    assert values.pop("psnr") == np.inf
    assert values.pop("clipped_fraction") < 0.01
    for name in ("ssim", "ms_ssim", "gradient_energy_ratio"):
        assert values.pop(name) == pytest.approx(1, abs=1e-5)
    assert set(values.values()) == {0.0}


def test_strangers_score_far_worse_than_a_damaged_copy(sr, hr):
    stranger = photograph(77)
    matched, mismatched = metrics.measure(sr, hr), metrics.measure(stranger, hr)
    assert mismatched["psnr"].item() < 15 < 24 < matched["psnr"].item()
    assert mismatched["ssim"].item() < 0.5 * matched["ssim"].item() + 0.3
    assert mismatched["l1_mean"].item() > 3 * matched["l1_mean"].item()


def test_one_value_comes_for_each_image(sr, hr):
    batch = metrics.measure(torch.cat([sr, hr]), torch.cat([hr, hr]))
    assert tuple(batch) == metrics.NAMES
    for name, column in batch.items():
        assert column.shape == (2,), name
        if name != "psnr":
            alone = metrics.measure(sr, hr)[name].item()
            assert column[0].item() == pytest.approx(alone, rel=1e-5), name


def test_clipped_values_are_those_that_8_bits_round_to_black_or_white():
    image = torch.full((1, 3, 16, 16), 0.5)
    image[:, :, :4] = 0.999  # rounds to 255
    image[:, :, 4:8] = 0.0
    image[:, :, 8:12] = 0.99  # rounds to 252
    assert metrics.clipped_fraction(image).item() == pytest.approx(0.5)


def test_a_blurred_image_has_less_gradient_energy_and_a_noisy_one_more(hr):
    blurred = torch.from_numpy(ndimage.gaussian_filter(hr.numpy(), (0, 0, 2, 2)))
    assert metrics.gradient_energy_ratio(blurred, hr).item() < 0.9
    assert metrics.gradient_energy_ratio(damaged(hr), hr).item() > 1.1


@pytest.mark.parametrize("name", ["mse", "psnr", "l1_mean", "l1_sum", "ssim", "ms_ssim"])
def test_images_of_8_bits_or_another_shape_are_refused(name, sr, hr):
    metric = getattr(metrics, name)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        metric(sr * 255, hr * 255)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        metric((sr * 255).to(torch.uint8), (hr * 255).to(torch.uint8))
    with pytest.raises(DataError, match="one shape"):
        metric(sr[..., :-1], hr)


def test_the_label_names_a_window_that_is_not_the_usual_one():
    assert "window 7" in metrics.label("ms_ssim", 128)
    assert "window" not in metrics.label("ms_ssim", 512)
