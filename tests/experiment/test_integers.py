"""Weights of few bits: whole numbers after every update, right on average, perturbed by whole steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import error_of

import perturbax as px
from perturbax.experiment.integers import Integers, rounded_at_random

EIGHT = Integers(8, 1.0)


def test_updates_are_rounded_to_whole_steps_and_are_right_on_average():
    step = rounded_at_random(0.25, 1.0)
    w = {"a": jnp.full((20_000,), 0.5), "b": jnp.full((2,), 0.75)}
    change = {"a": jnp.full((20_000,), 0.05), "b": jnp.full((2,), 9.0)}
    update = jax.jit(step.update)
    moved, made = update(change, step.init(w), w)
    assert set(np.unique(moved["a"])) == {0.0, 0.25}  # the weights on both sides, and no others
    error = 0.25 * np.sqrt(0.2 * 0.8 / 20_000)  # a fifth of the updates is made, five times as large
    assert abs(float(moved["a"].mean()) - 0.05) < 5 * error
    assert np.array_equal(moved["b"], [0.25, 0.25])  # no weight is above the top
    again, _ = update(change, made, w)
    assert np.any(again["a"] != moved["a"])  # drawn anew


@pytest.mark.parametrize("rule", ["weight", "evolution"])
def test_a_run_holds_whole_numbers_alone(rule, tmp_path):
    e = px.Experiment("probe-now", rule, units=4, batch=4, steps=4, logs=2, lr=1e-2, bits=8)
    e = e.changed(rule_options={"sigma": 2 * EIGHT.step})
    result = px.run(e, tmp_path / "run")
    for w in jax.tree.leaves(px.weights(result.net)):
        numbers = np.asarray(w) / EIGHT.step
        assert np.abs(numbers - np.round(numbers)).max() < 1e-3
        assert np.abs(numbers).max() <= 127
    still = jax.tree.leaves(px.run(e.changed(lr=1e-9)).net)  # by the same program
    assert any(np.any(a != b) for a, b in zip(still, jax.tree.leaves(result.net), strict=True))
    assert px.load(tmp_path / "run").experiment.bits == 8


def test_noise_that_leaves_the_grid_is_refused(capsys, tmp_path):
    words = ["run", "--task", "probe-now", "--units", "4", "--steps", "2", "--bits", "8", "--rule"]
    for more, said in (
        (["evolution"], "take whole ones, such as --rule.sigma 0.015748, which are two"),
        (["weight", "--rule.sigma", "0.015748", "--rule.noise", "gaussian"], "take noise rademacher"),
        (["evolution", "--rule.sigma", "0.015748", "--rule.rank", "2"], "rank 1 (or 0)"),
        (["bptt", "--bits", "40"], "bits must be 2 to 16, or 0 for floats, not 40"),
        (["bptt", "--prune", "0.5"], "leave bits or prune at 0"),
    ):
        status, line = error_of(capsys, [*words, *more, "--out", str(tmp_path / "no")])
        assert (status, said in line) == (2, True), line
    assert optax.chain(optax.sgd(1.0), px.rounded_at_random(EIGHT.step, 1.0))
    EIGHT.check(px.RULES["node"]())  # its noise is none of weights
    perturbing = {name for name, rule in px.RULES.items() if rule.perturbs_weights}
    assert perturbing == {"weight", "published-weight", "evolution", "pes", "nres"}
