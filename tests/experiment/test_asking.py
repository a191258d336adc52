"""Credit that is left open follows from when answers are asked; what a user names stays."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.experiment.asking import longest_wait
from perturbax.experiment.build import build
from perturbax.experiment.resolve import explain, resolve
from perturbax.experiment.result import read_config


class Sparse(px.Task):
    """A task of one's own: some of six steps ask for an answer, and it does not say how many."""

    every: int = px.setting(3)
    sizes = property(lambda self: (1, 1))
    steps = property(lambda self: 6)

    def sample(self, key, batch):
        xs = jr.normal(key, (6, batch, 1))
        asked = (jnp.arange(6) % self.every == self.every - 1)[:, None, None]
        return xs, jnp.where(asked, xs, jnp.nan)


def settled(**settings):
    e = px.Experiment(units=(3,), batch=4, steps=2, **settings)
    return build(e)


def credit_of(**settings):
    own = settled(**settings).experiment.rule_options
    return own["credit"], own["window"]


def test_the_longest_wait_is_from_a_step_to_the_next_answer():
    waits = {"1111": 0, "0001": 3, "0100": 1, "0101": 1, "1001": 2, "0000": 0}
    for asked, wait in waits.items():
        assert longest_wait(np.array([c == "1" for c in asked])) == wait, asked


@pytest.mark.parametrize("rule", ["node", "activity"])
def test_where_one_answer_is_asked_for_credit_reaches_back_to_every_step(rule):
    assert credit_of(task="adding", rule=rule, task_options={"length": 6}) == ("to-go", 20)


def test_credit_follows_from_mask_and_mode():
    own = {"task": f"{__name__}:Sparse"}
    assert credit_of(**own) == ("to-go", 20)
    assert credit_of(**own, mode="online") == ("window", 3)
    assert credit_of(**own, task_options={"every": 1}) == ("same-step", 20)
    assert credit_of(task="narma") == ("window", 20)  # every step asks, and the task ships what was found
    assert credit_of(task="digits", task_options={"order": "whole"}) == ("same-step", 20)  # one step alone
    assert credit_of(task="digits", task_options={"ask": "half"}) == ("to-go", 20)
    for rule in ("bptt", "weight", "published-node"):  # weight holds its noise for the whole sequence
        assert settled(task="adding", rule=rule).auto == {}


def test_what_is_named_or_impossible_otherwise_stays():
    own = {"task": "adding", "task_options": {"length": 6}}
    assert credit_of(**own, rule_options={"credit": "same-step"}) == ("same-step", 20)
    assert credit_of(**own, mode="online", rule_options={"window": 2}) == ("window", 2)
    assert credit_of(**own, rule_options={"noisy_state": "restarted"}) == ("same-step", 20)
    assert px.RULES["node"]().credit == "same-step"  # in Python a rule knows no task


def test_it_is_said_and_kept(tmp_path):
    e = px.Experiment(task="adding", units=(3,), batch=4, steps=2, logs=1, task_options={"length": 6})
    assert resolve(e).rule_options["credit"] == "auto"
    parts = build(e)
    found = explain(e, parts.task)["rule.credit"]
    assert (found.value, found.origin) == ("to-go", "follows from when the task asks")
    said = parts.auto["credit"]
    assert (said["asked"], said["steps"]) == (1, 6)
    assert "at the last of 6 steps" in said["reason"]
    assert "--rule.credit" in said["reason"]
    px.run(e, tmp_path / "run")
    config = read_config(tmp_path / "run")
    assert config["experiment"]["rule_options"]["credit"] == "to-go"
    assert config["facts"]["auto"]["credit"] == said
