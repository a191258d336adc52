"""The vanilla recurrent layer, full and sparse."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import Recurrent


class Tanh(Recurrent):
    """Vanilla recurrent layer (Elman 1990).

    a_t = z_t W + r_t U + b,   y_t = tanh(a_t)
    """

    equation: ClassVar[str] = "y = tanh(z W + r U + b)"
    papers: ClassVar[tuple[str, ...]] = ("elman1990",)

    def __init__(self, n_in: int, n: int, *, key: Array, **synapses: Any):
        super().__init__(n_in, n, key=key, **synapses)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = tanh(a)."""
        return (), jnp.tanh(a)


class SparseTanh(Tanh):
    """Vanilla recurrent layer in which each unit reads few others.

    a_ti = (z_t W)_i + sum_j r_{p(j, i)} U_ji + b_i,   y_t = tanh(a_t)
    """

    equation: ClassVar[str] = "y = tanh(z W + r U + b), most of U missing"
    papers: ClassVar[tuple[str, ...]] = ("elman1990", "menick2021")

    def __init__(self, n_in: int, n: int, *, key: Array, sparsity: float = 0.9, **synapses: Any):
        super().__init__(n_in, n, key=key, sparsity=sparsity, **synapses)
