"""What spiking and binary cells share: a threshold with a derivative of choice, and refractory time."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import Recurrent
from perturbax.cells.dense import LeakyReadout
from perturbax.errors import ArgumentError
from perturbax.fields import one_of
from perturbax.network.layer import Layer

# What takes the place of the derivative of the step function at distance v from the threshold, in units of
# it.
SURROGATES = {
    "triangle": lambda v: jnp.maximum(0.0, 1 - jnp.abs(v)),  # Esser et al. 2016; Bellec et al. 2018
    "sigmoid": lambda v: (
        4 * jax.nn.sigmoid(4 * v) * (1 - jax.nn.sigmoid(4 * v))
    ),  # of slope 1 at the threshold
    "fast-sigmoid": lambda v: (1 + jnp.abs(v)) ** -2,  # Zenke & Ganguli 2018
    "none": jnp.zeros_like,
}


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def above(v: Array, surrogate: str, dampening: float) -> Array:
    """Return 1 where v > 0, else 0; its derivative, for the rules that ask, is dampening times the
    surrogate.
    """
    return (v > 0).astype(v.dtype)


@above.defjvp
def _slope(surrogate: str, dampening: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (v,), (along,) = primals, tangents
    return above(v, surrogate, dampening), dampening * SURROGATES[surrogate](v) * along


class Spiking(Recurrent):
    """Base of the spiking cells: membrane v with leak, spikes y in {0, 1}, reset by subtraction.

    Args:
        leak: share of the membrane potential that is left after a step, 0 <= leak < 1.
        threshold: membrane potential that is a spike, and what a spike takes away.
        refractory: steps after a spike in which there is no other.
        surrogate: what stands for the derivative of a spike: triangle, sigmoid, fast-sigmoid or none. Rules
            that are gradient-free never ask.
        dampening: factor of that derivative.
        detach_reset: whether the reset counts as a constant in derivatives, as in Bellec et al. 2020.
        kappa: leak of the readout above a spiking layer; 0 for a readout without memory.
    """

    leak: float = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    refractory: int = eqx.field(static=True)
    surrogate: str = eqx.field(static=True)
    dampening: float = eqx.field(static=True)
    detach_reset: bool = eqx.field(static=True)
    kappa: float = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        n: int,
        *,
        key: Array,
        leak: float = 0.9,
        threshold: float = 1.0,
        refractory: int = 0,
        surrogate: str = "triangle",
        dampening: float = 0.3,
        detach_reset: bool = True,
        kappa: float = 0.9,
        **synapses: Any,
    ):
        super().__init__(n_in, n, key=key, **synapses)
        one_of("surrogate", surrogate, SURROGATES)
        for name, value in {"leak": leak, "kappa": kappa}.items():
            if not 0 <= value < 1:
                raise ArgumentError(f"{name} must lie in [0, 1), not {value}")
        if threshold <= 0 or refractory < 0:
            raise ArgumentError(
                f"threshold must be above 0 and refractory 0 or more, not {threshold}, {refractory}"
            )
        self.leak, self.threshold, self.refractory = leak, threshold, refractory
        self.surrogate, self.dampening, self.detach_reset, self.kappa = (
            surrogate,
            dampening,
            detach_reset,
            kappa,
        )

    def readout(self, n_out: int, *, key: Array, **synapses: Any) -> Layer:
        """Return the readout that belongs above: it filters spikes."""
        return LeakyReadout(self.U.shape[-1], n_out, key=key, kappa=self.kappa, **synapses)

    def rested(self) -> Any:
        """Steps left of the refractory time; nothing where there is none."""
        return jnp.zeros(self.U.shape[-1], int) if self.refractory else ()

    def fire(self, v: Array, distance: Array, rest: Any) -> tuple[Array, Array, Any]:
        """Return (spikes, v after the reset, rest) at a distance from the threshold."""
        y = above(distance / self.threshold, self.surrogate, self.dampening)
        if self.refractory:
            y = jnp.where(rest > 0, jnp.zeros_like(y), y)
            rest = jnp.where(y > 0, self.refractory, jnp.maximum(rest - 1, 0))
        back = jax.lax.stop_gradient(y) if self.detach_reset else y
        return y, v - self.threshold * back, rest
