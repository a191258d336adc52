"""What one step of a rule contributes to the gradient: signals that wait for their deltas, or gradients."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.learning.pace import pace
from perturbax.learning.signs import PackedSigns, expanded, is_packed, times
from perturbax.learning.trees import divisor, expand_like, tree_add
from perturbax.network.layer import weights
from perturbax.network.network import Network, Site


class Parts(Protocol):
    """What `Outer`, `Direct` and `Both` have in common."""

    def settle(self, net: Network, c: Any) -> Network:
        """Return the gradient of a block of b steps, like the weights: a sum over steps, samples and
        examples.

        Arguments:
            net: the network.
            c: what each signal is multiplied with, `(b, K, B)`; None for 1.
        """
        ...


class Outer(NamedTuple):
    """Signals and sites, not multiplied out yet; of one step, or of a block of b steps with the time in
    front.

    Attributes:
        sites: one per layer, leaves `(B, ...)`.
        signal: one per layer, `(K, B, ...)` like its pre-activation; an array, or `PackedSigns`.
    """

    sites: PyTree
    signal: PyTree

    @classmethod
    def of(cls, sites: Sequence[Site], signal: Sequence[Array | PackedSigns]) -> "Outer":
        """Make it from the sites of a step (whose pre-activations are dropped: nothing needs them any
        more).

        Arguments:
            sites: what each layer saw, leaves `(B, ...)`.
            signal: what each pre-activation should learn from, per layer `(K, B, ...)`.
        """
        return cls(tuple(site._replace(a=None) for site in sites), tuple(signal))

    def settle(self, net: Network, c: Float[Array, "b K B"] | None) -> Network:
        """Sum c signal (x) presynaptic activity over steps, samples and batch in one product.

        Arguments as in `Parts.settle`.
        """
        mixed = tuple(_over_samples(signal, c) for signal in self.signal)  # (b, B, ...) per layer
        sites, signals = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), (self.sites, mixed))
        return net.credit(sites, signals)

    def paired(self, delta: Float[Array, "K B"]) -> "Outer":
        """Pair one step with its own delta and average over samples, so that nothing of size K is kept.

        Arguments:
            delta: loss differences of the step, `(K, B)`.
        """
        mean = tuple(jnp.mean(times(delta, signal), 0, keepdims=True) for signal in self.signal)
        return Outer(self.sites, mean)  # signals (1, B, ...)

    def traced(self, net: Network, decay: Float[Array, " b"]) -> PyTree:
        """Sum decay_t signal_t (x) presynaptic activity over steps only: leaves `(K, B, ...)` of the
        weights.

        Arguments:
            net: the network.
            decay: what each step of the block is multiplied with, `(b,)`.
        """

        def one(signal: PyTree, sites: PyTree) -> Network:
            return net.credit(sites, jax.tree.map(lambda s: expand_like(decay, s) * s, signal))

        over_batch = jax.vmap(one, in_axes=(1, 1))
        return jax.vmap(over_batch, in_axes=(1, None))(expanded(self.signal), self.sites)


def _over_samples(signal: Array | PackedSigns, c: Array | None) -> Array:
    """Return the sum over samples of c `(b, K, B)` times a signal `(b, K, B, ...)`: `(b, B, ...)`.

    Packed signs are expanded a few steps at a time, so that memory does not grow with b.
    """

    def one_step(now: tuple) -> Array:  # (K, B, ...) -> (B, ...)
        signal, c = now
        return jnp.sum(expanded(signal) if c is None else times(c, signal), 0)

    b, *one = signal.shape
    at_once = b if not is_packed(signal) else divisor(b, pace().values // math.prod(one))
    if at_once == b:
        return jax.vmap(one_step)((signal, c))
    return jax.lax.map(one_step, (signal, c), batch_size=at_once)


class Direct(NamedTuple):
    """Gradients or weight noise shaped like the weights.

    Attributes:
        grads: leaves `(K, ...)` of one step, `(b, K, ...)` of a block.
    """

    grads: PyTree

    def settle(self, net: Network, c: Float[Array, "b K B"] | None) -> Network:
        """Sum c, itself summed over examples, times grads over steps and samples.

        Arguments as in `Parts.settle`.
        """
        del net
        if c is None:
            return jax.tree.map(lambda g: g.sum((0, 1)), self.grads)
        return jax.tree.map(lambda g: jnp.tensordot(c.sum(-1), g, 2), self.grads)


class Both(NamedTuple):
    """Signals of this step, and a gradient that a rule carried forward.

    Attributes:
        outer: the signals.
        direct: the gradient, like the weights.
    """

    outer: Outer
    direct: PyTree

    def settle(self, net: Network, c: None) -> Network:
        """Add them; direct was summed over steps as it came.

        Arguments as in `Parts.settle`.
        """
        return tree_add(self.outer.settle(net, c), self.direct)


class Estimate(NamedTuple):
    """What a rule says of one step.

    Attributes:
        loss: of the clean pass, `(B,)`; of the mean noisy pass where there is no clean one.
        y: the output of that pass, `(B, n_out)`.
        sites: as in `Network.step`, of that pass.
        delta: loss differences that signals are multiplied with, `(K, B)`; None where parts are gradients
            already.
        parts: `Outer`, `Direct` or `Both`.
    """

    loss: Array
    y: Array
    sites: PyTree
    delta: Array | None
    parts: Any


def no_gradient(net: Network) -> Network:
    """Return gradients that are zero.

    Arguments:
        net: the network; they are like its weights.
    """
    return jax.tree.map(jnp.zeros_like, weights(net))


def averaged(grads: Network, rows: int, delta: Any) -> Network:
    """Return gradients that were summed over steps, examples and samples as their mean.

    Arguments:
        grads: the sum, like the weights.
        rows: steps x examples.
        delta: loss differences, `(steps, K, B)` or their shape, for the number of samples K; None where parts
            were averaged over samples, or are gradients, already.
    """
    samples = 1 if delta is None else delta.shape[1]
    return jax.tree.map(lambda g: g / (rows * samples), grads)
