"""The map of the rules: where they stand, what is measured, and the page of the docs."""

from pathlib import Path

import compatibility
import family
import pytest

from perturbax.analysis.taxonomy import taxonomy_of
from perturbax.rules import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "taxonomy.md").read_text()


@pytest.mark.parametrize(
    ("rule", "options", "locality", "causality"),
    [
        ("weight", {}, "synapse", "at the end"),
        ("node", {}, "synapse", "online"),
        ("node", {"credit": "to-go"}, "synapse", "at the end"),
        ("node", {"difference": "linearised"}, "neuron", "online"),
        ("innovation", {}, "neuron", "online"),
        ("e-prop", {}, "layer", "online"),
        ("e-prop", {"feedback": "random"}, "neuron", "online"),
        ("rflo", {}, "neuron", "online"),
        ("snap", {}, "layer", "online"),
        ("snap", {"n": 2}, "network", "online"),
        ("rtrl", {}, "network", "online"),
        ("uoro", {}, "network", "online"),
        ("bptt", {}, "network", "backwards"),
        ("mirror", {}, "network", "backwards"),
        ("one-step", {}, "layer", "online"),
        ("ottt", {}, "layer", "online"),
        ("dsf", {}, "network", "backwards"),
    ],
)
def test_places(rule, options, locality, causality):
    where = taxonomy_of(RULES[rule](**options))
    assert (where.locality, where.causality) == (locality, causality)


def test_the_docs_say_what_the_rules_say():
    assert family.section(PAGE, "family") == family.family()


REFUSALS = compatibility.read(family.section(PAGE, "pairs"))


@pytest.mark.parametrize("rule", RULES)
def test_the_docs_say_on_which_cell_a_rule_learns(rule):
    """By trying all cells that it is refused on, and every fifth of the others, not the same for each rule.

    What a pair does not apply for is a reason, not a crash.
    """
    said = REFUSALS[rule]
    assert list(said) == list(compatibility.HIDDEN)
    learns_on = [cell for cell, why in said.items() if not why]
    tried = [cell for cell, why in said.items() if why] + learns_on[list(RULES).index(rule) % 5 :: 5]
    assert {cell: said[cell] for cell in tried} == {cell: compatibility.refusal(rule, cell) for cell in tried}


def test_which_rule_learns_on_which_cell():
    assert compatibility.written(REFUSALS) == family.section(PAGE, "pairs")
    assert list(REFUSALS) == list(RULES)
    no = {rule: {cell for cell, why in reasons.items() if why} for rule, reasons in REFUSALS.items()}
    for rule in ("weight", "node", "activity", "innovation", "evolution", "reward"):
        assert not no[rule]
    assert no["sltt"] == no["ottt"] == set(compatibility.HIDDEN) - {"lif", "alif"}
    assert no["mirror"] == {"lif", "alif", "binary", "conv"}
    assert no["feedback"] == {"lif", "alif", "binary", "lru", "conv"}
    assert no["rflo"] == {"gru", "mingru", "lstm", "lru", "alif", "binary"}
    assert no["rtrl"] == no["e-prop"] == no["bptt"] == {"binary"}
