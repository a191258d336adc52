"""Layers, networks, and the split of synapses (weights, linear) from neurons (dynamics, no weights)."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError, LayerError

Tree = TypeVar("Tree")


def setting(default: Any) -> Any:
    """Return a field that is part of the structure, not of the arrays: a choice, a count, a switch."""
    return eqx.field(default=default, static=True)


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
    where the network does that), h any tree of hidden state, y `(n,)` the visible output.
    """

    @abc.abstractmethod
    def start(self) -> tuple[Any, Array]:
        """Return (h, y) before the first step. Constants: no weight learns through them."""

    @abc.abstractmethod
    def drive(self, z: Array, r: Array) -> Array:
        """Return the pre-activation a, linear in this layer's weights."""

    @abc.abstractmethod
    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return the next (h, y). Called on the layer without its weights; needs no derivative."""


class Site(NamedTuple):
    """What one layer saw in one step: input from below z, own output r one step ago, pre-activation a."""

    z: Any
    r: Any
    a: Any


class Network(eqx.Module):
    """A stack of layers, vectorised over the batch; the last layer is the readout.

        a_i = drive_i(z_i, r_i) (+ noise_i),   (h_i, y_i) = advance_i(h_i, a_i),   z_{i+1} = D_{i+1} y_i

    Layer i reads its own z_{i+1} of the previous step as r_i. `decor[i]` (None, or D_i as a `Fixed` matrix) acts on
    what layer i reads from below; `decor[0]` acts on the network's input. Like weights, D is stored presynaptic first,
    so that z = y value and value = D^T: few rows times a matrix are faster that way round.
    """

    layers: tuple[Layer, ...]
    decor: tuple[Fixed | None, ...]

    def __init__(self, layers: Sequence[Layer], decor: Sequence[Fixed | None] | None = None):
        self.layers = tuple(layers)
        self.decor = (None,) * len(self.layers) if decor is None else tuple(decor)
        if not self.layers:
            raise ArgumentError("a network needs at least one layer")
        if len(self.decor) != len(self.layers):
            raise ArgumentError(f"decor needs one entry per layer: {len(self.decor)} for {len(self.layers)} layers")

    def start(self, batch: int) -> tuple:
        """Return the state before the first step, ((h, r), ...) with a leading batch axis, dtype of the weights."""
        states = []
        for i, layer in enumerate(self.layers):
            dtype = jnp.result_type(*(jax.tree.leaves(weights(layer)) or [float]))
            h, y = jax.tree.map(lambda s, d=dtype: _constant(s, d), layer.start())
            states.append((h, self._mix(i + 1, y)))
        return jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), tuple(states))

    def step(self, state: tuple, x: Float[Array, "B n_in"], noise: Sequence[Array] | None = None):
        """Advance one step: -> (state, y `(B, n_out)`, sites). noise: one array `(B, ...)` per layer, added to a."""
        z, after, sites = self._mix(0, x), [], []
        for i, (layer, (h, r)) in enumerate(zip(self.layers, state, strict=True)):
            a = jax.vmap(layer.drive)(z, r)
            if noise is not None:
                a = a + noise[i]
            sites.append(Site(z, r, a))
            h, y = _advance(i, layer, h, a)
            z = self._mix(i + 1, y)
            after.append((h, z))
        return tuple(after), z, tuple(sites)

    def credit(self, sites: Sequence[Site], signal: Sequence[Array]) -> "Network":
        """Sum signal (x) presynaptic activity over the leading axis: a tree shaped like `weights(net)`.

        The transpose of the linear map weights -> a, at each site. sites and signal: `(rows, ...)`.
        Raises LayerError where a drive is not linear in its weights.
        """
        pulled = [_pull(i, *args) for i, args in enumerate(zip(self.layers, sites, signal, strict=True))]
        return Network(pulled, (None,) * len(self.decor))

    def decorrelation(self, sites: Sequence[Site]) -> tuple[Array | None, ...]:
        """Return offdiag(mean z z^T) D for each D, stored like it: in O(rows n^2), (z D)^T z - D^T diag(mean z^2).

        Garcia Fernandez et al. 2024; Ahmad et al. 2023. z is what was read, D already applied.
        """

        def one(D: Fixed | None, site: Site) -> Array | None:
            if D is None:
                return None
            z = site.z.reshape(-1, site.z.shape[-1])
            return ((z @ D.value.T).T @ z - jnp.sum(z * z, 0)[None] * D.value) / z.shape[0]

        return tuple(map(one, self.decor, sites))

    def redecor(self, directions: Sequence[Array | None], lr: float | Array) -> "Network":
        """Return the network with D <- D - lr direction."""
        new = [
            None if D is None or direction is None else Fixed(D.value - lr * direction)
            for D, direction in zip(self.decor, directions, strict=True)
        ]
        return Network(self.layers, new)

    def decorrelated(self, which: str, n_in: int) -> "Network":
        """Return the network with identity D on its `hidden` outputs, on `hidden+input`, or none (`off`)."""
        if which not in ("off", "hidden", "hidden+input"):
            raise ArgumentError(f"decorrelate is off, hidden or hidden+input, not {which!r}")
        if which == "off":
            return Network(self.layers)
        dtype = jnp.result_type(*jax.tree.leaves(weights(self)))
        sizes = [n_in if which == "hidden+input" else None]
        sizes += [layer.start()[1].shape[-1] for layer in self.layers[:-1]]
        return Network(self.layers, [None if n is None else Fixed(jnp.eye(n, dtype=dtype)) for n in sizes])

    def _mix(self, i: int, y: Array) -> Array:
        """Apply the D that the reader i sees through; no derivative ever reaches D."""
        D = self.decor[i] if i < len(self.decor) else None
        return y if D is None else y @ jax.lax.stop_gradient(D.value)


def _constant(s: Array, dtype: Any) -> Array:
    s = jnp.asarray(s)
    return jax.lax.stop_gradient(s.astype(dtype) if jnp.issubdtype(s.dtype, jnp.inexact) else s)


def _named(i: int, layer: Layer) -> str:
    return f"layer {i} ({type(layer).__name__})"


def _advance(i: int, layer: Layer, h: Any, a: Array) -> tuple[Any, Array]:
    """Run the neurons on the layer stripped of its weights; name the weight if `advance` reaches for one."""
    try:
        return jax.vmap(split(layer)[1].advance)(h, a)
    except (TypeError, AttributeError, ValueError) as error:
        if used := _weights_used(layer, h, a):
            raise LayerError(
                f"{_named(i, layer)}: advance uses the weight{'s' * (len(used) > 1)} {', '.join(used)}; "
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


def _pull(i: int, layer: Layer, site: Site, signal: Array) -> Layer:
    some, rest = split(layer)

    def drive(some: Layer) -> Array:
        return jax.vmap(join(some, rest).drive)(site.z, site.r)

    want = jax.eval_shape(drive, some)
    try:
        return jax.linear_transpose(drive, some)(signal.astype(want.dtype))[0]
    except (NotImplementedError, AssertionError, TypeError, ValueError) as error:
        if want.shape != signal.shape:
            raise
        reason = "an operation on weights only" if isinstance(error, AssertionError) else str(error).splitlines()[0]
        raise LayerError(f"{_named(i, layer)}: drive is not linear in its weights (JAX: {reason})") from error
