"""Guides and notebooks: every block runs, from the first to the last, and what is trained there learns."""

import json
import re

import matplotlib.pyplot as plt
import pages
import pytest

DOCS = pages.ROOT / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
OWN = {"stateful-rule": "perturbax run", "not-asked": "perturbax run"}  # pages with a file of their own


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, from which modules are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_guide_runs_and_learns(page, here, capsys):
    names = pages.run_page(page, here)
    said = capsys.readouterr().out
    found = re.findall(r"loss ([\d.]+) at first, ([\d.]+) ", said)
    assert len(found) == page.read_text().count("at first, {")
    for first, last in found:
        assert float(last) < float(first) / 4, said
    if page.stem == "gates":
        assert "layer 0 (Wrong): drive is not linear in its weights" in said
    if page.stem == "own-loop":
        assert "without a stop: True" in said
        assert names["losses"][-10:].mean() < 0.02  # of the stream
    if page.stem == "closed-loop":
        assert names["off"].mean() < 0.05
    if page.stem == "no-better-than-baseline":
        assert "the start was kept" in said
        assert names["gain"]["z"] < 1.645
        test, combined = names["summary"]["test"]["mse"], names["summary"]["baselines"]["combined"]["mse"]
        assert test == pytest.approx(combined, rel=1e-5)
    if page.stem in OWN:
        from perturbax.cli import main

        (line,) = [line for line in pages.commands_of(page) if line.startswith(OWN[page.stem])]
        assert main(pages.shortened(line)) == 0


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda page: page.stem)
def test_the_notebook_runs_and_learns(notebook, here, capsys):
    plt.switch_backend("agg")
    names = pages.run_page(notebook, here)
    said = capsys.readouterr().out
    assert len(plt.get_fignums()) == 1
    plt.close("all")
    if notebook.stem == "first-steps":
        summary = names["node"].summary
        assert summary["test"]["loss"] < 0.3 * min(m["loss"] for m in summary["baselines"].values())
        assert names["bptt"].summary["test"]["loss"] < summary["test"]["loss"]
    else:
        assert float(re.search(r"new sequences: ([\d.]+)", said)[1]) > 0.75


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda page: page.stem)
def test_the_notebook_shows_what_it_prints(notebook):
    """Outputs are stored, so that the site shows them: none is an error, and cells are numbered in order."""
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert all(output["output_type"] != "error" for output in cell["outputs"])
        assert bool(cell["outputs"]) == (
            "print(" in "".join(cell["source"]) or "plt." in "".join(cell["source"])
        )
