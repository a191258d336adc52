"""Long short-term memory."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from perturbax.cells.base import orthogonal, plus, product, uniform
from perturbax.network.layer import Layer


class LSTM(Layer):
    """Long short-term memory with a forget gate and no peepholes.

        i, f, o = sigmoid(a_0), sigmoid(a_1), sigmoid(a_3)
        c_t = f c_{t-1} + i tanh(a_2),   y_t = o tanh(c_t),   a = z W + r U + b

    W `(n_in, 4, n)`, U `(n, 4, n)`, b `(4, n)`, pre-activation a `(4, n)`. The memory c is hidden state.
    Hochreiter, Schmidhuber 1997; Gers et al. 2000.

    Args:
        n_in: number of inputs from below.
        n: number of units.
        key: JAX key of the initial weights.
        bias: whether there is a b; that of the forget gate starts at 1 (Jozefowicz et al. 2015).
        gain: each gate's U starts as an orthogonal matrix times this.
    """

    W: Array
    U: Array
    b: Array | None
    equation: ClassVar[str] = (
        "c = f c + i tanh(a_2), y = o tanh(c), gates i, f, o = sigmoid(a), a = z W + r U + b"
    )
    papers: ClassVar[tuple[str, ...]] = ("hochreiter1997", "gers2000", "jozefowicz2015")

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, gain: float = 1.0):
        key_below, key_recurrent = jr.split(key)
        self.W = uniform(key_below, (n_in, 4, n))
        self.U = gain * orthogonal(key_recurrent, n, gates=4)
        self.b = jnp.zeros((4, n)).at[1].set(1.0) if bias else None

    def start(self) -> tuple[Any, Array]:
        """Return a memory c and outputs of zero, `(n,)` each."""
        return jnp.zeros(self.U.shape[-1]), jnp.zeros(self.U.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """Return a = z W + r U + b, `(4, n)`: input gate, forget gate, candidate, output gate."""
        return plus(product(z, self.W) + product(r, self.U), self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return the memory c = f h + i tanh(a_2), and y = o tanh(c)."""
        i, f, o = jax.nn.sigmoid(a[0]), jax.nn.sigmoid(a[1]), jax.nn.sigmoid(a[3])
        c = f * h + i * jnp.tanh(a[2])
        return c, o * jnp.tanh(c)
