"""Rules over what a device did: step rules that read recorded outputs and taps instead of running a network.

They are run by `perturbax.learning.sequence.over_sequence` like any other rule, so that credit over time, the
pairing of noise with losses and the order of sums are those of a run in process.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.devices.network import DeviceNetwork
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.rule import StepRule
from perturbax.learning.signs import expanded
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.node_base import NodeRule
from perturbax.rules.perturbation.weight_base import WeightRule


class Record(NamedTuple):
    """What a device returned of all passes of an update; arrays of numpy until a program takes them.

    Attributes:
        y: outputs, `(T, rows, B, n_out)`; where the device returns the score itself, that, `(T, rows, B, 1)`.
        sites: what each layer saw, leaves `(T, rows, B, ...)`; None where it was not asked for.
    """

    y: Any
    sites: tuple[Site, ...]

    def at(self, t: Array) -> tuple[Array, tuple[Site, ...]]:
        """Return outputs and sites of step t, leaves `(rows, B, ...)`."""
        return jax.tree.map(
            lambda s: jax.lax.dynamic_index_in_dim(s, t, keepdims=False), (self.y, self.sites)
        )


class Replayed(StepRule):
    """Base of the rules over a record: they have the facts and the credit of the rule that they carry out.

    Attributes:
        rule: the rule.
        record: what the device returned.
    """

    rule: Any
    record: Record

    def described(self) -> Facts:
        """Return the facts of the rule."""
        return self.rule.described()

    def pairing(self) -> Credit:
        """Return the credit of the rule."""
        return self.rule.pairing()


class RecordedNodes(Replayed):
    """A rule that injects noise into pre-activations, over what the device did under that noise.

    Attributes:
        noise: the noise of all steps, as the rule drew it for the device, leaves `(T, ...)`.
        noise_state: the state of the noise once that was drawn.
    """

    rule: NodeRule
    noise: PyTree
    noise_state: PyTree

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the noise, and step 0."""
        return self.noise_state, jnp.zeros((), int)

    def final_state(self, carry: PyTree) -> PyTree:
        """Return the state of the noise."""
        return carry[0]

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Return the noise of these steps that was sent to the device."""
        t = carry[1]
        return carry, jax.tree.map(lambda e: jax.lax.dynamic_slice_in_dim(e, t, len(xs)), self.noise)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let the rule judge what was recorded of this step."""
        noise_state, t = carry
        inject, _ = self.rule.injected(noise_state, expanded(noise))
        y, sites = self.record.at(t)
        noise_state, estimate = self.rule.heard(net, noise_state, score, y, sites, inject)
        return (noise_state, t + 1), self.rule.repacked(estimate, noise)


class RecordedWeights(Replayed):
    """Weight perturbation over what the device did with its weights shifted.

    Attributes:
        shift: the shift of each row as the rule is to see it, a tree like the weights, leaves `(K, ...)`.
    """

    rule: WeightRule
    shift: DeviceNetwork

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return step 0."""
        return jnp.zeros((), int)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let the rule judge what was recorded of this step."""
        y, sites = self.record.at(carry)
        return carry + 1, self.rule.heard(net, score, y, sites, carry == 0, self.shift)


class OwnNoise(Replayed):
    """Learning from the device's own noise, with nothing injected: each pass is judged by another of the same
    input.

        dL/dw  ~  sum_t (L - L_other)_{to go} xi_t / var(xi_t) (x) z_t,      xi_t = a_t - drive(z_t, r_t)

    The gradient of the expected loss of the noisy device, exactly where the noise is Gaussian (REINFORCE,
    Williams 1992, with the loss of the other pass as its baseline), since each pass keeps its own z.

    Attributes:
        innovation: xi_t / var(xi_t) of each layer, leaves `(T, rows, B, ...)`; rows 2 K, of which row k is
            paired with row K + k.
    """

    innovation: tuple[Array, ...]

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return step 0."""
        return jnp.zeros((), int)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Compare every pass with its partner; all passes are examples of one batch, `(rows B, ...)`."""
        y, sites = self.record.at(carry)

        def flat(s: Array) -> Array:  # (rows, B, ...) -> (rows B, ...)
            return s.reshape(-1, *s.shape[2:])

        y, sites = jax.tree.map(flat, (y, sites))
        loss = score(y)  # (rows B,)
        first, second = jnp.split(loss, 2)
        delta = jnp.concatenate([first - second, second - first])[None]  # (1, rows B)
        signal = [flat(xi[carry])[None] for xi in self.innovation]  # (1, rows B, ...) per layer
        return carry + 1, Estimate(loss, y, sites, delta, Outer.of(sites, signal))
