"""A tree of arrays as named arrays of numpy, and back: the form in which weights and checkpoints are saved.

A leaf is named by its path in the tree, such as `learner.net.layers[0].W`. Saved files depend on these names.
Some leaves have a dtype that a file of numpy does not know; their name ends in a colon and what they are:

    learner.opt[0].rng_key:key-threefry2x32     a typed key (`jax.random.key`): its data, uint32
    net.layers[0].W:bfloat16                    a number of few bits: its bits, as unsigned integers
"""

import re
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from perturbax.errors import PerturbaxError, StoreError

Tree = TypeVar("Tree")

_KINDS = "biufc"  # of the dtypes of numpy: those that a file holds as they are
_ENCODED = re.compile(r"(?P<name>.+):(?P<encoding>key-[\w-]+|bfloat16|float\d\w*|u?int[24])")


def to_named_arrays(tree: object, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the leaves of a tree by their names, as a file can hold them.

    Arguments:
        tree: a tree of arrays and numbers.
        prefix: what is put in front of each name.

    Raises PerturbaxError for a leaf that is neither an array nor a number, such as a function.
    """
    paths, _ = tree_flatten_with_path(tree)
    arrays = {}
    for path, leaf in paths:
        name, array = _encoded(_name(path, prefix), leaf)
        arrays[name] = array
    return arrays


def from_named_arrays(
    tree: Tree, arrays: dict[str, np.ndarray], source: Path | str, prefix: str = ""
) -> Tree:
    """Return a tree with its leaves taken from named arrays, to the last bit.

    Arguments:
        tree: a tree of the same structure; its leaves (arrays or shapes) say which shapes and dtypes.
        arrays: the named arrays, as `to_named_arrays` made them.
        source: where they come from, for errors.
        prefix: what the names start with; arrays whose names start otherwise are not looked at.

    Raises StoreError where a name is missing, an array has another shape or dtype, or arrays are left over.
    """
    found = {}
    for stored_name, array in arrays.items():
        if stored_name.startswith(prefix):
            name, decoded = _decoded(stored_name, array, source)
            found[name] = decoded
    paths, structure = tree_flatten_with_path(tree)
    leaves = []
    for path, leaf in paths:
        name = _name(path, prefix)
        if name not in found:
            raise StoreError(f"{source} belongs to another network: it has no {name}")
        leaves.append(_like(leaf, found.pop(name), f"{source} belongs to another network: {name}"))
    if found:
        raise StoreError(f"{source} belongs to another network: it also has {min(found)}")
    return jax.tree.unflatten(structure, leaves)


def check_leaves(tree: object) -> None:
    """Raise PerturbaxError for a tree with a leaf that is neither an array, a shape nor a number."""
    for path, leaf in tree_flatten_with_path(tree)[0]:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            _encoded(_name(path, ""), leaf)


def _name(path: tuple, prefix: str) -> str:
    """Return the name of a leaf."""
    return prefix + keystr(path).lstrip(".")


def _encoded(name: str, leaf: Any) -> tuple[str, np.ndarray]:
    """Return a leaf as numpy can store it, under a name that says what it was."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return f"{name}:key-{jr.key_impl(leaf)}", np.asarray(jr.key_data(leaf))
    array = np.asarray(leaf)
    if array.dtype.kind in _KINDS:
        return name, array
    if jnp.issubdtype(array.dtype, np.number):  # of the package ml_dtypes
        bits = np.dtype(f"u{array.dtype.itemsize}")
        return f"{name}:{array.dtype.name}", array.view(bits)
    kind = "function" if callable(leaf) else type(leaf).__name__
    raise PerturbaxError(f"{name} cannot be saved: it is a {kind}, not an array or a number")


def _decoded(name: str, array: np.ndarray, source: Path | str) -> tuple[str, Any]:
    """Return the name of the leaf itself, and the leaf."""
    match = _ENCODED.fullmatch(name)
    if match is None:
        return name, array
    encoding = match["encoding"]
    try:
        if encoding.startswith("key-"):
            return match["name"], jr.wrap_key_data(jnp.asarray(array), impl=encoding.removeprefix("key-"))
        return match["name"], array.view(np.dtype(encoding))
    except (TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{source}: {name} cannot be read: {error}") from error


def _like(leaf: Any, found: Any, belongs: str) -> Any:
    """Return a stored array as a leaf of a tree; `belongs` begins the error where it is of another kind."""
    if found.shape != leaf.shape:
        raise StoreError(f"{belongs} is {found.shape}, not {leaf.shape}")
    if found.dtype != leaf.dtype:
        raise StoreError(f"{belongs} is {found.dtype}, not {leaf.dtype}")
    if not getattr(leaf, "weak_type", False):
        return jnp.asarray(found)
    # JAX's mark of numbers that came from Python's own: it decides how they mix with other dtypes.
    like = leaf if isinstance(leaf, jax.Array) else jnp.full(leaf.shape, leaf.dtype.type(0).item())
    return jnp.zeros_like(like).at[...].set(found)
