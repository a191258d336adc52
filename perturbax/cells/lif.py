"""Leaky integrate-and-fire neurons, with and without an adaptive threshold."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.spiking import Spiking
from perturbax.fields import in_range, setting


class LIF(Spiking):
    """Leaky integrate-and-fire neuron in discrete time.

        u_t = leak v_{t-1} + a_t,   y_t = [u_t > threshold],   a_t = z_t W + r_t U + b
        v_t = u_t - threshold y_t       (reset subtract),   or   v_t = u_t (1 - y_t)   (reset zero)

    The reset belongs to the neuron, not to the recurrent synapses: it changes the hidden state v. Bellec et
    al. 2020 (there the subtraction waits one step, and leaks less).
    """

    equation: ClassVar[str] = (
        "v = leak v + z W + r U + b, y = [v > threshold], v -= threshold y; reset zero: v *= 1 - y"
    )
    papers: ClassVar[tuple[str, ...]] = ("bellec2020", "yang2020")

    def start(self) -> tuple[Any, Array]:
        """Return a membrane at rest, v = 0 `(n,)`, with its refractory time over; no spikes."""
        n = self.U.shape[-1]
        return (jnp.zeros(n), self.rested()), jnp.zeros(n)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return (v, refractory steps left), and spikes y: u = leak v + a, y = [u > threshold]."""
        v, rest = h
        u = self.leak * v + a
        y, v, rest = self.fire(u, u - self.threshold, rest)
        return (v, rest), y


class ALIF(Spiking):
    """Adaptive leaky integrate-and-fire neuron: each spike raises the threshold, which decays slowly.

        u_t = leak v_{t-1} + a_t,   y_t = [u_t > threshold + beta c_{t-1}],   c_t = rho c_{t-1} + y_t
        v_t = u_t - threshold y_t   (reset subtract),   or   u_t (1 - y_t)   (reset zero)
        a_t = z_t W + r_t U + b

    A long short-term memory of spikes: c remembers for about 1 / (1 - rho) steps. Bellec et al. 2018, 2020.

    Args:
        rho: share of the adaptation that is left after a step, 0 <= rho < 1.
        beta: how much the threshold rises with a spike.
    """

    rho: float = setting(0.98)
    beta: float = setting(0.07)
    equation: ClassVar[str] = "as lif, y = [v > threshold + beta c], c = rho c + y"
    papers: ClassVar[tuple[str, ...]] = ("bellec2018", "bellec2020", "yang2020")

    def __init__(
        self, n_in: int, n: int, *, key: Array, rho: float = 0.98, beta: float = 0.07, **neuron: Any
    ):
        in_range("rho", rho, 0, 1, below=True)
        super().__init__(n_in, n, key=key, **neuron)
        self.rho, self.beta = rho, beta

    def start(self) -> tuple[Any, Array]:
        """Return a membrane at rest, v = 0 and c = 0 `(n,)`, with its refractory time over; no spikes."""
        n = self.U.shape[-1]
        return (jnp.zeros(n), jnp.zeros(n), self.rested()), jnp.zeros(n)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return (v, c, refractory steps left), and spikes: u = leak v + a, y = [u > threshold + beta c]."""
        v, c, rest = h
        u = self.leak * v + a
        y, v, rest = self.fire(u, u - self.threshold - self.beta * c, rest)
        return (v, self.rho * c + y, rest), y
