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
    """Return values with axes of length 1 behind, as many as it takes to multiply an array from the front.

    Arguments:
        values: an array `(K, B)`, say.
        array: what they are to multiply, `(K, B, ...)` then.
    """
    return values.reshape(*values.shape, *[1] * (array.ndim - values.ndim))


def divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is not above `most`, at least 1.

    Arguments:
        number: 1 or more.
        most: any number.
    """
    return next(k for k in range(max(1, min(most, number)), 0, -1) if number % k == 0)


def structure_and_shapes(tree: PyTree) -> tuple[Any, tuple]:
    """Return the structure of a tree, and (shape, dtype) of every leaf: what two traces of it share.

    Arguments:
        tree: a tree of arrays, traced or not.
    """
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, jnp.result_type(leaf)) for leaf in leaves)


def remembered(function: Callable) -> Callable:
    """Return the function with a memory of its results; of arguments that cannot be hashed it keeps none.

    Arguments:
        function: of positional arguments; its last 256 results are kept.
    """
    kept = lru_cache(256)(function)

    @wraps(function)
    def call(*args: Any) -> Any:
        try:
            hash(args)
        except TypeError:
            return function(*args)
        return kept(*args)

    return call
