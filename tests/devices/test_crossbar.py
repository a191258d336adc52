"""The crossbar of aihwkit: what is said where the package is missing, and what its tiles do where it is."""

import importlib.util

import numpy as np
import pytest

from perturbax.devices.abilities import Abilities
from perturbax.devices.crossbar import Crossbar
from perturbax.errors import ArgumentError

INSTALLED = importlib.util.find_spec("aihwkit") is not None


@pytest.mark.skipif(INSTALLED, reason="aihwkit is installed")
def test_without_the_package_it_says_what_to_install():
    with pytest.raises(ArgumentError, match=r"pip install 'perturbax\[crossbar\]'"):
        Crossbar(4)


@pytest.mark.parametrize("wrong", [{"units": 0}, {"seed": -1}, {"noise": float("nan")}, {"noise": -0.1}])
def test_settings_that_no_crossbar_has(wrong):
    with pytest.raises(ArgumentError, match="units must be 1 or more, seed and noise 0 or more"):
        Crossbar(**wrong)


@pytest.mark.skipif(not INSTALLED, reason="aihwkit is not installed: pip install 'perturbax[crossbar]'")
def test_its_noise_is_white_and_follows_the_largest_input():
    device = Crossbar(24)
    can = Abilities.of(device.hello({"inputs": 1, "outputs": 1}))
    assert can.noise == "own"
    held = device.write({})
    inputs = np.random.default_rng(0).normal(0, 0.5, (12, 64, 1))
    read = device.run(inputs, seed=1, taps=["rec.z", "rec.a"])
    assert np.array_equal(read["outputs"], device.run(inputs, seed=1)["outputs"])
    xi = read["rec.a"] - read["rec.z"] @ held["rec"].T
    size = np.abs(read["rec.z"]).max(-1, keepdims=True)
    assert (xi / size).std() == pytest.approx(0.06, rel=0.1)
    assert abs((xi[1:] * xi[:-1]).mean()) < 0.05 * xi.var()
