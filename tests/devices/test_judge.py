"""Networks that are moved to a device as they are: their score there, in their folder and in the report."""

import json
import shutil
from pathlib import Path

import jax.random as jr
import made_runs
import pytest

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.cli import main
from perturbax.devices.faults import Faults
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError, DeviceError, StoreError
from perturbax.report import write_report
from perturbax.report.compare import sections
from perturbax.report.moved_there import ways
from perturbax.report.read import read_runs

OLD = Path(__file__).parents[1] / "experiment" / "data" / "compare"


def test_a_network_that_is_moved_has_the_score_that_it_has_there(tmp_path, monkeypatch):
    run = shutil.copytree(OLD / "node-s0", tmp_path / "ideal")  # a trained network of 3 gated units
    monkeypatch.chdir(OLD)
    here = px.load(run)
    exact = px.devices.judge_run(Simulated("gru", (3,)), run)
    for name, value in here.summary["test"].items():
        assert exact["test"][name] == pytest.approx(value, rel=1e-5)
    assert (exact["writes"], exact["held_off"], exact["device"]) == (1, 0.0, "simulated gru")
    coarse = px.devices.judge_run(Simulated("gru", (3,), faults=Faults(bits=3, top=1.0)), run)
    assert coarse["test"]["loss"] != exact["test"]["loss"]
    assert coarse["held_off"] > 0.05
    # judged again on a device of the same name and class: the newer judgement stands
    assert json.loads((run / "on_device.json").read_text()) == [coarse]
    with pytest.raises(DeviceError, match="the device has the weights"):
        px.devices.judge_run(Simulated("gru", (4,)), run)
    assert px.load(run).summary == here.summary
    (run / "on_device.json").write_text("{}")
    with pytest.raises(StoreError, match="no list of judgements"):
        px.devices.judge_run(Simulated("gru", (3,)), run)
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 1
    (run / "result.json").unlink()
    with pytest.raises(ArgumentError, match="has not ended yet"):
        px.devices.judge_run(Simulated("gru", (3,)), run)


def test_what_a_device_has_not_between_its_layers_cannot_be_moved():
    task = px.TASKS["probe-lag1"]()
    layers = stack(px.CELLS["tanh"], task.sizes, (3,), jr.PRNGKey(0))
    with pytest.raises(DeviceError, match="train it with --decorrelate off"):
        px.devices.judge(Simulated("tanh", (3,)), px.Network(layers, normalise=True), task)


def judged(value, command="python chip.py --old"):
    return [{"device": "chip", "command": command, "test": {"mse": value}, "writes": 1, "trials": 64}]


def test_the_report_shows_the_ways_side_by_side(tmp_path):
    told = {"name": "chip", "writes": 600, "trials": 9000, "seconds": 4.5, "held_off": 0.02, "rule": "named"}
    for seed, (loop, ideal, noise) in enumerate([(0.02, 0.5, 0.4), (0.03, 0.6, 0.3)]):
        on = {"device": "python chip.py", "cell": "device"}
        made_runs.make(tmp_path, seed=seed, mse=loop, name="loop", result={"device": told}, **on)
        for name, value, options in (("ideal", ideal, {}), ("noise", noise, {"ambient": 0.05})):
            folder = made_runs.make(tmp_path, seed=seed, mse=0.01, name=name, rule_options=options)
            (folder / "on_device.json").write_text(json.dumps(judged(value)))
    folders = sorted(tmp_path.iterdir())
    found = ways(sections(read_runs(folders))[0])
    assert [way.trained for way in found] == [
        "in the loop",
        "in process",
        "in process with ambient noise 0.05",
    ]
    assert [way.label for way in found] == ["loop", "ideal", "noise"]
    assert [round(way.there.mean, 3) for way in found] == [0.025, 0.55, 0.35]
    assert [way.writes.mean for way in found] == [600, 1, 1]
    assert not found[0].here
    html = write_report(folders, tmp_path / "page.html").read_text()
    assert "Trained on the device, or moved there" in html
    assert "the network that was trained in the loop does best, with a test mean squared error of" in html
    assert "<code>python chip.py --old</code>" in html  # the loop had another device of that name
    assert "<td>not told</td>" in html
    assert "; trained in process: 0.550" in html
    again = made_runs.make(tmp_path, mse=0.02, name="again", result={"device": told}, **on)
    (again / "on_device.json").write_text(json.dumps([*judged(0.03, "python chip.py"), *judged(0.04)]))
    found = ways(sections(read_runs([again]))[0])
    assert [way.trained for way in found] == [
        "in the loop",
        "in the loop, then written anew",
        "on another device",
    ]
    alone = [folder for folder in folders if (folder / "on_device.json").exists()][:1]
    html = write_report(alone, tmp_path / "page.html").read_text()
    assert "On the device the network has a test mean squared error of 0.500." in html


def test_one_folder_that_cannot_be_judged_stops_no_other(tmp_path, monkeypatch, capsys):
    folders = [made_runs.make(tmp_path, name=name, mse=0.01) for name in ("bad", "good")]

    def judge_run(device, folder, trust):
        if folder == folders[0]:
            raise ArgumentError("it has not ended yet")
        return {**judged(0.5)[0], "held_off": None}

    monkeypatch.setattr("perturbax.experiment.on_device.judge_run", judge_run)
    assert main(["judge", *map(str, folders), "--device", "chip"]) == 2
    said = capsys.readouterr()
    assert said.err == f"perturbax: error: {folders[0]} is not judged: it has not ended yet\n"
    assert said.out == f"{folders[1]}: test mse 0.500 on chip, 0.0100 in process\n"
    assert main(["judge", str(folders[0]), "--device", "chip"]) == 2
    assert capsys.readouterr().err == "perturbax: error: it has not ended yet\n"
