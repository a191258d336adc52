"""Settings that are `auto`: what curvature and noise make of them, and what a run keeps of them."""

import dataclasses
import math

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.cells.base import Recurrent
from perturbax.errors import ArgumentError
from perturbax.experiment.auto import GRID, LIMIT, MOST, best_sigma, curvature_shares, enough_samples
from perturbax.experiment.build import build
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import read_config
from perturbax.experiment.run import resume

SMALL = px.Experiment(
    task="probe-lag1",
    units=(4,),
    batch=4,
    logs=2,
    passes=60,
    rule_options={"sigma": "auto", "samples": "auto"},
)
RULE = px.RULES["node"](credit="to-go", difference="antithetic")


class Sine(Recurrent):
    """sin(gain a) / gain: linear for gain 0."""

    gain: float = px.setting(0.0)

    def __init__(self, n_in, n, *, key, bias=True, gain=0.0):
        super().__init__(n_in, n, key=key, bias=bias)
        self.gain = gain

    def start(self):
        return (), jnp.zeros(self.U.shape[-1])

    def advance(self, h, a):
        return (), jnp.sin(self.gain * a) / self.gain if self.gain else a


def case(gain=0.0, n=3, batches=2):
    net = helpers.network(lambda *args, **kw: Sine(*args, gain=gain, **kw), n=n, scale=0.4)
    xs, ys = helpers.data(steps=4, batch=2 * batches)
    xs, ys = (jnp.moveaxis(s.reshape(4, batches, 2, 1), 1, 0) for s in (xs, ys))
    return net, xs, ys, jr.split(jr.key(3), batches)


def test_a_linear_network_takes_the_largest_sigma():
    found = best_sigma(
        RULE, helpers.mse, *case()
    )  # the loss is quadratic: differences of both signs are exact
    assert found["value"] == GRID[-1] == 1.0
    assert found["rounding"] == pytest.approx(1.5 * np.finfo("float32").eps)
    assert found["share"] < 1e-5
    one_sided = dataclasses.replace(RULE, difference="one-sided")
    # A one-sided difference of a quadratic loss has noise from curvature; it has no bias.
    found = best_sigma(one_sided, helpers.mse, *case())
    assert found["value"] < 0.1
    assert found["bias"] < 1e-3 < found["share"]


def test_a_curved_network_takes_the_largest_sigma_within_the_limit():
    found = {}
    for name, gain in (("node", 2.0), ("node", 16.0), ("weight", 16.0)):
        rule = px.RULES[name](difference="antithetic")
        found[name, gain] = one = best_sigma(rule, helpers.mse, *case(gain))
        at = GRID.index(one["value"])
        share = [share for _, share, _ in one["measured"]]
        assert 0 < at < len(GRID) - 1
        assert share[at] == one["share"] <= LIMIT < share[at + 1]
    # sin(gain a) / gain bends at a ~ 1 / gain.
    assert found["node", 2.0]["value"] >= 4 * found["node", 16.0]["value"]


def test_the_bias_is_that_of_the_estimate_itself(x64):
    """For the same noise, the estimate at sigma against the one at a vanishing sigma."""
    net, xs, ys, keys = case(4.0, batches=1)
    bias = curvature_shares(RULE, helpers.mse, net, xs, ys, keys)[1]

    @jax.jit
    def estimate(s):
        rule = eqx.tree_at(lambda r: r.sigma, RULE, s)
        return helpers.fresh(rule, helpers.mse)(net, xs[0], ys[0], keys[0])[1]

    def norms(grads):
        return (
            np.array([sum(float(jnp.sum(v**2)) for v in jax.tree.leaves(layer)) for layer in grads.layers])
            ** 0.5
        )

    limit = estimate(jnp.asarray(1e-5))
    for i in (2, 6):
        apart = jax.tree.map(jnp.subtract, estimate(jnp.asarray(GRID[i])), limit)
        assert bias[i] == pytest.approx(max(norms(apart) / norms(limit)), rel=0.02)


def test_a_sigma_below_rounding_is_not_resolved():
    """A large constant loss leaves no digits for small differences."""
    share = curvature_shares(RULE, lambda y, target: 1e4 + helpers.mse(y, target), *case())[0]
    assert share[0] > LIMIT > share[-1]
    with pytest.raises(ArgumentError, match="no estimate") as caught:
        best_sigma(RULE, lambda y, target: 0 * y[..., 0], *case())
    assert "\n" not in str(caught.value)


def test_more_noise_takes_more_samples():
    """A smaller batch averages over fewer directions."""
    net, xs, ys, keys = case()
    many = [jnp.tile(s, (1, 1, 16, 1)) for s in (xs, ys)]
    target = 10.0
    few, crowd = (
        enough_samples(RULE, helpers.mse, net, *data, keys, target=target) for data in ((xs, ys), many)
    )
    assert crowd["snr"] == pytest.approx(16 * few["snr"], rel=0.5)
    assert 1 < crowd["value"] < few["value"] <= MOST
    for one in (few, crowd):
        assert one["value"] == min(MOST, math.ceil(target / one["snr"]))
        assert one["reached"] == (one["value"] * one["snr"] >= target)


def test_signal_to_noise_is_that_of_many_draws():
    """On the same batch 256 times, and from as many draws at once."""
    net, xs, ys, _ = case(batches=1)
    draw = jax.jit(jax.vmap(lambda key: helpers.fresh(RULE, helpers.mse)(net, xs[0], ys[0], key)[1]))
    g = np.concatenate(
        [np.asarray(v).reshape(8192, -1) for v in jax.tree.leaves(draw(jr.split(jr.key(9), 8192)))], 1
    )
    noise = g.var(0, ddof=1).sum()
    want = ((g.mean(0) ** 2).sum() - noise / len(g)) / noise
    again = [jnp.tile(s, (256, 1, 1, 1)) for s in (xs, ys)]
    assert enough_samples(RULE, helpers.mse, net, *again, jr.split(jr.key(5), 256))["snr"] == pytest.approx(
        want, rel=0.05
    )


def test_a_run_keeps_numbers_and_resumes(tmp_path):
    def stop(done, total, loss):
        if done and loss == loss:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        px.run(SMALL, tmp_path / "cut", report=stop)
    config = read_config(tmp_path / "cut")
    options, auto = config["experiment"]["rule_options"], config["facts"]["auto"]
    assert options["sigma"] == auto["sigma"]["value"]
    assert options["sigma"] in GRID
    assert auto["sigma"]["share"] <= LIMIT
    assert options["samples"] == auto["samples"]["value"] >= 1
    # The budget pays for steps of 1 + K passes.
    assert config["experiment"]["steps"] == 60 // (1 + options["samples"])
    again = resume(tmp_path / "cut")
    assert again.experiment.rule_options == options
    assert again.summary["status"] == "finished"
    assert not build(again.experiment).auto


def test_a_budget_waits_for_the_samples():
    e = resolve(SMALL)
    assert (e.steps, e.passes) == (30, 60)
    assert resolve(e) == e
    assert resolve(dataclasses.replace(SMALL, passes=None, steps=7)).steps == 7
    assert resolve(dataclasses.replace(SMALL, rule_options={"sigma": "auto"})).steps == 30


def test_sigma_alone_online_and_antithetic():
    e = dataclasses.replace(SMALL, mode="online", rule_options={"sigma": "auto", "difference": "antithetic"})
    parts = build(e)
    assert parts.auto["sigma"]["value"] == parts.rule.sigma == parts.experiment.rule_options["sigma"]
    assert "samples" not in parts.auto
    assert parts.experiment.steps == 30


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule_options": {"discount": "auto"}}, "rule.discount must be a finite number"),
        ({"rule_options": {"sigma": "automatic"}}, "rule.sigma must be a finite number"),
        ({"task_options": {"length": "auto"}}, "whole number"),
        ({"rule": "bptt", "rule_options": {"sigma": "auto"}}, "unknown rule setting 'sigma'"),
        ({"rule": "published-node", "rule_options": {"sigma": "auto"}}, "sigma auto: no sigma keeps"),
        ({"rule_options": {"samples": "auto"}, "passes": 0}, "passes must be above 0"),
    ],
)
def test_what_cannot_be_auto_is_refused(fields, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        build(SMALL.changed(**fields))
    assert "\n" not in str(caught.value)
