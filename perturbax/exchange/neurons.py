"""The neurons of a NIR graph, in discrete time, and the layer that they make with their synapses."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from perturbax.cells.base import reads_no_unit
from perturbax.cells.image import Convolution, Pool
from perturbax.cells.spiking import SURROGATES, heaviside
from perturbax.exchange.delays import DelayLine
from perturbax.exchange.synapses import Dense, Same, Scale, Sum
from perturbax.fields import one_of
from perturbax.network.layer import Fixed, Layer

SPIKING = ("LIF", "IF", "CubaLIF", "Threshold")
FILTERING = ("LI", "I", "CubaLI")
KINDS = (*SPIKING, *FILTERING, "none")


class Neurons(eqx.Module):
    """A population of a NIR graph, by Euler steps of dt; every constant is a vector, one value per unit.

        i_t = current_decay i_{t-1} + current_gain a_t         Cuba alone; elsewhere i_t = a_t
        u_t = decay v_{t-1} + gain i_t + drift
        y_t = [u_t > threshold],   v_t = reset where y_t, else u_t        LIF, IF, CubaLIF
        y_t = v_t = u_t                                                   LI, I, CubaLI
        y_t = [a_t > threshold]                                           Threshold

        decay = 1 - dt / tau,   gain = r dt / tau,   drift = v_leak dt / tau       (IF, I: 1, r dt, 0)
        current_decay = 1 - dt / tau_syn,   current_gain = w_in dt / tau_syn

    Attributes:
        kind: the name of the NIR node, one of `KINDS`; none passes a on.
        decay: share of v that is left after a step; None for Threshold and none, as gain and drift.
        gain: what is added to v per unit of current.
        drift: what is added to v in each step.
        threshold: v above which there is a spike; None for what does not spike.
        reset: what v is after a spike; None where a spike takes the threshold away.
        current_decay: share of the current that is left after a step; None without one, as current_gain.
        current_gain: what is added to the current per unit of a.
        at_threshold: whether u = threshold is a spike, too.
        surrogate: what stands for the derivative of a spike, as in `px.cells.LIF`.
        dampening: factor of that derivative.
    """

    kind: str = eqx.field(static=True)
    decay: Fixed | None = None
    gain: Fixed | None = None
    drift: Fixed | None = None
    threshold: Fixed | None = None
    reset: Fixed | None = None
    current_decay: Fixed | None = None
    current_gain: Fixed | None = None
    at_threshold: bool = eqx.field(default=False, static=True)
    surrogate: str = eqx.field(default="triangle", static=True)
    dampening: float = eqx.field(default=0.3, static=True)

    def __check_init__(self):
        """Refuse kinds and surrogates that are none."""
        one_of("kind", self.kind, KINDS)
        one_of("surrogate", self.surrogate, SURROGATES)

    def start(self, n: int) -> tuple[Array, ...]:
        """Return (v, i) before the first step, zeros `(n,)`: those that this population has.

        Arguments:
            n: number of units.
        """
        values = (self.decay is not None) + (self.current_decay is not None)
        return tuple(jnp.zeros(n) for _ in range(values))

    def advance(self, h: tuple[Array, ...], a: Array) -> tuple[tuple[Array, ...], Array]:
        """Return the next (v, i) and the visible output y.

        Arguments:
            h: v and i `(n,)`, those that this population has.
            a: pre-activation `(n,)`.
        """
        if self.decay is None or self.gain is None or self.drift is None:
            return (), a if self.threshold is None else self._fire(a, self.threshold.value)
        v, current = h[0], a
        after: tuple[Array, ...] = ()
        if self.current_decay is not None and self.current_gain is not None:
            current = self.current_decay.value * h[1] + self.current_gain.value * a  # (n,)
            after = (current,)
        u = self.decay.value * v + self.gain.value * current + self.drift.value  # (n,)
        if self.threshold is None:
            return (u, *after), u
        y = self._fire(u, self.threshold.value)
        spiked = jax.lax.stop_gradient(y)
        if self.reset is None:
            v = u - self.threshold.value * spiked
        else:
            v = u * (1 - spiked) + self.reset.value * spiked
        return (v, *after), y

    def _fire(self, u: Array, threshold: Array) -> Array:
        """Return spikes `(n,)`; distances are in units of the threshold, where that is above 0."""
        distance = (u - threshold) / jnp.where(threshold > 0, threshold, 1)
        if self.at_threshold:
            return 1 - heaviside(-distance, self.surrogate, self.dampening)
        return heaviside(distance, self.surrogate, self.dampening)


class Population(Layer):
    """Neurons of a NIR graph, or a delay, with the synapses below, and those by which they read themselves.

        a_t = pool(below(pool(z_t))) + own(r_t),       then `Neurons`

    Attributes:
        below: weights from below, a `Sum` where several ways lead to them; None where there are none.
        own: weights of the feedback; `Same` where each unit reads itself as it is; None without feedback.
        neurons: the neurons, or a `DelayLine`.
        n: number of units.
        before: pools in front of the weights from below.
        behind: pools behind them.
        leak: decay of the membrane where all units share one and a moves it at once (LIF, IF, LI), which
            rules for spiking cells ask for; else None.
    """

    below: Dense | Scale | Convolution | Sum | None
    own: Dense | Scale | Same | Sum | None
    neurons: Neurons | DelayLine
    n: int = eqx.field(static=True)
    before: tuple[Pool, ...] = eqx.field(default=(), static=True)
    behind: tuple[Pool, ...] = eqx.field(default=(), static=True)
    leak: float | None = eqx.field(default=None, static=True)
    equation: ClassVar[str] = "neurons of a NIR graph"
    papers: ClassVar[tuple[str, ...]] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example that it reads."""
        first = self.before[0] if self.before else self.below
        if isinstance(first, Pool | Convolution):
            return first.shape
        if isinstance(first, Sum):
            return (first.size,)
        return (first.W.shape[0],) if isinstance(first, Dense) else (self.n,)

    @property
    def inputs(self) -> int:
        """Number of inputs from below."""
        return int(np.prod(self.shape))

    def start(self) -> tuple[Any, Array]:
        """Return v and i at rest and outputs of zero, `(n,)` each."""
        return self.neurons.start(self.n), jnp.zeros(self.n)

    def drive(self, z: Array, r: Array) -> Array:
        """Return a = pool(below(pool(z))) + own(r), `(n,)`."""
        a = z
        for pool in self.before:
            a = pool(a)
        if self.below is not None:
            a = self.below(a)
        for pool in self.behind:
            a = pool(a)
        return a if self.own is None else a + self.own(r)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return what the neurons make of a: see `Neurons`."""
        return self.neurons.advance(h, a)

    def wiring(self) -> Bool[np.ndarray, "n n"] | None:
        """Return which unit reads which: all, itself alone, or none."""
        if isinstance(self.own, Dense | Sum):
            return None
        if self.own is None:
            return reads_no_unit(self.n)
        return np.eye(self.n, dtype=bool)
