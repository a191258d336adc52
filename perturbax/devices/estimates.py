"""Gradient estimates on a device: it runs the passes, and the rule judges what was recorded of them."""

import abc
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.devices.abilities import Abilities
from perturbax.devices.checked import Checked
from perturbax.devices.choice import check_rule, learns_from_own_noise, reads_pre_activations
from perturbax.devices.driver import Signs
from perturbax.devices.held import check_held, shift_seen
from perturbax.devices.innovations import innovation, is_fitted, no_fit
from perturbax.devices.network import DeviceLayer, DeviceNetwork
from perturbax.devices.opening import held_at_first
from perturbax.devices.recorded import OwnNoise, Record, RecordedNodes, RecordedWeights
from perturbax.errors import DeviceError
from perturbax.learning.blocks import step_keys
from perturbax.learning.noise import Orthogonal, Rademacher
from perturbax.learning.sequence import Loss, over_sequence
from perturbax.network.layer import weights
from perturbax.network.network import Site
from perturbax.rules.perturbation.base import Perturbation
from perturbax.rules.perturbation.node_base import NodeRule
from perturbax.rules.perturbation.weight_base import WeightRule

SCORES = ("task", "device")
Rows: TypeAlias = Sequence[tuple[int, float]]  # (block of currents, factor) of each row of trials
ALONE: Rows = ((0, 1.0),)


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
        self._seed = jax.jit(lambda key: jr.bits(jr.fold_in(key, 2), dtype=jnp.uint32))

    def init(self, net: DeviceNetwork, x: Array, key: Array) -> PyTree:
        """Return what the rule keeps before its first update; arguments as in `Learner.init`."""
        return self.rule.init_state(net, x, key)

    def update(self, state: PyTree, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Return (state, loss, grads) after the passes of one update; arguments as in `Learner.update`."""
        return self._compiled(state, net, xs, ys, key, *self.passes(state, net, xs, ys, key))

    def ready(self, state: PyTree, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> PyTree:
        """Return what the rule keeps when its next update can be an estimate; arguments as in `update`."""
        del net, xs, ys, key
        return state

    @abc.abstractmethod
    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Let the device run the passes of one update; return what `judge` takes besides."""

    @abc.abstractmethod
    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Return (state, loss, grads) by what was recorded of the passes. Pure, traceable."""

    def seed(self, key: Array) -> int | None:
        """Return the seed of the device's noise for an update; None where it takes none, or has no noise."""
        if not self.device.can.seeded or self.device.can.noise == "none":
            return None
        return int(self._seed(key)) & 0x3FFFFFFF

    def run_rows(
        self,
        weights: Mapping[str, Any],
        xs: Any,
        ys: Any,
        key: Array,
        rows: Rows,
        currents: dict[str, Any] | None = None,
        taps: Sequence[str] = (),
        middle: str | None = None,
    ) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
        """Write settings of weights, and run the same inputs on each in several rows.

        -> (weights held, or those asked for where the device cannot tell, leaves `(S, ...)`; outputs
        `(T, S R, B, n_out)` and taps).

        Arguments:
            weights: by name, leaves `(S, ...)`.
            xs: inputs `(T, B, n_in)`.
            ys: targets `(T, B, ...)`.
            key: of the update.
            rows: (block of currents, factor) of each of the R rows.
            currents: blocks by layer, `(T, K, B, ...)`; None for none.
            taps: names of what to read.
            middle: `first` row or `mean` of the rows of the taps, else all rows.
        """
        T, B = xs.shape[:2]
        targets = np.asarray(ys) if self.by_device else None
        held, found = self.device.write_and_run(
            weights, np.asarray(xs), rows, middle, self.seed(key), currents, targets, list(taps)
        )
        if self.by_device:
            if "score" not in found:
                raise DeviceError(f"{self.device.can.name} was given targets and returned no score")
            found["outputs"] = self.scored(found.pop("score"), T)
        by_rows = {name: array.reshape(T, -1, B, *array.shape[2:]) for name, array in found.items()}
        return weights if held is None else held, by_rows

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


class NodeLearner(DeviceLearner):
    """A rule that injects noise into pre-activations."""

    def __init__(self, rule: NodeRule, loss: Loss, device: Checked, score: str):
        super().__init__(rule, loss, device, score)
        self._draw = jax.jit(partial(_drawn, rule))
        self._rows = _rows_of(rule)
        self._taps = taps_of(device.can, ("a",) if reads_pre_activations(rule) else ())
        self._middle = None if reads_pre_activations(rule) else "first" if rule.clean else "mean"

    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Send all rows as one batch of trials, each under its currents.

        -> (weights held, outputs, taps, (state of the noise, noise)).
        """
        drawn, blocks = self._draw(net, state, xs, key)
        currents: dict[str, Any] = {}
        for layer, block, xi in zip(net.device_layers, blocks, drawn[1], strict=True):
            sent = np.asarray(block)
            signs = sent.dtype == np.uint8
            currents[layer.label] = (
                Signs(sent, float(np.float32(self.rule.sigma)), xi.shape) if signs else sent
            )
        held, found = self.run_rows(
            as_setting(net), xs, ys, key, self._rows, currents, self._taps, self._middle
        )
        return held, found.pop("outputs"), found, drawn

    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Let the rule judge the rows, with the weights that were held."""
        settings, y, found, (noise_state, noise) = record
        held = net.with_named({name: array[0] for name, array in settings.items()})
        recorded = Record(y, sites_of(net, self.device.can, y, found))
        replayed = RecordedNodes(self.rule, recorded, noise, noise_state)
        return over_sequence(replayed, self.loss)(state, held, xs, ys, key)


class OwnNoiseLearner(DeviceLearner):
    """A rule that learns from the noise that the device has of its own.

    Where weights drift, or cannot be read back, nothing is learnt from the first update, whose taps tell what
    the weights are.

    Attributes:
        knows: whether the device tells the weights that are in force during a run.
    """

    def __init__(self, rule: NodeRule, loss: Loss, device: Checked, score: str):
        super().__init__(rule, loss, device, score)
        self.knows = not device.can.drifts and held_at_first(device) is not None

    def init(self, net: DeviceNetwork, x: Array, key: Array) -> PyTree:
        """Return the sums of the fit of each layer's weights, before there is anything to fit."""
        return no_fit(net.sites_like(x))

    def ready(self, state: PyTree, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> PyTree:
        """Return the sums after one update where there are none yet, and weights must be fitted."""
        if self.knows or is_fitted(state):
            return state
        return self.update(state, net, xs, ys, key)[0]

    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Run every example 2 K times: -> (weights held, outputs, taps)."""
        taps = taps_of(self.device.can, ("a",))
        rows = [(0, 1.0)] * self.rule.rows
        held, found = self.run_rows(as_setting(net), xs, ys, key, rows, None, taps)
        return held, found.pop("outputs"), found

    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Find the noise in the taps, and compare the passes."""
        settings, y, found = record
        held = net.with_named({name: array[0] for name, array in settings.items()})
        sites = sites_of(net, self.device.can, y, found)
        fitted = [
            innovation(layer, site, fit)
            for layer, site, fit in zip(held.device_layers, sites, state, strict=True)
        ]
        bare = Record(y, tuple(site._replace(a=None) for site in sites))
        replayed = OwnNoise(self.rule, bare, tuple(xi for xi, _ in fitted))
        rows = self.rule.rows
        xs, ys = jax.tree.map(lambda s: jnp.tile(s, (1, rows, *[1] * (s.ndim - 2))), (xs, ys))
        _, loss_now, grads = over_sequence(replayed, self.loss)((), held, xs, ys, key)
        if not self.knows:
            grads = jax.tree.map(lambda g: jnp.where(is_fitted(state), g, 0), grads)
        return [fit for _, fit in fitted], loss_now, grads


class WeightLearner(DeviceLearner):
    """A rule that perturbs weights: a setting of them per row, and the batch run on each."""

    def __init__(self, rule: WeightRule, loss: Loss, device: Checked, score: str):
        super().__init__(rule, loss, device, score)
        self._rows = jax.jit(partial(_shifted_rows, rule))

    def passes(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array) -> tuple:
        """Write each row of shifted weights, and run the batch on it.

        -> (outputs, shifts, weights asked for and weights held of each row).
        """
        inject, asked = self._rows(net, state, xs, key)
        settings = {name: np.asarray(rows) for name, rows in asked.named().items()}
        held, found = self.run_rows(settings, xs, ys, key, ALONE)
        held = {name: held[name].astype(rows.dtype) for name, rows in settings.items()}
        check_held(self.rule, self.device.can.name, settings, held)
        return found["outputs"], inject, asked, held

    def judge(self, state: Any, net: DeviceNetwork, xs: Array, ys: Any, key: Array, *record: Any) -> tuple:
        """Let the rule judge the rows, along the differences that were held."""
        y, inject, asked = record[:3]
        held = net.with_named(record[3])
        nothing = tuple(Site(None, None, None) for _ in net.layers)
        shift = shift_seen(self.rule, net, inject, asked, held)
        replayed = RecordedWeights(self.rule, Record(y, nothing), shift)
        return over_sequence(replayed, self.loss)(state, net, xs, ys, key)


def _rows_of(rule: NodeRule) -> Rows:
    """Return the block of noise and the factor of each row of a rule.

    Where the rule has its own way with noise, each row has a block of its own.
    """
    samples = range(rule.samples)
    if type(rule).noise_of_rows is not Perturbation.noise_of_rows or rule.difference == "noisy":
        return [(row, 1.0) for row in range(rule.rows)]
    if rule.clean:
        return [(0, 0.0), *((k, 1.0) for k in samples)]
    return [*((k, 1.0) for k in samples), *((k, -1.0) for k in samples)]


def _by_sign(rule: NodeRule, noise: Sequence[Array]) -> bool:
    """Whether what a rule injects are signs of one size, as they are drawn, of float32."""
    plain = type(rule).noise_of_rows is Perturbation.noise_of_rows and isinstance(rule.sigma, int | float)
    return (
        plain and type(rule.noise) in (Rademacher, Orthogonal) and all(e.dtype == jnp.float32 for e in noise)
    )


def as_setting(net: DeviceNetwork) -> dict[str, np.ndarray]:
    """Return the weights by name as one setting, leaves `(1, ...)`."""
    return {name: np.asarray(array)[None] for name, array in net.named().items()}


def taps_of(can: Abilities, also: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the taps of what the synapses of each layer saw, and of further ones.

    A tap that repeats another is not among them, but that other one.
    """
    names = []
    for about in can.weights.values():
        reads = (about.reads,) if about.reads in ("z", "r") else ()
        names += [f"{about.layer}.{tap}" for tap in (*reads, *also)]
    return list(dict.fromkeys(can.repeats.get(name, name) for name in names))


def sites_of(net: DeviceNetwork, can: Abilities, y: Array, found: Mapping[str, Array]) -> tuple[Site, ...]:
    """Return what each layer saw, of taps by name, leaves `(T, rows, B, ...)`; rows 1 of their middle.

    What no weight reads is one value of 0, `(T, rows, B, 1)`; pre-activations that were not read are None.

    Arguments:
        net: the network.
        can: what the device said of itself.
        y: outputs, `(T, rows, B, n_out)`.
        found: the taps that were read.
    """
    rows = next(iter(found.values()), y).shape[1]
    nothing = jnp.zeros((y.shape[0], rows, y.shape[2], 1), y.dtype)

    def read(layer: DeviceLayer, tap: str) -> Array:
        name = f"{layer.label}.{tap}"
        if all(about.reads != tap for about in layer.about):
            return nothing
        if name not in can.repeats:
            return found[name]
        other = jnp.asarray(found[can.repeats[name]])
        return jnp.concatenate([jnp.zeros_like(other[:1]), other[:-1]])  # one step before

    return tuple(
        Site(read(layer, "z"), read(layer, "r"), found.get(f"{layer.label}.a")) for layer in net.device_layers
    )


def _drawn(rule: NodeRule, net: DeviceNetwork, state: PyTree, xs: Array, key: Array) -> tuple:
    """Return ((state of the noise, noise), what to send of it) for a sequence.

    To send, per layer: blocks `(T, K, B, ...)` of what is injected, or their signs as bits.
    """
    _, key_steps = jr.split(key)
    noise_state, noise = rule.draw_noise(net, state, xs, step_keys(key_steps, 0, len(xs)))
    if _by_sign(rule, noise):
        return (noise_state, noise), [jnp.packbits(e.reshape(-1) > 0) for e in noise]
    inject = jax.vmap(lambda drawn: rule.injected(noise_state, drawn)[1])(noise)  # (T, rows, B, ...)
    blocks = sorted({k: row for row, (k, factor) in reversed([*enumerate(_rows_of(rule))]) if factor}.items())
    return (noise_state, noise), [e[:, jnp.array([row for _, row in blocks])] for e in inject]


def _shifted_rows(rule: WeightRule, net: DeviceNetwork, state: PyTree, xs: Array, key: Array) -> tuple:
    """Return (shift of each row, weights of each row), trees like the weights, leaves `(rows, ...)`."""
    key_start, _ = jr.split(key)
    xi = rule.init_sequence(net, state, xs[0], key_start)[2]
    inject = rule.noise_of_rows(xi)
    some: Any = weights(net)
    return inject, jax.tree.map(lambda w, shift: w[None] + shift, some, inject)
