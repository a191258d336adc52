"""Equilibrium propagation by spikes: the rule against its equations written out, and spikes against rates."""

import functools

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError, LayerError

pytestmark = pytest.mark.usefixtures("x64")
T, K, BETA = 40, 20, 0.5


def net_of(activation="sigmoid", **settings):
    """Blocks of 6, 5 and 4 units, of which the last are the outputs."""

    def build():
        layer = px.cells.Settling(
            7, 15, key=jr.key(0), blocks=(6, 5, 4), outputs=4, activation=activation, **settings
        )
        return px.Network((layer, layer.readout(4, key=jr.key(1))))

    return helpers.drawn(build, jr.key(0), 0.15)


def held():
    x, y = np.asarray(jr.uniform(jr.key(5), (3, 7))), np.asarray(jr.uniform(jr.key(6), (3, 4)))
    return x, y


def squares(out, target):
    return jnp.sum((out - target) ** 2, -1) / 2


@functools.cache
def estimate(activation="sigmoid", **settings):
    x, y = held()
    update = helpers.fresh(px.rules.Equilibrium(beta=BETA, nudged=K), squares)
    xs, ys = jnp.broadcast_to(x, (T, *x.shape)), jnp.broadcast_to(y, (T, *y.shape))
    grads = update(net_of(activation, **settings), xs, ys, jr.key(2))[1]
    return flat(jax.tree.leaves(grads))


def flat(grads):
    return np.concatenate([np.ravel(g) for g in grads])


def off(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def step(layer, x, state, push=0.0):
    """One step of spiking units, as the equations are written: (u, phi, t, q, s)."""
    W, (low, high), b = layer.W, layer.U, layer.b
    u, phi, t, q, _ = state
    one, two, three = np.split(q, [6, 11], -1)
    a = np.concatenate((x @ W + two @ low.T, one @ low + three @ high.T, two @ high), -1) + b
    a[:, -4:] += push
    e = (t + 1) ** -0.6
    u = (1 - e) * u + e * a
    s = 1 / (1 + np.exp(2 - 4 * u))
    phi = phi + s
    q = (phi > 0.5) * 1.0
    return u, phi - q, t + 1, q, s


@functools.cache
def by_hand(carried=True, sent=False):
    """The estimate by loops, and the spikes of the free phase.

    carried: whether membranes and rests go on where the free phase left them.
    sent: whether the last spikes are compared in place of activities.
    """
    layer, (x, y) = jax.tree.map(np.asarray, net_of(levels=1)).layers[0], held()
    nothing = np.zeros((3, 15))
    free, spikes = (nothing, nothing, 0, nothing, nothing), []
    for _ in range(T):
        free = step(layer, x, free)
        spikes.append(free[3])
    found = []
    for beta in (BETA, -BETA):
        state = free if carried else (nothing, nothing, 0, *free[3:])
        for _ in range(K):
            state = step(layer, x, state, -beta * (state[4][:, -4:] - y))
        one, two, three = np.split(state[3 if sent else 4], [6, 11], -1)
        found.append(
            (x.T @ one, one.T @ two, two.T @ three, np.sum(np.concatenate((one, two, three), -1), 0))
        )
    wanted = [-(plus - minus) / (2 * BETA) / 3 for plus, minus in zip(*found, strict=True)]
    return flat(wanted), np.array(spikes)


def test_the_rule_is_its_equations_with_membranes_carried_through_all_phases():
    wanted, spikes = by_hand()
    assert off(estimate(levels=1), wanted) < 1e-10
    assert set(np.unique(spikes)) == {0.0, 1.0}  # alive
    rates = spikes.mean(0)
    assert ((rates > 0.05) & (rates < 0.95)).mean() > 0.9
    assert (wanted != 0).all()
    assert off(by_hand(carried=False)[0], wanted) > 0.1  # negative controls
    assert off(by_hand(sent=True)[0], wanted) > 0.1


def test_graded_spikes_without_a_membrane_are_the_rates():
    many = {"levels": 2**40, "anneal": 0.0}
    rates = estimate("half-clip")
    assert off(estimate("half-clip", **many), rates) < 1e-8
    assert (rates != 0).mean() > 0.5


def test_rules_that_need_derivatives_take_a_spike_for_its_activity():
    layer = net_of(levels=1).layers[0]
    a = jnp.linspace(-1, 2, 15)
    y_of = lambda a: layer.advance(layer.start()[0], a)[1]
    y, along = jax.jit(lambda a: jax.jvp(y_of, (a,), (jnp.ones(15),)))(a)
    np.testing.assert_array_equal(y[:15], np.arange(15) > 7)  # s is above 1/2 where a is
    np.testing.assert_array_equal(along[:15], along[15:])
    assert (along > 0).all()


def test_what_spikes_do_not_allow():
    rule = px.rules.Equilibrium(nudge="holomorphic")
    with pytest.raises(LayerError, match="spikes are not smooth"):
        px.learner(rule, squares).init(net_of(levels=1), jnp.zeros((3, 7)), jr.key(0))
    with pytest.raises(ArgumentError, match="levels must be a whole number of at least 0"):
        px.cells.Settling(7, 15, key=jr.key(0), levels=-1)
    with pytest.raises(ArgumentError, match="anneal must be"):
        px.cells.Settling(7, 15, key=jr.key(0), levels=1, anneal=2.0)
