"""A tree of arrays as named arrays, and back: the form in which weights and checkpoints are saved.

A leaf is named by its path in the tree, such as `learner.net.layers[0].W`. Saved files depend on these names.
"""

from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from perturbax.errors import StoreError

Tree = TypeVar("Tree")


def to_named_arrays(tree: object, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the leaves of a tree by their names, each with the prefix in front."""
    paths, _ = tree_flatten_with_path(tree)
    return {_name(path, prefix): np.asarray(leaf) for path, leaf in paths}


def from_named_arrays(
    tree: Tree, arrays: dict[str, np.ndarray], source: Path | str, prefix: str = ""
) -> Tree:
    """Return a tree with its leaves taken from named arrays.

    Arguments:
        tree: a tree of the same structure; its leaves (arrays or shapes) say which shapes and dtypes.
        arrays: the named arrays, as `to_named_arrays` made them.
        source: where they come from, for errors.
        prefix: what the names start with; arrays whose names start otherwise are not looked at.

    Raises StoreError where a name is missing, an array has another shape, or arrays are left over.
    """
    paths, structure = tree_flatten_with_path(tree)
    leaves = []
    names = set()
    for path, leaf in paths:
        name = _name(path, prefix)
        names.add(name)
        if name not in arrays:
            raise StoreError(f"{source} belongs to another network: it has no {name}")
        found = arrays[name]
        if found.shape != leaf.shape:
            raise StoreError(
                f"{source} belongs to another network: {name} is {found.shape}, not {leaf.shape}"
            )
        leaves.append(jnp.asarray(found, leaf.dtype))
    extra = {name for name in arrays if name.startswith(prefix)} - names
    if extra:
        raise StoreError(f"{source} belongs to another network: it also has {min(extra)}")
    return jax.tree.unflatten(structure, leaves)


def _name(path: tuple, prefix: str) -> str:
    """Return the name of a leaf."""
    return prefix + keystr(path).lstrip(".")
