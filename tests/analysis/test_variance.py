"""Variance that is counted, against the variance over all signs."""

import functools

import helpers
import jax
import numpy as np
import pytest

import perturbax as px
from perturbax.analysis.variance import balanced, credit_matrix, sources
from perturbax.errors import ArgumentError

SIGMA = 1e-5
FORMS = {
    "to-go": ({"credit": "to-go"}, {}),
    "window": ({"credit": "window", "window": 2, "discount": 0.7}, {"window": 2, "discount": 0.7}),
    "same-step": ({"credit": "same-step"}, {"window": 1}),
    "restarted": (
        {"credit": "same-step", "noisy_state": "restarted"},
        {"window": 1, "restarted": True},
    ),
}


def test_variance_is_that_over_all_signs(x64):
    net = helpers.strong("tanh", n_in=1, n=2, n_out=1)
    xs, ys = helpers.data(steps=3, batch=1)
    table = helpers.node_patterns(net, 3)

    @jax.jit
    def estimates(table):
        found = {}
        for name, (settings, _) in FORMS.items():
            make = functools.partial(px.rules.Node, sigma=SIGMA, **settings)
            found[name] = helpers.every_estimate(
                lambda noise, make=make: make(noise=noise), table, net, xs, ys
            )
        return found

    exact = np.concatenate([np.ravel(g) for g in jax.tree.leaves(px.bptt(helpers.mse)(net, xs, ys)[1])])
    for name, every in estimates(table).items():
        flat = np.concatenate([np.asarray(g).reshape(len(g), -1) for g in jax.tree.leaves(every)], -1)
        measured = np.sum(flat.var(0)) / np.sum(exact**2)
        counted = sources(helpers.mse, net, xs, ys, **FORMS[name][1])
        assert counted.variance == pytest.approx(measured, rel=1e-4), name
        bias = np.sum((flat.mean(0) - exact) ** 2) / np.sum(exact**2)
        assert counted.bias == pytest.approx(bias, abs=1e-6), name


def test_shares_add_up_and_balance():
    """Parts, lags and units are one sum in three ways; where layers are alike there is nothing to gain."""
    net = helpers.strong("gru", n_in=2, n=3, n_out=2)
    xs, ys = helpers.data(n_in=2, n_out=2, steps=5, batch=4)
    found = sources(helpers.mse, net, xs, ys)
    assert found.units.shape == (14, 14)  # 4 pre-activations in each of 3 units, 2 outputs
    assert found.units.sum() == pytest.approx(found.parts.sum(), rel=1e-4)
    assert found.lags.sum() == pytest.approx(1, rel=1e-4)
    assert found.bias < 1e-6
    assert sources(helpers.mse, net, xs, ys, window=1).bias > 1e-2
    cos = found.cosine(4)
    assert cos == pytest.approx(1 / np.sqrt(1 + found.variance / 4), rel=1e-3)
    assert balanced(np.ones((3, 3))) == pytest.approx(1)
    # Noise of size s in the first hides the second by s^2, and is hidden by 9 / s^2: best at s^2 = 3.
    assert balanced(np.array([[0.0, 9.0], [1.0, 0.0]])) == pytest.approx(6 / 10)


def test_credit_and_refusal():
    c = credit_matrix(3, 2, 0.5)
    assert np.array_equal(c, [[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]])
    with pytest.raises(ArgumentError, match="window must be 1"):
        sources(helpers.mse, helpers.network(px.cells.Tanh), *helpers.data(), restarted=True)
