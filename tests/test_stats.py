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
