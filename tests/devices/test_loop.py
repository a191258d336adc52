"""Learning on a device: the numbers of a run in process, estimates along what was held, stops and resumes."""

import json
import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.devices import Checked
from perturbax.devices.abilities import Abilities
from perturbax.devices.choice import check_rule, defaults, strongest
from perturbax.devices.estimates import device_learner
from perturbax.devices.faults import Faults
from perturbax.devices.network import drawn, network_of
from perturbax.devices.simulated import Simulated
from perturbax.devices.updates import on_grid
from perturbax.errors import ArgumentError, DeviceError
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.layout import layout_of
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import read_experiment
from perturbax.report.read import read_runs

SMALL = {"task": "copy", "task__length": 2, "task__delay": 1, "steps": 4, "logs": 2, "batch": 4, "seed": 3}


def said(**changes):
    """Abilities of a device of one layer that can do everything, with changes."""
    layers = {"W": "z", "U": "r", "b": "1"}
    shapes = {"W": [2, 3], "U": [3, 3], "b": [3]}
    weights = {name: {"shape": shapes[name], "layer": "h", "reads": reads} for name, reads in layers.items()}
    whole = {
        "version": 1,
        "name": "one",
        "inputs": 2,
        "outputs": 3,
        "weights": weights,
        "noise": "none",
        "currents": {"h": [3]},
        "taps": {"h": ["z", "r", "a"]},
    }
    return Abilities.of(whole | changes)


@pytest.mark.parametrize("rule", ["node", "weight", "innovation"])
def test_without_faults_a_run_on_a_device_is_that_in_process_bit_for_bit(rule):
    longer = {"rule__samples": 1, **_credit(rule), "steps": 12}
    here = px.run(rule=rule, cell="tanh", units=5, decorrelate="off", **longer)
    there = px.run(device=Simulated("tanh", (5,)), rule=rule, **longer)
    for one, other in zip(*(jax.tree.leaves(px.weights(r.net)) for r in (here, there)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert here.summary["test"] == there.summary["test"]
    assert [line["loss"] for line in here.metrics] == [line["loss"] for line in there.metrics]
    device = there.summary["device"]
    tested = px.TASKS["copy"](length=2, delay=1).held_out("test").xs.shape[1]
    assert device["writes"] == (12 * 2 if rule == "weight" else 12) + 3
    assert device["trials"] - there.metrics[-1]["trials"] == tested  # outputs and metrics are of one run
    assert all(held["difference"] == 0 for held in device["held"].values())


def _credit(rule):
    return SMALL | ({} if rule == "weight" else {"rule__credit": "to-go"})


def test_the_strongest_rule_that_abilities_allow():
    assert strongest(said()).rule == "node"
    silent = strongest(said(currents={}, noise="own"))
    assert silent.rule == "innovation"
    assert "takes no current" in silent.why
    assert strongest(said(currents={}, noise="unknown")).rule == "weight"
    assert strongest(said(taps={})).rule == "weight"
    assert defaults("node", said(noise="unknown"))["difference"] == "antithetic"
    assert "difference" not in defaults("node", said())


def test_what_a_device_cannot_do_is_refused_in_a_sentence():
    grid = said(weights={"W": {"shape": [2, 3], "layer": "h", "step": 0.25}})
    with pytest.raises(ArgumentError, match=r"sigma 0\.1 is below the grid of W, 0\.25"):
        check_rule(px.RULES["weight"](sigma=0.1), grid, "task")
    check_rule(px.RULES["weight"](sigma=0.5, difference="antithetic"), grid, "task")
    with pytest.raises(ArgumentError, match="tap a of layer h cannot be read"):
        check_rule(px.RULES["innovation"](), said(taps={"h": ["z", "r"]}), "task")
    with pytest.raises(ArgumentError, match="returns no score"):
        check_rule(px.RULES["weight"](), said(), "device")
    with pytest.raises(ArgumentError, match="written between two runs"):
        check_rule(px.RULES["weight"](hold_steps=1), said(), "task")
    with pytest.raises(ArgumentError, match="name one with --device"):
        px.run(task="copy", rounding="float")
    with pytest.raises(ArgumentError, match="simulated tanh names no step of any weights"):
        px.run(device=Simulated("tanh", (3,)), rounding="stochastic", **SMALL)
    with pytest.raises(ArgumentError, match="cannot learn online"):
        px.run(device=Simulated("tanh", (3,)), mode="online", **SMALL)


class Linear:
    """A device whose output is its one array of weights, on a grid of 0.3, with a loss that is linear."""

    def __init__(self, tells=True):
        self.tells, self.W = tells, np.zeros((1, 6), np.float32)

    def hello(self, asked):
        weights = {"W": {"shape": [1, 6]}}
        return {
            "version": 1,
            "name": "linear",
            "inputs": 1,
            "outputs": 6,
            "weights": weights,
            "noise": "none",
        }

    def write(self, weights):
        if weights:
            self.W = (np.round(np.asarray(weights["W"]) / 0.3) * 0.3).astype(np.float32)
        return {"W": self.W} if self.tells else None

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        return {"outputs": np.broadcast_to(self.W, (*inputs.shape[:2], 6))}

    def bye(self):
        pass


def test_weight_perturbation_is_unbiased_along_what_was_held_and_not_along_what_was_asked():
    slope = jnp.asarray([1.0, -2.0, 0.5, 3.0, -1.0, 2.0])
    at = {"W": np.asarray([[0.1, 0.4, -0.2, 0.25, 1.0, -0.7]], np.float32)}
    xs, ys = jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 6))
    for noise in ("rademacher", "gaussian"):
        rule = px.RULES["weight"](sigma=0.2, difference="antithetic", noise=noise, samples=32)
        device = Checked(Linear(), 1, 6, 1)
        learner = device_learner(rule, lambda y, target: y @ slope, device)
        net = network_of(device.can, at)
        found = {}
        for trusted in (True, False):
            device.device.tells = trusted  # else what was asked is taken for held
            keys = [jr.PRNGKey(i) for i in range(60)]
            draws = [np.asarray(learner.update((), net, xs, ys, key)[2].named()["W"])[0] for key in keys]
            error = np.std(draws, 0) / len(draws) ** 0.5
            found[trusted] = np.abs((np.mean(draws, 0) - slope) / error)
        assert found[True].max() < 4
        if noise == "rademacher":  # the control; Gaussian noise dithers, so that rounding is right on average
            assert found[False].max() > 5  # along what was asked


def test_learning_from_own_noise_is_unbiased_with_the_weights_held():
    """A layer of two units; loss = g . a, so that dL/dW = g x^T at every weight."""

    class Noisy(Linear):
        rng = np.random.default_rng(0)

        def __init__(self):
            super().__init__()
            self.W = np.zeros((3, 2), np.float32)

        def hello(self, asked):
            weights = {"W": {"shape": [3, 2], "layer": "h", "reads": "z"}}
            return said(weights=weights, outputs=2, inputs=3, noise="own", currents={}).hello()

        def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
            a = inputs @ self.W + 0.1 * self.rng.standard_normal((*inputs.shape[:2], 2))
            return {"outputs": a, "h.z": inputs, "h.a": a}

    g, x = np.asarray([1.0, -2.0]), np.asarray([0.5, 1.0, -0.5], np.float32)
    device = Checked(Noisy(), 3, 2, 1)
    rule = px.RULES["innovation"](difference="noisy", credit="to-go")
    learner = device_learner(rule, lambda y, target: y @ g, device)
    net = network_of(device.can, {"W": np.full((3, 2), 0.44, np.float32)})
    xs, ys = jnp.tile(jnp.asarray(x), (1, 64, 1)), jnp.zeros((1, 64, 2))
    z = {}
    for trusted in (True, False):
        device.device.tells = trusted
        state = learner.init(net, xs[0], jr.PRNGKey(0))
        draws = []
        for i in range(100):
            grads = learner.update(state, net, xs, ys, jr.PRNGKey(i))[2]
            draws.append(np.asarray(grads.named()["W"]))
        error = np.std(draws, 0) / len(draws) ** 0.5
        z[trusted] = np.abs((np.mean(draws, 0) - np.outer(x, g)) / error).max()
    assert z[True] < 4 < 8 < z[False]


def test_rounding_at_random_keeps_the_mean_on_the_grid():
    can = said(weights={"W": {"layer": "h", "shape": [200, 5], "step": 0.5, "low": -1.0, "high": 1.0}})
    net = network_of(can, {"W": np.full((200, 5), 0.1, np.float32)})
    rounded = np.asarray(on_grid(net, can, jr.PRNGKey(0)).named()["W"])
    assert set(np.unique(rounded)) == {0.0, 0.5}
    assert abs(rounded.mean() - 0.1) < 0.03


def test_drawn_weights_are_within_the_range_of_the_device():
    can = said(weights={"W": {"shape": [3, 4], "order": "post-pre", "layer": "h", "reads": "z", "high": 0.1}})
    made = drawn(can, jr.PRNGKey(0)).named()["W"]
    assert made.shape == (3, 4)
    assert made.max() == np.float32(0.1)


def test_a_device_that_returns_a_score_per_trial_learns_with_credit_to_the_end(tmp_path):
    class Scoring(Simulated):
        def hello(self, asked):
            return super().hello(asked) | {"score": True}

        def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
            found = super().run(inputs, seed, currents, None, taps)
            if targets is not None:
                found["score"] = np.mean((found["outputs"] - targets) ** 2, (0, 2))
            return found

    folder = tmp_path / "run"
    result = px.run(device=Scoring("tanh", (4,)), rule="node", score="device", out=folder, **SMALL)
    assert np.isfinite(result.summary["test"]["loss"])
    assert not (folder / "predictions.npz").exists()  # the device's outputs were not asked for
    assert read_runs([folder])[0].predictions is None
    layout = layout_of(folder / "config.json", run_folder.read_json(folder / "config.json"))
    run_folder.write_arrays(folder / "predictions.npz", {}, layout)  # as once
    assert read_runs([folder])[0].predictions is None
    assert result.experiment.rule_options["credit"] == "to-go"
    with pytest.raises(DeviceError, match="take credit to-go"):
        px.run(device=Scoring("tanh", (4,)), rule="node", score="device", rule__credit="same-step", **SMALL)


def test_a_stopped_run_says_what_to_go_on_with_and_its_report_what_a_device_lacks(tmp_path):
    """Those whose trainer is killed are in test_kills.py."""

    def stop(done, total, loss):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        px.run(device=Simulated("tanh", (4,)), rule="weight", out=tmp_path / "run", report=stop, **SMALL)
    before = [line["loss"] for line in run_folder.read_metrics(tmp_path / "run")]
    with pytest.raises(ArgumentError, match="name it again with --device"):
        px.resume(tmp_path / "run")
    result = px.resume(tmp_path / "run", device=Simulated("tanh", (4,)))
    assert result.summary["status"] == "finished"
    assert len(before) == 1
    assert [line["loss"] for line in result.metrics][:1] == before
    assert len(result.metrics) == 2
    assert result.metrics[-1]["writes"] == 2 * 4 + 2
    page = px.report(tmp_path / "run", tmp_path / "report.html").read_text()
    assert "On the device" in page
    assert "simulated tanh" in page
    assert "Devices have no frozen reservoir" in page
    assert px.load(tmp_path / "run").net.named().keys() == result.net.named().keys()


COMMAND = f"{sys.executable} -m perturbax.devices.simulated --cell tanh --units 4 --ambient 0.05"


def test_no_command_of_a_folder_is_started_unless_it_is_trusted_or_given(tmp_path, capsys):
    run = tmp_path / "run"
    program = tmp_path / "device"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec {COMMAND}\n")
    program.chmod(0o700)
    px.run(device=Simulated("tanh", (4,)), out=run, **SMALL)
    config = json.loads((run / "config.json").read_text())
    config["experiment"]["device"] = str(program)
    stranger = tmp_path / "config.json"
    stranger.write_text(json.dumps({"experiment": config["experiment"]}))
    ways = (
        ["run", "--config", str(stranger), "--out", str(tmp_path / "new")],
        ["run", "--config", str(stranger), "--dry-run"],
    )
    for words in ways:
        assert main(words) == 2
        assert f"trained on the device '{program}': add --trust" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="add --trust"):
        px.run(read_experiment(stranger))
    with pytest.raises(ArgumentError, match="add --trust"):
        build(read_experiment(stranger))  # as `diagnose --run` does
    assert not (tmp_path / "started").exists()
    assert main([*ways[1], "--trust"]) == 0  # the control: it is started where it is trusted
    assert (tmp_path / "started").exists()


@pytest.mark.parametrize("device", ["", "  ", 5, None, object()])
def test_what_is_no_device_is_refused_before_anything_is_made(device):
    with pytest.raises(DeviceError, match="a device is a command, an address, or an object with the methods"):
        px.devices.train(device, "copy")


def test_a_device_that_dies_ends_the_run_in_a_sentence_and_loses_nothing(tmp_path):
    class Dying(Simulated):
        left = 9

        def run(self, *args, **named):
            self.left -= 1
            if not self.left:
                raise OSError("power lost")
            return super().run(*args, **named)

    def settings():
        return {**SMALL, "rule": "weight", "steps": 6, "logs": 3}

    whole = px.devices.train(Simulated("tanh", (4,), faults=Faults(bits=6, top=2.0)), **settings())
    assert whole.experiment.rule_options["difference"] == "antithetic"
    device = Dying("tanh", (4,), faults=Faults(bits=6, top=2.0))
    with pytest.raises(DeviceError, match="power lost"):
        px.run(device=device, out=tmp_path / "run", **settings())
    assert [f.name for f in (tmp_path / "run" / "checkpoint").iterdir()] == ["step-000000002.npz"]
    other = Simulated("tanh", (5,), faults=Faults(bits=6, top=2.0))
    with pytest.raises(
        DeviceError, match=r"other weights .* \(layers\[0\]\.W \(\(10, 5\), .*not \(\(10, 4\)"
    ):
        px.resume(tmp_path / "run", device=other)
    again = px.resume(tmp_path / "run", device=Simulated("tanh", (4,), faults=Faults(bits=6, top=2.0)))
    for one, other in zip(*(jax.tree.leaves(px.weights(r.net)) for r in (whole, again)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.metrics[-1]["writes"] == whole.metrics[-1]["writes"]


def test_commands_that_need_a_network_here_refuse_a_device():
    device = Simulated("tanh", (4,))
    parts = build(px.Experiment("copy", "node", task_options={"length": 2}, device=device, steps=2))
    with pytest.raises(ArgumentError, match="it takes no device"):
        Compiled(parts)
