"""The precision of a run, float32 or float64: it belongs to the run, not to the process that reads it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from perturbax.errors import ArgumentError
from perturbax.experiment import run_folder
from perturbax.experiment.layout import Layout
from perturbax.network.network import Network


def precision() -> str:
    """Return the precision of this process: float64 where JAX_ENABLE_X64 is set, else float32."""
    return "float64" if jax.config.read("jax_enable_x64") else "float32"


def computing() -> dict[str, Any]:
    """Return the settings of JAX with which another process computes as finely as this one: numbers, and
    products of matrices, by the names that `jax.config.update` takes.
    """
    products = getattr(jax.config, "jax_default_matmul_precision", None)
    return {
        "jax_enable_x64": precision() == "float64",
        "jax_default_matmul_precision": None if products is None else str(products),
    }


def precision_of(folder: Path, layout: Layout) -> str:
    """Return the precision of a run, float32 or float64.

    Folders of version 0.1.0 do not name it: there it is that of the last checkpoint, else of the weights,
    else float32, JAX's default.

    Arguments:
        folder: the run folder.
        layout: what its config.json says.
    """
    if layout.precision:
        return layout.precision
    found = run_folder.last_checkpoint(folder)
    path = found[1] if found else folder / "weights"
    if not path.exists():
        return "float32"
    arrays = run_folder.read_arrays(path, layout)
    own = {name: a for name, a in arrays.items() if name == "best_loss" or name.startswith("net.")}
    return "float64" if any(a.dtype == np.float64 for a in own.values()) else "float32"


@contextlib.contextmanager
def in_precision_of(folder: Path, layout: Layout) -> Iterator[None]:
    """Compute in the precision of a run, whatever that of this process is.

    Arguments:
        folder: the run folder.
        layout: what its config.json says.
    """
    with jax.enable_x64(precision_of(folder, layout) == "float64"):
        yield


@contextlib.contextmanager
def in_precision_of_network(net: Network) -> Iterator[None]:
    """Compute in float64 where weights of a network are, else in float32, whatever this process does."""
    with jax.enable_x64(any(getattr(leaf, "dtype", None) == np.float64 for leaf in jax.tree.leaves(net))):
        yield


def require_room(folder: Path, layout: Layout) -> None:
    """Raise ArgumentError for a float64 run in a process that computes in float32, and would round it.

    Arguments:
        folder: the run folder.
        layout: how its arrays are stored.
    """
    if precision_of(folder, layout) == "float64" and precision() == "float32":
        raise ArgumentError(
            f"{folder} is a run in float64, and this process computes in float32: set JAX_ENABLE_X64=1"
        )


def require_same(folder: Path, layout: Layout) -> None:
    """Raise ArgumentError for a run of another precision than this process has.

    Arguments:
        folder: the run folder.
        layout: how its arrays are stored.
    """
    own = precision_of(folder, layout)
    if own != precision():
        flag = int(own == "float64")
        raise ArgumentError(
            f"{folder} is a run in {own}, and this process computes in {precision()}: "
            f"set JAX_ENABLE_X64={flag}"
        )
