"""Equilibrium propagation through convolution and pooling, against the gradient through its steps."""

import functools

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError

pytestmark = pytest.mark.usefixtures("x64")
T = 40


class ByHand(px.cells.Settling):
    """The way down as it is tempting to write it: a value goes back to all places it is the average of,
    whole.
    """

    def drive(self, z, r):
        y = jnp.split(r, np.cumsum(self.sizes)[:-1])
        down = [
            jax.vjp(lambda s, i=i, U=U: self._up(i + 1, U, s), y[i])[1](y[i + 1])[0]
            for i, U in enumerate(self.U)
        ]
        more = [(move.pool**2 - 1) * down[i] for i, move in enumerate(self.geometry[1:])]
        wrong = jnp.concatenate(more)
        return super().drive(z, r).at[: len(wrong)].add(wrong)


def net_of(cell, pooling, strength, **spikes):
    """Two convolutional blocks, a dense one and the outputs: units that settle within their range."""
    shape = {"maps": "2,3", "kernel": 3, "padding": 1, "pooling": pooling, "outputs": 4, **spikes}

    @eqx.filter_jit
    def made():
        layer = cell(64, 9, key=jr.key(0), activation="half-clip", **shape)
        return px.Network((layer, layer.readout(4, key=jr.key(1))))

    some, rest = px.split(made())
    leaves, tree = jax.tree.flatten(some)
    drawn = []
    for i, leaf in enumerate(leaves):
        weight = strength * len(leaf) ** -0.5 * helpers.normal(jr.key(i), leaf.shape)
        drawn.append(weight + 0.5 if leaf.ndim == 1 else weight)  # biases keep units away from 0
    return px.join(tree.unflatten(drawn), rest)


@functools.cache
def held():
    @jax.jit
    def made():
        x, y = jr.uniform(jr.key(5), (3, 64)), jr.uniform(jr.key(6), (3, 4))
        return jnp.broadcast_to(x, (T, 3, 64)), jnp.full((T, 3, 4), jnp.nan).at[-1].set(y)

    return made()


def loss(out, target):
    """Half the squared distance at the last step, whose mean over steps it is."""
    asked = ~jnp.isnan(target).any(-1)
    error = jnp.where(jnp.isnan(target), 0, out - target)
    return T * jnp.where(asked, jnp.sum(error**2, -1) / 2, 0)


def flat(grads):
    return np.concatenate([np.asarray(g).ravel() for g in jax.tree.leaves(grads)])


def off(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


@functools.cache
def compared(cell, pooling, strength=0.5):
    """(estimates at two strengths, exact gradient, states that have settled and one step later)."""
    net, (xs, ys) = net_of(cell, pooling, strength), held()

    @jax.jit
    def estimate(net, beta):  # strengths share a program
        rule = eqx.tree_at(lambda rule: rule.beta, px.rules.Equilibrium(nudged=T), beta)
        learn = px.learner(rule, loss)
        return learn.update(learn.init(net, xs[0], jr.key(0)), net, xs, ys, jr.key(0))[2]

    @jax.jit
    def exact(net):
        state, _ = jax.lax.scan(lambda state, x: (net.step(state, x)[0], None), net.start(3), xs)
        return px.bptt(loss)(net, xs, ys)[1], state[0][1], net.step(state, xs[0])[0][0][1]

    wanted, *states = exact(net)
    return flat(estimate(net, 1e-3)), flat(estimate(net, 1e-4)), flat(wanted), states


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_nudging_is_the_gradient_through_convolution_and_pooling(pooling):
    coarse, fine, exact, (y, later) = compared(px.cells.Settling, pooling)
    assert np.abs(y - later).max() < 1e-10
    assert ((y > 0.01) & (y < 0.99)).mean() > 0.9  # alive
    assert off(coarse, exact) < 1e-4
    assert off(fine, exact) < off(coarse, exact) / 80


def test_a_way_down_that_is_no_transpose_is_another_gradient():
    got, _, exact, _ = compared(ByHand, "average", 0.8)
    cosine = got @ exact / np.linalg.norm(got) / np.linalg.norm(exact)
    assert cosine < 0.99
    assert off(got, exact) > 0.1


MANY = 1000  # steps of spiking units


@functools.cache
def by_spikes(pooling):
    """(how far activities of spiking units are from those of units without spikes, after MANY / 10 and after
    MANY steps; cosine of the estimate after MANY steps with the gradient of the network without spikes).
    """
    net, (xs, ys) = net_of(px.cells.Settling, pooling, 0.5, levels=1), held()
    _, _, exact, (y, _) = compared(px.cells.Settling, pooling)
    learn = px.learner(px.rules.Equilibrium(beta=0.2, nudged=MANY), lambda out, target: loss(out, target) / T)

    @jax.jit
    def run(net):
        step = lambda state, _: (net.step(state, xs[0])[0],) * 2
        s = jax.lax.scan(step, net.start(3), length=MANY)[1][0][1][:, :, y.shape[-1] :]  # (MANY, B, n)
        held = jnp.broadcast_to(xs[0], (MANY, *xs.shape[1:])), jnp.broadcast_to(ys[-1], (MANY, *ys.shape[1:]))
        return learn.update((), net, *held, jr.key(0))[2], s[MANY // 10 - 1], s[-1]

    grads, *states = run(net)
    got = flat(grads)
    cosine = got @ exact / np.linalg.norm(got) / np.linalg.norm(exact)
    return [float(np.abs(s - y).mean()) for s in states], cosine


def test_spikes_settle_and_are_nudged_as_activities_are_where_averages_are_pooled():
    (after_few, after_many), cosine = by_spikes("average")
    assert after_many < after_few / 2
    assert after_many < 1e-3
    assert cosine > 0.995


def test_spikes_settle_elsewhere_where_the_largest_is_pooled():
    """The largest of spikes does not have the mean of the largest activity, however many steps there are."""
    (after_few, after_many), cosine = by_spikes("max")
    assert after_many > after_few / 2
    assert after_many > 0.02
    assert cosine < 0.98


def test_its_shape():
    @eqx.filter_jit
    def made():
        shape = {"maps": (2, 3), "image": "8x8x3", "kernel": 3, "padding": 1, "blocks": 2}
        return px.cells.Settling(3 * 64, 10, key=jr.key(0), **shape)

    layer = made()
    assert layer.sizes == (2 * 4 * 4, 3 * 2 * 2, 5, 5)
    assert [w.shape for w in (layer.W, *layer.U)] == [(27, 2), (18, 3), (12, 5), (5, 5)]
    assert layer.b.shape == (2 + 3 + 10,)
    some, rest = px.split(layer)
    still = jax.tree.map(lambda w: np.arange(15.0) if w.shape == (15,) else np.zeros(w.shape), some)

    @jax.jit
    def driven():
        image, r = jr.uniform(jr.key(1), (8, 8, 3)), jnp.zeros(layer.width)
        other = px.cells.Conv(192, 2, key=jr.key(0), image="8x8x3", kernel=3, bias=False).geometry
        by_colour = jnp.moveaxis(image, -1, 0).ravel()  # as images are for a convolution
        first = other.pooled(other.convolve(layer.W, None, by_colour))
        biases = px.join(jax.tree.map(jnp.asarray, still), rest)
        return biases.drive(jnp.zeros(192), r), layer.drive(image.ravel(), r)[:32], first

    a, by_pixel, first = driven()
    np.testing.assert_array_equal(a, np.repeat(np.arange(15.0), [16] * 2 + [4] * 3 + [1] * 10))
    np.testing.assert_allclose(by_pixel, first, atol=1e-12)
    reads = layer.wiring()
    assert reads[0, 32:44].all()
    assert not reads[0, 44:].any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"maps": "2,x"}, "maps must be numbers of maps from below, as 32,64, not '2,x'"),
        ({"maps": "2,0"}, "maps must be numbers"),
        ({"maps": "2", "image": "9x9"}, "64 inputs are no image of 9x9"),
        ({"maps": "2,3", "kernel": 5}, "kernel of 5x5 is larger than what it reads, an image of 2x2"),
    ],
)
def test_maps_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(ArgumentError, match=words):
        px.cells.Settling(64, 4, key=jr.key(0), **settings)
