"""Predictions that move: strict predictive coding against its closed form, Z-IL against backpropagation."""

import itertools

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError, LayerError

PC = px.rules.PredictiveCoding


def half(y, target):
    return 0.5 * jnp.sum((y - target) ** 2, -1)


def distance_by_layer(got, want):
    pairs = zip(got.layers, want.layers, strict=True)
    return max(helpers.distance(g, w) for g, w in pairs)


def test_strict_is_backpropagation_for_a_small_precision_and_not_for_small_errors(x64):
    """Slope 1 in the precision; e_out = (1 + sum J J^T)^-1 (out - y) however small the error is."""
    net = helpers.strong("dense", n=2, depth=2)
    xs, noise = helpers.data(2, 2, steps=1, batch=1)
    out = px.forward(net, xs)

    @jax.jit
    def strict(precision, error):
        ys = out - error * noise
        rule = PC(form="strict", sweeps=400, rate=0.2, vertices="layers")
        rule = eqx.tree_at(lambda r: r.precision, rule, precision)
        return rule.update((), net, xs, ys, half, jr.key(0))[2], px.bptt(half)(net, xs, ys)[1]

    apart = [distance_by_layer(*strict(b, 1.0)) for b in (1e-2, 1e-3, 1e-4)]
    assert all(9 < more / less < 11 for more, less in itertools.pairwise(apart))
    assert apart[-1] < 1e-3
    small, tiny = (strict(1.0, error) for error in (1e-4, 1e-8))
    assert distance_by_layer(*small) > 0.1
    np.testing.assert_allclose(distance_by_layer(*small), distance_by_layer(*tiny), rtol=1e-3)
    W2, W3, b2 = (np.asarray(w) for w in (net.layers[1].W, net.layers[2].W, net.layers[1].b))
    y1 = np.tanh(xs[0, 0] @ net.layers[0].W + net.layers[0].b)
    J1 = (W2 * (1 - np.tanh(y1 @ W2 + b2) ** 2)) @ W3  # d out / d y1, transposed
    e_out = np.linalg.solve(np.eye(2) + J1.T @ J1 + W3.T @ W3, 1e-8 * np.asarray(noise[0, 0]))
    np.testing.assert_allclose(tiny[0].layers[2].b, e_out, rtol=1e-4)  # a bias learns by e_out itself


@pytest.mark.parametrize("vertices", ["steps", "layers"])
def test_z_il_is_backpropagation(x64, vertices):
    """After as many sweeps as the longest path, at any precision; fewer leave the first steps out."""
    net, (xs, ys) = helpers.strong("tanh", n=2, depth=2), helpers.data(2, 2, steps=4, batch=2)

    @jax.jit
    def estimates(sweeps):
        rule = PC(form="z-il", precision=0.7, vertices=vertices)
        set_sweeps = lambda n: eqx.tree_at(lambda r: r.sweeps, rule, n)
        run = lambda n: set_sweeps(n).update((), net, xs, ys, helpers.mse, jr.key(0))[2]
        return px.bptt(helpers.mse)(net, xs, ys)[1], jax.vmap(run)(sweeps)

    exact, found = estimates(np.array([2, 3]) + (2 if vertices == "layers" else 0))
    few, enough = (jax.tree.map(lambda g, i=i: g[i], found) for i in range(2))
    assert helpers.distance(enough, exact) < 1e-10
    assert helpers.distance(few, exact) > 1e-3


def test_what_it_says_and_refuses():
    for settings in ({"form": "loose"}, {"rate": 1.5}, {"form": "z-il", "rate": 0.5}, {"precision": 0.0}):
        with pytest.raises(ArgumentError):
            PC(**settings)
    assert (PC(sweeps=5).described().passes, PC(sweeps=5, form="strict").described().passes) == (13, 18)
    assert "precision" in PC(form="strict").described().target
    net = px.Network(helpers.stack("tanh", depth=2).layers, residual=True)
    xs, ys = helpers.data(2, 2)
    learn = px.learner(PC(form="z-il", vertices="layers"), helpers.mse)
    with pytest.raises(LayerError, match="needs a stack"):
        learn.update((), net, xs, ys, jr.key(0))
