"""Updates from scalars alone: those of ordinary passes, and right whoever is missing."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from many_devices import data, difference, loss, network

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.learning.scalars import BySample, in_halves

K = 3
ONE = {"samples": 1}
RULES = {
    "same-step": (px.rules.Node(samples=K, noise="gaussian", noisy_state="restarted"), ONE),
    "window": (px.rules.Node(samples=K, credit="window", window=3, discount=0.8), ONE),
    "to-go": (px.rules.Node(samples=K, credit="to-go"), ONE),
    "weight": (px.rules.Weight(samples=K), ONE),
    "evolution": (px.rules.Evolution(population=2 * K), {"population": 2}),
}
REFUSED = {
    "BPTT needs more than scalars": px.rules.BPTT(),
    "Activity needs more than scalars": px.rules.Activity(),
    "ambient noise is in the clean pass": px.rules.Node(ambient=0.1),
    "difference antithetic has no clean pass": px.rules.Node(difference="antithetic"),
    "Orthogonal noise cannot be drawn alone": px.rules.Node(noise="orthogonal"),
    "Scaled noise cannot be drawn alone": px.rules.Node(noise="scaled"),
    "leave hold_steps at 0": px.rules.Weight(hold_steps=2),
    "shaping none and rank at least 1": px.rules.Evolution(shaping="rank"),
}


@pytest.mark.parametrize("name", RULES)
def test_scalars_make_the_mean_of_the_estimates_of_those_present(x64, name):
    rule, one = RULES[name]
    net, (xs, ys) = network(), data(2)
    measure, estimate = in_halves(rule, loss, K)

    @jax.jit
    def made(key, present):
        heard, said = [], []
        for which in (jnp.array([0, 1]), jnp.array([2])):  # of two hosts
            mean, scalars = measure(net, xs, ys, key, which)
            said.append(mean)
            heard.append(scalars)
        every = jnp.concatenate(heard)
        lost = jnp.where(present.reshape(-1, *[1] * (every.ndim - 1)) > 0, every, jnp.nan)
        return every, said, estimate(net, xs, key, lost, present)

    @jax.jit
    def alone(key, i):
        part = dataclasses.replace(rule, noise=BySample(rule.noise, jnp.array([i])), **one)
        return px.learner(part, loss).update((), net, xs, ys, key)[1:]

    key, present = jr.PRNGKey(4), np.array([1.0, 0.0, 1.0])
    each = [alone(key, i) for i in range(K)]
    every, said, grads = made(key, present)
    assert len(every) == K
    assert every.size <= K * xs.shape[0] * xs.shape[1]  # whatever the number of weights
    assert difference(jax.tree.map(lambda a, b: (a + b) / 2, each[0][1], each[2][1]), grads) < 1e-11
    if name != "evolution":  # the clean pass is that of all
        assert all(abs(float(mean - each[0][0])) < 1e-12 for mean in said)
    _, _, whole = made(key, np.ones(K))
    assert difference(jax.tree.map(lambda *g: sum(g) / K, *[g for _, g in each]), whole) < 1e-11


@pytest.mark.parametrize("said", REFUSED)
def test_a_rule_whose_update_needs_more_is_refused_in_one_sentence(said):
    net, (xs, ys) = network(), data(2)
    measure, _ = in_halves(REFUSED[said], loss, K)
    with pytest.raises(ArgumentError, match=said):
        jax.eval_shape(measure, net, xs, ys, jr.PRNGKey(0), jnp.arange(1))


def mean_over_signs(combine):
    """The mean of an estimate over all signs of the noise of two updates, at weights that do not change.

    A linear unit pair, y = W x with squared error: sums over signs are exact, but for rounding.
    """
    W, x, target, sigma = (
        np.array([[0.3, -0.7], [0.2, 0.5]]),
        np.array([0.9, -0.4]),
        np.array([0.1, 0.6]),
        0.1,
    )

    def score(a):
        return np.sum((a - target) ** 2)

    gradient = np.outer(2 * (W @ x - target), x)
    patterns = np.array(list(itertools.product((-1.0, 1.0), repeat=2 * K))).reshape(-1, K, 2)
    deltas = np.array([[score(W @ x + sigma * e) - score(W @ x) for e in xi] for xi in patterns])  # (., K)
    found = [
        np.outer(combine(delta, stale) @ xi / sigma, x)
        for stale in deltas[:: len(deltas) // 4]
        for xi, delta in zip(patterns, deltas, strict=True)
    ]
    return np.mean(found, 0), gradient


PRESENT = [np.array(p) for p in itertools.product((0.0, 1.0), repeat=K) if any(p)]


@pytest.mark.parametrize("present", PRESENT)
def test_the_expectation_does_not_depend_on_who_is_missing(present):
    right, gradient = mean_over_signs(lambda delta, stale: present * delta / present.sum())
    np.testing.assert_allclose(right, gradient, atol=1e-12)
    planned, _ = mean_over_signs(lambda delta, stale: present * delta / K)
    kept, _ = mean_over_signs(lambda delta, stale: (present * delta + (1 - present) * stale) / K)
    for wrong in (planned, kept):  # too short by the share of those who are missing
        np.testing.assert_allclose(wrong, present.mean() * gradient, atol=1e-12)
        assert np.allclose(wrong, gradient) == present.all()
