"""The benchmark of NeuroGym: what counts as a right choice, with a stand-in for the package."""

import sys
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FakeGym

from perturbax.bench import neurogym
from perturbax.tasks import NeuroGym


def test_right_choices_are_those_of_steps_that_ask(monkeypatch):
    """Of 7 steps, 4 ask for a choice and 1 of these is answered right; waiting is not counted."""
    monkeypatch.setitem(sys.modules, "neurogym", FakeGym())
    task = NeuroGym(env="GoNogo-v0", length=7, pool=4).open(None)
    right, said = np.array([0, 1, 2, 0, 1, 2, 0]), np.array([1, 1, 1, 0, 0, 0, 2])
    y, target = (jnp.eye(3)[actions][:, None] for actions in (said, right))
    measured = {name: float(value) for name, value in task.metrics(y, target).items()}
    result = SimpleNamespace(summary={"test": measured})
    for part, env in neurogym.ENVIRONMENTS.items():
        found = neurogym.right_choices(result, SimpleNamespace(env=env))
        assert found == {"right choices, %": pytest.approx(25), f"{part}, %": pytest.approx(25)}


def test_a_mean_over_all_tasks_and_one_of_each():
    one = neurogym.BENCHMARK
    names = [measure.name for measure in one.measures]
    assert names == ["right choices, %", *(f"{part}, %" for part in one.parts)]
    assert len(set(names)) == len({settings["env"] for settings in one.parts.values()}) + 1 == 11
