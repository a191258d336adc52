"""Signs that travel as packed bits: the same values as arrays, and the same estimates."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.learning.noise import Gaussian, Orthogonal, Rademacher, Scaled, draw_packed
from perturbax.learning.pace import Loop
from perturbax.learning.sequence import run_block, visible_loss
from perturbax.learning.signs import PackedSigns, expanded, flipped, is_packed, times

LIKE = [jax.ShapeDtypeStruct((5, 3, 70), jnp.float32), jax.ShapeDtypeStruct((5, 3, 2, 9), jnp.float32)]


def test_bits_of_words_are_signs_along_the_last_axis():
    bits = np.random.default_rng(0).integers(0, 2, (4, 70)).astype(bool)
    padded = np.pad(bits, [(0, 0), (0, 26)])
    words = np.packbits(padded, axis=-1, bitorder="little").view("<u4")  # (4, 3)
    signs = PackedSigns(jnp.asarray(words), jnp.full((4,), 0.5), 70)
    assert (signs.shape, signs.ndim, signs.dtype) == ((4, 70), 2, jnp.float32)
    values = np.where(bits, 0.5, -0.5)
    np.testing.assert_array_equal(signs.expand(), values)
    c = jnp.arange(4.0)
    np.testing.assert_array_equal(times(c, signs), c[:, None] * values)
    np.testing.assert_array_equal(times(c, signs.expand()), c[:, None] * values)
    turned = np.arange(70)[None] % 3 == 0
    np.testing.assert_array_equal(flipped(signs, turned).expand(), np.where(turned, -values, values))
    nothing = jax.tree.map(jnp.zeros_like, signs)  # an empty place of a ring of blocks
    assert not nothing.expand().any()


@pytest.mark.parametrize("kind", [Rademacher, Orthogonal, Scaled])
def test_packed_draws_are_the_draws(kind, monkeypatch):
    keys = jr.split(jr.key(0), 6)
    noise = kind()
    helpers.set_pace(monkeypatch, words=70)  # two steps at once

    @jax.jit
    def draws(keys):
        state = noise.init(LIKE)
        return noise.draw(state, keys, LIKE)[1], draw_packed(noise, state, keys, LIKE)[1]

    plain, packed = draws(keys)
    for array, signs, like in zip(plain, packed, LIKE, strict=True):
        assert is_packed(signs)
        assert signs.shape == (6, *like.shape)
        np.testing.assert_array_equal(signs.expand(), array)
    step = jax.tree.map(lambda s: s[4], packed)
    np.testing.assert_array_equal(step[0].expand(), plain[0][4])


def test_other_noise_stays_as_it_is():
    for noise in (Gaussian(), helpers.unpacked(Rademacher)):
        assert not any(is_packed(e) for e in draw_packed(noise, (), jr.split(jr.key(0), 2), LIKE)[1])


@pytest.mark.parametrize(
    ("rule", "kind", "options"),
    [
        ("node", Rademacher, {}),
        ("node", Orthogonal, {"credit": "window", "window": 5, "difference": "antithetic"}),
        ("node", Rademacher, {"credit": "to-go", "ambient": 0.01}),
        ("node", Rademacher, {"credit": "replay", "difference": "noisy"}),
        ("node", Scaled, {"credit": "replay"}),
        ("iterative", Rademacher, {"credit": "window", "window": 5}),
    ],
)
def test_estimates_are_those_of_noise_in_arrays(rule, kind, options, x64, monkeypatch):
    """Drawn, run and multiplied out in small pieces, against arrays in one."""
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=3), helpers.data(steps=19)

    def estimate(noise):
        made = px.RULES[rule](sigma=1e-2, samples=4, noise=noise, **options)
        init, update = px.learner(made, helpers.mse)
        return update(init(net, xs[0], jr.key(0)), net, xs, ys, jr.key(3))[1:]

    @jax.jit
    def both():
        in_arrays = estimate(helpers.unpacked(kind))
        helpers.set_pace(monkeypatch, rows=8 * helpers.B, words=60, values=80, loops=(Loop(0, 8, 2),))
        return in_arrays, estimate(kind())

    (loss, want), (again, grads) = both()
    assert float(again) == pytest.approx(float(loss), rel=1e-12)
    assert helpers.distance(grads, want) < 1e-10


def test_expanding_leaves_arrays_alone():
    array = jnp.ones(3)
    assert expanded({"a": array})["a"] is array


def test_bytes_of_a_step_fall_where_signs_are_packed():
    """By the states of the rows, as the compiler counts: noise is read, and signals are left, as bits."""
    net, B = px.Network((px.cells.Tanh(2, 256, key=jr.key(0)), px.cells.Readout(256, 1, key=jr.key(1)))), 8

    def counted(noise):
        rule = px.RULES["node"](samples=256, credit="window", noise=noise)
        score, xs, ys = visible_loss(rule, helpers.mse), jnp.zeros((1, B, 2)), jnp.zeros((1, B, 1))
        key = jr.key(0)
        carry = jax.eval_shape(lambda: rule.init_sequence(net, rule.init_state(net, xs[0], key), xs[0], key))
        drawn = jax.eval_shape(lambda carry: rule.draw(net, carry, xs, key[None])[1], carry)

        def one_step(net, carry, noise):
            return run_block(rule, score, net, carry, (xs, ys, noise))

        made = jax.jit(one_step).lower(net, carry, drawn).compile()
        return made.cost_analysis()["bytes accessed"] / (256 * B * 256 * net.layers[0].W.dtype.itemsize)

    # The product and tanh read and write a state of each row, the readout reads it; no more but bits.
    assert counted(Rademacher()) < 6
    assert counted(helpers.unpacked(Rademacher)) > 8  # noise is read twice, and signals are written
