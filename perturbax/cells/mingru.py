"""The minimal gated recurrent unit."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from perturbax.cells.base import plus, product, reads_no_unit, uniform
from perturbax.fields import in_range
from perturbax.network.layer import Layer


class MinGRU(Layer):
    """Minimal gated recurrent unit: gates read only what is below, so time can be run in parallel.

        u = sigmoid(a_0),   h_t = (1 - u) h_{t-1} + u tanh(a_1),   y_t = h_t,   a = z W + b

    W `(n_in, 2, n)`, b `(2, n)`. There are no recurrent synapses: all memory is hidden state. Feng et al.
    2024.

    Args:
        n_in: number of inputs from below.
        n: number of units.
        key: JAX key of the initial weights.
        bias: whether there is a b.
        memory: the gate's bias starts at -log(memory - 1): about so many steps are remembered at first; above
            1.
    """

    W: Array
    b: Array | None
    equation: ClassVar[str] = "y = (1 - u) y + u tanh(z W_1 + b_1), u = sigmoid(z W_0 + b_0)"
    papers: ClassVar[tuple[str, ...]] = ("feng2024",)

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, memory: float = 2.0):
        in_range("memory", memory, 1, above=True)
        self.W = uniform(key, (n_in, 2, n))
        self.b = jnp.zeros((2, n)).at[0].set(-jnp.log(memory - 1.0)) if bias else None

    def start(self) -> tuple[Any, Array]:
        """Return hidden state and outputs of zero, `(n,)` each."""
        return jnp.zeros(self.W.shape[-1]), jnp.zeros(self.W.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """Return a = z W + b, `(2, n)`: gate and candidate."""
        return plus(product(z, self.W), self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return y = (1 - u) h + u tanh(a_1), as hidden state and as output."""
        update = jax.nn.sigmoid(a[0])
        y = (1 - update) * h + update * jnp.tanh(a[1])
        return y, y

    def wiring(self) -> Bool[np.ndarray, "n n"]:
        """Return that no unit reads another."""
        return reads_no_unit(self.W.shape[-1])
