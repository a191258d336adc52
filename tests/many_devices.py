"""What several devices make of one estimate, as JSON: run in a process of its own, whose CPU counts as eight.

XLA_FLAGS=--xla_force_host_platform_device_count=8 python tests/many_devices.py
"""

import contextlib
import functools
import json
import re
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.experiment.build import build
from perturbax.experiment.many import over_devices
from perturbax.experiment.placement import Placement
from perturbax.experiment.reuse import compiled_for
from perturbax.learning.shares import mesh_of
from perturbax.network.layer import weights

T, B, FEW, N_IN, UNITS, N_OUT = 5, 24, 3, 4, 11, 2
EXCHANGES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


class Derived(px.rules.Node):
    """Node perturbation, derived: it does not say what its estimates are means over."""


class Slope(px.rules.PES):
    """Persistent evolution strategies, of a class that says nothing either."""


# What is split -> (rule, a number of devices); each form of a share has a rule, and each number several.
# Rows: a batch of 24; samples: one of 3, which no number divides.
ROWS = {
    "node": (px.rules.Node(samples=2), 8),
    "weight": (px.rules.Weight(samples=2), 8),
    "iterative": (px.rules.Iterative(samples=4, noise="correlated", difference="antithetic"), 2),
    "innovation": (px.rules.Innovation(samples=2, ambient=0.1, credit="window", window=3), 4),
    "scaled": (px.rules.Node(samples=3, noise="scaled"), 2),
    "forward": (px.rules.Forward(samples=3), 2),
    "reward": (px.rules.Reward(), 2),
    "ou": (px.rules.OU(), 2),
    "evolution": (px.rules.Evolution(population=6, shaping="z-score"), 4),
    "bptt": (px.rules.BPTT(), 8),
    "relaxation": (px.rules.ActivationRelaxation(sweeps=2, backward="learnt"), 2),
    "derived": (Derived(samples=3), 2),
}
SAMPLES = {
    "node": (px.rules.Node(samples=8, credit="to-go"), 8),
    "weight": (px.rules.Weight(samples=8, difference="noisy"), 4),
    "evolution": (px.rules.Evolution(population=16, shaping="rank"), 8),
    "full rank": (px.rules.Evolution(population=8, rank=0), 4),
    "pes": (px.rules.PES(samples=4, window=2), 2),
}
REFUSED = {
    "batch and samples": (px.rules.Node(samples=3), 2),
    "no samples": (px.rules.BPTT(), 2),
    "derived": (Slope(samples=4), 2),
    "too many": (px.rules.BPTT(), 16),
    "no number": (px.rules.BPTT(), "two"),
}


def loss(y, target):
    """Mean squared error."""
    return jnp.mean((y - target) ** 2, -1)


def network():
    """Return a network of one recurrent layer."""
    return px.Network(stack(px.CELLS["tanh"], (N_IN, N_OUT), (UNITS,), jr.PRNGKey(0)))


def data(batch):
    """Return inputs and targets."""
    xs = jr.normal(jr.PRNGKey(1), (T, batch, N_IN))
    return xs, jr.normal(jr.PRNGKey(2), (T, batch, N_OUT))


@functools.cache
def called_with(batch):
    """Return the network, inputs and targets of all rules."""
    return network(), *data(batch)


def compiled(rule, batch, mesh):
    """Return (the update, compiled; what it is called with)."""
    init, update = px.learner(rule, loss, mesh)

    def first(net, xs, ys):
        return update(init(net, xs[0], jr.PRNGKey(3)), net, xs, ys, jr.PRNGKey(4))

    given = called_with(batch)
    return jax.jit(first).lower(*given).compile(), given


def seen(program):
    """Return the exchanges of a program, and the shapes of its arrays."""
    text = program.as_text()
    pattern = re.compile(rf"= (.*?) ({'|'.join(EXCHANGES)})\(.*")
    exchanges = [
        {"what": found[2], "bytes": size_of(found[1]), "each_step": "/while/body" in found[0]}
        for found in pattern.finditer(text)
    ]
    shapes = {tuple(map(int, dims.split(","))) for dims in re.findall(r"\w\d\d?\[([\d,]+)\]", text)}
    return {"exchanges": exchanges, "shapes": sorted(shapes)}


def size_of(shapes):
    """Return the bytes of arrays of 8 bytes a number."""
    sizes = [np.prod([int(d) for d in dims.split(",") if d]) for dims in re.findall(r"\[([\d,]*)\]", shapes)]
    return int(8 * sum(sizes))


def difference(one, other):
    """Return the largest difference between two trees, over the largest number of each leaf."""

    def of_leaf(a, b):
        a, b = np.asarray(a, float), np.asarray(b, float)
        return float(np.max(np.abs(a - b)) / max(1e-30, np.max(np.abs(a)))) if a.size else 0.0

    return max(jax.tree.leaves(jax.tree.map(of_leaf, one, other)))


def compare(cases, batch):
    """Return what one device and several make of each rule."""
    found = {}
    for name, (rule, n) in cases.items():
        program, given = compiled(rule, batch, None)
        one = program(*given)
        # Half of them are given as a mesh, of two axes where that goes.
        mesh = Mesh(np.array(jax.devices()[:n]).reshape(2, -1), ("a", "b")) if n == 4 else n
        shared, given = compiled(rule, batch, mesh)
        several = seen(shared) | {"difference": difference(one, shared(*given))}
        found[name] = {"1": seen(program), str(n): several}
    return found


def refusals():
    """Return what is said of devices that cannot share the work."""
    said = {}
    for name, (rule, n) in REFUSED.items():
        try:
            compiled(rule, FEW, n)
        except px.PerturbaxError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


TINY = {"task": "probe-lag1", "rule": "node", "units": 3, "batch": 8, "steps": 4, "logs": 2}


def numbers(result):
    """Return the losses of a run, and all weights that it kept."""
    losses = [line["loss"] for line in result.metrics] + [line["valid_loss"] for line in result.metrics]
    return np.array(losses), weights(result.net)


def matrices(net):
    """Return the matrices of weights of a network."""
    return [leaf for leaf in jax.tree.leaves(weights(net)) if leaf.ndim > 1]


def interrupt(*_):
    """End a run where its first checkpoint is."""
    raise KeyboardInterrupt


def trained(settings, mesh=None):
    """Return what `numbers` does of a run that is advanced alone, without all that follows training."""
    program = compiled_for(over_devices(build(px.Experiment(**settings)), Placement(mesh_of(mesh))))
    states, lines = [program.start(0)], []
    for _ in range(settings["logs"]):
        states, losses, (metrics,), _ = program.advance(states, program.length)
        lines.append((losses.mean(), metrics["loss"]))
    losses, valid = zip(*lines, strict=True)
    return np.array(losses + valid), weights(states[0].best)


def runs(folder):
    """Return what several devices make of whole runs, and of one that goes on with another number of them."""
    with contextlib.suppress(KeyboardInterrupt):
        px.run(**TINY, mesh=2, out=folder / "two", on_log=interrupt)
    again = px.resume(folder / "two", mesh=4)
    found = {
        "two, then four": difference(trained(TINY), numbers(again)),
        "devices": again.summary["devices"],
        "facts": json.loads((folder / "two" / "config.json").read_text())["facts"]["devices"],
    }
    online = TINY | {"mode": "online", "rule_options": {"difference": "antithetic"}}
    found["online"] = difference(trained(online), trained(online, 4))
    large = TINY | {"units": UNITS * 4, "batch": 3}
    by_units = px.run(**large, mesh=4, shard="weights")
    found["weights"] = difference(trained(large), numbers(by_units))
    found["bytes"] = [weight.addressable_data(0).nbytes / weight.nbytes for weight in matrices(by_units.net)]
    places = Placement(mesh_of(4), split_weights=True)
    kept = compiled_for(over_devices(build(px.Experiment(**large)), places))
    program = next(iter(kept._programs.values()))
    found["shapes of weights"] = seen(program)["shapes"]
    refused = {"online": {"mode": "online"}, "sequence": {}, "device": {"device": "false"}}
    refused |= {"units": {"shard": "weights", "units": 3}}
    for name, settings in refused.items():
        try:
            px.run(**{**TINY, **settings, "batch": 3}, mesh=2)
        except px.PerturbaxError as error:
            found[f"{name} refused"] = str(error)
    return found


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    everything = {"rows": compare(ROWS, B), "samples": compare(SAMPLES, FEW), "refused": refusals()}
    with tempfile.TemporaryDirectory() as folder:
        everything["runs"] = runs(Path(folder))
    print(json.dumps(everything))
