"""What the rules share that keep the influence as a random product: scales that balance its two factors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def scale_examples(c: Array, array: Array) -> Array:
    """Return an array with each example multiplied by a number, `(B, ...)`.

    Arguments:
        c: one number per example, `(B,)`.
        array: `(B, ...)`.
    """
    return c.reshape(-1, *[1] * (array.ndim - 1)) * array


def norm_per_example(tree: PyTree) -> Array:
    """Return the norm over all leaves of a tree, one per example, `(B,)`.

    Arguments:
        tree: a tree of arrays `(B, ...)`.
    """
    squares = [jnp.sum(e**2, tuple(range(1, e.ndim))) for e in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def balance(a: Array, b: Array) -> Array:
    """Return sqrt(a / b), `(B,)`; 1 where either is zero, as any factor is right there.

    Arguments:
        a: norm of one factor, per example, `(B,)`.
        b: norm of the other, `(B,)`.
    """
    fine = (a > 0) & (b > 0)
    return jnp.sqrt(jnp.where(fine, a, 1) / jnp.where(fine, b, 1))
