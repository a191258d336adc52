"""PEPITA: what a changed input says of gradients, and where it is backpropagation."""

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

pytestmark = pytest.mark.usefixtures("x64")


def cosine(a, b):
    return float(jnp.sum(a * b) / jnp.linalg.norm(a) / jnp.linalg.norm(b))


def step(net, F, state, x, target):
    """One step with a given F: what it estimates, and the error it was told."""
    score = lambda y: helpers.mse(y, target)
    _, found = px.rules.PEPITA().step(net, (state, (F,)), x, score, jr.key(0))
    y = net.step(state, x)[1]
    return found, jax.grad(lambda y: score(y).sum())(y)


def deep():
    layers = [px.cells.Dense(6, 5, key=jr.key(0)), px.cells.Dense(5, 4, key=jr.key(1))]
    return px.Network([*layers, px.cells.Readout(4, 3, key=jr.key(2))])


def test_signals_are_errors_through_the_forward_weights():
    """y - y' = -dy/dx F e + O(|F e|^2), in every layer."""
    net, F = deep(), jr.normal(jr.key(3), (6, 3))
    x, target, state = jr.normal(jr.key(4), (2, 6)), jr.normal(jr.key(5), (2, 3)), net.start(2)
    outputs = lambda x: [y for _, y in net.step(state, x)[0][:-1]]
    errors = {}
    for scale in (1e-2, 1e-3, 1e-4):
        found, e = step(net, scale * F, state, x, target)
        pushed = jax.jvp(outputs, (x,), (e @ (scale * F).T,))[1]
        for i, (signal, want) in enumerate(zip(found.parts.signal[:-1], pushed, strict=True)):
            errors.setdefault(i, []).append(float(jnp.linalg.norm(signal[0] + want) / jnp.linalg.norm(want)))
        np.testing.assert_allclose(found.parts.signal[-1][0], e)
    for one in errors.values():
        assert one[0] < 0.1
        assert all(fine < coarse / 8 for coarse, fine in itertools.pairwise(one))


def test_one_hidden_layer_with_a_fitted_F_is_backpropagation():
    """F = -kappa pinv(W_1^T) W_2, more inputs than units: exact as kappa falls; a random F is not."""
    net = px.Network([px.cells.Dense(7, 5, key=jr.key(0)), px.cells.Readout(5, 3, key=jr.key(1))])
    xs, ys = jr.normal(jr.key(2), (1, 4, 7)), jr.normal(jr.key(3), (1, 4, 3))
    W1, W2 = (layer.W for layer in net.layers)
    exact = px.bptt(helpers.mse)(net, xs, ys)[1]
    update = jax.jit(px.learner(px.rules.PEPITA(), helpers.mse).update)
    fitted = lambda kappa: (-kappa * jnp.linalg.pinv(W1.T) @ W2,)
    hidden, top = [], []
    for kappa in (1e-2, 1e-3, 1e-4):
        grads = update(fitted(kappa), net, xs, ys, jr.key(0))[2]
        hidden.append(helpers.distance(grads.layers[0].W / kappa, exact.layers[0].W))
        top.append(helpers.distance(grads.layers[1].W, exact.layers[1].W))
    for errors in (hidden, top):
        assert all(fine < coarse / 8 for coarse, fine in itertools.pairwise(errors))
        assert errors[-1] < 1e-3
    blind = update((jr.normal(jr.key(6), (7, 3)),), net, xs, ys, jr.key(0))[2]
    assert abs(cosine(blind.layers[0].W, exact.layers[0].W)) < 0.9


def test_in_time_it_is_the_gradient_cut_at_every_step():
    net = helpers.strong("tanh", n_in=7, n=5, n_out=3, scale=0.6)
    xs, ys = helpers.data(7, 3, steps=4, batch=2)
    one_step = jax.jit(px.truncated_bptt(helpers.mse, 1))(net, xs, ys)[1]
    full = jax.jit(px.bptt(helpers.mse))(net, xs, ys)[1]
    kappa, W1, W2 = 1e-5, net.layers[0].W, net.layers[1].W
    update = jax.jit(px.learner(px.rules.PEPITA(), helpers.mse).update)
    grads = update((-kappa * jnp.linalg.pinv(W1.T) @ W2,), net, xs, ys, jr.key(0))[2]
    for name in ("W", "U", "b"):
        got = getattr(grads.layers[0], name) / kappa
        assert helpers.distance(got, getattr(one_step.layers[0], name)) < 1e-3
    assert helpers.distance(grads.layers[0].U / kappa, full.layers[0].U) > 0.05


@pytest.mark.parametrize(("sign", "side"), [("plus", -1), ("minus", 1)])
def test_weights_come_to_point_against_F_or_along_it(sign, side):
    """From a readout of zero: under x + F e the product of the weights turns against F, else along it."""
    rule, teacher = px.rules.PEPITA(sign=sign, scale=0.5), 0.5 * jr.normal(jr.key(2), (6, 3))
    net = px.Network([px.cells.Dense(6, 20, key=jr.key(0)), px.cells.Readout(20, 3, key=jr.key(1))])
    net = eqx.tree_at(lambda net: net.layers[1].W, net, jnp.zeros((20, 3)))
    xs = jr.normal(jr.key(3), (1, 100, 6))
    learn, ys = px.learner(rule, helpers.mse), xs @ teacher

    @jax.jit
    @jax.vmap
    def train(key):
        def update(carry, key):
            net, state = carry
            state, loss, grads = learn.update(state, net, xs, ys, key)
            return (px.apply_updates(net, jax.tree.map(lambda g: -0.05 * g, grads)), state), loss

        start = net, learn.init(net, xs[0], key)
        (trained, (F,)), losses = jax.lax.scan(update, start, jr.split(key, 1000))
        return trained.layers[0].W @ trained.layers[1].W, F, losses

    products, Fs, losses = train(jr.split(jr.key(5), 6))
    angles = np.array([cosine(product, F) for product, F in zip(products, Fs, strict=True)])
    assert (losses[:, -1] < losses[:, 0] / 2).all()
    assert (side * angles).mean() > 0.1


def test_F_mirrors_the_product_of_the_weights():
    rule = px.rules.PEPITA(sign="minus", mirror=0.5, decay=0.02)
    net = px.Network([px.cells.Dense(6, 5, key=jr.key(0)), px.cells.Readout(5, 3, key=jr.key(1))])
    learn, (xs, ys) = px.learner(rule, helpers.mse), helpers.data(6, 3, steps=1, batch=50)
    state = learn.init(net, xs[0], jr.key(2))
    update = lambda state, key: (learn.update(state, net, xs, ys, key)[0], None)
    mirrored = jax.jit(lambda state: jax.lax.scan(update, state, jr.split(jr.key(3), 600))[0])(state)
    for before, B, layer in zip(state, mirrored, net.layers, strict=True):
        assert cosine(B, layer.W) > 0.97
        assert abs(cosine(before, layer.W)) < 0.9
    F = rule.feedback(mirrored)
    assert cosine(F, -net.layers[0].W @ net.layers[1].W) > 0.95
    np.testing.assert_allclose(jnp.std(F), 0.05 * (2 / 6) ** 0.5)


def test_what_pepita_cannot_do_is_refused():
    with pytest.raises(ArgumentError, match="needs sign minus"):
        px.rules.PEPITA(mirror=0.1)
    with pytest.raises(ArgumentError, match="did you mean 'plus'"):
        px.rules.PEPITA(sign="pluss")
    net = helpers.stack("gru")
    with pytest.raises(LayerError, match=r"layer 0 \(GRU\).*one pre-activation"):
        px.learner(px.rules.PEPITA(), helpers.mse).init(net, jnp.zeros((1, 2)), jr.key(0))


def test_dropout_has_the_same_units_in_both_passes():
    """Of dropped units nothing is heard; a changed input is all that the passes differ in."""
    net, rule = deep(), px.rules.PEPITA(dropout=0.4)
    x, target, state = jr.normal(jr.key(4), (64, 6)), jr.normal(jr.key(5), (64, 3)), net.start(64)
    score = lambda y: helpers.mse(y, target)
    F = 1e-6 * jr.normal(jr.key(3), (6, 3))
    found = rule.step(net, (state, (F,)), x, score, jr.key(7))[1]
    masks = rule.masks(net, x, jr.key(7))
    for mask, signal, above in zip(masks, found.parts.signal[:-1], found.sites[1:], strict=True):
        dropped = np.asarray(mask) == 0
        assert set(np.unique(mask).round(12)) == {0.0, round(1 / 0.6, 12)}
        assert 0.3 < dropped.mean() < 0.5
        assert not np.asarray(above.z)[dropped].any()  # what the layer above read
        assert not np.asarray(signal)[0][dropped].any()
        assert 0 < np.abs(signal).max() < 1e-4  # other units in the second pass would make it of order 1
    assert rule.masks(net, x, jr.key(8))[0].tolist() != masks[0].tolist()
    assert px.rules.PEPITA().masks(net, x, jr.key(7)) is None
    with pytest.raises(ArgumentError, match="dropout"):
        px.rules.PEPITA(dropout=1.0)
