"""Layers: linear synapses, which hold the weights, apart from neurons, which hold none.

Functions on trees of weights (`split`, `join`, `weights`, `apply_updates`) work on layers and on networks.
"""

import abc
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array

from perturbax.errors import FAULTS, LayerError, first_line
from perturbax.fields import check_given, check_key, refuse_abstract
from perturbax.network.linearity import step_through_integers

Tree = TypeVar("Tree")


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

    Arguments:
        tree: a network, a layer, or another tree.
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
    """Return the tree with all but its weights replaced by None: what optax and gradients see.

    Arguments:
        tree: a network, a layer, or another tree.
    """
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

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse a class that lacks a method of the three, with LayerError; settings that it does not have,
        and what is no key, with ArgumentError.
        """
        refuse_abstract("layer", cls, LayerError)
        check_given(cls, kwargs)
        if "key" in kwargs:
            check_key(kwargs["key"])
        return super().__new__(cls)

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
        return check_start(type(self).__name__, jax.eval_shape(self.start))[1].shape[-1]

    @property
    def piecewise(self) -> bool:
        """Whether weights choose in `drive`, as the largest of several products: it is then linear in them as
        long as each choice stays, and its derivative takes choices as given.
        """
        return False

    def filters(self) -> float:
        """Return the leak of a layer that only filters, y_t = leak y_{t-1} + a_t; 0 for every other layer."""
        return 0.0

    def wiring(self) -> np.ndarray | None:
        """Return which unit reads which through r: `(n, n)` bool [reader, read], or None where all may."""
        return None


def layer_label(i: int, layer: Layer) -> str:
    """Return how errors speak of a layer: its number and class.

    Arguments:
        i: number of the layer, from 0.
        layer: the layer.
    """
    return f"layer {i} ({type(layer).__name__})"


def check_start(label: str, found: Any) -> tuple[Any, Any]:
    """Return what `start` of a layer returned, (h, y); LayerError where that is no state and output `(n,)`.

    Arguments:
        label: how errors speak of the layer.
        found: what it returned, as arrays or as their shapes.
    """
    pair = isinstance(found, tuple) and len(found) == 2
    if not pair or len(getattr(found[1], "shape", ())) != 1:
        what = f"(h, y) with y {words_of(found[1])}" if pair else words_of(found)
        raise LayerError(
            f"{label}: start must return (h, y) with y an array (n,) of one example; it returns {what}"
        )
    return found


def drive_batch(i: int, layer: Layer, z: Array, r: Array, below: str) -> Array:
    """Run the synapses of a layer over a batch: -> pre-activations `(B, n)` or `(B, gates, n)`.

    Raises LayerError, which says what the layer reads and the shapes of its weights, where `drive` fails.

    Arguments:
        i: the layer's number, for errors.
        layer: the layer.
        z: what it reads from below, `(B, n_below)`.
        r: its own output one step ago, `(B, n)`.
        below: where z comes from, as errors call it.
    """
    try:
        return jax.vmap(layer.drive)(z, r)
    except (TypeError, ValueError) as error:
        shapes = [
            f"{keystr(path).lstrip('.')} {words_of(leaf)}"
            for path, leaf in tree_flatten_with_path(weights(layer))[0]
        ]
        raise LayerError(
            f"{layer_label(i, layer)}: drive fails on z, {z.shape[-1]} values from {below}, and r, "
            f"{r.shape[-1]} of its own; its weights are {', '.join(shapes) or 'none'}: {first_line(error)}"
        ) from error


def check_kept(i: int, layer: Layer, before: tuple[Any, Array], after: tuple[Any, Array], z: Array) -> None:
    """Raise LayerError where a step changes the structure, shapes or dtypes of a layer's (h, y).

    Arguments:
        i: the layer's number, for errors.
        layer: the layer.
        before: its hidden state and output before the step, leaves `(B, ...)`.
        after: those after it.
        z: what it read from below, whose dtype may be the reason.
    """
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), part) for part in (before, after)]
    if kinds[0] == kinds[1] and jax.tree.structure(before) == jax.tree.structure(after):
        return
    label = layer_label(i, layer)
    leaves = [jax.tree.leaves(part) for part in (before, after)]
    same_shapes = [leaf.shape for leaf in leaves[0]] == [leaf.shape for leaf in leaves[1]]
    if jax.tree.structure(before) == jax.tree.structure(after) and same_shapes:
        one, other = next((a, b) for a, b in zip(*leaves, strict=True) if a.dtype != b.dtype)
        own = sorted({str(w.dtype) for w in jax.tree.leaves(weights(layer))})
        raise LayerError(
            f"{label}: its state is {one.dtype} before a step and {other.dtype} after it; it reads {z.dtype} "
            f"and its weights are {' and '.join(own) or 'none'}: cast inputs and weights to one dtype"
        )
    raise LayerError(
        f"{label}: advance must return a state h and an output y like those of start; "
        f"h is {_words_of_one(before[0])} before a step and {_words_of_one(after[0])} after it, "
        f"y {_words_of_one(before[1])} and {_words_of_one(after[1])}"
    )


def _words_of_one(tree: Any) -> str:
    """Return the structure of a tree with dtype and shape of each array, without the axis of examples."""
    leaves, structure = jax.tree.flatten(tree)
    if not leaves:
        return str(structure).removeprefix("PyTreeDef(").removesuffix(")")
    if len(leaves) == 1 and leaves[0] is tree:
        return f"{tree.dtype} {tree.shape[1:]}"
    inside = ", ".join(f"{leaf.dtype} {leaf.shape[1:]}" for leaf in leaves)
    return f"{type(tree).__name__} of {inside}"


def words_of(thing: Any) -> str:
    """Return dtype and shape of an array, else the type."""
    if hasattr(thing, "shape") and hasattr(thing, "dtype"):
        return f"{thing.dtype} of shape {tuple(thing.shape)}"
    return f"{type(thing).__name__}"


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
        h, y = jax.vmap(neurons.advance)(h, a)
        return h, y
    except (TypeError, AttributeError, ValueError) as error:
        if used := _weights_used(layer, h, a):
            raise LayerError(
                f"{layer_label(i, layer)}: advance uses the weight{'s' * (len(used) > 1)} {', '.join(used)}; "
                "weights belong in drive (wrap an array that is not learnt in Fixed)"
            ) from error
        if isinstance(error, AttributeError):  # no matter of shapes: it speaks for itself
            raise
        raise LayerError(
            f"{layer_label(i, layer)}: advance fails for h {_words_of_one(h)} and a {_words_of_one(a)}: "
            f"{first_line(error)}"
        ) from error


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

    if layer.piecewise:
        driven, pull = jax.vjp(drive_rows, some)
        return pull(signal.astype(driven.dtype))[0]
    traced, driven = jax.make_jaxpr(drive_rows, return_shape=True)(some)
    label = layer_label(i, layer)
    if found := step_through_integers(traced):
        raise LayerError(f"{label}: drive is not linear in its weights (it {found})")

    def drive_as_traced(some: Layer) -> Array:
        return jaxpr_as_fun(traced)(*jax.tree.leaves(some))[0]

    try:
        return jax.linear_transpose(drive_as_traced, some)(signal.astype(driven.dtype))[0]
    except (NotImplementedError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        if driven.shape != signal.shape:
            raise
        reason = "an operation on weights only" if isinstance(error, AssertionError) else first_line(error)
        raise LayerError(f"{label}: drive is not linear in its weights (JAX: {reason})") from error


def check_linear(i: int, layer: Layer, z: Any, r: Any, a: Any) -> None:
    """Raise LayerError where `drive` of a layer is not linear in its weights; nothing is computed.

    Arguments:
        i: the layer's number, for errors.
        layer: the layer.
        z: what it reads from below, `(B, n_below)`, or its shape and dtype.
        r: its own output one step ago, `(B, n)`, likewise.
        a: its pre-activations, `(B, ..., n)`, likewise.
    """

    def pull_anything(z: Array, r: Array, a: Array) -> Layer:
        return pull_back(i, layer, z, r, a)

    jax.eval_shape(pull_anything, z, r, a)
