"""`px.run`, `px.compare`, `px.tune`, `px.predict`, `px.report` and `px.load`: the commands, in Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment.run_folder import to_json

DATA = Path(__file__).parents[1] / "experiment" / "data" / "compare"  # of 0.1.0
TINY = {"task": "probe-now", "units": 2, "batch": 2, "steps": 4, "logs": 2, "task__length": 4}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of two rules, with settings by name."""
    out = tmp_path_factory.mktemp("calls") / "c"
    return px.compare(["frozen", "frozen:lr=3e-3"], out, seeds=2, workers=1, **TINY)


def test_compare_writes_what_the_command_writes(compared):
    assert list(compared.results) == ["frozen", "frozen:lr=3e-3"]
    assert [r.experiment.seed for r in compared["frozen"]] == [0, 1]
    assert compared["frozen:lr=3e-3"][0].experiment.lr == 3e-3
    assert compared["frozen"][0].experiment.task_options["length"] == 4
    folder = compared.page.parent
    assert compared["frozen"][1].folder == folder / "frozen-s1"
    assert "<svg" in compared.page.read_text()
    lines = repr(compared).splitlines()
    assert lines[0].split()[:2] == ["seeds", "loss"]
    assert [line.split()[0] for line in lines[1:3]] == ["frozen", "frozen:lr=3e-3"]
    html = compared._repr_html_()
    assert ">Test data, mean over seeds</caption>" in html
    assert '<td style="text-align: left">frozen</td><td style="text-align: right">2</td>' in html
    page = px.report(compared["frozen"], folder / "again.html")
    assert "<svg" in page.read_text()
    assert px.report(folder, folder / "all.html").is_file()
    again = px.compare("frozen,frozen:lr=3e-3", folder, seeds=2, **TINY)  # all is kept
    assert again["frozen"][0].summary == compared["frozen"][0].summary


def test_a_result_shows_itself_and_comes_back(compared):
    result = compared["frozen"][0]
    assert repr(result).startswith(
        f"<Result in {result.folder}: frozen on probe-now, tanh 2, seed 0: finished"
    )
    assert len(repr(result)) < 300
    loaded = px.load(result.folder)
    assert loaded.metrics == result.metrics
    for name in ("truth", "prediction"):
        np.testing.assert_array_equal(loaded.predictions[name], result.predictions[name])
    assert repr(px.Experiment(task="copy", lr=1e-3)) == (
        "Experiment(task='copy', rule='node', cell='tanh', lr=0.001)"
    )
    assert repr(result.experiment).startswith("Resolved(task='probe-now', rule='frozen'")
    changed = px.load(result.folder)
    changed.summary["test"]["<b>"] = changed.summary["baselines"]["<i>"] = {}
    assert "<b>" not in changed._repr_html_()
    assert "&lt;i&gt;" in changed._repr_html_()


def test_run_takes_settings_by_name(compared):
    result = px.run(rule="frozen", **TINY)
    assert result.summary["test"] == compared["frozen"][0].summary["test"]  # trained in another process
    alone = px.run(px.Experiment(task="probe-now", rule="frozen"), **{**TINY, "task": None})
    assert result.summary["test"] == alone.summary["test"]
    for call, words in {
        lambda: px.run(tsk="copy"): "unknown setting 'tsk'; did you mean 'task'",
        lambda: px.run(task="copy", rule__sgima=1): "did you mean 'sigma'",
        lambda: px.compare([]): "rules must be names of rules",
        lambda: px.compare("node", seeds=0): "seeds must be a whole number of at least 1, not 0",
        lambda: px.compare("node", rule="bptt"): "compare takes rules",
        lambda: px.compare("node", workers=0): "workers must be a whole number of at least 1, not 0",
        lambda: px.report(result): "a run without a folder has no report",
        lambda: px.predict(result, "x.csv"): "a run without a folder cannot be predicted from",
        lambda: px.predict("r", "x.csv", every=True, backtest=3): "every is one forecast per row",
    }.items():
        with pytest.raises(ArgumentError, match=words):
            call()


def test_tune_over_any_setting(tmp_path):
    over = {"lr": [1e-3, 1e-2], "batch": [2, 4]}
    small = {name: value for name, value in TINY.items() if name not in ("batch", "steps")} | {"passes": 4}
    told = []
    tuned = px.tune(
        out=tmp_path / "t",
        over=over,
        rule="frozen",
        steps=2,
        workers=1,
        report=lambda done, total, loss: told.append((done, total)),
        **small,
    )
    assert told == sorted(told)  # one count over all of its programs
    assert told[-1][0] == told[-1][1]
    assert len(tuned.candidates) == 4
    assert {(c["lr"], c["settings"]["batch"]) for c in tuned.candidates} == {
        (lr, batch) for lr in over["lr"] for batch in over["batch"]
    }
    losses = [c["loss"] for c in tuned.candidates]
    assert losses == sorted(losses)
    best = tuned.best
    assert (tuned.experiment.lr, tuned.experiment.batch) == (best["lr"], best["settings"]["batch"])
    assert tuned.experiment.steps == 4
    assert "<svg" in tuned.page.read_text()
    written = json.loads((tmp_path / "t" / "tune.json").read_text())
    assert written["candidates"] == to_json(tuned.candidates)
    assert (
        json.loads((tmp_path / "t" / "config.json").read_text())["experiment"]["batch"]
        == tuned.experiment.batch
    )
    assert repr(tuned).splitlines()[1].split() == ["lr", "batch", "validation", "loss"]
    for wrong, words in {
        "rule.sgima": "unknown rule setting 'sgima'",
        "bathc": "unknown setting 'bathc'",
        "seed": "seeds are not searched",
    }.items():
        with pytest.raises(ArgumentError, match=words):
            px.tune(task="probe-now", over={wrong: [1, 2]})
    with pytest.raises(ArgumentError, match="batch names a candidate twice"):
        px.tune(task="probe-now", over={"batch": [2, 2]})


@pytest.mark.filterwarnings("ignore:perturbax.noise is now:DeprecationWarning")
def test_predict_returns_columns(tmp_path):
    shutil.copytree(DATA, tmp_path / "c")
    made = px.predict(tmp_path / "c", tmp_path / "c" / "weather.csv")
    assert {"horizon", "forecast"} <= made.columns.keys()
    assert all(isinstance(value, float) for value in made["forecast"])
    assert len(made) == len(made["forecast"])
    assert "lowest validation loss" in " ".join(made.said)
    assert made._repr_html_().count("<td") >= len(made)
    assert "forecast" in repr(made)
    with pytest.raises(ArgumentError, match="did you mean 'forecast'"):
        made["forcast"]
