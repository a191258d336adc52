"""Learning on real packages, each in an environment of its own; run by hand, as it takes minutes.

    AIHWKIT_PYTHON=... pytest tests/devices/test_real_packages.py -k crossbar
    LOIHI_PYTHON=... pytest tests/devices/test_real_packages.py -k loihi

    SNNTORCH_PYTHON=... pytest tests/devices/test_real_packages.py -k snntorch

Each variable names a Python with what examples/devices/requirements-crossbar.txt, -loihi.txt or -snntorch.txt
lists.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import perturbax as px
from perturbax.devices import driver

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "devices"
SEEDS = range(3)


def python_of(variable):
    if variable not in os.environ:
        pytest.skip(f"{variable} names no Python with the package")
    return os.environ[variable]


@pytest.fixture
def tasks(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.mark.slow
def test_a_crossbar_repeats_the_previous_input(tasks, monkeypatch):
    from previous import Previous

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [python_of("AIHWKIT_PYTHON"), "-m", "perturbax.devices.crossbar", "--units", "24", "--seed"]
    settings = {"rule": "innovation", "steps": 1500, "batch": 32, "lr": 5e-3, "start": "held"}
    losses = [
        px.run(device=shlex.join([*command, str(seed)]), task=Previous(), seed=seed, **settings).summary[
            "test"
        ]["loss"]
        for seed in SEEDS
    ]
    assert np.mean(losses) <= 0.012
    sys.stdout.write(f"mean squared errors {losses}\n")


@pytest.mark.slow
def test_the_emulator_of_loihi_remembers_which_of_two_cues_came(tasks, tmp_path):
    from two_cues import TwoCues

    shutil.copy(driver.__file__, tmp_path)
    shutil.copy(EXAMPLES / "loihi.py", tmp_path)
    command = shlex.join([python_of("LOIHI_PYTHON"), str(tmp_path / "loihi.py")])
    settings = {"rule": "weight", "rule__difference": "antithetic", "rule__sigma": 0.5, "lr": 0.1}
    settings |= {"steps": 1000, "batch": 8, "start": "held"}
    right = [
        px.run(device=command, task=TwoCues(), seed=seed, **settings).summary["test"]["accuracy"]
        for seed in SEEDS
    ]
    assert np.mean(right) >= 0.98
    sys.stdout.write(f"shares right {right}\n")


@pytest.mark.slow
def test_a_network_of_snntorch_remembers_which_of_two_cues_came(tasks, tmp_path):
    from two_cues import TwoCues

    shutil.copy(driver.__file__, tmp_path)
    shutil.copy(EXAMPLES / "spiking_snntorch.py", tmp_path)
    command = shlex.join([python_of("SNNTORCH_PYTHON"), str(tmp_path / "spiking_snntorch.py")])
    settings = {"rule__difference": "antithetic", "rule__credit": "to-go", "lr": 5e-3}
    settings |= {"steps": 1500, "batch": 32, "start": "held", "seed": 1}
    assert px.run(device=command, task=TwoCues(), **settings).summary["test"]["accuracy"] >= 0.98
