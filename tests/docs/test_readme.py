"""The README: its examples are the files that run here, its table is what the rules say of themselves."""

import json
import re
import runpy
import sys
from pathlib import Path

import jax
import pytest

import perturbax as px
from perturbax.papers import CITATIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def rules_table():
    """One row per rule, from its class."""
    rows = ["| rule | equation | estimates | passes | memory | sources |", "|---|---|---|---|---|---|"]
    for name, rule in px.RULES.items():
        facts = rule.facts
        sources = ", ".join(re.sub(r"([a-z]+)(\d+).*", r"\1 \2", key).title() for key in facts.papers)
        equation = facts.equation.replace("|", "\\|")
        rows.append(
            f"| `{name}` | `{equation}` | {facts.target} | {facts.cost} | {facts.memory} | {sources} |"
        )
    return "\n".join(rows)


def test_table_of_rules():
    assert rules_table() in README


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_readme_shows_the_examples(path):
    assert f"<!-- example: examples/{path.name} -->\n```python\n{path.read_text()}```" in README


def test_every_source_is_cited():
    for group in (px.RULES, px.CELLS, px.TASKS):
        for name, cls in group.items():
            assert set(getattr(cls, "facts", cls).papers) <= set(CITATIONS), name


def test_the_example_learns(capsys):
    runpy.run_path(str(ROOT / "examples" / "train.py"))
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[0] > 2 * losses[-1]
    assert losses[-1] < 0.02  # the variance of the target is 0.9


OWN = {
    "cell": ["--cell", "own_cell:Binary", "--task", "probe-now", "--rule", "node", "--rule.sigma", "0.5"],
    "rule": ["--rule", "own_rule:Sign", "--rule.credit", "to-go", "--task", "probe-now"],
    "task": [
        "--task",
        "own_task:RunningMean",
        "--task.length",
        "5",
        "--rule",
        "node",
        "--rule.credit",
        "to-go",
    ],
}


@pytest.mark.parametrize("kind", OWN)
def test_own_classes_learn(kind, tmp_path, monkeypatch):
    from perturbax.cli import main

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    fit = ["--units", "32", "--steps", "1500", "--batch", "32", "--lr", "1e-2"]
    assert main(["run", *OWN[kind], *fit, "--out", str(tmp_path / "r")]) == 0
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["test"]["loss"] < 0.2 * result["baselines"]["mean"]["loss"]
    if kind == "cell":
        net = px.load(tmp_path / "r").net
        assert type(net.layers[0]).__name__ == "Binary"
        assert jax.tree.structure(px.weights(net)) is not None
    sys.modules.pop(f"own_{kind}", None)


def test_commands_of_the_readme_parse():
    """Every flag in a code block of the README is one that the command knows."""
    from perturbax.cli.main import parser_of

    blocks = "\n".join(re.findall(r"```\n(.*?)```", README, re.S)).replace("\\\n", " ")
    lines = [line.split("  #")[0] for line in blocks.splitlines() if line.startswith("perturbax ")]
    assert len(lines) >= 8
    for line in lines:
        _, command, *words = line.split()
        parser = parser_of(command)
        known = {flag for action in parser._actions for flag in action.option_strings}
        flags = [w for w in words if w.startswith("--") and not re.match(r"--(task|rule|cell)\.", w)]
        assert set(flags) <= known, line
