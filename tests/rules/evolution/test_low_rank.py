"""Low-rank shifts of the weights, never multiplied out: the same numbers as if they were."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from jaxtyping import Array

import perturbax as px
from perturbax.rules.evolution.low_rank import matrix_inputs


class Squashing(px.cells.Tanh):
    """Linear in its weights, not in what it reads."""

    def drive(self, z, r):
        return super().drive(jnp.tanh(z), r)


class Masked(px.cells.Tanh):
    """Weights behind a fixed mask."""

    mask: px.Fixed

    def __init__(self, n_in, n, *, key):
        super().__init__(n_in, n, key=key)
        self.mask = px.Fixed(jnp.tri(n))

    def drive(self, z, r):
        return z @ self.W + r @ (self.mask.value * self.U) + self.b


class Twice(px.Layer):
    """Two matrices read the same input, and the readout of a gate the other."""

    W: Array
    V: Array
    U: Array

    def __init__(self, n_in, n, *, key):
        a, b, c = jr.split(key, 3)
        self.W, self.V, self.U = jr.normal(a, (n_in, n)), jr.normal(b, (n_in, n)), jr.normal(c, (n, 2 * n))

    def start(self):
        return (), jnp.zeros(self.W.shape[-1])

    def drive(self, z, r):
        return jnp.concatenate([z @ self.W, z @ self.V]) + r @ self.U

    def advance(self, h, a):
        one, two = jnp.split(a, 2)
        return (), jnp.tanh(one) * jax.nn.sigmoid(two)


def estimate(net, xs, ys, **options):
    rule = px.RULES["evolution"](population=4, sigma=0.3, **options)
    return helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(4))


# One cell for every way to drive (`tanh` and most others share that of sparse-tanh), a few of them in stacks.
PLAIN, STACKED = ("off", 1, 1), ("hidden+input", 2, 2)  # which decorrelation, depth, rank
DRIVES = [(px.CELLS[name], *PLAIN) for name in ("sparse-tanh", "mingru", "lstm", "settling", "dense", "conv")]
DRIVES += [(cell, *STACKED) for cell in (px.cells.GRU, px.cells.LRU, Twice)]


@pytest.mark.parametrize(("cell", "decor", "depth", "rank"), DRIVES)
def test_the_same_as_multiplied_out(cell, decor, depth, rank, x64, monkeypatch):
    net = px.add_decorrelation(helpers.network(cell, n_in=4, n=2, depth=depth), decor, 4)
    asked = []

    def not_at_all(*layer):
        asked.append(matrix_inputs(*layer))

    @jax.jit
    def both(net, xs, ys):
        found = estimate(net, xs, ys, rank=rank)
        with monkeypatch.context() as patch:
            patch.setattr("perturbax.rules.evolution.evolution.matrix_inputs", not_at_all)
            return found, estimate(net, xs, ys, rank=rank)

    (loss, grads), (slow, full) = both(net, *helpers.data(n_in=4))
    assert any(asked)  # there was something not to multiply out
    assert helpers.distance(grads, full) < 1e-12
    assert float(loss) == pytest.approx(float(slow), rel=1e-12)


def test_what_layers_read():
    z = r = jax.ShapeDtypeStruct((3,), jnp.result_type(float))  # of one length: shapes alone do not tell
    assert matrix_inputs(px.cells.Tanh(3, 3, key=jr.key(0)), z, r) == ("z", "r")
    assert matrix_inputs(px.cells.GRU(3, 3, key=jr.key(0)), z, r) == ("z", "r", "-")
    assert matrix_inputs(Twice(3, 3, key=jr.key(0)), z, r) == ("z", "z", "r")
    assert matrix_inputs(px.cells.Dense(3, 3, key=jr.key(0)), z, r) == ("z",)
    for cell in (Squashing, Masked):
        assert matrix_inputs(cell(3, 3, key=jr.key(0)), z, r) is None


def test_no_population_of_weight_matrices_exists():
    """Compiled, a population of 64 networks takes less memory than eight copies of the weights.

    Few abreast need as little where noise has full rank; control: all abreast hold a population of it.
    """
    net = helpers.network(px.cells.Tanh, n=256)
    xs, ys = helpers.data(steps=2, batch=1)

    def memory(**options):
        rule = px.RULES["evolution"](population=64, **options)
        run = jax.jit(helpers.fresh(rule, helpers.mse)).lower(net, xs, ys, jr.key(0)).compile()
        return run.memory_analysis().temp_size_in_bytes

    weights = sum(w.nbytes for w in jax.tree.leaves(px.weights(net)))
    assert max(memory(rank=1), memory(rank=0, abreast=2)) < 8 * weights < 32 * weights < memory(rank=0)
