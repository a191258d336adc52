"""What was proposed against the noise of node perturbation is what it says, so that its numbers mean it."""

import functools

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import proposals
import pytest

import perturbax as px

pytestmark = pytest.mark.usefixtures("x64")
SIGMA = 1e-5
STEPS = 3


class Uneven(proposals.Balanced):
    """Balanced noise whose sizes are given."""

    def sizes(self, known, xi):
        """Return another size in each layer and unit."""
        return [jnp.asarray(0.5), jnp.asarray(2.0)]


def mean_and_exact(make, samples):
    """The mean over all signs, the gradient, and the gradient cut at every step."""
    net = helpers.network(px.cells.Tanh, n=1)
    xs, ys = helpers.data(steps=STEPS, batch=1)
    patterns = helpers.node_patterns(net, STEPS, samples)
    got = helpers.averaged(lambda noise: make(sigma=SIGMA, noise=noise), patterns, net, xs, ys)
    full, cut = (
        jax.grad(lambda net, between=between: helpers.rolled(net, xs, ys, between))(net)
        for between in (lambda state: state, helpers.stop)
    )
    return got, px.weights(full), px.weights(cut)


@pytest.mark.parametrize(
    ("make", "samples"),
    [
        (proposals.Proposal, 1),
        (functools.partial(proposals.LeaveOneOut, samples=2), 2),
        (functools.partial(proposals.ShrunkLags, window=STEPS), 2),
        (Uneven, 2),
    ],
    ids=["plain", "leave one out", "lags before anything is learnt", "sizes of noise"],
)
def test_the_mean_over_all_signs_is_the_gradient(make, samples):
    got, full, cut = mean_and_exact(make, samples)
    assert helpers.distance(got, full) < 1e-8
    assert helpers.distance(got, cut) > 1e-4


def test_pulses_at_every_step_know_nothing_of_later_losses():
    got, full, cut = mean_and_exact(functools.partial(proposals.Pulses, every=1), 1)
    assert helpers.distance(got, cut) < 1e-8
    assert helpers.distance(got, full) > 1e-4


def test_pulses_leave_other_steps_without_noise():
    rule = proposals.Pulses(every=3)
    restart, (xi,) = rule.in_time([jnp.ones((7, 1, 2, 4))], jax.random.key(0))
    assert set(np.diff(np.flatnonzero(restart))) == {3}
    np.testing.assert_array_equal(xi[:, 0, 0, 0], restart)


def test_units_that_matter_less_get_more_noise():
    size = proposals.Balanced().sizes([jnp.asarray([1.0, 4.0]), jnp.asarray([16.0])], [])
    every = np.concatenate(size)
    np.testing.assert_allclose(every / every[0], [1, 0.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(np.mean(every**2), 1, rtol=1e-6)


def test_noise_in_blocks_has_unit_variance():
    drawn = proposals.blocks(jax.random.key(0), (4, 500, 8), jnp.float32)
    assert set(np.unique(drawn)) == {-2, 0, 2}
    assert abs(float(jnp.mean(drawn**2)) - 1) < 0.05


@pytest.mark.parametrize("make", [proposals.averaged_first, proposals.one_scale])
def test_own_optimisers_are_adam_where_gradients_stay_the_same(make):
    weights, g = jnp.zeros(3), jnp.asarray([0.5, -0.5, 0.5])
    optimiser = make(0.1)
    state = optimiser.init(weights)
    for _ in range(5):
        step, state = optimiser.update(g, state, weights)
        np.testing.assert_allclose(step, -0.1 * np.sign(g), rtol=1e-5)


def test_a_layer_learns_from_its_head_alone():
    """What the readout makes of it changes nothing for the layer below a head, and the head itself learns."""
    net = helpers.stack("tanh", n_in=1, n=3, n_out=1, depth=2)
    xs, ys = helpers.data(steps=STEPS, batch=2)
    learn = px.learner(proposals.Heads(sigma=SIGMA, rate=0.1), helpers.mse)
    other = eqx.tree_at(lambda net: net.layers[2].W, net, 2 * net.layers[2].W)
    key = jax.random.key(0)
    before = learn.init(net, xs[0], key)
    after, _, grads = learn.update(before, net, xs, ys, key)
    of_other = learn.update(before, other, xs, ys, key)[2]
    np.testing.assert_allclose(grads.layers[0].W, of_other.layers[0].W, rtol=1e-6)
    assert helpers.distance(grads.layers[1].W, of_other.layers[1].W) > 0.1
    assert any(np.any(leaf) for leaf in jax.tree.leaves(after) if leaf.shape == (3, 1))
