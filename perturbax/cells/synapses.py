"""Weights of the cells: how they start, and the products they take part in."""

from collections.abc import Sequence

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from perturbax.errors import positive


def uniform(key: Array, shape: Sequence[int]) -> Array:
    """Return weights uniform in +-1/sqrt(shape[0]), shape (presynaptic, ..., units)."""
    for size in shape:
        positive("the number of units or inputs", size)
    return jr.uniform(key, tuple(shape), minval=-1.0, maxval=1.0) * shape[0] ** -0.5


def zeros(wanted: bool, *shape: int) -> Array | None:
    """Return a zero bias, or none."""
    return jnp.zeros(shape) if wanted else None


def product(z: Array, W: Array) -> Array:
    """Return z W for z `(pre,)` and W `(pre, ..., n)`: one flat product, which contracts and multiplies fast."""
    return (z @ W.reshape(len(W), -1)).reshape(W.shape[1:])


def plus(a: Array, b: Array | None) -> Array:
    """Return a + b, where there is a bias."""
    return a if b is None else a + b
