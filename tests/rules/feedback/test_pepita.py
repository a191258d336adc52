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
from perturbax.rules.feedback.pepita import NOISE

pytestmark = pytest.mark.usefixtures("x64")


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def step(net, F, state, x, target):
    """One step with a given F: what it estimates, and the error it was told."""
    score = lambda y: helpers.mse(y, target)
    _, found = px.rules.PEPITA().step(net, (state, (F,)), x, score, jr.key(0))
    y = net.step(state, x)[1]
    return found, jax.grad(lambda y: score(y).sum())(y)


def dense(*sizes, activation="tanh"):
    """Dense layers and a readout of these sizes, with the weights that they start from."""

    @eqx.filter_jit
    def made():
        keys = jr.split(jr.key(0), len(sizes))
        *below, last = zip(sizes[:-1], sizes[1:], keys[1:], strict=True)
        layers = [px.cells.Dense(n_in, n, key=key, activation=activation) for n_in, n, key in below]
        return px.Network([*layers, px.cells.Readout(*last[:2], key=last[2])])

    return made()


def test_signals_are_errors_through_the_forward_weights():
    """y - y' = -dy/dx F e + O(|F e|^2), in every layer."""
    net = dense(6, 5, 4, 3)
    F, x, target = (helpers.normal(jr.key(i), size) for i, size in ((3, (6, 3)), (4, (2, 6)), (5, (2, 3))))

    @jax.jit
    def signals(scale):
        state = net.start(2)
        outputs = lambda x: [y for _, y in net.step(state, x)[0][:-1]]
        found, e = step(net, scale * F, state, x, target)
        return found.parts.signal, jax.jvp(outputs, (x,), (e @ (scale * F).T,))[1], e

    errors = {}
    for scale in (1e-2, 1e-3, 1e-4):
        (*hidden, last), pushed, e = jax.tree.map(np.asarray, signals(scale))
        for i, (signal, want) in enumerate(zip(hidden, pushed, strict=True)):
            errors.setdefault(i, []).append(np.linalg.norm(signal[0] + want) / np.linalg.norm(want))
        np.testing.assert_allclose(last[0], e)
    for one in errors.values():
        assert one[0] < 0.1
        assert all(fine < coarse / 8 for coarse, fine in itertools.pairwise(one))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_hidden_layer_with_a_fitted_F_is_backpropagation(activation):
    """F = -kappa pinv(W_1^T) W_2, more inputs than units: exact as kappa falls; a random F is not."""
    net, (xs, ys) = dense(7, 5, 3, activation=activation), helpers.data(7, 3, steps=1, batch=4)
    W1, W2 = (np.asarray(layer.W) for layer in net.layers)
    exact = jax.jit(px.bptt(helpers.mse))(net, xs, ys)[1]
    update = jax.jit(px.learner(px.rules.PEPITA(), helpers.mse).update)
    fitted = lambda kappa: (-kappa * np.linalg.pinv(W1.T) @ W2,)
    hidden, top = [], []
    for kappa in (1e-2, 1e-3, 1e-4):
        grads = update(fitted(kappa), net, xs, ys, jr.key(0))[2]
        hidden.append(helpers.distance(grads.layers[0].W / kappa, exact.layers[0].W))
        top.append(helpers.distance(grads.layers[1].W, exact.layers[1].W))
    for errors in (hidden, top):
        assert all(fine < coarse / 8 for coarse, fine in itertools.pairwise(errors))
        assert errors[-1] < 1e-3
    blind = update((np.asarray(helpers.normal(jr.key(6), (7, 3))),), net, xs, ys, jr.key(0))[2]
    assert abs(cosine(blind.layers[0].W, exact.layers[0].W)) < 0.9


def test_in_deeper_networks_no_F_is_backpropagation_in_two_layers_at_once():
    """F = -W_1 W_2 W_3 is near in all layers, exact in the readout alone; F = W_1 W_2 W_3 is its contrary."""
    net, (xs, ys) = dense(20, 15, 12, 4), helpers.data(20, 4, steps=1, batch=32)
    W1, W2, W3 = (np.asarray(layer.W) for layer in net.layers)
    blind = [np.asarray(helpers.normal(jr.key(i), (20, 4))) for i in range(20)]
    update = px.learner(px.rules.PEPITA(), helpers.mse).update

    @jax.jit
    def estimates(Fs):
        one = lambda F: update((1e-3 * F,), net, xs, ys, jr.key(0))[2]
        return jax.vmap(one)(Fs), px.bptt(helpers.mse)(net, xs, ys)[1]

    every, exact = estimates(np.stack([-W1 @ W2 @ W3, W1 @ W2 @ W3, *blind]))
    angles = np.array(
        [
            [cosine(got, want.W) for got in np.asarray(layer.W)]
            for layer, want in zip(every.layers, exact.layers, strict=True)
        ]
    ).T  # (F, layers)
    against, along, *random = angles
    assert ((against[:2] > 0.5) & (against[:2] < 0.95)).all()
    assert ((along[:2] < -0.5) & (along[:2] > -0.95)).all()
    assert np.abs(np.mean(random, 0)[:2]).max() < 0.15
    np.testing.assert_allclose(angles[:, 2], 1, atol=1e-3)


def test_in_time_it_is_the_gradient_cut_at_every_step():
    net = helpers.strong("tanh", n_in=7, n=5, n_out=3, scale=0.6)
    xs, ys = helpers.data(7, 3, steps=4, batch=2)
    references = px.truncated_bptt(helpers.mse, 1), px.bptt(helpers.mse)
    one_step, full = jax.jit(lambda *given: [gradient(*given)[1] for gradient in references])(net, xs, ys)
    W1, W2 = (np.asarray(layer.W) for layer in net.layers)
    update = jax.jit(px.learner(px.rules.PEPITA(), helpers.mse).update)
    errors = {"W": [], "U": [], "b": []}
    for kappa in (1e-2, 1e-3, 1e-4):
        grads = update((-kappa * np.linalg.pinv(W1.T) @ W2,), net, xs, ys, jr.key(0))[2]
        for name, one in errors.items():
            got = getattr(grads.layers[0], name) / kappa
            one.append(helpers.distance(got, getattr(one_step.layers[0], name)))
        assert helpers.distance(grads.layers[0].U / kappa, full.layers[0].U) > 0.05
    for one in errors.values():
        assert all(fine < coarse / 8 for coarse, fine in itertools.pairwise(one))
        assert one[-1] < 1e-3


def test_an_error_never_reaches_an_earlier_step():
    """Without a loss before step 3 there are no signals before it, where backpropagation has some."""
    net, (xs, ys) = helpers.strong("tanh", n_in=7, n=5, n_out=3), helpers.data(7, 3, steps=6, batch=2)
    F, asked = helpers.normal(jr.key(3), (7, 3)), np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])

    @jax.jit
    def signals():
        def step(carry, now):
            x, target, asked = now
            score = lambda y: asked * helpers.mse(y, target)
            carry, found = px.rules.PEPITA().step(net, carry, x, score, jr.key(0))
            return carry, found.parts.signal

        loss = lambda xs: jnp.sum(asked[:, None] * helpers.mse(px.forward(net, xs), ys))
        return jax.lax.scan(step, (net.start(2), (F,)), (xs, ys, asked))[1], jax.grad(loss)(xs)

    found, by_backprop = signals()
    for signal in found:  # (T, 1, B, n)
        assert not np.asarray(signal[:3]).any()
        assert (np.abs(signal[3:]).max((1, 2, 3)) > 1e-3).all()
    assert (np.abs(by_backprop[:3]).max((1, 2)) > 1e-3).all()


@pytest.mark.parametrize(("sign", "side"), [("plus", -1), ("minus", 1)])
def test_weights_come_to_point_against_F_or_along_it(sign, side):
    """From a readout of zero: under x + F e the product of the weights turns against F, else along it."""

    @eqx.filter_jit
    def start():
        layers = px.cells.Dense(6, 20, key=jr.key(0)), px.cells.Readout(20, 3, key=jr.key(1))
        net = eqx.tree_at(lambda net: net.layers[1].W, px.Network(layers), jnp.zeros((20, 3)))
        xs, teacher = jr.normal(jr.key(3), (1, 100, 6)), 0.5 * jr.normal(jr.key(2), (6, 3))
        return net, xs, xs @ teacher

    net, xs, ys = start()
    learn = px.learner(px.rules.PEPITA(sign=sign, scale=0.5), helpers.mse)

    @jax.jit
    @jax.vmap
    def train(key):
        def update(carry, key):
            net, state = carry
            state, loss, grads = learn.update(state, net, xs, ys, key)
            return (px.apply_updates(net, jax.tree.map(lambda g: -0.05 * g, grads)), state), loss

        first = net, learn.init(net, xs[0], key)
        (trained, (F,)), losses = jax.lax.scan(update, first, jr.split(key, 1000))
        return trained.layers[0].W @ trained.layers[1].W, F, losses

    products, Fs, losses = jax.tree.map(np.asarray, train(jr.split(jr.key(5), 6)))
    angles = np.array([cosine(product, F) for product, F in zip(products, Fs, strict=True)])
    assert (losses[:, -1] < losses[:, 0] / 2).all()
    assert (side * angles).mean() > 0.1


def test_F_mirrors_the_product_of_the_weights():
    rule = px.rules.PEPITA(sign="minus", mirror=0.5, decay=0.02)
    net, learn, (xs, ys) = (
        dense(6, 5, 3),
        px.learner(rule, helpers.mse),
        helpers.data(6, 3, steps=1, batch=50),
    )

    @jax.jit
    def before_and_after():
        state = learn.init(net, xs[0], jr.key(2))
        update = lambda state, key: (learn.update(state, net, xs, ys, key)[0], None)
        after = jax.lax.scan(update, state, jr.split(jr.key(3), 600))[0]
        return state, after, rule.feedback(after)

    state, mirrored, F = before_and_after()
    for before, B, layer in zip(state, mirrored, net.layers, strict=True):
        assert cosine(B, layer.W) > 0.97
        assert abs(cosine(before, layer.W)) < 0.9
    assert cosine(F, -np.asarray(net.layers[0].W) @ np.asarray(net.layers[1].W)) > 0.95
    np.testing.assert_allclose(np.std(F), 0.05 * (2 / 6) ** 0.5)


@pytest.mark.parametrize(("activation", "slope"), [("tanh", 1), ("relu", 1 / 2)])
def test_noise_through_a_layer_has_the_direction_of_its_weights(activation, slope):
    """E[noise^T f(noise W)] = E[f'] W per unit of variance: of relu half of the weights."""
    net, rule = dense(6, 5, 3, activation=activation), px.rules.PEPITA(sign="minus", mirror=1.0, decay=0.0)
    layer, seen = net.layers[0], net.sites_like(jnp.zeros((50_000, 6)))[0]
    sent = jax.jit(lambda key: rule.mirrored(0, layer, seen, jnp.zeros((6, 5)), key))(jr.key(0))
    found, W = np.asarray(sent) / NOISE**2, np.asarray(layer.W)
    assert cosine(found, W) > 0.999
    assert abs(cosine(found, W[::-1])) < 0.9
    assert np.linalg.norm(found - slope * W) < 0.05 * np.linalg.norm(slope * W)


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
    net, rule = dense(6, 5, 4, 3), px.rules.PEPITA(dropout=0.4)

    @jax.jit
    def passes():
        x, target, F = (jr.normal(jr.key(i), size) for i, size in ((4, (64, 6)), (5, (64, 3)), (3, (6, 3))))
        score = lambda y: helpers.mse(y, target)
        found = rule.step(net, (net.start(64), (1e-6 * F,)), x, score, jr.key(7))[1]
        return found, rule.masks(net, x, jr.key(7)), rule.masks(net, x, jr.key(8))

    found, masks, others = passes()
    for mask, signal, above in zip(masks, found.parts.signal[:-1], found.sites[1:], strict=True):
        dropped = np.asarray(mask) == 0
        assert set(np.unique(mask).round(12)) == {0.0, round(1 / 0.6, 12)}
        assert 0.3 < dropped.mean() < 0.5
        assert not np.asarray(above.z)[dropped].any()  # what the layer above read
        assert not np.asarray(signal)[0][dropped].any()
        assert 0 < np.abs(signal).max() < 1e-4  # other units in the second pass would make it of order 1
    assert others[0].tolist() != masks[0].tolist()
    assert px.rules.PEPITA().masks(net, jnp.zeros((64, 6)), jr.key(7)) is None
    with pytest.raises(ArgumentError, match="dropout"):
        px.rules.PEPITA(dropout=1.0)
