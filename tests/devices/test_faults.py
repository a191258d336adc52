"""Each fault of the simulated device, alone: that it is what its setting says."""

import numpy as np
import pytest
from helpers import strong

from perturbax.devices.abilities import Abilities
from perturbax.devices.faults import Faults
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError

ASKED = {"version": 1, "inputs": 2, "outputs": 2, "steps": 6}
T, B = 6, 400
EVERYTHING = [f"layers[{i}].{tap}" for i in range(2) for tap in ("z", "r", "a", "y")]


@pytest.fixture(scope="module")
def net():
    return strong("tanh", scale=0.5)


@pytest.fixture(scope="module")
def inputs():
    x = np.random.default_rng(0).normal(size=(T, 4, 2)).astype(np.float32)
    return np.tile(x, (1, B // 4, 1))


@pytest.fixture(scope="module")
def sound(net, inputs):
    return Simulated(net=net).run(inputs, taps=EVERYTHING)


def made(net, **faults):
    return Simulated(net=net, faults=Faults(**faults))


def drives(device, read):
    """a as the taps z and r and the weights held say it should be, per layer."""
    w = device.write({})
    hidden = (
        read["layers[0].z"] @ w["layers[0].W"] + read["layers[0].r"] @ w["layers[0].U"] + w["layers[0].b"]
    )
    return hidden, read["layers[1].z"] @ w["layers[1].W"] + w["layers[1].b"]


def test_weights_are_on_a_grid_that_the_largest_of_a_block_sets(net):
    free = Simulated(net=net).write({})
    for block in ("array", "layer", "all"):
        device = made(net, bits=4, block=block)
        held = device.write({})
        for name, array in held.items():
            own = {"array": [name], "layer": [n for n in held if n[:9] == name[:9]], "all": list(held)}[block]
            step = max(np.abs(free[n]).max() for n in own) / 7
            assert np.allclose(array / step, np.round(array / step), atol=1e-4)
            assert np.all(np.abs(array - free[name]) <= step * 0.5001)
    bigger = {**free, "layers[0].b": free["layers[0].b"] + 9}
    moved = made(net, bits=4, block="layer").write({"layers[0].b": bigger["layers[0].b"]})
    kept = made(net, bits=4, block="layer").write({})
    assert not np.array_equal(moved["layers[0].W"], kept["layers[0].W"])
    assert np.array_equal(moved["layers[1].W"], kept["layers[1].W"])


def test_a_pinned_grid_is_said_in_hello_and_clips(net):
    device = made(net, bits=5, top=1.5)
    can = Abilities.of(device.hello(ASKED))
    W = can.weights["layers[0].W"]
    assert (W.low, W.high, W.step) == (-1.5, 1.5, 0.1)
    held = device.write({"layers[0].b": np.array([9.0, -9.0, 0.26])})["layers[0].b"]
    assert np.allclose(held, [1.5, -1.5, 0.3])


def test_write_noise_is_new_with_every_write_and_read_back(net):
    free = Simulated(net=net).write({})
    device = made(net, write_noise=0.1)
    U = free["layers[0].U"]
    scale = max(np.abs(free[name]).max() for name in free if name.startswith("layers[0]"))
    off = np.array([device.write({"layers[0].U": U})["layers[0].U"] - U for _ in range(200)])
    assert abs(off.mean()) < 0.02 * scale
    assert off.std() / scale == pytest.approx(0.1, rel=0.1)
    assert made(net, write_noise=0.1, readback="none").write({}) is None
    assert np.array_equal(made(net, write_noise=0.1, readback="asked").write({})["layers[0].U"], U)


@pytest.mark.parametrize("size", [0.3])
def test_ambient_noise_is_white_and_part_of_the_tap(net, inputs, size):
    device = made(net, ambient=size)
    assert Abilities.of(device.hello(ASKED)).noise == "own"
    read = device.run(inputs, seed=1, taps=EVERYTHING)
    again = device.run(inputs, seed=1, taps=EVERYTHING)
    other = device.run(inputs, taps=EVERYTHING)
    assert np.array_equal(read["outputs"], again["outputs"])
    assert not np.array_equal(read["outputs"], other["outputs"])
    for i, drive in enumerate(drives(device, read)):
        xi = read[f"layers[{i}].a"] - drive
        assert xi.std() == pytest.approx(size, rel=0.05)
        assert abs((xi[1:] * xi[:-1]).mean()) < 0.1 * size**2
        assert abs((xi[..., 0] * xi[..., 1]).mean()) < 0.1 * size**2


def test_read_noise_follows_the_largest_input_of_a_row(net, inputs):
    device = made(net, read_noise=0.2)
    read = device.run(inputs, seed=1, taps=EVERYTHING)
    hidden, out = drives(device, read)
    both = np.concatenate([read["layers[0].z"], read["layers[0].r"]], -1)
    largest = np.abs(both).max(-1, keepdims=True)
    assert ((read["layers[0].a"] - hidden) / largest).std() == pytest.approx(0.2, rel=0.05)
    largest = np.abs(read["layers[1].z"]).max(-1, keepdims=True)
    assert ((read["layers[1].a"] - out) / largest).std() == pytest.approx(0.2, rel=0.05)


def test_small_inputs_are_rounded_to_nothing(net, inputs):
    read = made(net, input_bits=4).run(inputs, taps=EVERYTHING)
    step = np.abs(inputs[0]).max(-1, keepdims=True) / 7  # at rest, r is 0
    assert np.allclose(read["layers[0].z"][0] / step, np.round(inputs[0] / step), atol=1e-3)
    step = np.abs(read["layers[0].y"]).max(-1, keepdims=True) / 7
    assert np.allclose(read["layers[1].z"] / step, np.round(read["layers[0].y"] / step), atol=1e-3)
    hidden, _ = drives(Simulated(net=net), read)
    assert np.allclose(read["layers[0].a"], hidden, atol=1e-5)


def test_weights_drift_until_they_are_written_again(net, inputs, sound):
    device = made(net, drift=0.5, drift_time=float(T * B))
    assert Abilities.of(device.hello(ASKED)).drifts
    free = device.write({})
    new = device.run(inputs)["outputs"]
    later = device.run(inputs)["outputs"]
    assert np.array_equal(new, sound["outputs"])
    assert np.abs(later).mean() < 0.95 * np.abs(new).mean()
    assert np.array_equal(device.write({})["layers[0].U"], free["layers[0].U"])  # reading back shows no drift
    device.write(free)
    assert np.array_equal(device.run(inputs)["outputs"], new)


def test_stuck_units_have_one_output_from_some_time_on(net, inputs, sound):
    device = made(net, stuck=0.34, stuck_at=0.7, stuck_after=T * B)
    assert np.array_equal(device.run(inputs, taps=EVERYTHING)["outputs"], sound["outputs"])
    read = device.run(inputs, taps=EVERYTHING)
    stuck = np.all(read["layers[0].y"] == np.float32(0.7), (0, 1))
    assert stuck.sum() == 1
    assert np.array_equal(read["layers[0].a"][0], sound["layers[0].a"][0])


def test_with_delay_every_layer_reads_the_layer_below_one_step_late(net, inputs, sound):
    read = made(net, delay=True).run(inputs, taps=EVERYTHING)
    assert np.array_equal(read["layers[0].y"], sound["layers[0].y"])
    assert np.array_equal(read["layers[1].z"][1:], read["layers[0].y"][:-1])
    assert np.array_equal(read["outputs"][1:], sound["outputs"][:-1])


def test_telegraph_noise_has_two_levels_and_remembers(net, inputs):
    device = made(net, telegraph=0.4, telegraph_rate=0.1)
    assert Abilities.of(device.hello(ASKED)).noise == "unknown"
    read = device.run(inputs, seed=2, taps=EVERYTHING)
    xi = read["layers[0].a"] - drives(device, read)[0]
    assert np.allclose(np.abs(xi), 0.4, atol=1e-5)
    turned = np.sign(xi[1:]) != np.sign(xi[:-1])
    assert turned.mean() == pytest.approx(0.1, abs=0.03)
    assert abs(np.sign(xi).mean()) < 0.1


def test_settings_out_of_range_are_said():
    for name, value in (
        ("bits", 1),
        ("input_bits", -2),
        ("read_noise", -0.1),
        ("stuck", 1.5),
        ("stuck_at", float("nan")),
        ("stuck_at", float("inf")),
        ("block", "rows"),
    ):
        with pytest.raises(ArgumentError, match=name if name != "block" else "rows"):
            Faults(**{name: value})
