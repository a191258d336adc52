"""The map of the rules: where they stand, what is measured, and the page of the docs."""

import sys
from pathlib import Path

import pytest

from perturbax.analysis.taxonomy import place
from perturbax.rules import RULES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


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
    where = place(RULES[rule](**options))
    assert (where.locality, where.causality) == (locality, causality)


def test_the_docs_say_what_the_rules_say():
    import family

    page = (ROOT / "docs" / "taxonomy.md").read_text()
    pairs = family.pairs()
    assert family.family() in page
    assert pairs in page
    # Perturbation learns on every cell; what a pair does not apply for is a reason, not a crash.
    head, _, *rows = (line.split(" | ") for line in pairs.split("\n\n")[0].splitlines())
    cells = [cell.strip("| ") for cell in head[1:]]
    no = {
        row[0].strip("| `"): {c for c, yes in zip(cells, row[1:], strict=True) if "no" in yes} for row in rows
    }
    assert set(no) == set(RULES)
    for rule in ("weight", "node", "activity", "innovation", "evolution", "reward"):
        assert not no[rule]
    assert no["sltt"] == no["ottt"] == set(cells) - {"lif", "alif"}
    assert no["mirror"] == {"lif", "alif", "binary"}
    assert no["feedback"] == {"lif", "alif", "binary", "lru"}
    assert no["rflo"] == {"gru", "mingru", "lstm", "lru", "alif", "binary"}
    assert no["rtrl"] == no["e-prop"] == no["bptt"] == {"binary"}
