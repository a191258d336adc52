"""Relaxation in sweeps: the gradient of BPTT once every error has arrived, that of fewer steps before."""

import functools

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.rules.relaxation.graph import Graph, relaxed

pytestmark = pytest.mark.usefixtures("x64")

STEPS, REACH = 6, 3
CELLS = {
    "tanh": {"depth": 2, "scale": 0.8},
    "gru": {"scale": 0.8},
    "lif": {"scale": 1.6},
    "graph": {},
    "decorrelated": {"depth": 1, "scale": 0.8},
    "residual": {"depth": 2, "scale": 0.8},
}


def network(name):
    """Strong random weights."""
    if name == "graph":
        return helpers.two_loops()
    cell = "tanh" if name in ("decorrelated", "residual") else name
    net = helpers.strong(cell, n=2, **CELLS[name])
    if name == "decorrelated":
        mixing = [px.Fixed(jnp.array([[1.0, 0.3], [-0.2, 0.8]]))] * 2
        return px.Network(net.layers, mixing)
    return px.Network(net.layers, residual=True) if name == "residual" else net


def row(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def sweeping(rule, net, xs, ys):
    """The estimates (loss, grads) of a rule after each of several numbers of sweeps, from one program."""
    set_sweeps = lambda n: eqx.tree_at(lambda r: r.sweeps, rule, n)
    run = lambda n: set_sweeps(n).update((), net, xs, ys, helpers.mse, jr.key(0))[1:]
    return jax.vmap(run)


@pytest.mark.parametrize("cell", CELLS)
def test_sweeps_of_rate_1_are_backpropagation(cell):
    """T - 1 of them give all of it, n of them its last n + 1 steps; by layers it is the longest path."""
    net, (xs, ys) = network(cell), helpers.data(2, 2, steps=STEPS, batch=2)
    hidden = len(net.layers) - 1
    sweeps = np.array([REACH - 1, STEPS - 2, STEPS - 1])
    longest = STEPS * hidden if cell == "graph" else STEPS - 1 + hidden  # path through vertices by layer

    @jax.jit
    def estimates(sweeps):
        exact = px.bptt(helpers.mse)(net, xs, ys)
        last_steps = px.truncated_bptt(helpers.mse, REACH, rolling=True)
        rolling = last_steps(net, xs, ys)[1] if cell in ("tanh", "lif") else None
        by_step = sweeping(px.rules.PredictiveCoding(), net, xs, ys)(sweeps)
        by_layer = sweeping(px.rules.PredictiveCoding(vertices="layers"), net, xs, ys)
        from_activity = sweeping(px.rules.ActivationRelaxation(), net, xs, ys)(sweeps[1:])
        return exact, rolling, by_step, by_layer(sweeps[1:] - sweeps[-1] + longest), from_activity

    exact, rolling, by_step, *others = estimates(sweeps)
    assert all(np.any(g) for g in jax.tree.leaves(exact[1]))  # alive
    assert rolling is None or helpers.distance(row(by_step, 0)[1], rolling) < 1e-10
    assert helpers.distance(row(by_step, 2), exact) < 1e-10
    assert helpers.distance(row(by_step, 1)[1], exact[1]) > 1e-5
    for one_too_few_and_enough in others:
        assert helpers.distance(row(one_too_few_and_enough, 1), exact) < 1e-10
        assert helpers.distance(row(one_too_few_and_enough, 0)[1], exact[1]) > 1e-5


@pytest.mark.parametrize(("cell", "scale"), [("lstm", 0.8), ("lru", 0.4)])
def test_sweeps_are_backpropagation_on_cells_with_several_parts(cell, scale):
    """Of hidden state, of gates: T - 1 sweeps of both rules, and one fewer is not enough."""
    net, (xs, ys) = helpers.strong(cell, n=2, scale=scale), helpers.data(2, 2, steps=4, batch=2)

    @jax.jit
    def estimates(sweeps):
        kinds = px.rules.PredictiveCoding, px.rules.ActivationRelaxation
        return px.bptt(helpers.mse)(net, xs, ys), [sweeping(rule(), net, xs, ys)(sweeps) for rule in kinds]

    exact, each = estimates(np.array([2, 3]))
    assert all(np.any(g) for g in jax.tree.leaves(exact[1]))  # alive
    for one_too_few_and_enough in each:
        assert helpers.distance(row(one_too_few_and_enough, 1), exact) < 1e-10
        assert helpers.distance(row(one_too_few_and_enough, 0)[1], exact[1]) > 1e-5


def test_small_rates_take_many_sweeps_and_start_does_not_matter():
    """Five layers of weights in depth alone: 20, 100, 300 sweeps of rate 0.1; 1 to 3 of rate 1, by which the
    readout and as many layers below it are exact; then right errors with the activity to which values have
    moved, which is wrong.
    """
    net, (xs, ys) = helpers.strong("dense", depth=4), helpers.data(2, 2, steps=1, batch=2)
    sweeps, rates = np.array([20, 100, 300, 1, 2, 3]), np.repeat([0.1, 1.0], 3)

    def settled(kind, sweeps, rate):
        rule = eqx.tree_at(lambda r: (r.sweeps, r.rate), kind(vertices="layers"), (sweeps, rate))
        return rule.update((), net, xs, ys, helpers.mse, jr.key(0))[2]

    @jax.jit
    def estimates(sweeps, rates):
        kinds = px.rules.PredictiveCoding, px.rules.ActivationRelaxation
        each = [jax.vmap(functools.partial(settled, kind))(sweeps, rates) for kind in kinds]
        graph = Graph.of(net, xs, ys, helpers.mse, by_layer=True)
        now = graph.at(graph.values)
        nothing = jax.tree.map(jnp.zeros_like, graph.values)
        e = relaxed(nothing, lambda e: now.pull((e, now.slope))[0], 4, 1.0)
        signals = now.pull((e, now.slope))[1]
        v = jax.tree.map(jnp.subtract, graph.values, e)
        wrong = graph.gradient(graph.at(v).sites, signals)
        return px.bptt(helpers.mse)(net, xs, ys)[1], each, graph.gradient(now.sites, signals), wrong

    exact, each, right, wrong = estimates(sweeps, rates)
    for estimate in each:
        far, near, there = (helpers.distance(row(estimate, i), exact) for i in range(3))
        assert far > 0.01 > near > 1e-5
        assert there < 1e-9
        for k in (1, 2, 3):
            found = zip(row(estimate, 2 + k).layers, exact.layers, strict=True)
            apart = [helpers.distance(*layer) for layer in found][::-1]  # from the readout down
            assert max(apart[: k + 1]) < 1e-10
            assert apart[k + 1] > 1e-5
    assert helpers.distance(right, exact) < 1e-10
    assert helpers.distance(wrong, exact) > 0.1


class Elementwise(px.Layer):
    """Two units, each with a function and a fixed synapse of its own, or (w) a first value that is learnt."""

    functions: tuple = eqx.field(static=True)
    scales: px.Fixed
    w: jax.Array | None = None

    def start(self):
        return (), jnp.zeros(2)

    def drive(self, z, r):
        return z * self.scales.value if self.w is None else z * self.w

    def advance(self, h, a):
        return (), jnp.stack([f(x) for f, x in zip(self.functions, a, strict=True)])


def test_the_scalar_graph_of_the_paper():
    """tan(sqrt(theta y0)) + sin(y0^2) at y0 = 5, theta = 2, against a target of 1: dL/dy0 = -11.370532."""
    same, ones = (lambda x: x), px.Fixed(jnp.ones(2))
    learnt = Elementwise((same, same), ones, jnp.full(1, 5.0))
    inner = Elementwise((jnp.sqrt, jnp.square), px.Fixed(jnp.array([2.0, 1.0])))
    outer = Elementwise((jnp.tan, jnp.sin), ones)
    half = lambda y, target: 0.5 * (y.sum(-1) - target) ** 2
    net, xs, ys = px.Network((learnt, inner, outer)), jnp.ones((1, 1, 2)), jnp.ones((1, 1))

    @jax.jit
    def slope(sweeps, rate):
        rule = px.rules.PredictiveCoding(vertices="layers")
        rule = eqx.tree_at(lambda r: (r.sweeps, r.rate), rule, (sweeps, rate))
        return rule.update((), net, xs, ys, half, jr.key(0))[2].layers[0].w[0]

    assert abs(slope(2, 1.0) + 11.370532) < 1e-6
    assert abs(slope(500, 0.02) - slope(2, 1.0)) < 1e-2
    assert abs(slope(1, 1.0)) < 1e-12
