"""The gated recurrent unit."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from perturbax.cells.base import orthogonal, plus, product, uniform
from perturbax.network.layer import Layer


class GRU(Layer):
    """Gated recurrent unit, reset gate after the recurrent product (Cho et al. 2014, cuDNN form).

        u = sigmoid(a_0),  s = sigmoid(a_1),  y_t = u y_{t-1} + (1 - u) tanh(a_2 + s a_3)
        a_0, a_1 = z W + r U + b for the two gates,  a_2 = z W_2 + b_2,  a_3 = r U_2 + b_3

    W `(n_in, 3, n)`, U `(n, 3, n)`, b `(4, n)`, pre-activation a `(4, n)`. The y_{t-1} that is carried over
    is hidden state; only r crosses synapses.

    Args:
        n_in: number of inputs from below.
        n: number of units.
        key: JAX key of the initial weights.
        bias: whether there is a b.
        gain: each gate's U starts as an orthogonal matrix times this.
    """

    W: Array
    U: Array
    b: Array | None
    equation: ClassVar[str] = "y = u y + (1 - u) tanh(z W + s (r U)), gates u, s = sigmoid(z W + r U + b)"
    papers: ClassVar[tuple[str, ...]] = ("cho2014",)

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, gain: float = 1.0):
        key_below, key_recurrent = jr.split(key)
        self.W = uniform(key_below, (n_in, 3, n))
        self.U = gain * orthogonal(key_recurrent, n, gates=3)
        self.b = jnp.zeros((4, n)) if bias else None

    def start(self) -> tuple[Any, Array]:
        """Return hidden state and outputs of zero, `(n,)` each."""
        return jnp.zeros(self.U.shape[-1]), jnp.zeros(self.U.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """Return a `(4, n)`: update gate, reset gate, and the candidate's parts from below and from the past.

        The candidate's two parts stay apart, as the reset gate comes between them.
        """
        below = product(z, self.W)  # (3, n)
        recurrent = product(r, self.U)  # (3, n)
        gates = below[:2] + recurrent[:2]  # (2, n)
        return plus(jnp.concatenate([gates, below[2:], recurrent[2:]]), self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return y = u h + (1 - u) tanh(a_2 + s a_3), as hidden state and as output."""
        update, reset = jax.nn.sigmoid(a[0]), jax.nn.sigmoid(a[1])
        candidate = jnp.tanh(a[2] + reset * a[3])
        y = update * h + (1 - update) * candidate
        return y, y
