"""Layers: the split of synapses (weights, linear) from neurons (dynamics, no weights)."""

import abc
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array

from perturbax.errors import LayerError

Tree = TypeVar("Tree")


class Fixed(eqx.Module):
    """An array that a network holds and that is not a weight: a mask, a time constant, a decorrelating D."""

    value: Any


def is_fixed(node: object) -> bool:
    """Whether a node of a tree is a `Fixed` array."""
    return isinstance(node, Fixed)


def split(tree: Tree) -> tuple[Tree, Tree]:
    """Cut a tree into its weights and all the rest: two trees, each None where the other has a value."""
    return eqx.partition(tree, eqx.is_inexact_array, is_leaf=is_fixed)


def join(some: Tree, rest: Tree) -> Tree:
    """Undo `split`."""
    return eqx.combine(some, rest, is_leaf=is_fixed)


def weights(tree: Tree) -> Tree:
    """Return the tree with everything but its weights replaced by None: all that optax and gradients see."""
    return split(tree)[0]


def apply_updates(net: Tree, updates: Tree) -> Tree:
    """Return the network with updates, a tree like `weights(net)`, added to its weights."""
    return eqx.apply_updates(net, updates)


class Layer(eqx.Module):
    """One layer, written for ONE example: linear synapses (`drive`) and weight-free neurons (`advance`).

    Plain float arrays among the fields are weights; wrap any other array in `Fixed`. A complete layer:

        class Tanh(Layer):
            W: Array
            U: Array
            def start(self):          return (), jnp.zeros(self.U.shape[0])
            def drive(self, z, r):    return z @ self.W + r @ self.U
            def advance(self, h, a):  return (), jnp.tanh(a)

    z `(n_below,)` is the input from below, r `(n,)` the layer's own visible output one step ago (decorrelated
    where the network does that), h any tree of hidden state, y `(n,)` the visible output. The axis of units
    comes last everywhere: in weights, in a `(n,)` or `(gates, n)`, in h, and in y, which may hold several
    values per unit one after the other `(values x n,)`.

    Facts for rules that keep traces per unit: whether neurons are `unitwise` (each unit of `advance` looks at
    its own h and a only; say False where they mix), the `wiring` of r, and whether a layer just `filters`.
    """

    unitwise: ClassVar[bool] = True

    @abc.abstractmethod
    def start(self) -> tuple[Any, Array]:
        """Return (h, y) before the first step. Constants: no weight learns through them."""

    @abc.abstractmethod
    def drive(self, z: Array, r: Array) -> Array:
        """Return the pre-activation a, linear in this layer's weights."""

    @abc.abstractmethod
    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return the next (h, y). Called on the layer without its weights; needs no derivative."""

    @property
    def width(self) -> int:
        """Number of visible outputs: the length of y, and of r."""
        return jax.eval_shape(self.start)[1].shape[-1]

    def filters(self) -> float:
        """Return the leak of a layer that only filters, y_t = leak y_{t-1} + a_t; 0 for every other layer."""
        return 0.0

    def wiring(self) -> np.ndarray | None:
        """Return which unit reads which through r, `(n, n)` bool [reader, read]; None where all may read
        all.
        """
        return None


def layer_label(i: int, layer: Layer) -> str:
    """Return how errors speak of a layer."""
    return f"layer {i} ({type(layer).__name__})"


def advance_batch(i: int, layer: Layer, h: Any, a: Array) -> tuple[Any, Array]:
    """Run the neurons of a batch on the layer stripped of its weights; name the weight `advance` reaches
    for.
    """
    try:
        return jax.vmap(split(layer)[1].advance)(h, a)
    except (TypeError, AttributeError, ValueError) as error:
        if used := _weights_used(layer, h, a):
            raise LayerError(
                f"{layer_label(i, layer)}: advance uses the weight{'s' * (len(used) > 1)} {', '.join(used)}; "
                "weights belong in drive (wrap an array that is not learnt in Fixed)"
            ) from error
        raise


def _weights_used(layer: Layer, h: Any, a: Array) -> list[str]:
    """Names of the weights without which `advance` fails, if it works with all of them."""

    def works(layer: Layer) -> bool:
        try:
            jax.eval_shape(jax.vmap(layer.advance), h, a)
        except Exception:
            return False
        return True

    if not works(layer):
        return []
    some, rest = split(layer)
    paths, tree = tree_flatten_with_path(some)
    without = [[None if j == i else leaf for j, (_, leaf) in enumerate(paths)] for i in range(len(paths))]
    kept = [works(join(tree.unflatten(leaves), rest)) for leaves in without]
    return [keystr(path).lstrip(".") for (path, _), fine in zip(paths, kept, strict=True) if not fine]


def pull_back(i: int, layer: Layer, z: Array, r: Array, signal: Array) -> Layer:
    """Sum signal (x) presynaptic activity over rows: the transpose of the linear map weights -> a."""
    some, rest = split(layer)

    def drive(some: Layer) -> Array:
        return jax.vmap(join(some, rest).drive)(z, r)

    want = jax.eval_shape(drive, some)
    try:
        return jax.linear_transpose(drive, some)(signal.astype(want.dtype))[0]
    except (NotImplementedError, AssertionError, TypeError, ValueError) as error:
        if want.shape != signal.shape:
            raise
        reason = (
            "an operation on weights only"
            if isinstance(error, AssertionError)
            else str(error).splitlines()[0]
        )
        raise LayerError(
            f"{layer_label(i, layer)}: drive is not linear in its weights (JAX: {reason})"
        ) from error
