"""A reference that is measured: its own noise is taken out of bias, cosine and norm, and said."""

import itertools

import numpy as np
import pytest

from perturbax.analysis.group import Cost, group_of
from perturbax.analysis.moments import Measured, Moments, noise_of_mean

TRUE = np.array([1.0, -0.5])  # the gradient
COST = Cost(first=2, more=1)


def measurements(m):
    """Every sample of m measurements with two equally likely errors of each sign in two dimensions."""
    for signs in itertools.product((-1.0, 1.0), repeat=2 * m):
        yield TRUE + np.array([0.9, 1.6]) * np.array(signs).reshape(m, 2)


def test_what_is_said_of_estimates_is_unbiased_over_all_measurements():
    estimates = np.random.default_rng(0).normal(size=(6, 2)) + 0.7
    exact = Moments.of(estimates, TRUE)
    found = [Measured.of(estimates, parts).whole for parts in measurements(4)]
    for name in ("square", "shared", "along", "g"):
        mean = np.mean([getattr(one, name) for one in found], 0)
        np.testing.assert_allclose(mean, getattr(exact, name), rtol=1e-12)
    assert np.isclose(np.mean([one.bias()[0] for one in found]), exact.bias()[0], rtol=1e-12)
    assert np.isclose(found[0].variance, exact.variance, rtol=1e-12)
    plain = [Moments.of(estimates, parts.mean(0)).g for parts in measurements(4)]
    assert np.mean(plain) > exact.g + 0.8  # the control: the noise of the mean, (0.81 + 2.56) / 4
    assert np.isclose(np.mean([noise_of_mean(p) for p in measurements(3)]), (0.81 + 2.56) / 3, rtol=1e-12)


def test_one_part_is_exact_and_groups_add_up():
    rng = np.random.default_rng(1)
    estimates, parts = rng.normal(size=(5, 6)), rng.normal(size=(4, 6))
    exact = Measured.of(estimates, parts[:1])
    assert exact.noise == exact.error(lambda m: m.g) == 0
    both = Measured.of(estimates[:, :2], parts[:, :2]) + Measured.of(estimates[:, 2:], parts[:, 2:])
    whole = Measured.of(estimates, parts)
    assert np.isclose(both.noise, whole.noise)
    for one, other in zip(both.without, whole.without, strict=True):
        np.testing.assert_allclose(one.square, other.square)


def group(spread, *, repeats=16, draws=200, shift=0.0, size=30):
    """What is said of estimates of unit noise beside a gradient that is measured with errors of that size."""
    rng = np.random.default_rng(2)
    g = rng.normal(size=size)
    estimates = g * (1 + shift) + rng.normal(size=(draws, size))
    parts = g + spread * rng.normal(size=(repeats, size))
    return group_of("all", size, [1], COST, [Measured.of(estimates, parts)]), np.linalg.norm(g)


def test_the_error_of_the_reference_is_known_and_makes_no_bias():
    for spread in (0.1, 1.0):
        found, norm = group(spread)
        assert not found.biased
        assert found.reference_error == pytest.approx(spread * (30 / 16) ** 0.5 / norm, rel=0.2)
        assert abs(found.gradient - norm) < 0.1 * norm
        assert abs(found.averages[0].cosine - 0.71) < 3 * found.averages[0].cosine_error + 0.03
        assert found.bias_bound >= 3 * found.reference_error
    biased, _ = group(0.1, shift=0.5)
    assert biased.biased
    assert abs(biased.bias - 0.5) < 0.1


def test_errors_are_larger_beside_a_noisier_reference():
    errors = [group(spread)[0].averages[0].cosine_error for spread in (1e-6, 1.0)]
    assert errors[1] > 1.5 * errors[0]


def test_a_reference_that_is_not_told_from_zero_says_nothing():
    found, _ = group(30.0, repeats=4)
    assert found.reach == "unknown"
    assert np.isnan(found.bias)
    assert np.isnan(found.averages[0].cosine)
