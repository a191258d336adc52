"""Rules written for version 0.1.0: facts are understood, methods that are called otherwise are named."""

from typing import ClassVar

import helpers
import jax.random as jr
import pytest

import perturbax as px
from perturbax.errors import ArgumentError


def test_a_signal_rule_of_the_old_readme_works():
    with pytest.warns(DeprecationWarning, match=r"equation, target are now facts = px\.Facts"):

        class Sign(px.NodePerturbation):
            equation: ClassVar[str] = "dA = sign(delta) xi z^T"
            target: ClassVar[str] = "biased: all differences count alike"

            def signal(self, net, sites, delta, inject):
                return (delta > 0) * 2.0 - 1.0, [noise / self.sigma for noise in self.pair(list(inject))]

    assert Sign.facts.equation == "dA = sign(delta) xi z^T"
    assert Sign(credit="to-go").described().target == "biased: all differences count alike"
    net = helpers.network(px.cells.Tanh, n=2)
    assert helpers.fresh(Sign(credit="replay"), helpers.mse)(net, *helpers.data(), jr.key(0))[0] > 0


@pytest.mark.parametrize(("old", "new"), [("estimator", "SequenceRule.update"), ("begin", "init_state")])
def test_old_methods_are_named_with_the_new(old, new):
    with pytest.raises(ArgumentError, match=new):
        type("Own", (px.Rule,), {old: lambda self, *given: None, "__module__": __name__})


def test_a_field_may_have_an_old_name():
    class Remembers(px.StepRule):
        memory: float = 0.5

        def step(self, net, carry, x, score, noise):
            raise NotImplementedError

    assert Remembers(memory=0.2).memory == 0.2
