"""The map of the rules: where they stand, what is measured, and the page of the docs."""

import json
import sys
from pathlib import Path

import pytest

from perturbax.analysis.taxonomy import CAUSALITY, LOCALITY, place
from perturbax.cli import main
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


def test_every_rule_has_a_place(capsys):
    assert main(["taxonomy"]) == 0
    printed = capsys.readouterr().out
    for name, rule in RULES.items():
        assert name in printed
        where = place(rule())
        assert where.locality in LOCALITY
        assert where.causality in CAUSALITY
        assert where.target
        assert where.cost
        assert where.memory


def test_measured_on_a_network(tmp_path, capsys):
    folder = tmp_path / "map"
    arguments = [
        "taxonomy",
        "--rules",
        "bptt,one-step,rtrl,node:credit=to-go",
        "--task",
        "probe-lag1",
        "--units",
        "4",
        "--steps",
        "3",
        "--draws",
        "4",
        "--out",
        str(folder),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    data = json.loads((folder / "taxonomy.json").read_text())
    found = {row["name"]: row for row in data["rules"]}
    assert found["bptt"]["cosine"] == pytest.approx(1, abs=1e-6)
    assert found["rtrl"]["cosine"] == pytest.approx(1, abs=1e-5)
    assert found["one-step"]["cosine"] < 0.999
    assert found["one-step"]["biased"]
    assert found["node:credit=to-go"]["variance"] > 1
    assert all(row["seconds_per_step"] > 0 for row in found.values())
    page = (folder / "taxonomy.html").read_text()
    for name in found:
        assert name in printed
        assert name in page
    assert "node:credit=to-go" in (folder / "taxonomy.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--units", "8"], "name --out"),
        (["--rule.sigma", "1", "--out", "x"], "belong in --rules"),
        (["--rules", "nothing", "--out", "x"], "unknown rule"),
        (["--rules", ",", "--out", "x"], "names no rule"),
        (["--draws", "abc"], "whole number"),
        (["--draws", "8"], "name --out"),
        (["--mode", "online", "--out", "x"], "unknown argument"),
        (["--draws", "2", "--rules", "bptt", "--out", "x"], "draws"),
    ],
)
def test_what_is_refused(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--task", "probe-lag1", "--units", "2", "--steps", "1"] if "--out" in arguments else []
    assert main(["taxonomy", *arguments, *small]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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
