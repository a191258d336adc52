"""The minimal gated recurrent unit."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from perturbax.cells.base import plus, product, uniform
from perturbax.errors import ArgumentError
from perturbax.network.layer import Layer


class MinGRU(Layer):
    """Minimal gated recurrent unit: gates read only what is below, so time can be run in parallel (Feng et
    al. 2024).

        u = sigmoid(a_0),   h_t = (1 - u) h_{t-1} + u tanh(a_1),   y_t = h_t,   a = z W + b

    W `(n_in, 2, n)`, b `(2, n)`. No recurrent synapses: all memory is hidden state, all recurrence implicit.

    Args:
        bias: whether there is a b.
        memory: the gate's bias starts at -log(memory - 1): about so many steps are remembered at first; above
            1.
    """

    W: Array
    b: Array | None
    equation: ClassVar[str] = "y = (1 - u) y + u tanh(z W_1 + b_1), u = sigmoid(z W_0 + b_0)"
    papers: ClassVar[tuple[str, ...]] = ("feng2024",)

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, memory: float = 2.0):
        if not memory > 1:
            raise ArgumentError(f"memory must be above 1 step, not {memory}")
        self.W = uniform(key, (n_in, 2, n))
        self.b = jnp.zeros((2, n)).at[0].set(-jnp.log(memory - 1.0)) if bias else None

    def start(self) -> tuple[Any, Array]:
        """Zero state and output."""
        return jnp.zeros(self.W.shape[-1]), jnp.zeros(self.W.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """A gate and a candidate."""
        return plus(product(z, self.W), self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Forget and take in."""
        update = jax.nn.sigmoid(a[0])
        h = (1 - update) * h + update * jnp.tanh(a[1])
        return h, h

    def wiring(self) -> np.ndarray:
        """No unit reads another."""
        return np.zeros((self.W.shape[-1],) * 2, bool)
