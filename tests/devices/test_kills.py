"""kill -9 of a device, and of its trainer, at several moments: what was finished is kept, and goes on."""

import json
import shlex
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.devices import driver, opening
from perturbax.experiment import run_folder

DEVICE = '''
import json, os, pathlib, signal, sys
import numpy as np
sys.path.insert(0, os.path.dirname(__file__))
from driver import serve

HERE = pathlib.Path(__file__).parent


def called():
    """Count a call, of all processes together; die at it, or kill the trainer, where the plan says so."""
    count = HERE / "count"
    now = 1 + (int(count.read_text()) if count.exists() else 0)
    count.write_text(str(now))
    plan = json.loads((HERE / "plan").read_text())
    whom = {"device": os.getpid(), "trainer": os.getppid()}.get(plan.get(str(now)))
    if whom is not None:
        os.kill(whom, signal.SIGKILL)
        os._exit(0)


class Chip:
    def hello(self, asked):
        called()
        n_in, n_out = asked["inputs"], asked["outputs"]
        self.W = np.zeros((n_in, n_out), np.float32)
        says = {"version": 1, "name": "chip", "inputs": n_in, "outputs": n_out, "noise": "none"}
        return {**says, "weights": {"W": {"shape": [n_in, n_out]}}}

    def write(self, weights):
        called()
        self.W = weights.get("W", self.W)
        return {"W": self.W}

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        called()
        return {"outputs": inputs @ self.W}

    def bye(self):
        pass


serve(Chip())
'''
SETTINGS = {"task": "probe-lag1", "rule": "weight", "steps": 4, "logs": 2, "batch": 2}
TYPED = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody kills, and the number of calls of its device."""
    folder = tmp_path_factory.mktemp("whole")
    result = px.run(device=chip(folder), out=folder / "run", **SETTINGS)
    return result, int((folder / "count").read_text())


def chip(folder, **plan):
    """Return the command of a device that kills at calls by number, of itself or of its trainer."""
    shutil.copy(driver.__file__, folder / "driver.py")
    (folder / "chip.py").write_text(DEVICE)
    (folder / "plan").write_text(json.dumps(plan))
    return f"{sys.executable} {folder / 'chip.py'}"


def kept(run):
    """Return the losses that are logged, each chunk with its checkpoint."""
    lines, found = run_folder.read_metrics(run), run_folder.last_checkpoint(run)
    assert (found[0] if found else 0) == (lines[-1]["step"] if lines else 0)
    return [line["loss"] for line in lines]


def same(one, other):
    """Check that two runs made the same steps and ended with the same weights."""
    np.testing.assert_array_equal(*(jax.tree.leaves(px.weights(r.net))[0] for r in (one, other)))
    assert [line["loss"] for line in one.metrics] == [line["loss"] for line in other.metrics]
    assert one.summary["test"] == other.summary["test"]


def test_a_device_is_killed_at_several_moments(whole, tmp_path, capsys):
    reference, calls = whole
    losses = [line["loss"] for line in reference.metrics]
    # in the first chunk; as it says hello again; in the second chunk; on test data, after the last step
    moments = {5: [], 6: [], 6 + calls // 2: losses[:1], 32: losses}
    command, run = chip(tmp_path, **dict.fromkeys(map(str, moments), "device")), tmp_path / "run"
    words = ["run", "--device", command, *TYPED, "--out", str(run)]
    for moment, before in moments.items():
        assert main(words) == 1
        assert int((tmp_path / "count").read_text()) == moment
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1
        assert "ended by signal 9" in error[0]
        assert error[0].endswith(
            f"; go on with: perturbax run --resume {run} --device {shlex.quote(command)}"
        )
        assert kept(run) == before
        words = ["run", "--resume", str(run), "--device", command]
    assert main(words) == 0
    same(px.load(run), reference)


def test_a_trainer_is_killed(whole, tmp_path):
    """In the second chunk; it leaves what the death of its device at that moment leaves."""
    reference, calls = whole
    losses = [line["loss"] for line in reference.metrics]
    command, run = chip(tmp_path, **{str(calls // 2 + 3): "trainer"}), tmp_path / "run"
    words = ["run", "--device", command, *TYPED, "--out", str(run)]
    status = subprocess.run([sys.executable, "-m", "perturbax", *words], check=False).returncode
    assert status == -signal.SIGKILL
    assert kept(run) == losses[:1]
    assert main(["run", "--resume", str(run), "--device", command]) == 0
    same(px.load(run), reference)


def test_the_kept_network_is_diagnosed_on_its_device_where_that_is_vouched_for(whole, capsys, tmp_path):
    run = whole[0].folder
    command = chip(tmp_path)
    words = ["diagnose", "--run", str(run), "--samples", "1", "--draws", "4"]
    opening._GIVEN.clear()  # as in a process of its own
    assert main(words) == 2
    assert "add --trust to start what the folder names" in capsys.readouterr().err
    assert main([*words, "--device", command, "--out", str(tmp_path / "found")]) == 0
    data = json.loads((tmp_path / "found" / "diagnosis.json").read_text())
    assert data["reference"]["device"] == "chip"
    assert data["points"][0]["reference"]["writes"] == 2 + 2 * data["reference"]["weights"] * 4
    assert "measured there by differences" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "--trust", "--device", f"{command} x", "--rule", "bptt"]) == 2
    assert "it takes rules that perturb weights or pre-activations" in capsys.readouterr().err
