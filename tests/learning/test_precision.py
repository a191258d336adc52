"""float64, float32 and bfloat16: what each leaves of a loss difference, and where it is refused."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

import perturbax as px
from perturbax.errors import ArgumentError

OURS = ["node", "activity", "innovation", "iterative", "weight", "evolution", "pes", "nres", "ou", "reward"]


def estimate(rule, dtype, **options):
    """The same weights, data and noise in a precision of one's own."""
    net, data = helpers.network(px.cells.Tanh, n=16, scale=0.4), helpers.data(steps=10, batch=4)
    net, xs, ys = jax.tree.map(lambda w: w.astype(dtype), (net, *data))
    return helpers.fresh(px.RULES[rule](**options), helpers.mse)(net, xs, ys, jr.key(0))


def cosine(one, two):
    a, b = (
        jnp.concatenate([leaf.ravel().astype("float32") for leaf in jax.tree.leaves(g)]) for g in (one, two)
    )
    return float(a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b))


@pytest.mark.parametrize("rule", ["node", "activity"])
def test_float32_keeps_the_difference(rule, x64):
    """Defaults: nothing that matters is lost to cancellation."""
    exact, single = (estimate(rule, d, credit="to-go")[1] for d in ("float64", "float32"))
    assert helpers.distance(jax.tree.map(lambda g: g.astype("float64"), single), exact) < 5e-3
    assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(single))


@pytest.mark.parametrize("rule", ["innovation", "evolution"])
def test_bfloat16_learns_with_enough_noise(rule):
    loss, half = estimate(rule, "bfloat16", sigma=0.25)
    assert all(g.dtype == jnp.bfloat16 for g in jax.tree.leaves(half))
    assert loss.dtype == jnp.float32  # differences are taken of losses that are not rounded to bfloat16
    assert cosine(half, estimate(rule, "float32", sigma=0.25)[1]) > 0.95


def test_losses_of_bfloat16_are_not_rounded_to_it():
    """A difference far below bfloat16's spacing at the loss itself arrives."""
    far = lambda y, target: helpers.mse(y, target) + 100.0
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=4), helpers.data()
    cast = jax.tree.map(lambda w: w.astype("bfloat16"), (net, xs))
    grads = helpers.fresh(px.RULES["node"](sigma=0.25), far)(*cast, ys, jr.key(0))[1]
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("rule", OURS)
def test_noise_below_the_rounding_is_refused(rule):
    with pytest.raises(
        ArgumentError, match=r"sigma 0\.001 is lost in the rounding of bfloat16: take at least 0\.078"
    ):
        estimate(rule, "bfloat16", sigma=1e-3)
    with pytest.raises(ArgumentError, match=r"rounding of float32: take at least 1\.2e-06"):
        estimate(rule, "float32", sigma=1e-7)
