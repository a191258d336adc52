"""`diagnose`: what it prints, writes and refuses, along training and at a finished run."""

import json
import re

import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.result import describe

TRAINED = ["--task", "probe-lag1", "--units", "4", "--batch", "4"]
QUICK = [*TRAINED, "--samples", "1,3", "--draws", "6"]


def test_command_prints_and_writes_the_diagnosis(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "d"
    assert main(["diagnose", *QUICK, "--steps", "6", "--rule.credit", "to-go", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 120
    for word in ("start, step 0", "middle, step 3", "end, step 6", "layers[0].U", "passes to 0.5", str(out)):
        assert word in said
    data = json.loads((out / "diagnosis.json").read_text())
    assert [p["step"] for p in data["points"]] == [0, 3, 6]
    rounding = "Rounding leaves a relative error of about 1.8e-04 in differences of losses."  # of float32
    assert rounding in said
    assert rounding in (out / "diagnosis.html").read_text()
    assert [a["passes"] for a in data["points"][0]["groups"][-1]["averages"]] == [2, 4]
    assert data["experiment"]["rule_options"]["credit"] == "to-go"
    html = (out / "diagnosis.html").read_text()
    assert html.count("<svg viewBox") == 3
    assert not re.search(r'(src|href)="(?!#)', html)
    assert "layers[0].U" in html
    assert sorted(f.name for f in out.iterdir()) == ["diagnosis.html", "diagnosis.json"]
    assert main(["diagnose", *QUICK, "--out", str(out)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


KEEPS = """
import jax
import jax.numpy as jnp
import perturbax as px


class Counts(px.SequenceRule):
    '''The exact gradient times the number of updates that it has seen.'''

    def init_state(self, net, x, key):
        return jnp.ones(())

    def update(self, state, net, xs, ys, loss, key):
        value, g = px.bptt(loss)(net, xs, ys)
        return state + 1, value, jax.tree.map(lambda v: v * state, g)

    facts = px.Facts(uses=("output error", "stored sequence", "derivatives", "transposed weights"))
"""


def norms(folder):
    data = json.loads((folder / "diagnosis.json").read_text())
    return [round(p["groups"][-1]["averages"][0]["norm"], 3) for p in data["points"]]


def test_a_rule_is_diagnosed_with_what_it_has_learnt(tmp_path, capsys, monkeypatch):
    (tmp_path / "keeps_rule.py").write_text(KEEPS)
    monkeypatch.chdir(tmp_path)
    few = ["--samples", "1", "--draws", "4"]
    experiment = [*TRAINED, "--rule", "keeps_rule:Counts", "--steps", "4", "--logs", "1"]
    for train in ("rule", "bptt"):
        assert main(["diagnose", *experiment, *few, "--train", train, "--out", train]) == 0
        assert norms(tmp_path / train) == [1, 3, 5]
    assert main(["run", *experiment, "--out", "r"]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file()}
    assert main(["diagnose", "--run", "r", *few, "--out", "kept"]) == 0
    assert norms(tmp_path / "kept") == [5]
    # another rule at that network knows nothing yet
    assert main(["diagnose", "--run", "r", "--rule", "bptt", *few, "--out", "other"]) == 0
    assert norms(tmp_path / "other") == [1]
    assert before == {p: p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file()}
    capsys.readouterr()


BAD = [
    (["--samples", "1,x"], "samples must be a whole number"),
    (["--samples", "0"], "samples must be above 0"),
    (["--draws", "2"], "draws must be 4 or more"),
    (["--train", "both"], "train"),
    (["--rule", "nod"], "did you mean 'node'"),
    (["--run", "missing"], "not a run folder"),
    (["--run", "missing", "--task", "copy"], "not --task"),
    (["--rule.sigmaa", "1"], "sigma"),
    (["--step", "3"], "--steps"),
]


@pytest.mark.parametrize(("argv", "words"), BAD)
def test_errors_are_one_line(capsys, argv, words):
    assert main(["diagnose", *argv]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_a_run_that_kept_nothing_is_refused(tmp_path, capsys):
    parts = build(px.Experiment(task="probe-lag1", units=(3,), steps=2))
    run_folder.create(tmp_path / "r", describe(parts))  # what a run that was stopped early leaves
    assert main(["diagnose", "--run", str(tmp_path / "r")]) == 1
    assert "kept no weights" in capsys.readouterr().err
