"""Small functions on trees of arrays that rules share."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def tree_add(one: PyTree, other: PyTree) -> PyTree:
    """Add two trees, leaf by leaf.

    Arguments:
        one: a tree of arrays.
        other: a tree of the same structure, with arrays of the same shapes.
    """
    return jax.tree.map(jnp.add, one, other)


def expand_like(values: Array, array: Array) -> Array:
    """Append axes of length 1 until `values` has as many axes as the array it is to multiply from the
    front.
    """
    return values.reshape(*values.shape, *[1] * (array.ndim - values.ndim))


def structure_and_shapes(tree: PyTree) -> tuple[Any, tuple]:
    """Return the structure of a tree, and (shape, dtype) of every leaf: what two traces of it share."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, jnp.result_type(leaf)) for leaf in leaves)


def remembered(function: Callable) -> Callable:
    """Return the function with a memory of its results; of arguments that cannot be hashed it keeps none."""
    kept = lru_cache(256)(function)

    @wraps(function)
    def call(*args: Any) -> Any:
        try:
            hash(args)
        except TypeError:
            return function(*args)
        return kept(*args)

    return call
