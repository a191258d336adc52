"""What activation relaxation does without: slopes of the forward pass, derivatives, transposed weights."""

import helpers
import jax
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import LayerError

AR = px.rules.ActivationRelaxation


def cosines(got, want):
    """Of each layer."""
    found = []
    for pair in zip(got.layers, want.layers, strict=True):
        g, w = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(layer)]) for layer in pair)
        found.append(g @ w / np.linalg.norm(g) / np.linalg.norm(w))
    return found


def test_relaxations_bias_all_but_the_last_two_layers(x64):
    """Five layers of weights. What is given up acts below the last relaxed layer alone; with the forward
    weights as backward weights nothing is.
    """
    net, (xs, ys) = helpers.strong("dense", n=6, depth=4, scale=0.4), helpers.data(2, 2, steps=1, batch=8)
    variants = {
        "plain": {},
        "moving": {"slopes": "moving"},
        "none": {"slopes": "none"},
        "random": {"backward": "random"},
        "both": {"slopes": "none", "backward": "random"},
    }

    @jax.jit
    def estimates(key):
        def estimate(own=False, **settings):
            rule = AR(sweeps=4, vertices="layers", **settings)
            weights = px.weights(net)
            state = (weights, weights) if own else rule.init_state(net, xs[0], key)
            return rule.update(state, net, xs, ys, helpers.mse, key)[2]

        found = {name: estimate(**settings) for name, settings in variants.items()}
        found["own"] = estimate(own=True, backward="random")
        return px.bptt(helpers.mse)(net, xs, ys)[1], found

    exact, found = estimates(jr.key(1))
    for name in ("plain", "own"):
        assert helpers.distance(found[name], exact) < 1e-10
    for name in ("moving", "none"):
        by_layer = cosines(found[name], exact)
        assert 0.5 < by_layer[0] < 0.9999
        np.testing.assert_allclose(by_layer[-2:], 1.0, atol=1e-12)
    for name in ("random", "both"):
        by_layer = cosines(found[name], exact)
        assert abs(by_layer[0]) < 0.7
        np.testing.assert_allclose(by_layer[-1], 1.0, atol=1e-12)


def test_learnt_backward_weights_forget_how_they_differ_where_both_decay(x64):
    """W - B stays what it was without decay, and shrinks by it with each update, whatever the updates are."""
    net, (xs, ys) = helpers.strong("gru", n=2), helpers.data(2, 2, steps=2, batch=1)
    run = jax.jit(lambda rule, state, net: rule.update(state, net, xs, ys, helpers.mse, jr.key(0))[0])
    for decay in (0.0, 0.1):
        rule, now = AR(sweeps=1, backward="learnt", decay=decay), net
        state = run(rule, rule.init_state(net, xs[0], jr.key(1)), net)
        matrices = lambda tree: [np.asarray(w) for w in jax.tree.leaves(tree) if w.ndim > 1]
        first = [w - b for w, b in zip(matrices(px.weights(now)), matrices(state[0]), strict=True)]
        for i in range(3):
            updates = jax.tree.map(lambda w, i=i: 0.3 * np.cos(i + np.asarray(w)), px.weights(now))
            now = px.apply_updates(now, rule.modify_updates(updates, px.weights(now)))
            state = run(rule, state, now)
            state = run(rule, state, now)  # no update came between: nothing to follow
        last = [w - b for w, b in zip(matrices(px.weights(now)), matrices(state[0]), strict=True)]
        for one, other in zip(first, last, strict=True):
            assert np.abs(one).max() > 0.1
            np.testing.assert_allclose(other, (1 - decay) ** 3 * one, rtol=1e-10, atol=1e-14)


def test_what_it_says_and_refuses():
    learnt = AR(backward="learnt", slopes="moving", sweeps=2).described()
    assert (learnt.passes, learnt.keeps) == (9, "its backward weights")
    assert "transposed weights" not in learnt.uses
    assert learnt.target == "biased by moving slopes and learnt backward weights, and by few sweeps"
    assert AR().described().keeps == ""
    xs, ys = helpers.data(2, 2)
    learn = px.learner(AR(slopes="none"), helpers.mse)
    with pytest.raises(LayerError, match="threshold"):
        learn.update((), helpers.stack("lif"), xs, ys, jr.key(0))
