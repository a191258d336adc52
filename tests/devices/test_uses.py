"""What is done with a device besides training: comparing rules, judging networks there, forecasting there."""

import numpy as np
import pytest
from helpers import error_of, series

import perturbax as px
from perturbax.devices.faults import Faults
from perturbax.devices.network import as_written, network_of
from perturbax.devices.opening import opened, outputs_of
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError, DeviceError

TINY = {"steps": 2, "logs": 1, "batch": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return series(tmp_path_factory.mktemp("data") / "load.csv", rows=120)


@pytest.fixture(scope="module")
def device():
    return Simulated("tanh", (3,))


@pytest.fixture(scope="module")
def compared(data, device, tmp_path_factory):
    """Two rules on one device, on a series."""
    out = tmp_path_factory.mktemp("compared") / "runs"
    settings = {"task": "series", "task__target": "load", "data": str(data), "device": device, **TINY}
    return px.compare(["node", "weight"], out, seeds=1, **settings), out


def test_rules_are_compared_one_after_the_other_on_one_device(compared):
    found, out = compared
    for rule, rows in (("node", 1), ("weight", 2)):
        result = found.results[rule][0]
        assert result.experiment.rule == rule
        assert result.summary["device"]["writes"] == 2 * rows + 3  # two updates, and what is judged thrice
        assert result.summary["device"]["held_off"] == 0
    assert found.results["node"][0].summary["test"] != found.results["weight"][0].summary["test"]
    assert "On the device" in (out / "report.html").read_text()


def test_a_network_is_judged_on_the_device_that_it_is_moved_to(compared, data, device):
    result = compared[0].results["node"][0]
    task = px.TASKS["series"](target="load").open(data)
    there = px.devices.judge(device, result.net, task)
    run = result.summary["test"]
    assert there == {name: run[name] for name in there}
    assert px.devices.judge(device, device.net, task)["loss"] != there["loss"]  # one of ours, as it started
    rounding = Simulated("tanh", (3,), faults=Faults(bits=3))
    moved = network_of(opened(rounding, *task.sizes, task.steps).can, as_written(result.net))
    assert px.devices.judge(rounding, moved, task)["loss"] != there["loss"]
    with pytest.raises(DeviceError, match="the device has the weights"):
        px.devices.judge(Simulated("tanh", (4,)), device.net, task)
    with pytest.raises(ArgumentError, match="unknown part 'train'"):
        px.devices.judge(device, result.net, task, "train")


def test_a_network_runs_on_the_device_that_was_asked_for_last(compared):
    net = compared[0].results["node"][0].net
    one, other = Simulated("tanh", (3,)), Simulated("tanh", (3,))
    for device in (one, other, one):
        opened(device, *sizes_of(net), 4)
    runs = one.runs, other.runs
    outputs_of(net, np.zeros((4, 1, sizes_of(net)[0]), np.float32))
    assert (one.runs, other.runs) == (runs[0] + 1, runs[1])


def sizes_of(net):
    """Inputs and outputs of a network of one hidden layer."""
    shapes = {name: array.shape for name, array in net.named().items()}
    return shapes["layers[0].W"][0], shapes["layers[1].W"][1]


def test_forecasts_come_from_the_device(compared, data, device, capsys):
    found, out = compared
    before = device.runs
    table = px.predict(out, data, device=device)
    assert device.runs > before
    assert np.isfinite(table["forecast"]).all()
    result = found.results["node"][0]
    assert px.predict(result, data)["made_at"] == table["made_at"]
    with pytest.raises(ArgumentError, match=r"was trained on the device .* name it again with --device"):
        px.predict(out, data)
    with pytest.raises(DeviceError, match=r"has other weights than this network, which has layers\[0\].W"):
        px.predict(out, data, device=Simulated("tanh", (5,)))
    status, said = error_of(capsys, ["predict", out, "--data", data, "--device", "/no/such/device"])
    assert status == 1
    assert "cannot start the device" in said
