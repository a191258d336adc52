"""Cells: how their weights start, and that they compute what their papers say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.errors import ArgumentError


@pytest.mark.parametrize("cell", ["tanh", "sparse-tanh", "leaky", "dense"])
def test_xavier_weights_have_the_variance_of_glorot(cell):
    """Those of the published code: W0, R, W1 normal, variance 2 / (inputs + outputs); the readout is no
    exception.
    """
    options = {"init": "xavier", **({"gain": 0.5} if cell != "dense" else {}), "bias": False}
    below, above = stack(px.CELLS[cell], (200, 100), (400,), jr.key(0), **options)
    wanted = [
        (below.W, 2 / 600),
        (getattr(below, "U", None), 0.25 / len(getattr(below, "U", "-"))),
        (above.W, 2 / 500),
    ]
    for array, variance in wanted:
        if array is not None:
            assert float(jnp.var(array)) == pytest.approx(variance, rel=0.05)
            assert float(jnp.mean((array / array.std()) ** 4)) == pytest.approx(3, abs=0.2)  # normal
    spiking = stack(px.CELLS["lif"], (200, 100), (400,), jr.key(0), init="xavier", bias=False, kappa=0.5)
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


def test_gru_is_the_textbooks(x64):
    """The same weights in equinox's cell, whose gates come in another order, give the same output."""
    ours = px.cells.GRU(2, 3, key=jr.key(0))
    ours = eqx.tree_at(lambda cell: cell.b, ours, jr.normal(jr.key(1), (4, 3)))
    theirs = eqx.nn.GRUCell(2, 3, key=jr.key(2))
    order = jnp.array([1, 0, 2])  # reset, update, candidate
    flat = lambda w: w[:, order].reshape(len(w), -1).T
    theirs = eqx.tree_at(
        lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n),
        theirs,
        (flat(ours.W), flat(ours.U), ours.b[order].ravel(), ours.b[3]),
    )
    (h, y), state = ours.start(), jnp.zeros(3)
    for z in jr.normal(jr.key(3), (5, 2)):
        (h, y), state = ours.advance(h, ours.drive(z, y)), theirs(z, state)
        np.testing.assert_allclose(y, state, atol=1e-12)
    assert y.any()


def over(layer, zs):
    """Outputs and pre-activations of a layer over a sequence."""
    (h, y), ys, pre = layer.start(), [], []
    for z in jnp.asarray(zs):
        pre.append(layer.drive(z, y))
        h, y = layer.advance(h, pre[-1])
        ys.append(y)
    return np.asarray(ys), np.asarray(pre)


ZS = 2 * np.random.default_rng(0).normal(size=(40, 2))


@pytest.mark.parametrize("form", ["membrane", "rate"])
def test_leaky_is_its_equation(x64, form):
    ys, pre = over(px.cells.Leaky(2, 3, key=jr.key(0), alpha=0.2, form=form), ZS)
    h = np.zeros(3)
    for y, a in zip(ys, pre, strict=True):
        h = 0.8 * h + 0.2 * (np.tanh(a) if form == "rate" else a)
        np.testing.assert_allclose(y, h if form == "rate" else np.tanh(h), atol=1e-12)


def test_mingru_is_its_equation(x64):
    ys, pre = over(px.cells.MinGRU(2, 3, key=jr.key(0), memory=4.0), ZS)
    h = np.zeros(3)
    for y, a in zip(ys, pre, strict=True):
        u = 1 / (1 + np.exp(-a[0]))
        h = (1 - u) * h + u * np.tanh(a[1])
        np.testing.assert_allclose(y, h, atol=1e-12)
    silent = px.cells.MinGRU(2, 3, key=jr.key(0), memory=4.0).drive(jnp.zeros(2), jnp.zeros(3))
    np.testing.assert_allclose(jax.nn.sigmoid(silent[0]), 1 / 4)  # about four steps are remembered


def test_lru_is_its_equation(x64):
    layer = px.cells.LRU(2, 3, key=jr.key(0))
    ys, _ = over(layer, ZS)
    lam, W = layer.lam[0] + 1j * layer.lam[1], layer.W[:, 0] + 1j * layer.W[:, 1]
    x = np.zeros(3, complex)
    for y, z in zip(ys, ZS, strict=True):
        x = lam * x + z @ W
        np.testing.assert_allclose(y, np.concatenate([x.real, x.imag]), atol=1e-12)


@pytest.mark.parametrize(("refractory", "reset"), [(0, "subtract"), (2, "subtract"), (0, "zero")])
@pytest.mark.parametrize("cell", ["lif", "alif"])
def test_spiking_cells_are_their_equations(x64, cell, refractory, reset):
    neuron = {"leak": 0.8, "threshold": 0.7, "refractory": refractory, "reset": reset}
    layer = px.CELLS[cell](2, 5, key=jr.key(0), **neuron)
    rho, beta = (layer.rho, layer.beta) if cell == "alif" else (0.0, 0.0)
    ys, pre = over(layer, ZS)
    v, c, since = np.zeros(5), np.zeros(5), np.full(5, 99)
    for y, a in zip(ys, pre, strict=True):
        u = 0.8 * v + a
        fires = (u > 0.7 + beta * c) & (since > refractory)
        np.testing.assert_array_equal(y, fires)
        left = np.where(fires, 0.0, u) if reset == "zero" else u - 0.7 * fires
        v, c, since = left, rho * c + fires, np.where(fires, 1, since + 1)
    assert 0.05 < ys.mean() < 0.95


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("detach", [True, False])
def test_a_reset_has_its_part_in_time(x64, reset, detach):
    """Temporal surrogate backpropagation (Yang 2020), by hand: what a spike does to later membranes, which
    is a large part of the gradient.
    """
    leak, threshold, dampening = 0.8, 0.7, 0.9
    neuron = {"leak": leak, "threshold": threshold, "dampening": dampening, "reset": reset}
    layer = px.cells.LIF(2, 5, key=jr.key(0), detach_reset=detach, **neuron)
    layer = eqx.tree_at(lambda cell: cell.U, layer, jnp.zeros((5, 5)))
    weight = np.asarray(jr.normal(jr.key(1), (len(ZS), 5)))  # of each spike in the loss

    def loss(W):
        cell = eqx.tree_at(lambda cell: cell.W, layer, W)

        def step(carry, z):
            h, y = cell.advance(carry[0], cell.drive(z, carry[1]))
            return (h, y), y

        _, ys = jax.lax.scan(step, cell.start(), ZS)
        return jnp.sum(weight * ys)

    ys, pre = over(layer, ZS)
    v, u, psi = np.zeros(5), [], []
    for y, a in zip(ys, pre, strict=True):
        u.append(leak * v + a)
        v = u[-1] * (1 - y) if reset == "zero" else u[-1] - threshold * y
        slope = np.maximum(0, 1 - np.abs(u[-1] / threshold - 1))  # triangle, of (u - threshold) / threshold
        psi.append(dampening * slope / threshold)

    def by_hand(detach):
        by_u, grad = np.zeros(5), np.zeros((2, 5))
        for t in reversed(range(len(ZS))):
            stays = 1 - ys[t] if reset == "zero" else np.ones(5)
            lost = (u[t] if reset == "zero" else threshold) * psi[t] * (not detach)
            by_u = weight[t] * psi[t] + by_u * leak * (stays - lost)
            grad += np.outer(ZS[t], by_u)
        return grad

    grad, other = by_hand(detach), by_hand(not detach)
    np.testing.assert_allclose(jax.grad(loss)(layer.W), grad, rtol=1e-12, atol=1e-14)
    assert np.linalg.norm(grad - other) > 0.1 * np.linalg.norm(grad)
    assert 0.05 < ys.mean() < 0.95
    assert any(np.any(slope > 0) for slope in psi)


@pytest.mark.parametrize("pattern", ["random", "ring"])
def test_sparse_weights_are_a_dense_matrix_with_zeros(x64, pattern):
    sparse = px.cells.SparseTanh(2, 6, key=jr.key(0), sparsity=0.5, pattern=pattern)
    full = np.zeros((6, 6))  # [read, reader], as U is stored
    for j, row in enumerate(np.asarray(sparse._partners())):
        full[row, np.arange(6)] = sparse.U[j]
    assert (sparse.wiring() == (full != 0).T).all()
    assert (sparse.wiring().sum(1) == 3).all()
    dense = eqx.tree_at(lambda cell: cell.U, px.cells.Tanh(2, 6, key=jr.key(0)), jnp.asarray(full))
    dense = eqx.tree_at(lambda cell: cell.W, dense, sparse.W)
    np.testing.assert_allclose(over(sparse, ZS)[0], over(dense, ZS)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        ("tanh", {"sparsity": 1.0}, "sparsity must be 0 or more and below 1, not 1.0"),
        ("tanh", {"pattern": "rin"}, "unknown pattern 'rin'; did you mean 'ring'?"),
        ("leaky", {"alpha": 0.0}, "alpha must be above 0 and at most 1, not 0.0"),
        ("leaky", {"form": "rates"}, "unknown form 'rates'; did you mean 'rate'?"),
        ("mingru", {"memory": 1.0}, "memory must be above 1, not 1.0"),
        ("lru", {"most": 1.0}, "most must be 0 or more and below 1, not 1.0"),
        ("lru", {"least": 0.6, "most": 0.5}, "least must be 0 or more and at most 0.5, not 0.6"),
        ("lru", {"phase": 1.5}, "phase must be 0 or more and at most 1, not 1.5"),
        ("lif", {"leak": 1.0}, "leak must be 0 or more and below 1, not 1.0"),
        ("lif", {"kappa": -0.1}, "kappa must be 0 or more and below 1, not -0.1"),
        ("lif", {"threshold": 0.0}, "threshold must be above 0, not 0.0"),
        ("lif", {"refractory": -1}, "refractory must be a whole number of at least 0, not -1"),
        ("lif", {"reset": "zeros"}, "unknown reset 'zeros'; did you mean 'zero'?"),
        ("lif", {"surrogate": "tri"}, "did you mean 'triangle'"),
        ("alif", {"rho": 1.0}, "rho must be 0 or more and below 1, not 1.0"),
        ("leaky-readout", {"kappa": float("nan")}, "kappa must be 0 or more and below 1, not nan"),
        ("dense", {"activation": "rel"}, "did you mean 'relu'"),
        ("binary", {"surrogate": "tri"}, "did you mean 'triangle'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(cell, options, words):
    with pytest.raises(ArgumentError) as caught:
        px.CELLS[cell](2, 3, key=jr.key(0), **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("cell", px.CELLS)
@pytest.mark.parametrize("size", [(0, 3), (2, 0)])
def test_layers_without_inputs_or_units_are_refused(cell, size):
    with pytest.raises(ArgumentError, match="the number of units"):
        px.CELLS[cell](*size, key=jr.key(0))
