"""The gradient of a device, measured there: exact where it can be, within its standard error elsewhere."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.analysis.along_training import (
    DIAGNOSED_STEP,
    along_training,
    diagnose_points,
    trials_on_device,
)
from perturbax.cli import main
from perturbax.devices import Checked
from perturbax.devices.gradient import GradientMeter, kind_for
from perturbax.devices.network import network_of
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError, DeviceError
from perturbax.network.arrays import to_named_arrays
from perturbax.report.diagnosis import page

SLOPE = np.asarray([1.0, -2.0, 0.5, 3.0])
AT = {"W": np.asarray([[0.1, 0.4, -0.2, 0.25]], np.float32)}


class Linear:
    """A device whose outputs are its weights, on a grid of 0.3, perhaps with noise that nobody can seed."""

    def __init__(self, noise=0.0, leak=0.0, still=False):
        self.noise, self.leak, self.still = noise, leak, still
        self.rng, self.W = np.random.default_rng(0), np.zeros((1, 4), np.float32)

    def hello(self, asked):
        weights = {"W": {"shape": [1, 4], "step": 0.3}}
        sizes = {"version": 1, "name": "linear", "inputs": 1, "outputs": 4}
        return {**sizes, "weights": weights, "noise": "unknown" if self.noise else "none"}

    def write(self, weights):
        if weights and not self.still:
            asked = np.asarray(weights["W"], float)
            moved = asked + self.leak * np.roll(asked, 1)  # writing a weight moves its neighbour
            self.W = (np.round(moved / 0.3) * 0.3).astype(np.float32)
        return {"W": self.W}

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        y = self.W + self.noise * self.rng.normal(size=(*inputs.shape[:2], 4))
        return {"outputs": y}

    def bye(self):
        pass


def measured(device, kind, repeats=4):
    checked = Checked(device, 1, 4, 1)
    net = network_of(checked.can, AT)
    xs, ys = jnp.zeros((1, 2, 1)), jnp.zeros((1, 2, 4))
    meter = GradientMeter(checked, lambda y, target: y @ SLOPE, "task", kind, repeats)
    found = meter(net, xs, ys, jr.PRNGKey(0))
    return found.parts["W"][:, 0], checked.costs


@pytest.mark.parametrize("leak", [0.0, 0.5])
def test_differences_are_exact_along_what_is_held(leak):
    parts, costs = measured(Linear(leak=leak), "differences")
    np.testing.assert_allclose(parts, np.tile(SLOPE, (4, 1)), rtol=1e-5)
    assert costs.writes - 4 * 2 * 4 in (2, 2 + 4 * 2)  # the largest weight, or all where it moves another
    assert costs.trials == 4 * 2 * 4 * 2
    with pytest.raises(DeviceError, match="the weights of linear stay as they are"):
        measured(Linear(still=True), "differences")


def test_perturbations_average_noise_and_their_spread_is_its_size():
    assert kind_for(Checked(Linear(noise=0.1), 1, 4, 1).can) == "perturbations"
    parts, _ = measured(Linear(noise=0.1), "perturbations", repeats=40)
    error = parts.std(0, ddof=1) / len(parts) ** 0.5
    assert (np.abs(parts.mean(0) - SLOPE) < 4 * error).all()
    assert error.max() < 0.5


def experiment(device):
    return px.Experiment(
        "probe-lag1",
        "node",
        device=device,
        steps=1,
        batch=4,
        seed=3,
        decorrelate=None,
    )


def test_a_rule_is_diagnosed_on_a_device_beside_the_gradient_that_is_measured_there():
    device = Simulated("tanh", (3,), seed=3)
    said = []
    plan = along_training(experiment(device))
    data = diagnose_points(plan, [1, 16], 8, lambda done, total, loss: said.append((done, total)))
    assert [point["name"] for point in data["points"]] == ["start", "end"]
    start = data["points"][0]
    n = data["reference"]["weights"]
    assert start["reference"]["writes"] == 2 * n * 4 + 2 * 5  # the largest weight of each array at first
    assert start["reference"]["trials"] == 2 * n * 4 * 4
    assert start["estimates"]["writes"] == 2 + 8 * 16
    spent = sum(point[part]["trials"] for point in data["points"] for part in ("reference", "estimates"))
    assert spent == trials_on_device(plan, [1, 16], 8)
    assert said[-1][0] == said[-1][1] == 2 * (8 + 2 + 4)
    groups = {group["name"]: group for group in start["groups"]}
    assert groups["layers[1].W"]["reference_error"] < 1e-3
    assert not any(group["biased"] for group in start["groups"])
    assert 0.3 < groups["all"]["averages"][1]["cosine"] < 1
    task = px.TASKS["probe-lag1"]()  # the same batch and weights in this process, by BPTT
    xs, ys = task.sample(jr.split(jr.fold_in(jr.PRNGKey(3), DIAGNOSED_STEP))[0], 4)
    loss, exact = px.bptt(task.loss)(device.net, xs, ys)
    assert start["loss"] == pytest.approx(float(loss), rel=1e-3)
    for name, g in to_named_arrays(exact).items():
        assert groups[name]["gradient"] == pytest.approx(float(jnp.linalg.norm(g)), rel=1e-3)
    html = page(data)
    assert "gradient of simulated tanh, measured there by differences" in html
    assert f"{2 * 8 * n + 2 * 5:,} writes" in html
    assert "beside the gradient of the device on probe-lag1" in html


def test_errors_are_one_line(capsys):
    assert main(["diagnose", "--reference", "differences", "--steps", "1", "--samples", "1"]) == 2
    assert "measured on a --device" in capsys.readouterr().err
    device = Simulated("tanh", (3,))
    plan = along_training(experiment(device))
    together = Linear(leak=1.0)
    together.run = None  # they are found by writing alone
    with pytest.raises(DeviceError, match="weights that move together"):
        measured(together, "differences")
    with pytest.raises(ArgumentError, match="repeats must be 4 or more, not 2"):
        diagnose_points(plan, [1], 4, lambda *_: None, repeats=2)
    with pytest.raises(ArgumentError, match="leave --train at rule"):
        along_training(experiment(device), experiment(None))
