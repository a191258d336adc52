"""Relaxation in sweeps: the gradient of BPTT once every error has arrived, that of fewer steps before."""

import equinox as eqx
import helpers
import jax
import jax.random as jr
import numpy as np
import pytest

import perturbax as px

pytestmark = pytest.mark.usefixtures("x64")

STEPS, REACH = 6, 3
CELLS = {
    "tanh": {"depth": 2, "scale": 0.8},
    "gru": {"scale": 0.8},
    "lstm": {"scale": 0.8},
    "lif": {"scale": 1.6},
    "lru": {"scale": 0.4},
    "graph": {},
}


def network(name):
    """Strong random weights; `graph`: two layers that read each other, and a readout of both."""
    if name != "graph":
        return helpers.strong(name, n=2, **CELLS[name])
    inputs, below, above = px.Source(-1), px.Source(0), px.Source(1)
    reads = [[inputs, px.Source(1, late=True)], [below, inputs], [above, below]]

    def build():
        cells = [px.cells.Tanh(4, 2, key=jr.key(i)) for i in range(2)]
        return px.Network([*cells, px.cells.Readout(4, 2, key=jr.key(2))], reads=reads)

    return helpers.drawn(build, jr.key(3), 0.8)


def estimated(rule, net, xs, ys, **settings):
    """(loss, grads) of a rule whose settings may be traced: one program is enough for all of them."""
    for name, value in settings.items():
        rule = eqx.tree_at(lambda r, name=name: getattr(r, name), rule, value)
    return rule.update((), net, xs, ys, helpers.mse, jr.key(0))[1:]


def row(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


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
        rolling = px.truncated_bptt(helpers.mse, REACH, rolling=True)(net, xs, ys)[1]
        each = {
            vertices: jax.vmap(
                lambda n, rule=px.rules.PredictiveCoding(vertices=vertices): estimated(
                    rule, net, xs, ys, sweeps=n
                )
            )
            for vertices in ("steps", "layers")
        }
        return exact, rolling, each["steps"](sweeps), each["layers"](sweeps - sweeps[-1] + longest)

    exact, rolling, by_step, by_layer = estimates(sweeps)
    assert all(np.any(g) for g in jax.tree.leaves(exact[1]))  # alive
    assert helpers.distance(row(by_step, 2), exact) < 1e-10
    assert helpers.distance(row(by_layer, 2), exact) < 1e-10
    assert helpers.distance(row(by_step, 0)[1], rolling) < 1e-10
    for one_too_few in (row(by_step, 1)[1], row(by_layer, 1)[1]):
        assert helpers.distance(one_too_few, exact[1]) > 1e-5
