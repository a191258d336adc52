"""Layers without recurrence: hidden layers of feed-forward networks, and readouts."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.synapses import plus, product, uniform, zeros
from perturbax.errors import one_of
from perturbax.network import Layer
from perturbax.network import setting

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "leaky-relu": jax.nn.leaky_relu, "sigmoid": jax.nn.sigmoid}


class Dense(Layer):
    """Feed-forward layer: no recurrent input, no state.

        y_t = f(z_t W + b)

    W `(n_in, n)`, b `(n,)`.

    Args:
        activation: f, one of tanh, relu, leaky-relu, sigmoid.
        bias: whether there is a b.
    """

    W: Array
    b: Array | None
    activation: str = setting("tanh")
    equation: ClassVar[str] = "y = f(z W + b)"
    papers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_in: int, n: int, *, key: Array, activation: str = "tanh", bias: bool = True):
        one_of("activation", activation, ACTIVATIONS)
        self.W, self.b, self.activation = uniform(key, (n_in, n)), zeros(bias, n), activation

    def start(self) -> tuple[Any, Array]:
        """Zero output."""
        return (), jnp.zeros(self.W.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """z W + b."""
        return plus(product(z, self.W), self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """f."""
        return (), ACTIVATIONS[self.activation](a)


class Readout(Layer):
    """Linear output layer.

        y_t = z_t W + b

    W `(n_in, n)`, b `(n,)`.

    Args:
        bias: whether there is a b.
    """

    W: Array
    b: Array | None
    equation: ClassVar[str] = "y = z W + b"
    papers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True):
        self.W, self.b = uniform(key, (n_in, n)), zeros(bias, n)

    def start(self) -> tuple[Any, Array]:
        """Zero output."""
        return (), jnp.zeros(self.W.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """z W + b."""
        return plus(product(z, self.W), self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Nothing: the output is the pre-activation."""
        return (), a
