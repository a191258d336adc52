"""Learning from replayed episodes: traces, exact values and gradients of a small Markov chain, and memory."""

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.errors import ArgumentError
from perturbax.learning.credit import to_go
from perturbax.loop.offpolicy import TRACES, close_enough, corrected, grown, lags, weights_of_actor

LAM = 0.9


@functools.partial(jax.jit, static_argnums=(0, 2))
def betas(method, ratios, lam=LAM):
    """Coefficients of one trace at lags 0 .. K, of ratios `(K, ...)`: `(K + 1, ...)`."""

    def one(now, rho):
        beta, product, power = now
        product, power = product * rho, power * lam
        beta = grown(method, beta, product, rho, power, lam)
        return (beta, product, power), beta

    first = jnp.ones_like(ratios[0])
    later = jax.lax.scan(one, (first, first, jnp.ones(())), ratios)[1]
    return jnp.concatenate([first[None], later])


def test_coefficients_are_bounded_as_published(x64):
    ratios = jnp.exp(jr.normal(jr.key(0), (8, 500)))
    power = LAM ** np.arange(9)[:, None]
    found = {method: np.asarray(betas(method, ratios)) for method in TRACES}
    for method, beta in found.items():
        np.testing.assert_allclose(
            betas(method, jnp.ones_like(ratios))[:, :1], power, rtol=1e-14
        )  # on policy
        shrinks = (beta[1:] <= np.asarray(ratios) * beta[:-1] * (1 + 1e-12)).all()
        assert shrinks == (method != "truncated-is")  # the condition of convergence
    assert (found["rbis"] >= found["retrace"] - 1e-15).all()
    assert (found["rbis"] > 2 * found["retrace"]).any()
    assert (found["rbis"] <= power + 1e-15).all()
    assert (found["recursive-retrace"] > power + 1e-3).any()


def test_only_truncated_importance_sampling_may_not_contract(x64):
    """|Z|, Z = sum_t gamma^t (B_{t-1} P_pi - B_t): 1 or more, no contraction (Daley et al. 2023, lam 1).

    One state, two actions, behaviour 1/2, target 0.6 and 0.4. B_t = E_mu[beta_t, a_t] after any first action.
    """
    gamma, pi = 0.94, np.array([0.6, 0.4])

    def norm(means, gamma=gamma, pi=pi):
        """|Z| from E_mu[beta_t, a_t] of t = 1, 2, .., `(steps, 2)`."""
        B = [np.eye(2), *(np.array([mean, mean]) for mean in means)]
        P = np.array([pi, pi])
        Z = sum(gamma**t * (B[t - 1] @ P - B[t]) for t in range(1, len(B)))
        return np.abs(Z).sum(1).max()

    # Truncated importance sampling knows but the product: k of the first action among the t - 1 before.
    each = [(t, k, last) for t in range(1, 120) for last in (0, 1) for k in range(t)]
    product = np.array([2.0**t * pi[0] ** k * pi[1] ** (t - 1 - k) * pi[last] for t, k, last in each])
    beta = grown("truncated-is", *map(jnp.asarray, (product, product, product)), 1.0, 1.0)
    truncated = np.zeros((119, 2))
    for (t, k, last), one in zip(each, np.asarray(beta), strict=True):
        truncated[t - 1, last] += math.comb(t - 1, k) / 2**t * one
    assert norm(truncated) == pytest.approx(1.140, abs=1e-3)
    # Traces of 1 after the first action and 0 after the other: no contraction even on policy, from 2/3 on.
    binary = np.array([[0.5, 0.0]] * 119)
    assert norm(binary, 2 / 3, np.array([0.5, 0.5])) == pytest.approx(1.0, abs=1e-12)
    assert norm(binary, 0.6, np.array([0.5, 0.5])) < 0.9
    actions = np.array(list(itertools.product((0, 1), repeat=8))).T  # every sequence of 8
    for method in TRACES:
        beta = np.asarray(betas(method, jnp.asarray(2 * pi[actions]), 1.0))[1:]
        means = np.stack([(beta * (actions == last)).mean(1) for last in (0, 1)], 1)
        if method == "truncated-is":
            np.testing.assert_allclose(means, truncated[:8], rtol=1e-12)
        else:
            assert norm(means) < gamma


# --- a Markov chain with two states and two actions, every episode of 4 steps counted

GAMMA, STEPS = 0.8, 4
MOVES = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.3, 0.7]]])  # state, action, next state
LOSSES = np.array([[1.0, -0.5], [0.3, 2.0]])  # state, action
MU, PI = np.array([[0.7, 0.3], [0.4, 0.6]]), np.array([[0.2, 0.8], [0.9, 0.1]])  # state, action


def value(policy):
    """The value of each state, by the Bellman equation."""
    P = np.einsum("sa,sat->st", policy, MOVES)
    return np.linalg.solve(np.eye(2) - GAMMA * P, (policy * LOSSES).sum(1))


def every_episode():
    """States `(T + 1, E)`, actions `(T, E)`, and the probability of all that is not the policy's, `(E,)`."""
    each = list(itertools.product((0, 1), repeat=2 * STEPS + 1))
    states, actions = (np.array(each).T[i::2] for i in (0, 1))
    chance = 0.5 * MOVES[states[:-1], actions, states[1:]].prod(0)
    return states, actions, chance


@pytest.mark.parametrize("method", TRACES)
def test_replayed_values_are_those_of_the_target_policy(method, x64):
    """The expected update's fixed point, exactly; without correction it is the behaviour's value."""
    states, actions, chance = every_episode()
    probability = chance * MU[states[:-1], actions].prod(0)
    phi, loss = np.eye(2)[states], LOSSES[states[:-1], actions]
    log_ratio = np.log(PI / MU)[states[:-1], actions]
    assert probability.sum() == pytest.approx(1)

    def found(log_ratio):
        args = map(jnp.asarray, (phi, loss, log_ratio))
        return np.linalg.solve(*_corrected(*args, GAMMA, LAM, method, jnp.asarray(probability)))

    np.testing.assert_allclose(found(log_ratio), value(PI), rtol=1e-12)
    np.testing.assert_allclose(found(0 * log_ratio), value(MU), rtol=1e-12)
    clipped = found(np.minimum(log_ratio, 0))  # also the ratio of the last action
    assert np.abs(clipped - value(PI)).max() > 0.3
    assert np.abs(value(MU) - value(PI)).max() > 0.3


_corrected = jax.jit(corrected, static_argnums=(4, 5))


def test_the_recursion_is_the_explicit_sum(x64):
    """A and b of RBIS, every pair of a state and a later loss by hand."""
    T, B, F = 5, 3, 2
    phi, loss, log_ratio = (
        np.asarray(jr.normal(jr.key(i), s)) for i, s in enumerate(((6, 3, 2), (5, 3), (5, 3)))
    )
    A, b = np.zeros((F, F)), np.zeros(F)
    for e, t in itertools.product(range(B), range(T)):
        padded = np.concatenate([log_ratio[t:, e], np.zeros(t)])
        beta = np.asarray(betas("rbis", jnp.asarray(np.exp(padded))))
        for k in range(T - t):
            weight = GAMMA**k * beta[k] * np.exp(log_ratio[t + k, e]) / (T * B)
            A += weight * np.outer(phi[t, e], phi[t + k, e] - GAMMA * phi[t + k + 1, e])
            b += weight * phi[t, e] * loss[t + k, e]
    args = map(jnp.asarray, (phi, loss, log_ratio))
    found = _corrected(*args, GAMMA, LAM, "rbis", jnp.full(B, 1 / B))
    np.testing.assert_allclose(found[0], A, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[1], b, rtol=1e-12, atol=1e-14)
    assert [lags(0.0, 9), lags(0.5, 99), lags(1.0, 7)] == [1, 10, 7]


def test_weighted_actors_have_the_gradient_of_the_target_and_clipped_ones_another_sign(x64):
    """Every episode counted: scores times weighted losses, against autodiff of the expected loss."""
    states, actions, chance = every_episode()
    loss = np.array([[-1.1, -1.9], [-0.9, 0.1]])[states[:-1], actions]
    mu = MU[states[:-1], actions]
    theta = jnp.log(jnp.asarray(PI))

    def log_pi(theta):
        return jax.nn.log_softmax(theta, 1)[states[:-1], actions]  # (T, E)

    @jax.jit
    def gradients(theta):
        expected = jax.grad(lambda t: (chance * jnp.exp(log_pi(t).sum(0)) * loss.sum(0)).sum())(theta)
        log_ratio = log_pi(theta) - jnp.log(mu)

        def estimated(log_ratio):
            c = (chance * mu.prod(0))[None] * to_go(weights_of_actor(log_ratio) * loss, 1.0)
            return jax.vjp(log_pi, theta)[1](c)[0]

        return expected, estimated(log_ratio), estimated(jnp.minimum(log_ratio, 0)), estimated(0 * log_ratio)

    want, weighted, clipped, without = map(np.asarray, gradients(theta))
    np.testing.assert_allclose(weighted, want, rtol=1e-11)
    assert (clipped * want)[0, 0] < -0.01  # the wrong way
    assert np.abs(without - want).max() > 0.1


def test_episodes_that_were_lived_together_are_taken_together():
    lived, variance = jnp.array([2, 2, 1, 1, -1]), jnp.array([0.0, 1.8, 0.1, 2.0, 0.0])
    taken, share = jax.jit(close_enough, static_argnums=2)(variance, lived, 1.0)
    np.testing.assert_array_equal(taken, [True, True, False, False, False])
    np.testing.assert_array_equal(share, [0.5, 0.5, 0, 0, 0])


# --- in a world

WORLD = px.tasks.Bandit(arms=2, delay=1)
B = 4


def loop_of(replay, **rule):
    settings = {"sigma": 0.5, "critic": "linear", "critic_rate": 1.0, "discount": 1.0, "lam": 1.0, **rule}
    return px.closed_loop(px.RULES["reward"](**settings), WORLD, optax.sgd(1.0), replay=replay)


@pytest.fixture(scope="module")
def lived():
    """States after one update, without and with room for older episodes; the latter with moved weights."""
    net = eqx.filter_jit(lambda: px.Network(stack(px.CELLS["tanh"], WORLD.sizes, (2,), jr.key(0))))()
    plain, loop = loop_of(0), loop_of(2 * B)
    usual = plain.update(plain.init(net, jr.key(1)), jr.key(2), B)
    first = loop.update(loop.init(net, jr.key(1)), jr.key(2), B)
    moved = jax.tree.map(lambda w: 1.2 * w + 0.02, net)
    before = first[0]._replace(net=moved)
    return net, moved, usual, first, before, loop


def test_without_older_episodes_replay_is_the_rule_itself(lived):
    net, _, usual, first, _, _ = lived
    assert float(usual[1]) == float(first[1])
    for mine, theirs, start in zip(*map(jax.tree.leaves, (first[0].net, usual[0].net, net)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
        assert not np.array_equal(mine, start)
    np.testing.assert_allclose(first[0].kept[-1].A, usual[0].kept[-1].A, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first[0].kept[-1].b, usual[0].kept[-1].b, rtol=1e-5, atol=1e-6)
    assert (int(first[0].memory.for_critic), int(first[0].memory.for_actor)) == (B, B)


def test_replayed_updates_are_the_gradient_of_weighted_losses(lived):
    """Weights moved between two updates: autodiff of sum_s rho_0 .. rho_s delta_s, by normal densities."""
    _, moved, _, _, before, loop = lived
    after, _ = loop.update(before, jr.key(3), B)
    memory, critic = after.memory, before.kept[-1]
    assert jax.tree.map(jnp.shape, memory) == jax.tree.map(jnp.shape, before.memory)  # bounded
    assert int(memory.for_actor) == 2 * B
    kept = memory.episodes

    @jax.jit
    @jax.grad
    def want(net):
        log_ratio = 0.0
        for layer, site, m, s in zip(net.layers, kept.sites, kept.mean, kept.signal, strict=True):
            now = jax.vmap(jax.vmap(layer.drive))(site.z, site.r)
            drawn = m + 0.5**2 * s
            density = jax.scipy.stats.norm.logpdf
            log_ratio += (density(drawn, now, 0.5) - density(drawn, m, 0.5)).sum(-1)
        phi = kept.features()
        delta = kept.loss + phi[1:] @ critic.w - phi[:-1] @ critic.w
        return jnp.mean(jnp.exp(jnp.cumsum(log_ratio, 0)) * delta)

    leaves = zip(*map(jax.tree.leaves, (want(moved), moved, after.net)), strict=True)
    for grad, start, end in leaves:
        np.testing.assert_allclose(start - end, grad, rtol=2e-4, atol=2e-6)
    far = before._replace(net=jax.tree.map(lambda w: w + 3, moved))
    left = loop.update(far, jr.key(3), B)[0].memory
    assert (int(left.for_critic), int(left.for_actor)) == (B, B)


def test_what_cannot_be_replayed(lived):
    with pytest.raises(ArgumentError, match=r"replay corrects a critic: take px\.rules\.Reward\(critic="):
        loop_of(8, critic="none")
    with pytest.raises(ArgumentError, match="credit to-go or trace"):
        loop_of(8, credit="window")
    with pytest.raises(ArgumentError, match="Rademacher noise has no density"):
        loop_of(8, noise="rademacher")
    with pytest.raises(ArgumentError, match="unknown traces 'vtrace'"):
        px.closed_loop(px.RULES["reward"](critic="linear"), WORLD, optax.sgd(1.0), replay=8, traces="vtrace")
    before, loop = lived[-2:]
    with pytest.raises(ArgumentError, match="replay=8 keeps fewer episodes than the 9 of an update"):
        loop.update(before, jr.key(1), 9)
