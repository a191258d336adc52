"""The critic of `reward`: its deltas are credited by lambda traces, and it finds the value of a state."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import normal, stack

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.learning.noise import Recorded
from perturbax.rules.perturbation.critic import Critic, features

T, B = 5, 3
GAMMA, LAM = 0.8, 0.6


@pytest.fixture(scope="module")
def learnt():
    """Estimates of a critic that knows nothing, and of one that does, over one sequence; what was run."""
    net = stack("tanh", 2, 3, 2)
    xs, ys = normal(jr.key(1), (T, B, 2)), normal(jr.key(2), (T, B, 2))
    noise = [normal(jr.key(3 + i), (T, 1, B, n)) for i, n in enumerate((3, 2))]
    rule = px.RULES["reward"](
        sigma=0.2, noise=Recorded(noise), discount=GAMMA, lam=LAM, critic="linear", critic_rate=1.0
    )
    loss = lambda y, target: jnp.mean((y - target) ** 2, -1)
    init, update = px.learner(rule, loss)
    state = init(net, xs[0], jr.key(0))
    w = normal(jr.key(9), state[2].w.shape)
    knows = (*state[:2], state[2]._replace(w=w))
    fresh = update(state, net, xs, ys, jr.key(0))
    return net, xs, ys, noise, loss, w, fresh, update(knows, net, xs, ys, jr.key(0))


def test_deltas_of_the_critic_are_credited_by_lambda_traces(learnt):
    """dA_t = (xi_t / sigma) sum_{s >= t} (gamma lam)^{s-t} delta_s, summed by hand, for w = 0 and any w."""
    net, xs, ys, noise, loss, w, *both = learnt
    advance = eqx.filter_jit(lambda *now: net.step(*now))
    state, sites, losses, phi = net.start(B), [], [], []
    for t in range(T):
        phi.append(features(state))
        state, y, site = advance(state, xs[t], [0.2 * e[t, 0] for e in noise])
        sites.append(site)
        losses.append(loss(y, ys[t]))
    phi = np.asarray([*phi, features(state)])  # (T + 1, B, F)
    for v, (_, _, grads) in zip((np.zeros_like(w), np.asarray(w)), both, strict=True):
        delta = np.asarray(losses) + GAMMA * phi[1:] @ v - phi[:-1] @ v  # (T, B)
        want = 0
        for t in range(T):
            c = sum((GAMMA * LAM) ** (s - t) * delta[s] for s in range(t, T))  # (B,)
            signal = c[:, None] * np.asarray(noise[0][t, 0]) / 0.2  # (B, 3)
            want = want + np.asarray(sites[t][0].z).T @ signal / (T * B)
        np.testing.assert_allclose(grads.layers[0].W, want, rtol=2e-4, atol=1e-5)


def test_the_critic_solves_for_the_fixed_point_of_td_lambda(learnt):
    """A and b by hand, of one sequence; what it expects is the same whatever it expected before."""
    net, xs, ys, noise, loss, _, (after, _, _), (other, _, _) = learnt
    advance = eqx.filter_jit(lambda *now: net.step(*now))
    state, A, b = net.start(B), 0, 0
    e = np.zeros((B, 6))
    for t in range(T):
        before = np.asarray(features(state))
        state, y, _ = advance(state, xs[t], [0.2 * n[t, 0] for n in noise])
        e = GAMMA * LAM * e + before
        A = A + e.T @ (before - GAMMA * np.asarray(features(state))) / (T * B)
        b = b + e.T @ np.asarray(loss(y, ys[t])) / (T * B)
    np.testing.assert_allclose(after[2].A, A, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after[2].b, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(after[2].w, other[2].w)


def test_a_constant_loss_is_worth_its_sum():
    phi = jnp.ones((1, 1))
    critic = Critic.empty(1, float)
    for _ in range(3):
        critic = critic.taught(jnp.full((1, 1), 0.25), jnp.full((1,), 3.0), 0.5)
    assert float(critic.w[0]) == pytest.approx(3.0 / 0.25, rel=2e-3)  # but for the ridge
    assert float(critic.error(jnp.array([3.0]), phi, phi, 0.75)[0]) == pytest.approx(0, abs=6e-3)


def test_settings_that_do_not_go_together():
    reward = px.RULES["reward"]
    with pytest.raises(ArgumentError, match="a critic judges every step"):
        reward(critic="linear", delay="end")
    with pytest.raises(ArgumentError, match="unknown critic 'deep'"):
        reward(critic="deep")
    assert reward(critic="linear").described().keeps == "a linear critic"
    assert "own activity" not in reward().described().uses
