"""Decorrelation: the update of D is its definition, cheap, and seen by no rule."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.network.decorrelation import apply_decorrelation, decorrelation_update


def network(cell, n=3):
    return px.Network((cell(2, n, key=jr.key(0)), px.cells.Readout(n, 1, key=jr.key(1))))


def test_no_rule_reaches_through_d():
    """The gradient by D exists, and is nobody's: weights only."""
    net = px.add_decorrelation(network(px.cells.Tanh), "hidden", 2)
    xs, ys = helpers.data(n_in=2)
    g = jax.grad(lambda D: px.bptt(helpers.mse)(px.Network(net.layers, (None, px.Fixed(D))), xs, ys)[0])(
        jnp.eye(3)
    )
    assert not g.any()


def test_decorrelation_update_is_its_definition(x64):
    z, D = jr.normal(jr.key(0), (7, 3)), jr.normal(jr.key(1), (3, 3))
    net = px.Network(network(px.cells.Tanh).layers, (None, px.Fixed(D.T)))
    got = decorrelation_update(net, [px.Site(None, None, None), px.Site(z, None, None)])
    C = z.T @ z / 7
    want = (C - jnp.diag(jnp.diag(C))) @ D
    assert got[0] is None
    np.testing.assert_allclose(got[1].T, want, rtol=1e-12)
    np.testing.assert_allclose(
        apply_decorrelation(net, got, 0.1).decor[1].value.T, D - 0.1 * want, rtol=1e-12
    )


def test_decorrelating_multiplies_no_two_square_matrices():
    """O(B n^2) per step: D never meets another n x n matrix."""
    n, net = 40, px.add_decorrelation(network(px.cells.Tanh, 40), "hidden", 2)
    sites = [px.Site(None, None, None), px.Site(jnp.ones((3, n)), None, None)]
    jaxpr = jax.make_jaxpr(lambda net, z: decorrelation_update(net, [sites[0], px.Site(z, None, None)])[1])(
        net, sites[1].z
    )
    products = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    assert len(products) == 2
    assert all(min(v.aval.size for v in e.invars) == 3 * n for e in products)


def test_decorrelation_decorrelates():
    net = px.add_decorrelation(network(px.cells.Tanh, 8), "hidden", 2)
    xs = jr.normal(jr.key(0), (50, 16, 2))
    from perturbax.experiment.train_step import correlation

    before, update = correlation(net, xs), jax.jit(px.decorrelate)
    for _ in range(400):
        net = update(net, xs, 0.5)
    assert correlation(net, xs) < 0.1 * before


@pytest.mark.parametrize("which", ["everything", "Hidden"])
def test_unknown_decorrelation_is_refused(which):
    with pytest.raises(ArgumentError, match="hidden"):
        px.add_decorrelation(network(px.cells.Tanh), which, 2)


@pytest.mark.parametrize("which", ["off", "hidden", "hidden+input"])
def test_identities_change_nothing(which):
    net, xs = network(px.cells.Tanh), jr.normal(jr.key(0), (5, 4, 2))
    added = px.add_decorrelation(net, which, 2)
    np.testing.assert_array_equal(px.forward(added, xs), px.forward(net, xs))
    shapes = [None if D is None else D.value.shape for D in added.decor]
    assert shapes == {"off": [None, None], "hidden": [None, (3, 3)], "hidden+input": [(2, 2), (3, 3)]}[which]


def test_the_old_methods_say_where_they_went(x64):
    net, xs = network(px.cells.Tanh), jr.normal(jr.key(0), (5, 4, 2))
    with pytest.warns(DeprecationWarning, match="perturbax.add_decorrelation"):
        added = net.decorrelated("hidden", 2)
    sites = [px.Site(None, None, None), px.Site(px.forward(px.Network(net.layers[:1]), xs), None, None)]
    with pytest.warns(DeprecationWarning, match="decorrelation_update"):
        update = added.decorrelation(sites)
    with pytest.warns(DeprecationWarning, match="apply_decorrelation"):
        moved = added.redecor(update, 0.5)
    np.testing.assert_allclose(
        moved.decor[1].value, px.decorrelate(added, xs, 0.5).decor[1].value, rtol=1e-12
    )
