"""Cells: how their weights start, and that they compute what their papers say."""

import equinox as eqx
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
