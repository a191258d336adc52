"""The device in C: built, written to, run, and compared with the same network in numpy."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from perturbax.devices import Checked, Remote
from perturbax.errors import DeviceError

SOURCE = Path(__file__).parents[2] / "examples" / "devices" / "device.c"


def test_a_device_in_c_is_the_network_that_it_says(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("no C compiler (cc)")
    program = tmp_path / "device"
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, SOURCE, "-lm"], check=True)
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        device = Checked(Remote([str(program)], timeout=20), 3, 2, 7)
        weights = {name: rng.normal(size=w.shape).astype(dtype) for name, w in device.can.weights.items()}
        held = device.write(weights)
        assert all(np.array_equal(held[name], weights[name]) for name in weights)
        only_U = device.write({"U": weights["U"] / 2})
        assert np.array_equal(only_U["W"], weights["W"])
        x = rng.normal(size=(7, 5, 3)).astype(dtype)
        h = np.zeros((5, 8))
        expected = []
        for t in range(7):
            h = np.tanh(x[t].astype(float) @ held["W"] + h @ only_U["U"])
            expected.append(h @ held["V"])
        assert np.allclose(device.run(x)["outputs"], expected, atol=1e-12)
        device.bye()
        assert "exit status 0" in device.device.gone
    with pytest.raises(DeviceError, match="at most 64 inputs and outputs"):
        Checked(Remote([str(program)], timeout=20), 65, 2, 7)
