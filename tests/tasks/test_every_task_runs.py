"""Tasks of every kind from an experiment to its result and its report, small and short."""

import json
import shutil
import sys

import numpy as np
import pytest
from helpers import FakeGym, mnist, shd

import perturbax as px
from perturbax.experiment.build import build
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import SHOWN
from perturbax.report import write_report
from perturbax.report.read import read_runs

CLASSES = {"loss", "accuracy"}
SERIES = {"loss", "mse", "mse_scaled", "mae", "rmse", "smape", "mase"}
EVIDENCE = {"cues": 3, "cue": 2, "gap": 1, "delay": 2, "recall": 2, "neurons": 2}
# options of the task, metrics of the test part, baselines
RUNS = {
    "narma": ({"length": 400, "window": 20}, SERIES, {"mean", "persistence", "linear"}),
    "lorenz": ({"length": 400, "window": 20}, SERIES, {"mean", "persistence", "linear"}),
    "adding": ({"length": 6}, {"loss"}, {"mean"}),
    "delayed-xor": ({"gap": 1, "delay": 2}, CLASSES, {"constant"}),
    "flip-flop": ({"length": 8}, CLASSES, {"mean"}),
    "evidence": (EVIDENCE, CLASSES, {"constant"}),
    "pattern": ({"length": 12}, {"loss"}, {"mean"}),
    "digits": ({}, CLASSES, {"constant"}),
    "mnist": ({"valid": 3}, CLASSES, {"constant"}),
    "shd": ({"frames": 6, "pool": 70}, CLASSES, {"constant"}),
    "text": ({"window": 6}, {"loss", "bits_per_character", "accuracy"}, {"constant", "pairs"}),
    "neurogym": ({"length": 6, "pool": 32}, {"loss", "accuracy", "decisions"}, {"constant"}),
}
TWINS = {"narma": "lorenz", "delayed-xor": "evidence", "digits": "mnist"}
"""Tasks that differ from another in what they draw alone, which other tests look at: of each pair one is run
from end to end (digits are run by `test_digits_are_learnt`).
"""
ENDS = [name for name in RUNS if name not in TWINS]
STREAMS = ("lorenz", "evidence", "text")  # one of each stream that is made in a way of its own


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Where a task finds its data."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text.txt").write_text("so it goes, and so it went. " * 30)
    mnist(folder / "mnist")
    shd(folder / "shd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "neurogym", FakeGym())
        yield {"text": folder / "text.txt", "mnist": folder / "mnist", "shd": folder / "shd"}


def experiment(name, data, **fields):
    fields = {"rule": "bptt", "units": (5,), "steps": 4, "logs": 2, "batch": 4, "lr": 1e-2} | fields
    where = str(data[name]) if name in data else None
    return px.Experiment(task=name, data=where, task_options=RUNS[name][0], **fields)


@pytest.fixture(scope="module")
def ran(data, tmp_path_factory):
    """The folder of a task's run, which is run once."""
    folder = tmp_path_factory.mktemp("runs")

    def of(name):
        if not (folder / name).exists():
            px.run(experiment(name, data), folder / name)
        return folder / name

    return of


@pytest.mark.parametrize("name", ENDS)
def test_a_run_ends_in_a_result_and_a_report(name, ran, tmp_path):
    run = ran(name)
    result = json.loads((run / "result.json").read_text())
    _, metrics, baselines = RUNS[name]
    assert result["status"] == "finished"
    assert set(result["test"]) == metrics
    assert set(result["baselines"]) - {"seasonal naive"} == baselines | {"reservoir"}
    for found in (result["test"], *result["baselines"].values()):
        assert set(found) == metrics
        assert np.isfinite(list(found.values())).all()
        assert 0 <= found.get("accuracy", 0) <= 1
    if "accuracy" in metrics and name != "flip-flop":
        counts = np.array(result["confusion"]["counts"])
        assert counts.shape == (len(result["confusion"]["classes"]),) * 2
        np.testing.assert_allclose(np.trace(counts) / counts.sum(), result["test"]["accuracy"], rtol=1e-5)
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite([line["loss"], line["valid_loss"]]).all() for line in logged)

    truth, prediction = read_runs([run])[0].predictions
    assert np.isfinite(prediction).all()
    assert np.isfinite(truth).any()
    assert len(truth) <= SHOWN
    if "accuracy" in metrics and name != "flip-flop":
        np.testing.assert_allclose(prediction.sum(1), 1, rtol=1e-5)

    assert write_report([run], tmp_path / "report.html").exists()
    page = (tmp_path / "report.html").read_text()
    assert px.TASKS[name].summary.replace("'", "&#x27;") in page
    for metric in metrics & {"accuracy", "decisions"}:
        assert f"test {metric}" in page
    assert ("Confusion of classes" in page) == ("confusion" in result)
    if name == "text":
        assert "test bits per character" in page
    for key in px.TASKS[name].papers:
        from perturbax.papers import CITATIONS

        assert CITATIONS[key][:20] in page


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_learnt_from(name, data):
    """A few updates while the stream runs; what follows training is the same as in the runs above."""
    fields = {
        "rule": "node",
        "mode": "online",
        "every": 1,
        "logs": 1,
        "rule_options": {"credit": "same-step"},
    }
    compiled = Compiled(build(experiment(name, data, **fields)))
    first = compiled.start(0)
    (after,), losses, (metrics,), _ = compiled.advance([first], 4)
    assert int(after.step) == 4
    assert np.isfinite(losses).all()
    assert np.isfinite(list(metrics.values())).all()
    assert not np.array_equal(first.learner.net.layers[0].W, after.learner.net.layers[0].W)


@pytest.mark.parametrize("name", RUNS)
def test_shipped_settings_can_be_run(name, data):
    """What is filled in for a user who names the task alone can be built."""
    path = str(data.get(name, "")) or None
    parts = build(px.Experiment(task=name, rule="bptt", data=path, task_options=RUNS[name][0]))
    assert parts.experiment.batch == px.TASKS[name].settings["batch"]
    assert parts.experiment.steps >= 1000


def test_the_best_accuracy_is_the_highest(ran, tmp_path):
    """In the table of results bold is the larger accuracy, as it is the smaller loss: of one run, twice."""
    for name, lr, test in (
        ("good", 1e-2, {"loss": 0.1, "accuracy": 0.9}),
        ("bad", 2e-2, {"loss": 0.2, "accuracy": 0.4}),
    ):
        left_out = shutil.ignore_patterns("predictions.npz")  # sealed to the settings of its run
        shutil.copytree(ran("evidence"), tmp_path / name, ignore=left_out)
        for file, changes in (("config.json", {"name": name}), ("result.json", {"test": test})):
            path = tmp_path / name / file
            held = json.loads(path.read_text()) | changes
            if file == "config.json":
                held["experiment"]["lr"] = lr
            path.write_text(json.dumps({key: value for key, value in held.items() if key != "layout"}))
    write_report([tmp_path / "good", tmp_path / "bad"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<strong>0.900" in page
    assert "<strong>0.400" not in page
    assert "<strong>0.100" in page


def test_digits_are_learnt():
    """Row by row, in a few seconds of BPTT; the reservoir beside it reaches 0.9, always saying one digit
    0.1.
    """
    e = px.Experiment(task="digits", rule="bptt", units=(64,), steps=600, batch=32, lr=3e-3, logs=2)
    s = px.run(e).summary
    assert set(s["test"]) == CLASSES
    assert np.shape(s["confusion"]["counts"]) == (10, 10)
    assert s["test"]["accuracy"] > 0.93
    assert s["baselines"]["constant"]["accuracy"] < 0.2
