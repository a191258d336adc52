"""The split of synapses from neurons: proven, not promised."""

from typing import Any

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

import perturbax as px
from perturbax.errors import ArgumentError, LayerError
from perturbax.experiment.build import stacked
from perturbax.learning.credit import Credit, Pairing, to_go, windowed
from perturbax.learning.noise import Gaussian, Rademacher
from perturbax.network.decorrelation import apply_decorrelation, decorrelation_update
from perturbax.rules.perturbation.base import Perturbation


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
    class Cheat(Perturbation):
        def init(self, net, batch, key):
            return net.start(batch)

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
    for rule in ("node", "weight", "bptt", "one-step", "frozen"):
        grads = estimate(net, rule)
        assert jax.tree.structure(grads) == jax.tree.structure(px.weights(net)), rule


def test_no_rule_reaches_through_d():
    """The gradient by D exists, and is nobody's: weights only."""
    net = px.add_decorrelation(net_of(Mine), "hidden", 2)
    xs, ys = helpers.data(n_in=2)
    g = jax.grad(lambda D: px.bptt(helpers.mse)(px.Network(net.layers, (None, px.Fixed(D))), xs, ys)[0])(
        jnp.eye(3)
    )
    assert not g.any()


def test_start_takes_the_dtype_of_the_weights(x64):
    net = jax.tree.map(lambda w: w.astype(jnp.float32), net_of(Mine))
    assert {leaf.dtype for leaf in jax.tree.leaves(net.start(2))} == {np.dtype("float32")}


def test_decorrelation_update_is_its_definition(x64):
    z, D = jr.normal(jr.key(0), (7, 3)), jr.normal(jr.key(1), (3, 3))
    net = px.Network(net_of(Mine).layers, (None, px.Fixed(D.T)))
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
    n, net = 40, px.add_decorrelation(net_of(Mine, 40), "hidden", 2)
    sites = [px.Site(None, None, None), px.Site(jnp.ones((3, n)), None, None)]
    jaxpr = jax.make_jaxpr(lambda net, z: decorrelation_update(net, [sites[0], px.Site(z, None, None)])[1])(
        net, sites[1].z
    )
    products = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    assert len(products) == 2
    assert all(min(v.aval.size for v in e.invars) == 3 * n for e in products)


def test_decorrelation_decorrelates():
    net = px.add_decorrelation(net_of(px.cells.Tanh, 8), "hidden", 2)
    xs = jr.normal(jr.key(0), (50, 16, 2))
    from perturbax.experiment.train_step import correlation

    before, update = correlation(net, xs), jax.jit(px.decorrelate)
    for _ in range(400):
        net = update(net, xs, 0.5)
    assert correlation(net, xs) < 0.1 * before


@pytest.mark.parametrize("which", ["everything", "Hidden"])
def test_unknown_decorrelation_is_refused(which):
    with pytest.raises(ArgumentError, match="hidden"):
        px.add_decorrelation(net_of(Mine), which, 2)


def test_credit_weights():
    delta = jnp.arange(1.0, 6.0)[:, None, None]
    np.testing.assert_allclose(to_go(delta, 0.5)[:, 0, 0], [3.5625, 5.125, 6.25, 6.5, 5.0])
    got = windowed(delta, 5, Credit(2, 0.5))[:, 0, 0]
    np.testing.assert_allclose(got, [2.0, 3.5, 5.0, 6.5, 5.0])


@pytest.mark.parametrize(("steps", "window"), [(64, 7), (67, 33), (40, 3), (33, 100)])
def test_ring_of_blocks_equals_one_block(x64, steps, window, monkeypatch):
    """Window credit over many blocks, a ragged last one included, against the banded matrix."""
    import perturbax.learning.sequence as gradient

    net, (xs, ys) = helpers.network(px.cells.GRU, n=3), helpers.data(steps=steps)
    make = lambda: px.RULES["node"](sigma=1e-3, credit="window", window=window, discount=0.95)
    monkeypatch.setattr(gradient, "PACES", ((0, 8, 4),))
    monkeypatch.setattr(gradient, "ROWS", 8 * helpers.B)
    many = helpers.fresh(make(), helpers.mse)(net, xs, ys, jr.key(0))
    monkeypatch.setattr(gradient, "_block_length", lambda rule, most, T, B: T)
    one = helpers.fresh(make(), helpers.mse)(net, xs, ys, jr.key(0))
    assert helpers.distance(many[1], one[1]) < 1e-10
    assert float(many[0]) == pytest.approx(float(one[0]), rel=1e-12)
    assert Pairing.over(Credit(window), 8, steps).m > 1


def test_window_over_the_whole_sequence_is_to_go(x64):
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=3), helpers.data(steps=40)
    one, two = (
        helpers.fresh(px.RULES["node"](discount=0.9, **o), helpers.mse)(net, xs, ys, jr.key(0))[1]
        for o in ({"credit": "to-go"}, {"credit": "window", "window": 40})
    )
    assert helpers.distance(one, two) < 1e-10


@pytest.mark.parametrize("kind", [Rademacher, Gaussian])
def test_noise_is_white_and_a_function_of_its_keys(kind):
    keys = jr.split(jr.key(0), 400)
    like = [jax.ShapeDtypeStruct((2, 5, 33), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)]
    _, (xi, scalar) = kind().draw((), keys, like)
    assert xi.shape == (400, 2, 5, 33)
    assert scalar.shape == (400,)
    flat = np.asarray(xi, float).reshape(-1, 33)
    assert abs(flat.mean()) < 4 / np.sqrt(flat.size)
    assert abs((flat**2).mean() - 1) < 0.02
    corr = flat.T @ flat / len(flat) - np.diag((flat**2).mean(0))
    assert np.abs(corr).max() < 6 / np.sqrt(len(flat))
    again = kind().draw((), keys[7:9], like)[1][0]
    np.testing.assert_array_equal(again, xi[7:9])
    assert (len(np.unique(np.asarray(xi))) == 2) == (kind is Rademacher)


def compiled(rule, steps, n=16, batch=2, **options):
    net = px.Network((px.cells.Tanh(2, n, key=jr.key(0)), px.cells.Readout(n, 1, key=jr.key(1))))
    xs, ys = (jax.ShapeDtypeStruct((steps, batch, w), jnp.float32) for w in (2, 1))
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
    assert compiled(rule, 10_240, **options) < 1.05 * compiled(rule, 1_024, **options)


def test_bptt_memory_does_grow():
    """Negative control of the measure."""
    assert compiled("bptt", 10_240) > 5 * compiled("bptt", 1_024)


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


@pytest.mark.parametrize("cell", ["tanh", "sparse-tanh", "leaky", "dense"])
def test_xavier_weights_have_the_variance_of_glorot(cell):
    """Those of the published code: W0, R, W1 normal, variance 2 / (inputs + outputs); the readout is no
    exception.
    """
    options = {"init": "xavier", **({"gain": 0.5} if cell != "dense" else {}), "bias": False}
    below, above = stacked(px.CELLS[cell], (200, 100), (400,), jr.key(0), **options)
    wanted = [
        (below.W, 2 / 600),
        (getattr(below, "U", None), 0.25 / len(getattr(below, "U", "-"))),
        (above.W, 2 / 500),
    ]
    for array, variance in wanted:
        if array is not None:
            assert float(jnp.var(array)) == pytest.approx(variance, rel=0.05)
            assert float(jnp.mean((array / array.std()) ** 4)) == pytest.approx(3, abs=0.2)  # normal
    spiking = stacked(px.CELLS["lif"], (200, 100), (400,), jr.key(0), init="xavier", bias=False, kappa=0.5)
    assert float(jnp.var(spiking[1].W)) == pytest.approx(
        0.25 * 2 / 500, rel=0.05
    )  # a readout of the cell's own
    assert spiking[1].b is None
    with pytest.raises(ArgumentError, match="choose from default, xavier"):
        px.CELLS[cell](2, 3, key=jr.key(0), init="he")


def test_lstm_is_the_textbooks(x64):
    """The same weights in equinox's cell, gates in the same order, give the same memory and output."""
    ours = px.cells.LSTM(2, 3, key=jr.key(0))
    theirs = eqx.nn.LSTMCell(2, 3, key=jr.key(1))
    flat = lambda w: w.reshape(len(w), -1).T
    theirs = eqx.tree_at(
        lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias),
        theirs,
        (flat(ours.W), flat(ours.U), ours.b.ravel()),
    )
    (c, y), state = ours.start(), (jnp.zeros(3), jnp.zeros(3))
    for z in jr.normal(jr.key(2), (5, 2)):
        (c, y), state = ours.advance(c, ours.drive(z, y)), theirs(z, state)
        np.testing.assert_allclose((y, c), state, atol=1e-12)
    assert y.any()
