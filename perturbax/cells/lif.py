"""Leaky integrate-and-fire neurons, with and without an adaptive threshold."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.spiking import Spiking
from perturbax.errors import ArgumentError
from perturbax.fields import setting


class LIF(Spiking):
    """Leaky integrate-and-fire neuron in discrete time.

        u_t = leak v_{t-1} + a_t,   y_t = [u_t > threshold],   v_t = u_t - threshold y_t,   a_t = z_t W + r_t U + b

    The reset is the neuron's own business: it lies in the hidden state, not in the recurrent synapses. Bellec
    et al. 2020 (there the subtraction waits one step, and leaks less).
    """

    equation: ClassVar[str] = "v = leak v + z W + r U + b, y = [v > threshold], v -= threshold y"
    papers: ClassVar[tuple[str, ...]] = ("bellec2020",)

    def start(self) -> tuple[Any, Array]:
        """At rest."""
        n = self.U.shape[-1]
        return (jnp.zeros(n), self.rested()), jnp.zeros(n)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Leak, integrate, fire."""
        v = self.leak * h[0] + a
        y, v, rest = self.fire(v, v - self.threshold, h[1])
        return (v, rest), y


class ALIF(Spiking):
    """Adaptive leaky integrate-and-fire neuron: each spike raises the threshold, which decays slowly.

        u_t = leak v_{t-1} + a_t,   y_t = [u_t > threshold + beta c_{t-1}],   c_t = rho c_{t-1} + y_t
        v_t = u_t - threshold y_t,   a_t = z_t W + r_t U + b

    A long short-term memory of spikes: c remembers for about 1 / (1 - rho) steps. Bellec et al. 2018, 2020.

    Args:
        rho: share of the adaptation that is left after a step, 0 <= rho < 1.
        beta: how much the threshold rises with a spike.
    """

    rho: float = setting(0.98)
    beta: float = setting(0.07)
    equation: ClassVar[str] = "as lif, y = [v > threshold + beta c], c = rho c + y"
    papers: ClassVar[tuple[str, ...]] = ("bellec2018", "bellec2020")

    def __init__(
        self, n_in: int, n: int, *, key: Array, rho: float = 0.98, beta: float = 0.07, **neuron: Any
    ):
        if not 0 <= rho < 1:
            raise ArgumentError(f"rho must lie in [0, 1), not {rho}")
        super().__init__(n_in, n, key=key, **neuron)
        self.rho, self.beta = rho, beta

    def start(self) -> tuple[Any, Array]:
        """At rest, nothing to adapt to."""
        n = self.U.shape[-1]
        return (jnp.zeros(n), jnp.zeros(n), self.rested()), jnp.zeros(n)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Leak, integrate, fire, adapt."""
        v, c, rest = h
        v = self.leak * v + a
        y, v, rest = self.fire(v, v - self.threshold - self.beta * c, rest)
        return (v, self.rho * c + y, rest), y
