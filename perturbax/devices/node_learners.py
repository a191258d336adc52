"""Rules over noise in pre-activations, at work on a device: noise that is sent, or the device's own."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.devices.abilities import Abilities
from perturbax.devices.checked import Checked
from perturbax.devices.choice import reads_pre_activations
from perturbax.devices.driver import Signs
from perturbax.devices.innovations import innovation, is_fitted, no_fit
from perturbax.devices.learner import DeviceLearner, Drawn, Passed, Rows
from perturbax.devices.network import DeviceLayer, DeviceNetwork
from perturbax.devices.opening import held_at_first
from perturbax.devices.recorded import OwnNoise, Record, RecordedNodes
from perturbax.learning.blocks import step_keys
from perturbax.learning.noise import Orthogonal, Rademacher
from perturbax.learning.sequence import Loss, over_sequence
from perturbax.learning.signs import PackedSigns, expanded
from perturbax.network.network import Site
from perturbax.rules.perturbation.base import Perturbation
from perturbax.rules.perturbation.node_base import NodeNoise, NodeRule


class NodeLearner(DeviceLearner):
    """A rule that injects noise into pre-activations."""

    def __init__(self, rule: NodeRule, loss: Loss, device: Checked, score: str):
        super().__init__(rule, loss, device, score)
        self._rows = _rows_of(rule)
        self._labels = tuple(dict.fromkeys(str(about.layer) for about in device.can.weights.values()))
        self._taps = taps_of(device.can, ("a",) if reads_pre_activations(rule) else ())
        self._middle = None if reads_pre_activations(rule) else "first" if rule.clean else "mean"

    def draw(self, state: Any, net: DeviceNetwork, xs: Array, key: Array) -> Drawn:
        """Draw the noise, and what the device is sent of it per layer.

        That is blocks `(T, K, B, ...)` of what is injected, or their signs as bits.
        """
        rule: NodeRule = self.rule
        _, key_steps = jr.split(key)
        noise_state, noise = rule.draw_block(net, state, xs, step_keys(key_steps, 0, len(xs)))
        if _by_sign(rule, noise):
            sent = [jnp.packbits(e.reshape(-1) > 0) for e in expanded(noise)]
        else:
            injected = jax.vmap(lambda drawn: rule.injected(noise_state, expanded(drawn))[1])
            inject = injected(noise)  # per layer (T, rows, B, ...)
            row_of = {k: row for row, (k, factor) in reversed([*enumerate(self._rows)]) if factor}
            chosen = jnp.array([row_of[k] for k in sorted(row_of)])
            sent = [e[:, chosen] for e in inject]
        return Drawn(self.seed(key), (noise_state, noise), sent)

    def draws_ahead(self, state: PyTree) -> bool:
        """Whether noise has no state, and is drawn as our rules draw it."""
        return super().draws_ahead(state) and type(self.rule).draw_noise is NodeNoise.draw_noise

    def passes(self, drawn: Drawn, settings: Mapping[str, Any], xs: Array, ys: Any) -> Passed:
        """Send all rows as one batch of trials, each under its currents."""
        currents: dict[str, Any] = {}
        for label, block, xi in zip(self._labels, drawn.sent, drawn.noise[1], strict=True):
            sent = np.asarray(block)
            signs = sent.dtype == np.uint8
            currents[label] = Signs(sent, float(np.float32(self.rule.sigma)), xi.shape) if signs else sent
        return self.run_rows(settings, xs, ys, drawn.seed, self._rows, currents, self._taps, self._middle)

    def judge(
        self,
        state: Any,
        net: DeviceNetwork,
        xs: Array,
        ys: Any,
        key: Array,
        drawn: Drawn,
        settings: Mapping[str, Any],
        passed: Passed,
    ) -> tuple:
        """Let the rule judge the rows, with the weights that were held."""
        noise_state, noise = drawn.noise
        held = net.with_named({name: array[0] for name, array in passed.held.items()})
        recorded = Record(passed.y, sites_of(net, self.device.can, passed.y, passed.taps))
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

    def draw(self, state: Any, net: DeviceNetwork, xs: Array, key: Array) -> Drawn:
        """Draw nothing but the seed of the device."""
        return Drawn(self.seed(key))

    def draws_ahead(self, state: PyTree) -> bool:
        """Return True."""
        return True

    def passes(self, drawn: Drawn, settings: Mapping[str, Any], xs: Array, ys: Any) -> Passed:
        """Run every example 2 K times."""
        rows = [(0, 1.0)] * self.rule.rows
        return self.run_rows(settings, xs, ys, drawn.seed, rows, taps=taps_of(self.device.can, ("a",)))

    def judge(
        self,
        state: Any,
        net: DeviceNetwork,
        xs: Array,
        ys: Any,
        key: Array,
        drawn: Drawn,
        settings: Mapping[str, Any],
        passed: Passed,
    ) -> tuple:
        """Find the noise in the taps, and compare the passes."""
        y, held = passed.y, net.with_named({name: array[0] for name, array in passed.held.items()})
        sites = sites_of(net, self.device.can, y, passed.taps)
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


def _by_sign(rule: NodeRule, noise: Sequence[Array | PackedSigns]) -> bool:
    """Whether what a rule injects are signs of one size, as they are drawn, of float32."""
    plain = type(rule).noise_of_rows is Perturbation.noise_of_rows and isinstance(rule.sigma, int | float)
    return (
        plain and type(rule.noise) in (Rademacher, Orthogonal) and all(e.dtype == jnp.float32 for e in noise)
    )


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
