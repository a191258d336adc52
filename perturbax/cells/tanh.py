"""The vanilla recurrent layer."""

from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from perturbax.cells.synapses import plus, product, uniform, zeros
from perturbax.network import Layer


class Tanh(Layer):
    """Vanilla recurrent layer (Elman 1990).

        a_t = z_t W + r_t U + b,   y_t = tanh(a_t)

    W `(n_in, n)`, U `(n, n)`, b `(n,)`.

    Args:
        bias: whether there is a b.
    """

    W: Array
    U: Array
    b: Array | None
    equation: ClassVar[str] = "y = tanh(z W + r U + b)"
    papers: ClassVar[tuple[str, ...]] = ("elman1990",)

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True):
        below, own = jr.split(key)
        self.W, self.U, self.b = uniform(below, (n_in, n)), uniform(own, (n, n)), zeros(bias, n)

    def start(self) -> tuple[Any, Array]:
        """Zero output."""
        return (), jnp.zeros(self.U.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """z W + r U + b."""
        return plus(product(z, self.W) + product(r, self.U), self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """tanh."""
        return (), jnp.tanh(a)
