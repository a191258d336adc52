"""Split conformal intervals: the quantile is the right order statistic, and coverage is what was asked."""

import math
from fractions import Fraction

import numpy as np
import pytest

from perturbax.errors import ArgumentError, StoreError
from perturbax.experiment.intervals import KEPT, coverage, from_arrays, levels, measured, of_residuals


@pytest.mark.parametrize("n", [1, 4, 9, 19, 99, 100, KEPT])
@pytest.mark.parametrize("level", [50, 80, 90, 95, 99, 92.5])
def test_the_quantile_is_the_order_statistic_of_the_formula(n, level):
    rng = np.random.default_rng(n)
    residuals = rng.normal(size=(n, 2))
    rank = math.ceil((n + 1) * Fraction(level) / 100)
    got = of_residuals(residuals).half_widths(level)
    if rank > n:  # too few residuals to promise so much
        assert np.isinf(got).all()
    else:
        np.testing.assert_array_equal(got, np.sort(np.abs(residuals), 0)[rank - 1])


def test_rounding_does_not_move_the_rank():
    # (99 + 1) x level / 100 is a whole number, which floating point may miss by a little to either side.
    sizes = np.arange(1.0, 100.0)[:, None]
    intervals = of_residuals(sizes)
    for level in range(100):
        assert intervals.half_widths(level)[0] == level


def test_long_residuals_are_thinned_to_the_safe_side():
    n = 54_321
    sizes = np.random.default_rng(0).exponential(size=(n, 3))
    intervals = of_residuals(sizes)
    assert intervals.widths.shape == (KEPT, 3)
    for level in (10, 80, 95, 99, 99.9):
        rank = math.ceil((n + 1) * level / 100)
        exact = np.sort(sizes, 0)
        later = min(rank + n // KEPT + 1, n)
        assert (intervals.half_widths(level) >= exact[rank - 1]).all()
        assert (intervals.half_widths(level) <= exact[later - 1]).all()


@pytest.mark.parametrize(("n", "level"), [(20, 80), (39, 95), (60, 50)])
def test_the_mean_coverage_is_the_one_asked_for(n, level):
    # Over draws of validation and test data: level <= coverage <= level + 1 / (n + 1).
    rng = np.random.default_rng(level)
    shares = []
    for _ in range(4000):
        intervals = of_residuals(rng.standard_t(3, size=(n, 2)) * np.array([[1.0, 100.0]]))
        new = rng.standard_t(3, size=(50, 2)) * np.array([[1.0, 100.0]])
        shares.append(coverage(intervals.half_widths(level), new))
    low, high = level / 100 - 0.004, level / 100 + 1 / (n + 1) + 0.004
    assert (np.mean(shares, 0) > low).all()
    assert (np.mean(shares, 0) < high).all()


def test_what_is_stored_comes_back():
    intervals = of_residuals(np.random.default_rng(0).normal(size=(2500, 2)))
    again = from_arrays(intervals.to_arrays(), "weights")
    for level in (80, 95, 99.5):
        np.testing.assert_array_equal(again.half_widths(level), intervals.half_widths(level))
    for spoilt in ({}, {"n": np.array(3)}, intervals.to_arrays() | {"ranks": np.arange(3)}):
        with pytest.raises(StoreError, match="weights is damaged"):
            from_arrays(spoilt, "weights")


def test_measured_on_test_data():
    intervals = of_residuals(np.arange(1.0, 100.0)[:, None] * np.array([[1.0, 2.0]]))
    found = measured(intervals, np.array([[80.0, -160.0], [-80.5, 161.0], [1.0, 0.0], [96.0, 0.0]]))
    assert found["80"] == {"coverage": 0.625, "coverages": [0.5, 0.75], "half_widths": [80.0, 160.0]}
    assert found["95"]["coverages"] == [0.75, 1.0]


def test_truths_that_are_not_known_do_not_count():
    residuals = np.array([[1.0, 2.0], [np.nan, 100.0], [3.0, 4.0]])
    assert of_residuals(residuals).n == 2
    np.testing.assert_array_equal(coverage(np.array([2.0, 50.0]), residuals), [0.5, 2 / 3])
    assert np.isnan(coverage(np.array([1.0]), np.full((3, 1), np.nan))).all()
    assert np.isinf(of_residuals(np.full((3, 1), np.nan)).half_widths(50)).all()


def test_levels():
    assert levels("95, 80") == (80, 95)
    assert levels("99.5") == (99.5,)
    for wrong in ("", "0", "100", "80,x", "-5", "nan", "80,,95"):
        with pytest.raises(ArgumentError, match="per cent above 0 and below 100"):
            levels(wrong)
