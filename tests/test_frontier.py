import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torchvision.transforms.functional import gaussian_blur

from benchmarks.frontier import (
    Start,
    _read_row,
    best_sharpened,
    least_cost,
    make_mask,
    power_spectra,
    remaining_gain,
    sharpen,
)
from facesr import images, metrics

SIDE = 256


def textured(rng, power):
    """Gaussian noise, filtered to a radial power that `power` gives for frequencies of 0 to 0.7."""
    frequency = np.fft.fftfreq(SIDE)
    radius = np.hypot(frequency[:, None], frequency)
    noise = np.fft.fft2(rng.standard_normal((SIDE, SIDE)))
    return np.fft.ifft2(noise * np.sqrt(power(radius))).real


def test_a_spectrum_sums_to_the_variance_and_its_slopes_to_the_gradient_energy():
    luma = torch.from_numpy(textured(np.random.default_rng(0), lambda r: np.exp(-8 * r)))[None]
    spectra, slope = power_spectra(luma)
    assert spectra.sum().item() == pytest.approx(luma.var().item(), rel=0.05)
    energy = metrics.gradient_energy(luma).item() / SIDE**2
    assert (spectra[0] * slope).sum().item() == pytest.approx(energy, rel=0.05)


def test_the_least_cost_is_what_a_general_optimizer_finds():
    original = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    restored = torch.tensor([3.9, 1.2, 0.2, 0.01], dtype=torch.float64)
    slope = torch.tensor([0.1, 0.8, 2.0, 5.0], dtype=torch.float64)
    start = restored.sqrt().numpy()
    wanted = 0.8 * (slope * original).sum().item()
    found = minimize(
        lambda a: ((a - start) ** 2).sum(),
        start,
        bounds=[(0, limit) for limit in original.sqrt().numpy()],
        constraints={"type": "ineq", "fun": lambda a: (slope.numpy() * a**2).sum() - wanted},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    assert found.success
    assert least_cost(original, restored, slope, 0.8) == pytest.approx(found.fun, rel=1e-4)


def test_enough_detail_costs_nothing_and_all_of_it_the_distance_of_the_spectra():
    original = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    restored = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)
    slope = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)
    assert least_cost(original, restored, slope, 0.3) == 0
    whole = (math.sqrt(2) - 1) ** 2 + 0.5**2
    assert least_cost(original, restored, slope, 1.0) == pytest.approx(whole)


def test_a_gaussian_picture_loses_as_much_as_foretold():
    # The restored picture is the mean of the original given the input; what is missing is drawn
    # apart from it. Filtered to the original's spectrum it must lose what the estimate says.
    rng = np.random.default_rng(1)

    def known(r):
        return np.exp(-12 * r) * (0.2 + 0.8 * np.exp(-20 * r))

    def missing(r):
        return np.exp(-12 * r) - known(r)

    mean = textured(rng, known)
    original = mean + textured(rng, missing)
    frequency = np.fft.fftfreq(SIDE)
    radius = np.hypot(frequency[:, None], frequency)
    gain = np.sqrt(np.exp(-12 * radius) / known(radius))
    sharpened = np.fft.ifft2(np.fft.fft2(mean) * gain).real
    error = ((original - mean) ** 2).mean()
    lost = 10 * math.log10(((original - sharpened) ** 2).mean() / error)

    spectra, slope = power_spectra(torch.from_numpy(np.stack([original, mean])))
    start = Start(0.0, 0.0, error, spectra[0], spectra[1], slope, ())
    assert lost > 1
    assert remaining_gain(start, 1.0) == pytest.approx(-lost, abs=0.15)


def test_an_unsharp_mask_gives_the_energy_asked_for_and_takes_none():
    luma = textured(np.random.default_rng(2), lambda r: np.exp(-16 * r))
    picture = torch.from_numpy(0.5 + 0.02 * luma).float().expand(3, -1, -1)
    own = metrics.gradient_energy(metrics.luma_of(picture[None]).double()).item()
    for radius in (0.7, 2.5):
        sharpened = sharpen(picture, make_mask(picture, radius), 3 * own)
        energy = metrics.gradient_energy(metrics.luma_of(sharpened[None]).double()).item()
        assert energy == pytest.approx(3 * own, rel=1e-3)
        assert (sharpened - picture).abs().max() < 0.5
        assert torch.equal(sharpen(picture, make_mask(picture, radius), 0.5 * own), picture)


def test_the_best_mask_is_the_one_that_undoes_the_blur():
    rng = np.random.default_rng(3)
    luma = textured(rng, lambda r: np.exp(-6 * r))
    hr = images.round_to_8bit(torch.from_numpy(0.5 + 0.3 * luma).float().expand(3, -1, -1))
    blurred = images.round_to_8bit(gaussian_blur(hr, [7, 7], [0.7, 0.7]))
    before = metrics.psnr(blurred[None], hr[None]).item()
    energy = 0.8 * metrics.gradient_energy(metrics.luma_of(hr[None]).double()).item()
    undone = images.round_to_8bit(sharpen(blurred, make_mask(blurred, 0.7), energy))
    expected = metrics.psnr(undone[None], hr[None]).item()
    assert expected > before + 3
    assert best_sharpened(blurred, hr, [0.0, 0.8]) == pytest.approx([before, expected])


@pytest.mark.parametrize("digest", [None, "of other inputs"])
def test_a_row_that_was_not_measured_on_these_inputs_is_told_in_one_line(tmp_path, digest):
    row = tmp_path / "gan"
    row.mkdir()
    (row / "scores.csv").write_text("source,condition,stem,method,values\n")
    (row / "trained.json").write_text('{"key": "", "seconds": 1.0}')
    if digest:
        (row / "scored.txt").write_text(digest)
    with pytest.raises(SystemExit, match=r"^error: gan was measured .* Run the campaign on it"):
        _read_row(tmp_path, "gan", "of these")
    (row / "scored.txt").write_text("of these")
    assert _read_row(tmp_path, "gan", "of these") == ({}, {})
