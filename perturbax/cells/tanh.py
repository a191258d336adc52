"""The vanilla recurrent layer."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.synapses import Recurrent


class Tanh(Recurrent):
    """Vanilla recurrent layer (Elman 1990).

    a_t = z_t W + r_t U + b,   y_t = tanh(a_t)
    """

    equation: ClassVar[str] = "y = tanh(z W + r U + b)"
    papers: ClassVar[tuple[str, ...]] = ("elman1990",)

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, gain: float = 1.0):
        super().__init__(n_in, n, key=key, bias=bias, gain=gain)

    def start(self) -> tuple[Any, Array]:
        """Zero output."""
        return (), jnp.zeros(self.U.shape[-1])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Tanh."""
        return (), jnp.tanh(a)
