"""Going on with a run whose device has ended: what is said, and with which devices it goes on."""

import json

import made_runs
import pytest

from perturbax.cli import main
from perturbax.devices import Checked
from perturbax.devices.faults import Faults
from perturbax.devices.opening import check_same_weights
from perturbax.devices.simulated import Simulated
from perturbax.errors import DeviceError


def asked(cell, units, **faults):
    return Checked(Simulated(cell, (units,), faults=Faults(**faults)), 2, 1, 5)


def test_a_run_goes_on_with_the_same_arrays_of_weights_alone():
    said = json.loads(json.dumps(asked("tanh", 4).can.hello()))  # as config.json has it
    check_same_weights(asked("tanh", 4), said, "runs/x")
    check_same_weights(asked("tanh", 4, bits=6, top=2.0), said, "runs/x")  # its grid may be another
    for cell, units, words in (
        ("tanh", 5, r"runs/x was started with \(layers\[0\].W \(\(2, 5\).*, not \(\(2, 4\)"),
        ("gru", 4, r"layers\[0\].W \(\(2, 3, 4\).*, not \(\(2, 4\).*go on with that device"),
    ):
        with pytest.raises(DeviceError, match=words):
            check_same_weights(asked(cell, units), said, "runs/x")


def test_where_a_device_ends_a_run_it_is_said_how_to_go_on(tmp_path, monkeypatch, capsys):
    def resume(folder, **given):
        raise DeviceError("the device is gone")

    folder = made_runs.make(tmp_path / "a run")
    (folder / "result.json").unlink()
    monkeypatch.setattr("perturbax.experiment.run.resume", resume)
    assert main(["run", "--resume", str(folder), "--device", "python 'my $x.py'"]) == 1
    said = capsys.readouterr().err
    words = f"perturbax run --resume '{folder}' --device 'python '\"'\"'my $x.py'\"'\"''"
    assert said == f"perturbax: error: the device is gone; go on with: {words}\n"
