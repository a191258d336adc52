"""What the rules share that keep the influence as a random product: scales that balance its two factors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def scale_examples(c: Array, array: Array) -> Array:
    """Return one number per example, c `(B,)`, times an array `(B, ...)`."""
    return c.reshape(-1, *[1] * (array.ndim - 1)) * array


def norm_per_example(tree: PyTree) -> Array:
    """Return the norm over all leaves `(B, ...)`, per example: `(B,)`."""
    squares = [jnp.sum(e**2, tuple(range(1, e.ndim))) for e in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def balance(a: Array, b: Array) -> Array:
    """Return sqrt(a / b); 1 where either is zero, as any factor is right there."""
    fine = (a > 0) & (b > 0)
    return jnp.sqrt(jnp.where(fine, a, 1) / jnp.where(fine, b, 1))
