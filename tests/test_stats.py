import math

import numpy as np
import pytest

from facesr import stats


def test_the_summary_agrees_with_numpy():
    values = [20.0, 22.5, 31.0, 27.0]
    summary = stats.summarise(values)
    assert summary.mean == pytest.approx(np.mean(values))
    assert summary.standard_error == pytest.approx(np.std(values, ddof=1) / 2)
    assert (summary.finite, summary.infinite) == (4, 0)


def test_infinite_values_are_counted_and_left_out():
    summary = stats.summarise([30.0, math.inf, 32.0])
    assert (summary.mean, summary.finite, summary.infinite) == (31.0, 2, 1)


def test_a_single_value_has_no_standard_error():
    assert math.isnan(stats.summarise([3.0]).standard_error)


def test_differences_are_taken_image_by_image():
    summary = stats.paired_difference([31.0, 41.0], [30.0, 40.0])
    assert (summary.mean, summary.standard_error) == (1.0, 0.0)


def test_the_headlines_are_the_chains_means_on_faces_and_selfies_and_at_most_ten():
    measured = {"psnr": {"a": 30.0, "b": 33.0}, "ssim": {"a": 0.8, "b": 0.9}, "mse": {"a": 1.0}}
    bicubic = {"psnr": {"a": 29.0, "b": 31.0}}
    table = {
        (name, size, method): columns
        for name in ("faces", "selfies", "valid web")
        for size in ("generator size", "full size")
        for method, columns in (("bicubic", bicubic), ("GAN + up-sampler", measured))
    }
    found = stats.headlines(table)
    assert {name: value for name, value in found.items() if name.startswith("faces")} == {
        "faces/psnr_gain": 1.5,
        "faces/psnr": 31.5,
        "faces/ssim": pytest.approx(0.85),
    }
    assert len(found) == 6
    everything = {metric: {"a": 0.5} for metric in ("psnr", "ssim", "lpips", "identity", "mse")}
    full = {key: everything for key in table}
    assert len(stats.headlines(full)) == 10
