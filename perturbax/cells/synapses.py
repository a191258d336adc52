"""What the cells share: their synapses, how weights start, and the products they take part in."""

from collections.abc import Sequence

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from perturbax.errors import positive
from perturbax.network import Layer


def uniform(key: Array, shape: Sequence[int]) -> Array:
    """Return weights uniform in +-1/sqrt(shape[0]), shape (presynaptic, ..., units)."""
    for size in shape:
        positive("the number of units or inputs", size)
    return jr.uniform(key, tuple(shape), minval=-1.0, maxval=1.0) * shape[0] ** -0.5


def orthogonal(key: Array, n: int, parts: int = 0) -> Array:
    """Return an orthogonal matrix `(n, n)`, or `(n, parts, n)` of them, one per gate: no direction fades at once.

    Saxe, McClelland, Ganguli 2014; Le, Jaitly, Hinton 2015 for recurrent weights.
    """
    positive("the number of units", n)
    return jr.orthogonal(key, n) if not parts else jnp.moveaxis(jr.orthogonal(key, n, (parts,)), 0, 1)


def product(z: Array, W: Array) -> Array:
    """Return z W for z `(pre,)` and W `(pre, ..., n)`: one flat product, which contracts and multiplies fast."""
    return (z @ W.reshape(len(W), -1)).reshape(W.shape[1:])


def plus(a: Array, b: Array | None) -> Array:
    """Return a + b, where there is a bias."""
    return a if b is None else a + b


class FeedForward(Layer):
    """Base of the layers that read only what is below: a = z W + b, W `(n_in, n)`, b `(n,)` or None.

    Args:
        bias: whether there is a b.
    """

    W: Array
    b: Array | None

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True):
        self.W = uniform(key, (n_in, n))
        self.b = jnp.zeros(n) if bias else None

    def drive(self, z: Array, r: Array) -> Array:
        """Z W + b."""
        return plus(product(z, self.W), self.b)


class Recurrent(Layer):
    """Base of the recurrent layers with one pre-activation per unit: a = z W + r U + b.

    W `(n_in, n)`, U `(n, n)`, b `(n,)` or None.

    Args:
        bias: whether there is a b.
        gain: U starts as an orthogonal matrix times this; below 1 the past fades from the start.
    """

    W: Array
    U: Array
    b: Array | None

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, gain: float = 1.0):
        below, own = jr.split(key)
        self.W, self.U = uniform(below, (n_in, n)), gain * orthogonal(own, n)
        self.b = jnp.zeros(n) if bias else None

    def drive(self, z: Array, r: Array) -> Array:
        """Z W + r U + b."""
        return plus(product(z, self.W) + product(r, self.U), self.b)
