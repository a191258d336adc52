"""Gated cells on a device: one that names each gate as a layer of its own takes node perturbation."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import perturbax as px
from perturbax.devices import Checked
from perturbax.devices.choice import strongest
from perturbax.devices.estimates import device_learner
from perturbax.devices.network import network_of
from perturbax.devices.simulated import Simulated

GATES = ("update", "reset", "below", "past")  # the parts of the pre-activations of a GRU, (4, n)
BELOW, PAST = (0, 1, 2), (0, 1, 3)  # the parts that W and U make


class Gates:
    """A GRU whose gates are layers: each has weights, a current and taps of its own."""

    def __init__(self, n):
        self.inner = Simulated("gru", (n,))

    def hello(self, asked):
        inner = self.inner.hello(asked)
        n_in, _, n = inner["weights"]["layers[0].W"]["shape"]
        weights = {}
        for i, gate in enumerate(GATES):
            if i in BELOW:
                weights[f"{gate}.W"] = {"shape": [n_in, n], "layer": gate, "reads": "z"}
            if i in PAST:
                weights[f"{gate}.U"] = {"shape": [n, n], "layer": gate, "reads": "r"}
        for name in ("W", "b"):
            weights[f"out.{name}"] = {**inner["weights"][f"layers[1].{name}"], "layer": "out"}
        taps = {gate: ["z", "r", "a"] for gate in (*GATES, "out")}
        currents = {**{gate: [n] for gate in GATES}, "out": inner["currents"]["layers[1]"]}
        same = {name: inner[name] for name in ("version", "inputs", "outputs", "noise", "seeded")}
        return {**same, "name": "gates", "weights": weights, "taps": taps, "currents": currents}

    def write(self, weights):
        if weights:
            W = np.stack([weights[f"{GATES[i]}.W"] for i in BELOW], 1)
            U = np.stack([weights[f"{GATES[i]}.U"] for i in PAST], 1)
            readout = {f"layers[1].{name}": weights[f"out.{name}"] for name in ("W", "b")}
            self.inner.write({"layers[0].W": W, "layers[0].U": U, **readout})
        return weights or None

    def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
        if currents is not None:
            gates = np.stack([currents[gate] for gate in GATES], 2)  # (T, B, 4, n)
            currents = {"layers[0]": gates, "layers[1]": currents["out"]}
        inner = ["layers[0].z", "layers[0].r", "layers[1].z"]
        found = self.inner.run(inputs, seed, currents, None, inner)
        answer = {"outputs": found["outputs"]}
        for tap in taps:
            layer, name = tap.split(".")
            answer[tap] = found[f"layers[{int(layer == 'out')}].{name}"]
        return answer

    def bye(self):
        pass


def test_a_device_that_names_gates_as_layers_takes_node_perturbation():
    device = Checked(Gates(3), 2, 1, 3)
    assert strongest(device.can).rule == "node"
    assert (
        strongest(Checked(Simulated("gru", (3,)), 2, 1, 3).can).rule == "weight"
    )  # W makes three of the four
    net = device.device.inner.net
    inside = jax.tree.map(lambda w: 3 * w, net)  # so that the gates matter
    W, U = np.asarray(inside.layers[0].W), np.asarray(inside.layers[0].U)
    arrays = {f"{GATES[i]}.W": W[:, k] for k, i in enumerate(BELOW)}
    arrays |= {f"{GATES[i]}.U": U[:, k] for k, i in enumerate(PAST)}
    arrays |= {"out.W": np.asarray(inside.layers[1].W), "out.b": np.asarray(inside.layers[1].b)}
    net = network_of(device.can, {name: arrays[name] for name in device.can.weights})
    xs, ys = jr.normal(jr.PRNGKey(0), (3, 1, 2)), jnp.ones((3, 1, 1))

    def loss(y, target):
        return jnp.mean((y - target) ** 2, -1)

    rule = px.RULES["node"](samples=4096, credit="to-go", sigma=1e-2, difference="antithetic")
    learner = device_learner(rule, loss, device)
    draws = []
    for i in range(6):
        grads = learner.update(learner.init(net, xs[0], jr.PRNGKey(0)), net, xs, ys, jr.PRNGKey(i))[2]
        draws.append({name: np.asarray(g) for name, g in grads.named().items()})
    exact = jax.tree.map(np.asarray, px.bptt(loss)(inside, xs, ys)[1])
    whole: list[np.ndarray] = []
    for k, (below, past) in enumerate(zip(BELOW, PAST, strict=True)):
        for name, array in (
            (f"{GATES[below]}.W", exact.layers[0].W),
            (f"{GATES[past]}.U", exact.layers[0].U),
        ):
            found, g = np.stack([draw[name] for draw in draws]), array[:, k]
            error = np.sqrt(np.mean(found.var(0, ddof=1)) / len(found))
            assert np.sqrt(np.mean((found.mean(0) - g) ** 2)) < 2.5 * error + 1e-5, name
            whole.append(np.stack([found.mean(0).ravel(), g.ravel()]))
    assert np.corrcoef(np.concatenate(whole, 1))[0, 1] > 0.9  # all of them together are told from zero
