"""Equilibrium propagation against the gradient through the settling steps."""

import functools
import itertools

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError, LayerError
from perturbax.network.network import Site

pytestmark = pytest.mark.usefixtures("x64")
T = 150


def net_of(outputs=4, activation="sigmoid", scale=0.6):
    """Blocks that settle, as their weights are small; outputs of the last block, or a readout above."""
    settings = {"blocks": (6, 5, 4), "outputs": outputs, "activation": activation}

    @eqx.filter_jit
    def made():
        cell = px.cells.Settling(7, 15, key=jr.key(0), **settings)
        some, rest = px.split(px.Network((cell, cell.readout(4, key=jr.key(1)))))
        leaves, tree = jax.tree.flatten(some)
        keys = jr.split(jr.key(0), len(leaves))
        drawn = [scale * jr.normal(k, w.shape) * len(w) ** -0.5 for k, w in zip(keys, leaves, strict=True)]
        return px.join(tree.unflatten(drawn), rest)

    return made()


@functools.cache
def held():
    """An input that is held, and targets that are asked for at the last step."""
    x, y = jr.uniform(jr.key(5), (3, 7)), jr.uniform(jr.key(6), (3, 4))
    return jnp.broadcast_to(x, (T, 3, 7)), jnp.full((T, 3, 4), jnp.nan).at[-1].set(y)


def at_the_end(cost):
    """A cost (out, target) of the last step alone, as a loss whose mean over steps it is."""

    def loss(out, target):
        asked = ~jnp.isnan(target).any(-1)
        return T * jnp.where(asked, cost(out, jnp.where(jnp.isnan(target), 0, target)), 0)

    return loss


squares = at_the_end(lambda out, target: jnp.sum((out - target) ** 2, -1) / 2)
entropy = at_the_end(lambda out, target: -jnp.sum(target * jax.nn.log_softmax(out), -1))


@functools.cache
def net_for(cost):
    return net_of(outputs=4 if cost is squares else 0)


@functools.cache
def program(cost, **settings):
    """(net, xs, ys, beta, key) -> gradients of the rule: strengths share a program."""

    @jax.jit
    def run(net, xs, ys, beta, key):
        rule = eqx.tree_at(lambda rule: rule.beta, px.rules.Equilibrium(**settings), beta)
        return helpers.fresh(rule, cost)(net, xs, ys, key)[1]

    return run


@functools.cache
def estimate(cost=squares, beta=0.1, **settings):
    """The estimate of the rule, as one vector."""
    return flat(program(cost, **settings)(net_for(cost), *held(), beta, jr.key(2)))


@functools.cache
def exact(cost=squares):
    return flat(jax.jit(px.bptt(cost))(net_for(cost), *held())[1])


@functools.cache
def settled(cost=squares):
    """The state at the end."""

    @jax.jit
    def run(net, xs):
        return jax.lax.scan(lambda state, x: (net.step(state, x)[0], None), net.start(3), xs)[0]

    return run(net_for(cost), held()[0])


def of_last(steps):
    """The gradients of the weights of each of so many steps from the settled state, by autodiff, the last
    step's first.
    """
    (some, rest), (xs, ys), start = px.split(net_for(squares)), held(), settled()

    def end(of_steps):
        state = start
        for one in reversed(of_steps):
            state, out, _ = px.join(one, rest).step(state, xs[-1])
        return jnp.mean(squares(out, ys[-1])) / T

    return [flat(one) for one in jax.jit(jax.grad(end))([some] * steps)]


def flat(grads):
    return np.concatenate([np.asarray(g).ravel() for g in jax.tree.leaves(grads)])


def off(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def cosine(got, want):
    return got @ want / np.linalg.norm(got) / np.linalg.norm(want)


@pytest.mark.parametrize("cost", [squares, entropy])
def test_the_network_settles_and_is_alive(cost):
    y = np.asarray(settled(cost)[0][1])
    assert ((y > 0.02) & (y < 0.98)).mean() > 0.9
    again = jax.jit(lambda net, *now: net.step(*now)[0][0][1])(net_for(cost), settled(cost), held()[0][-1])
    assert np.abs(again - y).max() < 1e-12
    assert np.abs(exact(cost)).min() > 0


@pytest.mark.parametrize("cost", [squares, entropy])
def test_symmetric_nudging_errs_by_beta_squared(cost):
    """All weights, those of a readout above included."""
    errors = [off(estimate(cost, beta=b, nudged=T), exact(cost)) for b in (1e-1, 1e-2, 1e-3, 1e-4)]
    for coarse, fine in itertools.pairwise(errors):
        assert fine < coarse / 80
    assert errors[0] < 0.1
    assert errors[-1] < 1e-7


def test_one_sided_nudging_errs_by_beta_and_a_random_sign_takes_one_side():
    plus, minus = (estimate(beta=1e-2, nudged=T, nudge=nudge) for nudge in ("one-sided", "symmetric"))
    strengths = 1e-1, 1e-2, 1e-3, 1e-4
    errors = [off(estimate(beta=b, nudged=T, nudge="one-sided"), exact()) for b in strengths]
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / 12 < fine < coarse / 8
    other_side = 2 * minus - plus  # symmetric is the mean of both sides
    drawn = program(squares, nudged=T, nudge="random-sign")
    found = [flat(drawn(net_for(squares), *held(), 1e-2, jr.key(i))) for i in range(8)]
    sides = [int(off(one, plus) < off(one, other_side)) for one in found]
    assert all(off(one, plus if side else other_side) < 1e-10 for one, side in zip(found, sides, strict=True))
    assert 0 < sum(sides) < 8


def test_points_around_a_circle_err_by_that_power_of_beta():
    for points, slope in ((2, 2), (4, 4), (8, 8)):
        settings = {"nudged": T, "nudge": "holomorphic", "points": points}
        coarse, fine = (off(estimate(beta=b, **settings), exact()) for b in (2e-1, 1e-1))
        assert coarse / 2 ** (slope + 0.5) < fine < coarse / 2 ** (slope - 0.5)
    real = off(estimate(beta=1e-1, nudged=T), exact())
    np.testing.assert_allclose(
        off(estimate(beta=1e-1, nudged=T, nudge="holomorphic", points=2), exact()), real
    )


def test_what_points_around_a_circle_add_up_to_is_real():
    """dPhi/dU is the product of activities: their sum over all points is real, over half of them not."""
    net, (xs, ys), (h, y) = net_for(squares), held(), settled()[0]
    rule = px.rules.Equilibrium(beta=0.1, nudged=T, nudge="holomorphic", points=4)

    @jax.jit
    def phases():
        beta, factor = rule._phases(jr.key(0), y.dtype)
        nudged = jax.vmap(lambda beta: rule._nudged(net, (h, y), xs[-1], ys, squares, beta)[0])(beta)
        return factor, jnp.einsum("pbi,pbj->pij", nudged, nudged) - (y.T @ y)[None]

    factor, difference = map(np.asarray, phases())
    whole, half = (np.tensordot(factor[:n], difference[:n], 1) for n in (4, 2))
    assert np.abs(whole.real).max() > 0.1
    assert np.abs(whole.imag).max() < 1e-12
    assert np.abs(half.imag).max() > 1e-3


def test_nudged_steps_are_the_steps_of_truncated_backpropagation():
    """K nudged steps are the gradient through the last K, each further one that of weights a step before."""
    nudged, wanted = [estimate(beta=1e-5, nudged=k) for k in range(1, 7)], of_last(6)
    for got, last in zip(nudged, np.cumsum(wanted, 0), strict=True):
        assert off(got, last) < 1e-8
    for added, before in zip(np.diff(nudged, axis=0), wanted[1:], strict=True):
        assert off(added, before) < 1e-8
    for added, another in zip(np.diff(nudged, axis=0), wanted[2:], strict=False):
        assert off(added, another) > 0.1  # negative control: a step too early
    distances = [off(got, exact()) for got in nudged]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.1


def test_a_nudge_behind_the_nonlinearity_is_another_gradient():
    """What is added to outputs instead of pre-activations is no slope of the primitive function."""
    net, (xs, ys) = net_for(squares), held()
    none_above, lower, start = jnp.zeros((3, 4)), px.Network(net.layers[:1]), settled()

    def nudged(beta, where):
        def step(state, _):
            push = jnp.zeros((3, 15)).at[:, -4:].set(-beta * (state[0][1][:, -4:] - ys[-1]))
            return net.step(state, xs[-1], **{where: [push, none_above]})[0], None

        return jax.lax.scan(step, start, length=T)[0][0][1]

    @functools.partial(jax.jit, static_argnums=0)
    def difference(where, beta):
        plus, minus = nudged(beta, where), nudged(-beta, where)
        site = Site(xs[-1], (plus + minus) / 2, None)
        return lower.credit([site], [-(plus - minus) / (2 * beta) / 3])

    assert off(flat(difference("noise", 1e-3)), exact()) < 1e-4
    for beta in (1e-2, 1e-3):
        assert off(flat(difference("shift", beta)), exact()) > 0.3


def test_the_vector_field_needs_no_symmetry_but_is_approximate():
    assert off(estimate(beta=1e-3, nudged=T, field=True), exact()) < 1e-5
    net = helpers.stack("tanh", n_in=7, n=8, n_out=4)
    with pytest.raises(LayerError, match="the same both ways"):
        px.learner(px.rules.Equilibrium(), squares).init(net, held()[0][0], jr.key(0))
    U = 0.2 * jr.normal(jr.key(3), (8, 8))
    update, bptt = program(squares, nudged=T, field=True), jax.jit(px.bptt(squares))
    found = []
    for share in (0.0, 0.3, 1.0):  # of the part of U that is not the same both ways
        mixed = (U + U.T) / 2 + share * (U - U.T) / 2
        one = eqx.tree_at(lambda net: net.layers[0].U, net, mixed)
        got, want = flat(update(one, *held(), 1e-3, jr.key(0))), flat(bptt(one, *held())[1])
        found.append(cosine(got, want))
    assert found[0] > 1 - 1e-8
    assert 1 - 1e-8 > found[1] > 0.98
    assert found[2] < found[1]


def test_weights_that_move_on_the_way():
    """Continual: away from weights that stay by how large their steps are beside beta, whatever both are."""

    def departs(rate, beta, **settings):
        stays = estimate(beta=beta, **settings)
        return off(estimate(beta=beta, continual=rate, **settings), stays)

    alike = [departs(rate, beta, nudged=20) for rate, beta in ((1e-4, 1e-2), (1e-5, 1e-3))]
    assert abs(alike[1] / alike[0] - 1) < 0.1  # ten times smaller steps do not help where beta is, too
    assert 1e-3 < alike[0] < 0.3
    assert departs(1e-5, 1e-2, nudged=20) < alike[0] / 60  # of both sides: squared
    assert departs(1e-4, 1e-3, nudged=20) > 1
    one_sided = [departs(1e-5, beta, nudged=T, nudge="one-sided") for beta in (1e-3, 1e-2, 1e-1)]
    for coarse, fine in itertools.pairwise(one_sided):
        assert coarse / 12 < fine < coarse / 8


def test_what_is_left_of_settling_is_in_one_side_divided_by_beta():
    """After 12 steps, long before it has settled: two sides share what is left, and subtract it."""
    free, (xs, ys) = 12, held()
    errors = []
    for nudge in ("one-sided", "symmetric"):
        share = free / T  # of the loss that `at_the_end` counts on
        update = program(squares, nudged=T, nudge=nudge)
        grads = update(net_for(squares), xs[:free], ys[-free:], share * 1e-3, jr.key(2))
        errors.append(off(share * flat(grads), exact()))
    assert errors[0] > 1
    assert errors[1] < 1e-5


def test_in_float32_a_very_small_beta_is_rounding():
    small = lambda leaf: leaf.astype(np.float32) if eqx.is_inexact_array(leaf) else leaf
    given, update = jax.tree.map(small, (net_for(squares), *held())), program(squares, nudged=T)
    want = exact()
    with jax.enable_x64(False):
        found = [flat(update(*given, np.float32(beta), jr.key(2))) for beta in (1e-2, 1e-3, 1e-4)]
    assert found[0].dtype == np.float32
    errors = [off(one, want) for one in found]
    assert errors[0] < 1e-2
    assert errors[1] < 1e-2
    assert errors[2] > errors[1]


@pytest.mark.parametrize("activation", ["clip", "half-clip", "tanh"])
def test_any_nonlinearity(activation):
    net = net_of(activation=activation)
    got = flat(program(squares, nudged=T)(net, *held(), 1e-4, jr.key(0)))
    want = flat(jax.jit(px.bptt(squares))(net, *held())[1])
    assert off(got, want) < 1e-5
    assert (got != 0).mean() > 0.5


def test_it_learns_images_that_are_held():
    """Digits, better than the best linear readout of the blocks as they start."""
    pytest.importorskip("sklearn")
    e = px.Experiment(
        task="digits",
        task_options={"order": "whole", "hold": 15, "cost": "squares"},
        cell="settling",
        cell_options={"outputs": 10},
        units=(42,),
        rule="equilibrium",
        rule_options={"beta": 0.5},
        batch=20,
        steps=200,
        lr=1e-2,
        logs=1,
    )
    found = px.run(e).summary
    assert found["test"]["loss"] < 0.5 * found["baselines"]["reservoir"]["loss"]
    assert found["test"]["loss"] < 0.2 * found["baselines"]["constant"]["loss"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"nudge": "symetric"}, "did you mean 'symmetric'"),
        ({"nudged": 0}, "nudged must be a whole number of at least 1"),
        ({"continual": 0.1, "field": True}, "continual needs"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, words):
    with pytest.raises(ArgumentError, match=words):
        px.rules.Equilibrium(**settings)


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="12 units less 4 outputs cannot be shared by 3 equal blocks"):
        px.cells.Settling(7, 12, blocks=3, outputs=4, key=jr.key(0))
    with pytest.raises(ArgumentError, match="do not make 12 units"):
        px.cells.Settling(7, 12, blocks=(6, 5), key=jr.key(0))
    with pytest.raises(ArgumentError, match="the network has 3 outputs"):
        px.cells.Settling(7, 12, blocks=2, outputs=4, key=jr.key(0)).readout(3, key=jr.key(0))
