"""The leaky integrator."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.synapses import Recurrent
from perturbax.errors import ArgumentError
from perturbax.network import Fixed


class Leaky(Recurrent):
    """Leaky integrator: the internal state remembers, the visible output is its tanh (Jaeger et al. 2007).

        a_t = z_t W + r_t U + b,   h_t = (1 - alpha) h_{t-1} + alpha a_t,   y_t = tanh(h_t)

    alpha `(n,)` is not learnt.

    Args:
        alpha: share of the new value in each step, 0 < alpha <= 1; 1 is the vanilla layer.
    """

    alpha: Fixed
    equation: ClassVar[str] = "h = (1 - alpha) h + alpha (z W + r U + b), y = tanh(h)"
    papers: ClassVar[tuple[str, ...]] = ("jaeger2007",)

    def __init__(self, n_in: int, n: int, *, key: Array, alpha: float = 0.3, bias: bool = True, gain: float = 1.0):
        if not 0 < alpha <= 1:
            raise ArgumentError(f"alpha must lie in (0, 1], not {alpha}")
        super().__init__(n_in, n, key=key, bias=bias, gain=gain)
        self.alpha = Fixed(jnp.full(n, alpha, self.W.dtype))

    def start(self) -> tuple[Any, Array]:
        """Zero state and output."""
        return jnp.zeros(self.U.shape[-1]), jnp.zeros(self.U.shape[-1])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Leak, integrate, tanh."""
        h = (1 - self.alpha.value) * h + self.alpha.value * a
        return h, jnp.tanh(h)
