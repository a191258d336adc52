"""Layers: linear synapses, which hold the weights, apart from neurons, which hold none.

Functions on trees of weights (`split`, `join`, `weights`, `apply_updates`) work on layers and on networks.
"""

import abc
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array

from perturbax.errors import LayerError

Tree = TypeVar("Tree")


# What a function of arrays may raise when an array is missing, or one it needs the value of is traced.
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Fixed(eqx.Module):
    """An array of a layer or network that is not a weight: a mask, a time constant, a decorrelating D.

    Attributes:
        value: the array.
    """

    value: Any


def is_fixed(node: object) -> bool:
    """Whether a node of a tree is a `Fixed` array."""
    return isinstance(node, Fixed)


def split(tree: Tree) -> tuple[Tree, Tree]:
    """Return (weights, all the rest) of a tree: two trees, each None where the other has a value.

    Weights are the arrays of floats that are not `Fixed`. `join` puts the two together again.
    """
    return eqx.partition(tree, eqx.is_inexact_array, is_leaf=is_fixed)


def join(some: Tree, rest: Tree) -> Tree:
    """Return the tree that `split` cut in two.

    Arguments:
        some: the weights, or other values in their place.
        rest: all the rest.
    """
    return eqx.combine(some, rest, is_leaf=is_fixed)


def weights(tree: Tree) -> Tree:
    """Return the tree with all but its weights replaced by None: what optax and gradients see."""
    return split(tree)[0]


def apply_updates(net: Tree, updates: Tree) -> Tree:
    """Return the network with updates added to its weights.

    Arguments:
        net: a network, or a layer.
        updates: a tree like `weights(net)`, as optax returns it.
    """
    return eqx.apply_updates(net, updates)


class Layer(eqx.Module):
    """Base of all layers, written for ONE example: linear synapses (`drive`) and neurons (`advance`).

        a_t = drive(z_t, r_t),        linear in the weights
        h_t, y_t = advance(h_{t-1}, a_t),        without weights

    z_t `(n_below,)` is the input from below; r_t `(n,)` is y_{t-1}, the layer's own output one step ago, as
    it sees it (decorrelated where the network does that); a_t is the pre-activation; h_t is the hidden state,
    any tree of arrays; y_t `(n,)` is the visible output. Plain arrays of floats among the fields are weights;
    wrap any other array in `Fixed`. A complete layer:

        class Tanh(Layer):
            W: Array
            U: Array
            def start(self):          return (), jnp.zeros(self.U.shape[0])
            def drive(self, z, r):    return z @ self.W + r @ self.U
            def advance(self, h, a):  return (), jnp.tanh(a)

    The axis of units comes last everywhere: in weights, in a (`(n,)`, or `(gates, n)`), in h, and in y, which
    may hold several values per unit one after the other, `(values x n,)`.

    Rules that keep traces per unit ask a layer for three facts: `unitwise`, `wiring()` and `filters()`.

    Attributes:
        unitwise: whether each unit of `advance` looks at its own h and a alone; False where units mix.
    """

    unitwise: ClassVar[bool] = True

    @abc.abstractmethod
    def start(self) -> tuple[Any, Array]:
        """Return (h, y) before the first step: constants, through which no weight learns."""

    @abc.abstractmethod
    def drive(self, z: Array, r: Array) -> Array:
        """Return the pre-activation a, `(n,)` or `(gates, n)`, linear in this layer's weights.

        Arguments:
            z: input from below, `(n_below,)`.
            r: the layer's own output one step ago, `(n,)`.
        """

    @abc.abstractmethod
    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return the next (h, y). It is called on the layer without its weights, and needs no derivative.

        Arguments:
            h: hidden state after the last step.
            a: pre-activation, as `drive` returns it.
        """

    @property
    def width(self) -> int:
        """Number of visible outputs: the length of y, and of r."""
        return jax.eval_shape(self.start)[1].shape[-1]

    def filters(self) -> float:
        """Return the leak of a layer that only filters, y_t = leak y_{t-1} + a_t; 0 for every other layer."""
        return 0.0

    def wiring(self) -> np.ndarray | None:
        """Return which unit reads which through r: `(n, n)` bool [reader, read], or None where all may."""
        return None


def layer_label(i: int, layer: Layer) -> str:
    """Return how errors speak of layer number i: its number and class."""
    return f"layer {i} ({type(layer).__name__})"


def advance_batch(i: int, layer: Layer, h: Any, a: Array) -> tuple[Any, Array]:
    """Run the neurons of a layer over a batch: -> (h, y), each with a leading axis of B examples.

    `advance` is called on the layer without its weights. Raises LayerError, which names the weights, where it
    cannot do without them.

    Arguments:
        i: the layer's number, for errors.
        layer: the layer.
        h: hidden states, a tree of `(B, ...)`.
        a: pre-activations, `(B, ...)`.
    """
    neurons = split(layer)[1]
    try:
        return jax.vmap(neurons.advance)(h, a)
    except (TypeError, AttributeError, ValueError) as error:
        if used := _weights_used(layer, h, a):
            raise LayerError(
                f"{layer_label(i, layer)}: advance uses the weight{'s' * (len(used) > 1)} {', '.join(used)}; "
                "weights belong in drive (wrap an array that is not learnt in Fixed)"
            ) from error
        raise


def _weights_used(layer: Layer, h: Any, a: Array) -> list[str]:
    """Return the names of the weights without which `advance` fails, if it works with all of them."""
    if not _advance_works(layer, h, a):
        return []
    some, rest = split(layer)
    leaves, tree = tree_flatten_with_path(some)
    used = []
    for j, (path, _) in enumerate(leaves):
        others = [None if k == j else leaf for k, (_, leaf) in enumerate(leaves)]
        if not _advance_works(join(tree.unflatten(others), rest), h, a):
            used.append(keystr(path).lstrip("."))
    return used


def _advance_works(layer: Layer, h: Any, a: Array) -> bool:
    """Whether `advance` runs for hidden states and pre-activations of these shapes."""
    try:
        jax.eval_shape(jax.vmap(layer.advance), h, a)
    except FAULTS:
        return False
    return True


def pull_back(i: int, layer: Layer, z: Array, r: Array, signal: Array) -> Layer:
    """Return the sum over rows of signal (x) presynaptic activity, a tree like `weights(layer)`.

    This is the transpose of the linear map from weights to pre-activations, applied to the signal. Raises
    LayerError where `drive` is not linear in the weights.

    Arguments:
        i: the layer's number, for errors.
        layer: the layer.
        z: inputs from below, `(rows, n_below)`.
        r: the layer's own outputs one step ago, `(rows, n)`.
        signal: what each pre-activation is multiplied with, `(rows, ...)` like the pre-activations.
    """
    some, rest = split(layer)

    def drive_rows(some: Layer) -> Array:
        return jax.vmap(join(some, rest).drive)(z, r)

    driven = jax.eval_shape(drive_rows, some)
    try:
        return jax.linear_transpose(drive_rows, some)(signal.astype(driven.dtype))[0]
    except (NotImplementedError, AssertionError, TypeError, ValueError) as error:
        if driven.shape != signal.shape:
            raise
        if isinstance(error, AssertionError):
            reason = "an operation on weights only"
        else:
            reason = str(error).splitlines()[0]
        label = layer_label(i, layer)
        raise LayerError(f"{label}: drive is not linear in its weights (JAX: {reason})") from error
