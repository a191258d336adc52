"""Gradient estimates on a device: it runs the passes, and the rule judges what was recorded of them."""

import abc
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.devices.checked import Checked
from perturbax.devices.choice import check_rule, learns_from_own_noise, reads_pre_activations
from perturbax.devices.held import shift_seen
from perturbax.devices.innovations import innovation, no_fit
from perturbax.devices.network import DeviceNetwork, as_written
from perturbax.devices.recorded import OwnNoise, Record, RecordedNodes, RecordedWeights
from perturbax.errors import DeviceError
from perturbax.learning.blocks import step_keys
from perturbax.learning.sequence import Loss, over_sequence
from perturbax.network.layer import weights
from perturbax.network.network import Site
from perturbax.rules.perturbation.node_base import NodeRule
from perturbax.rules.perturbation.weight_base import WeightRule

SCORES = ("task", "device")


def device_learner(rule: Any, loss: Loss, device: Checked, score: str = "task") -> "DeviceLearner":
    """Return (init, update) of a rule on a device, in the manner of `px.learner`; update is no pure function.

        on = px.devices.Checked(device, n_in, n_out, T)
        learner = px.devices.device_learner(rule, task.loss, on)
        state = learner.init(net, xs[0], key)
        state, loss, grads = learner.update(state, net, xs, ys, key)

    Arguments:
        rule: a rule that perturbs weights or pre-activations.
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example; not looked at for a score of the
            device's own.
        device: the device.
        score: `task` for the loss on the outputs, or `device` for the score that the device returns.

    Raises ArgumentError for a rule that the device cannot carry out.
    """
    check_rule(rule, device.can, score)
    if isinstance(rule, WeightRule):
        return WeightLearner(rule, loss, device, score)
    if learns_from_own_noise(rule, device.can):
        return OwnNoiseLearner(rule, loss, device, score)
    return NodeLearner(rule, loss, device, score)


class DeviceLearner(abc.ABC):
    """A rule at work on a device; arguments as in `device_learner`."""

    def __init__(self, rule: Any, loss: Loss, device: Checked, score: str):
        self.rule, self.device, self.by_device = rule, device, score == "device"
        self.loss: Loss = (lambda y, target: y[:, 0]) if self.by_device else loss
        self._compiled = jax.jit(self.judge)

    def init(self, net: DeviceNetwork, x: Array, key: Array) -> PyTree:
        """Return what the rule keeps before its first update; arguments as in `Learner.init`."""
        return self.rule.init_state(net, x, key)

    def update(self, state: PyTree, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Return (state, loss, grads) after the passes of one update; arguments as in `Learner.update`."""
        return self._compiled(state, net, xs, ys, key, *self.passes(state, net, xs, ys, key))

    @abc.abstractmethod
    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Let the device run the passes of one update; return what `judge` takes besides."""

    @abc.abstractmethod
    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Return (state, loss, grads) by what was recorded of the passes. Pure, traceable."""

    def seed(self, key: Array) -> int | None:
        """Return the seed of the device's noise for an update; None where it takes none."""
        if not self.device.can.seeded:
            return None
        return int(jr.bits(jr.fold_in(key, 2), dtype=jnp.uint32)) & 0x3FFFFFFF

    def run_rows(
        self, rows: int, xs: Any, ys: Any, currents: dict[str, np.ndarray] | None, taps: list[str], seed: Any
    ) -> dict[str, np.ndarray]:
        """Run the same inputs in several rows, each with its own currents: -> arrays `(T, rows, B, ...)`.

        Arguments:
            rows: how many.
            xs: inputs `(T, B, n_in)`.
            ys: targets `(T, B, ...)`.
            currents: by layer, `(T, rows, B, ...)`; None for none.
            taps: names of what to read.
            seed: of the device's noise, or None.
        """
        T, B = xs.shape[:2]
        flat = None
        if currents is not None:
            flat = {layer: c.reshape(T, rows * B, *c.shape[3:]) for layer, c in currents.items()}
        targets = np.tile(np.asarray(ys), (1, rows, *[1] * (ys.ndim - 2))) if self.by_device else None
        found = self.device.run(np.tile(np.asarray(xs), (1, rows, 1)), seed, flat, targets, taps)
        if self.by_device:
            if "score" not in found:
                raise DeviceError(f"{self.device.can.name} was given targets and returned no score")
            found["outputs"] = self.scored(found.pop("score"), T)
        return {name: array.reshape(T, rows, B, *array.shape[2:]) for name, array in found.items()}

    def scored(self, score: np.ndarray, T: int) -> np.ndarray:
        """Return the device's score as a loss of each step, `(T, trials, 1)`.

        A score per trial is that of its last step, where it becomes known, and counts as much as T steps.
        """
        if score.ndim == 2:
            return score[..., None]
        if isinstance(self.rule, NodeRule) and self.rule.credit not in ("to-go", "trace"):
            raise DeviceError(
                f"{self.device.can.name} returns one score per trial, when it is over, which credit "
                f"{self.rule.credit} gives to few steps: take credit to-go"
            )
        late = np.zeros((T, len(score), 1), score.dtype)
        late[-1, :, 0] = T * score
        return late

    def held(self, net: DeviceNetwork) -> dict[str, Any]:
        """Write the weights, and return those that the device holds, by name."""
        asked = as_written(net)
        held = self.device.write(asked)
        return asked if held is None else held


class NodeLearner(DeviceLearner):
    """A rule that injects noise into pre-activations."""

    def __init__(self, rule: NodeRule, loss: Loss, device: Checked, score: str):
        super().__init__(rule, loss, device, score)
        self._currents = jax.jit(partial(_currents, rule))

    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Send all rows as one batch of trials, each under its currents: -> (weights held, record)."""
        inject = self._currents(net, state, xs, key)  # computed while the weights are on their way
        held = self.held(net)
        currents = {
            layer.label: np.asarray(added) for layer, added in zip(net.device_layers, inject, strict=True)
        }
        taps = taps_of(net, ("a",) if reads_pre_activations(self.rule) else ())
        found = self.run_rows(self.rule.rows, xs, ys, currents, taps, self.seed(key))
        return held, Record(found["outputs"], sites_of(net, found))

    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Let the rule judge the rows, with the weights that were held."""
        held, recorded = net.with_named(record[0]), record[1]
        return over_sequence(RecordedNodes(self.rule, recorded), self.loss)(state, held, xs, ys, key)


class OwnNoiseLearner(DeviceLearner):
    """A rule that learns from the noise that the device has of its own."""

    def init(self, net: DeviceNetwork, x: Array, key: Array) -> PyTree:
        """Return the sums of the fit of each layer's weights, before there is anything to fit."""
        return no_fit(net.sites_like(x))

    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Run every example 2 K times: -> (weights held, record)."""
        held = self.held(net)
        found = self.run_rows(self.rule.rows, xs, ys, None, taps_of(net, ("a",)), self.seed(key))
        return held, Record(found["outputs"], sites_of(net, found))

    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Find the noise in the taps, and compare the passes."""
        held, recorded = net.with_named(record[0]), record[1]
        found = [
            innovation(layer, site, fit)
            for layer, site, fit in zip(held.device_layers, recorded.sites, state, strict=True)
        ]
        bare = recorded._replace(sites=tuple(site._replace(a=None) for site in recorded.sites))
        replayed = OwnNoise(self.rule, bare, tuple(xi for xi, _ in found))
        rows = self.rule.rows
        xs, ys = jax.tree.map(lambda s: jnp.tile(s, (1, rows, *[1] * (s.ndim - 2))), (xs, ys))
        _, loss_now, grads = over_sequence(replayed, self.loss)((), held, xs, ys, key)
        return [fit for _, fit in found], loss_now, grads


class WeightLearner(DeviceLearner):
    """A rule that perturbs weights: one write and one run of the batch per row."""

    def __init__(self, rule: WeightRule, loss: Loss, device: Checked, score: str):
        super().__init__(rule, loss, device, score)
        self._rows = jax.jit(partial(_shifted_rows, rule))

    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Write each row of shifted weights, and run the batch on it.

        -> (outputs, shifts, weights asked for and weights held of each row).
        """
        inject, asked = self._rows(net, state, xs, key)
        arrays = {name: np.asarray(rows) for name, rows in asked.named().items()}
        seed, held, outputs = self.seed(key), [], []
        for row in range(self.rule.rows):
            own = {name: rows[row] for name, rows in arrays.items()}
            found = self.device.write(own)
            held.append(own if found is None else found)
            outputs.append(self.run_rows(1, xs, ys, None, [], seed)["outputs"])
        y = np.concatenate(outputs, 1)  # (T, rows, B, n_out)
        return y, inject, asked, {name: np.stack([h[name] for h in held]) for name in arrays}

    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Let the rule judge the rows, along the differences that were held."""
        y, inject, asked = record[:3]
        held = net.with_named(record[3])
        nothing = tuple(Site(None, None, None) for _ in net.layers)
        shift = shift_seen(self.rule, net, inject, asked, held)
        replayed = RecordedWeights(self.rule, Record(y, nothing), shift)
        return over_sequence(replayed, self.loss)(state, net, xs, ys, key)


def taps_of(net: DeviceNetwork, also: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the taps of what the synapses of each layer saw, and of further ones."""
    names = []
    for layer in net.device_layers:
        reads = dict.fromkeys(about.reads for about in layer.about if about.reads in ("z", "r"))
        names += [f"{layer.label}.{tap}" for tap in (*reads, *also)]
    return names


def sites_of(net: DeviceNetwork, found: dict[str, np.ndarray]) -> tuple[Site, ...]:
    """Return what each layer saw, of taps by name, leaves `(T, rows, B, ...)`.

    What no weight reads is one value of 0, `(T, rows, B, 1)`; pre-activations that were not read are None.
    """
    nothing = np.zeros_like(found["outputs"][..., :1])
    sites = []
    for layer in net.device_layers:
        z, r = (found.get(f"{layer.label}.{tap}", nothing) for tap in "zr")
        sites.append(Site(z, r, found.get(f"{layer.label}.a")))
    return tuple(sites)


def _currents(rule: NodeRule, net: DeviceNetwork, state: PyTree, xs: Array, key: Array) -> list[Array]:
    """Return what the rule injects in every step of a sequence, per layer `(T, rows, B, ...)`."""
    _, key_steps = jr.split(key)
    noise_state, noise = rule.draw_noise(net, state, xs, step_keys(key_steps, 0, len(xs)))
    return jax.vmap(lambda drawn: rule.injected(noise_state, drawn)[1])(noise)


def _shifted_rows(rule: WeightRule, net: DeviceNetwork, state: PyTree, xs: Array, key: Array) -> tuple:
    """Return (shift of each row, weights of each row), trees like the weights, leaves `(rows, ...)`."""
    key_start, _ = jr.split(key)
    xi = rule.init_sequence(net, state, xs[0], key_start)[2]
    inject = rule.noise_of_rows(xi)
    some: Any = weights(net)
    return inject, jax.tree.map(lambda w, shift: w[None] + shift, some, inject)
