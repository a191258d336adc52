"""README and docs: examples are the files that run here, tables are what the rules say of themselves."""

import importlib
import json
import re
import runpy
import sys
from pathlib import Path

import family
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from helpers import mse

import perturbax as px
from perturbax.papers import CITATIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RULES_PAGE = (ROOT / "docs" / "rules.md").read_text()
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DOCS = ROOT / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in DOCS.glob("*.md"))]
PAGES += [f"docs/guides/{page.name}" for page in GUIDES]


def test_table_of_rules():
    """docs/rules.md shows what the rules say of themselves; `python benchmarks/family.py` writes it."""
    assert family.section(RULES_PAGE, "rules") == family.rules_table()


def test_readme_names_every_rule_cell_and_task():
    """And nothing else, within the table of rules."""
    shown = README.split("## What is inside")[1].split("## Extend it")[0]
    names = set(re.findall(r"`([a-z0-9-]+)`", shown))
    for group in (px.RULES, px.CELLS, px.TASKS):
        assert {name for name in group if name not in ("readout", "leaky-readout")} - names == set()
    table = "\n".join(line for line in shown.splitlines() if line.startswith("| "))
    in_table = re.findall(r"`([a-z0-9-]+)`", table)
    assert sorted(in_table) == sorted(px.RULES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_readme_shows_the_examples(path):
    assert f"<!-- example: examples/{path.name} -->\n```python\n{path.read_text()}```" in README


def test_every_source_is_cited():
    for group in (px.RULES, px.CELLS, px.TASKS):
        for name, cls in group.items():
            sourced = cls.facts if group is px.RULES else cls
            assert set(sourced.papers) <= set(CITATIONS), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)  # code has other brackets
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in link:
            assert ((ROOT / page).parent / link).exists(), link


def test_every_page_is_in_the_index():
    """In the list for readers of the repository, and in the contents of the site."""
    index, contents = (DOCS / "README.md").read_text(), (DOCS / "index.md").read_text()
    pages = [*DOCS.glob("*.md"), *GUIDES, *(DOCS / "notebooks").glob("*.ipynb")]
    for page in pages:
        place = page.relative_to(DOCS)
        if page.name == "index.md":
            continue
        elsewhere = page.read_text().startswith("<!-- from: ")
        assert page.name == "README.md" or elsewhere or f"]({place})" in index, place
        listed = rf"^(.*<)?{re.escape(place.with_suffix('').as_posix())}>?$"
        assert page.name == "README.md" or re.search(listed, contents, re.M), place


def test_the_example_learns(capsys):
    runpy.run_path(str(ROOT / "examples" / "train.py"))
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[0] > 2 * losses[-1]
    assert losses[-1] < 0.02  # the variance of the target is 0.9


def test_the_forecast_is_as_good_as_the_noise_allows(capsys):
    runpy.run_path(str(ROOT / "examples" / "forecast.py"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["row 1 ahead", "row 24 ahead", "held back"]
    error, noise = (float(words.split()[-1]) for words in lines[2].split(","))
    assert error < 1.5 * noise


TO_GO = ["--rule.credit", "to-go"]
OWN = {  # classes of one's own, two in a run
    "cell": ["--cell", "own_cell:Binary", "--rule", "own_rule:Sign", *TO_GO, "--task", "probe-now"],
    "task": ["--task", "own_task:RunningMean", "--task.length", "5", "--rule", "own_sequence_rule:Direction"],
}
OWN["cell"] += ["--rule.sigma", "0.5"]


@pytest.fixture
def own(monkeypatch):
    """Make the examples importable by name, as they are in the folder that a user works in."""
    modules = [path.stem for path in EXAMPLES if path.stem.startswith("own_")]
    for module in modules:
        sys.modules.pop(module, None)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    yield
    for module in modules:
        sys.modules.pop(module, None)


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.usefixtures("own")
def test_own_classes_learn(kind, tmp_path):
    from perturbax.cli import main

    fit = ["--units", "32", "--steps", "1500", "--batch", "32", "--lr", "1e-2"]
    assert main(["run", *OWN[kind], *fit, "--out", str(tmp_path / "r")]) == 0
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["test"]["loss"] < 0.2 * result["baselines"]["mean"]["loss"]
    if kind == "cell":
        net = px.load(tmp_path / "r").net
        assert type(net.layers[0]).__name__ == "Binary"
        assert jax.tree.structure(px.weights(net)) is not None


OWN_RULES = ("own_rule:Sign", "own_sequence_rule:Direction")  # `compare` with them is in test_commands.py
OWN_CELL_AND_TASK = ["--cell", "own_cell:Binary", "--task", "own_task:RunningMean", "--task.length", "3"]
SHORT = [*OWN_CELL_AND_TASK, "--units", "4", "--batch", "4"]


@pytest.mark.usefixtures("own")
def test_own_cell_rule_and_task_in_tune(tmp_path):
    from perturbax.cli import main

    rule = "own_sequence_rule:Direction"
    words = ["tune", "--rule", rule, *SHORT, "--steps", "2", "--lrs", "1e-2"]
    assert main([*words, "--out", str(tmp_path / "tuned")]) == 0
    tuned = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert tuned["experiment"]["rule"] == rule


@pytest.mark.usefixtures("own")
def test_own_cell_rule_and_task_in_diagnose(tmp_path):
    from perturbax.cli import main

    rule = "own_rule:Sign"
    few = ["--steps", "2", "--samples", "1", "--draws", "4"]
    assert main(["diagnose", "--rule", rule, *SHORT, *few, "--out", str(tmp_path / "d")]) == 0
    assert (tmp_path / "d" / "diagnosis.json").exists()


@pytest.mark.parametrize("rule", OWN_RULES)
@pytest.mark.usefixtures("own")
def test_own_cell_rule_and_task_with_px_learner(rule):
    module, _, name = rule.partition(":")
    own_rule = getattr(importlib.import_module(module), name)()
    below = importlib.import_module("own_cell").Binary(1, 4, key=jr.key(0))
    net = px.Network((below, px.cells.Readout(4, 1, key=jr.key(1))))
    xs, ys = importlib.import_module("own_task").RunningMean().sample(jr.key(2), 4)
    init, update = px.learner(own_rule, mse)
    state = init(net, xs[0], jr.key(3))
    for key in jr.split(jr.key(4), 2):
        state, loss, grads = update(state, net, xs, ys, key)
        assert jnp.isfinite(loss)
        assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
        assert any(jnp.abs(g).max() > 0 for g in jax.tree.leaves(grads))
