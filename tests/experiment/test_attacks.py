"""Training on attacked images: what the copy of a batch is, what it costs, and where it cannot be had."""

import jax
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment.attacks import Attack
from perturbax.experiment.build import build, open_task
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import describe
from perturbax.report import write_report

pytest.importorskip("sklearn")
WHOLE = {"task": "digits", "task_options": {"order": "whole"}, "cell": "dense", "units": (8,), "batch": 6}


@pytest.fixture(scope="module")
def task():
    return open_task(resolve(px.Experiment(**WHOLE)))


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_the_copy_is_within_eps_and_answered_worse(task, kind):
    layers = [px.cells.Dense(64, 8, key=jr.key(0)), px.cells.Readout(8, 10, key=jr.key(1))]
    net, (xs, ys) = px.Network(layers), task.sample(jr.key(2), 6)
    attack = Attack(kind, 0.05, 4)
    both, answers = jax.jit(lambda net: attack.batch(task, net, xs, ys, jr.key(3)))(net)
    assert both.shape == (1, 12, 64)
    np.testing.assert_array_equal(both[:, :6], xs)
    np.testing.assert_array_equal(answers[:, 6:], ys)
    copy = np.asarray(both[:, 6:])
    assert np.abs(copy - xs).max() <= 0.05 + 1e-6
    assert copy.min() >= 0
    assert copy.max() <= 1
    losses = jax.vmap(task.loss)(px.forward(net, both), answers)[0]  # (2 B,)
    assert (losses[6:] > losses[:6]).all()


def test_what_it_costs_is_counted():
    def of(**more):
        return build(px.Experiment(**WHOLE, rule="node", passes=120, **more))

    assert (of().setup.passes, of().experiment.steps) == (2, 60)
    fgsm, pgd = of(attack="fgsm"), of(attack="pgd", attack_steps=5)
    assert (fgsm.setup.passes, fgsm.experiment.steps) == (2 * 2 + 3, 17)
    assert pgd.setup.passes == 2 * 2 + 3 * 5
    assert describe(pgd)["facts"]["attack"]["papers"] == ["goodfellow2015", "madry2018"]
    assert not {"attack", "attack_eps"} & set(of().experiment.to_dict())
    assert fgsm.experiment.to_dict()["attack_eps"] == 0.1


def test_a_rule_learns_under_attack(tmp_path):
    more = {"attack": "fgsm", "attack_eps": 0.1, "steps": 60, "logs": 1, "lr": 3e-2, "units": (32,)}
    result = px.run(px.Experiment(**{**WHOLE, **more}, rule="pepita"), tmp_path / "run")
    assert result.summary["valid_loss"] < 1.5
    assert result.summary["forward_passes"] == 60 * (2 * 2 + 3)
    assert px.load(tmp_path / "run").experiment.attack == "fgsm"
    page = write_report([tmp_path / "run"], tmp_path / "report").read_text()
    assert 'arXiv:1412.6572. <span class="for">fgsm</span>' in page


def test_it_is_for_images_in_sequence_mode():
    with pytest.raises(ArgumentError, match="attack fgsm changes images"):
        build(px.Experiment(task="adding", attack="fgsm"))
    with pytest.raises(ArgumentError, match="needs mode sequence"):
        build(px.Experiment(task="digits", mode="online", attack="fgsm"))
    with pytest.raises(ArgumentError, match="attack"):
        resolve(px.Experiment(task="digits", attack="strong"))
