"""Two small functions on arrays that rules share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def tree_add(one: PyTree, other: PyTree) -> PyTree:
    """Add two trees of one structure, leaf by leaf."""
    return jax.tree.map(jnp.add, one, other)


def expand_like(values: Array, array: Array) -> Array:
    """Append axes of length 1 until `values` has as many axes as the array it is to multiply from the
    front.
    """
    return values.reshape(*values.shape, *[1] * (array.ndim - values.ndim))
