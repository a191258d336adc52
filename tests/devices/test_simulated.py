"""The simulated device: the network itself where it has no faults."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import strong

import perturbax as px
from perturbax.devices import driver
from perturbax.devices.abilities import Abilities
from perturbax.devices.command import main
from perturbax.devices.simulated import Simulated
from perturbax.errors import DeviceError

ASKED = {"version": 1, "inputs": 2, "outputs": 2, "steps": 5}
T, B = 5, 3


@pytest.fixture(scope="module")
def inputs():
    return np.asarray(jr.normal(jr.key(1), (T, B, 2)))


@pytest.mark.parametrize("cell", ["tanh", "lif"])
def test_without_faults_it_is_the_network_bit_for_bit(cell, inputs):
    net = strong(cell)
    device = Simulated(net=net)
    device.hello(ASKED)
    assert np.array_equal(device.run(inputs)["outputs"], px.forward(net, inputs))


def test_currents_and_taps_are_noise_and_sites_of_the_network(inputs):
    net = strong("lstm")
    device = Simulated(net=net)
    can = Abilities.of(device.hello(ASKED))
    currents = {
        name: np.asarray(jr.normal(jr.key(i), (T, B, *can.currents[name])))
        for i, name in enumerate(can.currents)
    }
    names = [f"{layer}.{tap}" for layer, taps in can.taps.items() for tap in taps]
    read = device.run(inputs, currents=currents, taps=names)

    @jax.jit
    def sites(xs, noise):
        step = lambda state, now: (lambda s, y, sites: (s, (y, sites)))(*net.step(state, now[0], now[1]))
        return jax.lax.scan(step, net.start(B), (xs, noise))[1]

    y, seen = sites(jnp.asarray(inputs), [currents[name] for name in can.currents])
    assert np.array_equal(read["outputs"], y)
    assert np.array_equal(read["layers[1].y"], y)
    assert np.array_equal(read["layers[0].y"], read["layers[1].z"])
    for i, site in enumerate(seen):
        for tap in ("z", "r", "a"):
            assert np.array_equal(read[f"layers[{i}].{tap}"], getattr(site, tap))


def test_hello_says_which_weights_are_plain_products():
    reads = {}
    for cell in ("tanh", "lstm", "gru", "sparse-tanh", "lru"):
        device = Simulated(cell, (3,))
        reads[cell] = {
            name: weight.reads for name, weight in Abilities.of(device.hello(ASKED)).weights.items()
        }
    plain = {"layers[0].W": "z", "layers[0].U": "r", "layers[0].b": "1"}
    readout = {"layers[1].W": "z", "layers[1].b": "1"}
    assert reads["tanh"] == plain | readout
    assert reads["lstm"] == plain | readout
    assert reads["gru"] == {**plain, "layers[0].W": None, "layers[0].U": None} | readout
    assert reads["sparse-tanh"] == {**plain, "layers[0].U": None} | readout
    assert reads["lru"]["layers[0].lam"] is None


def test_weights_are_written_by_name_and_read_back():
    device = Simulated("tanh", (4,))
    device.hello(ASKED)
    before = device.write({})
    b = np.arange(4.0, dtype=np.float32)
    assert np.array_equal(device.write({"layers[0].b": b})["layers[0].b"], b)
    after = device.write({})
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "layers[0].b")


def test_what_it_does_not_have_is_said(inputs):
    device = Simulated("tanh", (4,))
    with pytest.raises(DeviceError, match="say hello first"):
        device.run(inputs)
    device.hello(ASKED)
    with pytest.raises(DeviceError, match=r"no weights 'W'"):
        device.write({"W": np.zeros(3)})
    with pytest.raises(DeviceError, match=r"has the shape \(4,\), not \(3,\)"):
        device.write({"layers[0].b": np.zeros(3)})
    with pytest.raises(DeviceError, match=r"no tap 'layers\[0\].x'"):
        device.run(inputs, taps=["layers[0].x"])
    with pytest.raises(DeviceError, match="no layer 'hidden'"):
        device.run(inputs, currents={"hidden": np.zeros((T, B, 4))})


def test_settings_and_rows_in_one_program_are_those_in_turn():
    device = Simulated("tanh", (3,))
    said = device.hello({"inputs": 2, "outputs": 1})
    assert said["repeats"] == {"layers[0].r": "layers[1].z"}
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal((2, *about["shape"])).astype(np.float32)
        for name, about in said["weights"].items()
    }
    inputs = rng.standard_normal((4, 5, 2)).astype(np.float32)
    bits = rng.integers(0, 256, 15, np.uint8)
    currents = {
        "layers[0]": driver.Signs(bits, 0.5, (4, 2, 5, 3)),
        "layers[1]": rng.standard_normal((4, 2, 5, 1)).astype(np.float32),
    }
    taps = ["layers[0].r", "layers[1].z", "layers[0].a"]
    for rows, middle in (([(0, 1.0), (1, -1.0)], "mean"), ([(0, 0.0), (1, 1.0), (0, 2.0)], "first")):
        asked = weights, inputs, rows, middle, None, currents, None, taps
        held, found = device.write_and_run(*asked)
        assert held is weights
        assert np.array_equal(device.write({})["layers[0].U"], weights["layers[0].U"][1])
        in_turn = driver.in_turn(device, *asked)
        for name, array in in_turn[0].items():
            assert np.array_equal(array, weights[name])
        assert found.keys() == in_turn[1].keys()
        for name, array in in_turn[1].items():
            np.testing.assert_allclose(found[name], array, atol=1e-6)
        r, z = (found[tap].reshape(4, 2, 5, 3) for tap in taps[:2])
        np.testing.assert_array_equal(r[1:], z[:-1])
        assert not r[0].any()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("--units 0", "units must be a whole number of at least 1, not 0"),
        ("--units 8,-2", "units must be a whole number of at least 1, not -2"),
        ("--units 40000,40000", "weights, more than a frame of"),
        ("--seed -1", "seed must be a whole number of at least 0, not -1"),
        ("--seed 99999999999", "seed must be below 2147483648"),
        ("--cell.nonsense 1", "unknown setting of Tanh 'nonsense'"),
        ("--cell lif --cell.lek 0.5", "did you mean 'leak'"),
        ("--cell lif --cell.leak 7.5", "leak must be 0 or more and below 1, not 7.5"),
        ("--cell lif --cell.reset=zeo", "unknown reset 'zeo'; did you mean 'zero'"),
        ("--cell tahn", "did you mean 'tanh'"),
        ("--bist 3", "unknown argument '--bist'; did you mean '--bits'"),
        ("--cell.bias", "--cell.bias needs a value"),
        ("--bits 1", "bits must be a whole number of at least 2"),
        ("--ambient nan", "ambient must be 0 or more, not nan"),
    ],
)
def test_settings_that_cannot_be_used_are_said_before_it_serves(typed, words, capfd):
    with pytest.raises(SystemExit) as ended:
        main(typed.split())
    said = capfd.readouterr()
    assert ended.value.code == 2
    assert words in said.err
    assert said.err.startswith("simulated device: ")
    assert len(said.err.splitlines()) == 1
