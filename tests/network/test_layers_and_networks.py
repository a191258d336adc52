"""The split of synapses from neurons: proven, not promised."""

from typing import Any

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

import perturbax as px
from perturbax.errors import LayerError
from perturbax.learning.credit import Credit, pairing_of, to_go, windowed
from perturbax.learning.pace import Loop


class Mine(px.Layer):
    """A user's cell: plain arrays are weights."""

    W: Array
    U: Array

    def __init__(self, n_in, n, *, key):
        a, b = jr.split(key)
        self.W, self.U = 0.5 * jr.normal(a, (n_in, n)), 0.5 * jr.normal(b, (n, n))

    def start(self):
        return jnp.zeros(self.U.shape[0]), jnp.zeros(self.U.shape[0])

    def drive(self, z, r):
        return z @ self.W + r @ self.U

    def advance(self, h, a):
        h = 0.5 * h + jnp.sin(a)
        return h, jnp.cos(h)


class Squared(Mine):
    def drive(self, z, r):
        return z @ (self.W * self.W) + r @ self.U


class Squashed(Mine):
    def drive(self, z, r):
        return z @ jnp.tanh(self.W) + r @ self.U


class Greedy(Mine):
    def advance(self, h, a):
        return h, jnp.tanh(a + jnp.sum(self.U))


class Broken(Mine):
    def advance(self, h, a):
        return h, a.no_such_thing


class Spiking(Mine):
    """No useful derivative anywhere."""

    def advance(self, h, a):
        return h, jnp.sign(a)


def net_of(cell, n=3):
    return px.Network((cell(2, n, key=jr.key(0)), px.cells.Readout(n, 1, key=jr.key(1))))


def estimate(net, rule, **options):
    xs, ys = helpers.data(n_in=2)
    return helpers.fresh(px.RULES[rule](**options), helpers.mse)(net, xs, ys, jr.key(2))[1]


def test_a_users_cell_is_exact(x64):
    net = px.Network((Mine(1, 1, key=jr.key(0)), px.cells.Readout(1, 1, key=jr.key(1))))
    xs, ys = helpers.data(batch=1)
    make = lambda noise: px.RULES["node"](sigma=1e-5, credit="to-go", noise=noise)
    got = helpers.averaged(make, helpers.node_patterns(net, helpers.T), net, xs, ys)
    assert helpers.distance(got, px.bptt(helpers.mse)(net, xs, ys, None)[1]) < 1e-8


@pytest.mark.parametrize("rule", ["node", "activity", "innovation", "one-step"])
@pytest.mark.parametrize(("cell", "words"), [(Squared, "weights only"), (Squashed, "tanh")])
def test_a_drive_that_is_not_linear_is_refused(rule, cell, words):
    with pytest.raises(LayerError, match=rf"layer 0 \({cell.__name__}\): drive is not linear.*{words}"):
        estimate(net_of(cell), rule)


@pytest.mark.parametrize("rule", ["node", "weight", "bptt", "frozen"])
def test_an_advance_that_uses_a_weight_is_refused(rule):
    with pytest.raises(LayerError, match=r"layer 0 \(Greedy\): advance uses the weight U"):
        estimate(net_of(Greedy), rule)


def test_other_faults_of_a_cell_keep_their_own_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        estimate(net_of(Broken), "node")


def test_dynamics_without_derivative_still_learn():
    """Sign units: backpropagation sees nothing, node perturbation does."""
    net = net_of(Spiking, 6)
    assert not any(g.any() for g in jax.tree.leaves(estimate(net, "bptt").layers[0]))
    assert any(g.any() for g in jax.tree.leaves(estimate(net, "node", sigma=0.5, credit="to-go").layers[0]))


def test_gradient_free_rules_cannot_differentiate_the_score():
    class Cheat(px.StepRule):
        def step(self, net, carry, x, score, noise):
            carry, y, sites = net.step(carry, x)
            jax.grad(lambda y: score(y).sum())(y)
            raise AssertionError("must not get here")

    xs, ys = helpers.data(n_in=2)
    with pytest.raises(TypeError, match="gradient-free"):
        helpers.fresh(Cheat(), helpers.mse)(net_of(Mine), xs, ys, jr.key(0))


def test_fixed_arrays_are_no_weights():
    net = px.add_decorrelation(net_of(px.cells.Leaky), "hidden+input", 2)
    names = {jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_flatten_with_path(px.weights(net))[0]}
    assert names == {".layers[0].W", ".layers[0].U", ".layers[0].b", ".layers[1].W", ".layers[1].b"}
    xs, ys = helpers.data(n_in=2)
    for rule in ("node", "weight", "bptt", "one-step", "frozen"):
        run = helpers.fresh(px.RULES[rule](), helpers.mse)
        grads = jax.eval_shape(run, net, xs, ys, jr.key(2))[1]
        assert jax.tree.structure(grads) == jax.tree.structure(px.weights(net)), rule


def test_start_takes_the_dtype_of_the_weights(x64):
    net = jax.tree.map(lambda w: w.astype(jnp.float32), net_of(Mine))
    assert {leaf.dtype for leaf in jax.tree.leaves(net.start(2))} == {np.dtype("float32")}


def test_credit_weights():
    delta = jnp.arange(1.0, 6.0)[:, None, None]
    np.testing.assert_allclose(to_go(delta, 0.5)[:, 0, 0], [3.5625, 5.125, 6.25, 6.5, 5.0])
    got = windowed(delta, 5, Credit(2, 0.5))[:, 0, 0]
    np.testing.assert_allclose(got, [2.0, 3.5, 5.0, 6.5, 5.0])


@pytest.mark.parametrize(("steps", "window"), [(67, 33), (40, 3), (33, 100)])
def test_ring_of_blocks_equals_one_block(x64, steps, window, monkeypatch):
    """Window credit over many blocks, a ragged last one included, against the banded matrix."""
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=3), helpers.data(steps=steps)
    make = lambda: px.RULES["node"](sigma=1e-3, credit="window", window=window, discount=0.95)
    helpers.set_pace(monkeypatch, rows=8 * helpers.B, loops=(Loop(0, 8, 2),))
    many = helpers.fresh(make(), helpers.mse)(net, xs, ys, jr.key(0))
    monkeypatch.setattr("perturbax.learning.sequence.steps_per_block", lambda rule, net, most, T, B: T)
    one = helpers.fresh(make(), helpers.mse)(net, xs, ys, jr.key(0))
    assert helpers.distance(many[1], one[1]) < 1e-10
    assert float(many[0]) == pytest.approx(float(one[0]), rel=1e-12)
    assert pairing_of(Credit(window), 8, steps).holds


LONG = 2**17  # steps: one number for each is more than all that a block of steps takes


def taken(rule, n=16, batch=2, **options):
    """Bytes that the compiler plans for the estimate from a long sequence, without inputs and outputs."""
    net = px.Network((px.cells.Tanh(2, n, key=jr.key(0)), px.cells.Readout(n, 1, key=jr.key(1))))
    xs, ys = (jax.ShapeDtypeStruct((LONG, batch, w), jnp.float32) for w in (2, 1))
    estimator = helpers.fresh(px.RULES[rule](**options), helpers.mse)
    made = (
        jax.jit(lambda net, xs, ys, key: estimator(net, xs, ys, key)).lower(net, xs, ys, jr.key(0)).compile()
    )
    return made.memory_analysis().temp_size_in_bytes


SAVING: Any = [
    ("node", {}),
    ("activity", {}),
    ("innovation", {}),
    ("node", {"credit": "window"}),
    ("weight", {}),
    ("one-step", {}),
    ("frozen", {}),
    ("published-activity", {}),
]


@pytest.mark.parametrize(("rule", "options"), SAVING, ids=lambda v: str(v))
def test_memory_does_not_grow_with_the_sequence(rule, options):
    """Nothing is kept of every step: all memory is less than one number per step would be."""
    assert taken(rule, **options) < 4 * LONG


def test_bptt_memory_does_grow():
    """Negative control of the measure."""
    assert taken("bptt") > 16 * 4 * LONG


def test_a_second_call_compiles_nothing():
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=3), helpers.data()
    count = []

    @jax.jit
    def run(rule, net, xs, ys, key):
        count.append(1)
        return helpers.fresh(rule, helpers.mse)(net, xs, ys, key)

    for i in range(3):
        run(px.RULES["node"](sigma=10.0**-i, discount=0.5 + 0.1 * i, credit="to-go"), net, xs, ys, jr.key(i))
    assert len(count) == 1


@pytest.mark.parametrize("decor", ["off", "hidden+input"])
def test_sites_like_are_the_shapes_of_a_step(decor):
    net = px.add_decorrelation(helpers.network(px.cells.GRU, n_in=2, n=3, depth=2), decor, 2)
    x = jnp.ones((4, 2))
    found, sites = net.sites_like(x), jax.jit(lambda x: net.step(net.start(4), x)[2])(x)
    assert jax.tree.map(lambda s: (s.shape, s.dtype), found) == jax.tree.map(
        lambda s: (s.shape, s.dtype), sites
    )
    assert [site.a.shape for site in found] == [(4, 4, 3), (4, 4, 3), (4, 1)]
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(found))
    assert found == net.sites_like(jax.ShapeDtypeStruct((4, 2), x.dtype))


def test_width_is_the_number_of_visible_outputs():
    assert [layer.width for layer in net_of(Mine, 5).layers] == [5, 1]
    assert px.cells.LRU(2, 5, key=jr.key(0)).width == 10
    assert jax.jit(lambda net: jnp.zeros(net.layers[0].width))(net_of(Mine, 5)).shape == (5,)
