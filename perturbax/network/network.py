"""Networks: stacks of layers over a batch of examples."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import setting
from perturbax.network.layer import (
    Fixed,
    Layer,
    advance_batch,
    check_kept,
    check_start,
    drive_batch,
    layer_label,
    pull_back,
    weights,
    words_of,
)
from perturbax.network.sources import Source, checked_reads


class Site(NamedTuple):
    """What one layer saw in one step: the two presynaptic activities and what came of them.

    Attributes:
        z: what the layer read from below, `(B, n_below)`.
        r: its own output one step ago, `(B, n)`.
        a: its pre-activation, noise included, `(B, n)` or `(B, gates, n)`.
    """

    z: Any
    r: Any
    a: Any


class Network(eqx.Module):
    """A stack of layers over a batch of examples; the last layer is the readout.

        a_i = drive_i(z_i, r_i) (+ noise_i),   (h_i, y_i) = advance_i(h_i, a_i),
        z_0 = D_0 x,   z_{i+1} = D_{i+1} (y_i (+ shift_i))

    Layer i reads its own z_{i+1} of the previous step as r_i. A D decorrelates what a layer reads (see
    perturbax.network.decorrelation); it is stored like weights, presynaptic first, value = D^T, so that D y
    is y value: few rows times a matrix are faster that way round.

    Where layers are no stack but a graph, `reads` names what each of them reads, and z_i is all of it side by
    side: outputs of this step of layers below, those of the last step of any layer.

    Arguments:
        layers: from the input to the readout.
        decor: for each layer the D it reads from below through, a `Fixed` `(n_below, n_below)`, or None.
        residual: whether hidden layers above the first add to what they read: z_{i+1} = z_i + y_i.
        normalise: whether what a layer reads from the layer below is shifted and scaled to mean 0 and
            variance 1 over its units, example by example (Ba, Kiros, Hinton 2016, without weights); sums of
            `residual` are normalised when they are read.
        reads: for each layer the `Source`s it reads, one or more; None for a stack, in which each layer reads
            the one below it.

    Raises ArgumentError without layers, for what is no layer, for a `decor` of another length, for sources
    that there are not in that step, and for matrices D in a network that is residual, normalised or a graph.
    """

    layers: tuple[Layer, ...]
    decor: tuple[Fixed | None, ...]
    residual: bool = setting(False)
    normalise: bool = setting(False)
    reads: tuple[tuple[Source, ...], ...] | None = setting(None)

    def __init__(
        self,
        layers: Sequence[Layer],
        decor: Sequence[Fixed | None] | None = None,
        *,
        residual: bool = False,
        normalise: bool = False,
        reads: Sequence[Sequence[Source]] | None = None,
    ):
        if isinstance(layers, Layer) or not isinstance(layers, Iterable):
            raise ArgumentError(
                f"layers must be a tuple of layers, from input to readout; got {words_of(layers)}"
            )
        self.layers = tuple(layers)
        self.decor = (None,) * len(self.layers) if decor is None else tuple(decor)
        self.residual, self.normalise = residual, normalise
        if not self.layers:
            raise ArgumentError("a network needs at least one layer")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise ArgumentError(f"layer {i} is no px.Layer but {words_of(layer)}")
        if len(self.decor) != len(self.layers):
            raise ArgumentError(
                f"decor needs one entry per layer: {len(self.decor)} for {len(self.layers)} layers"
            )
        self.reads = None if reads is None else checked_reads(reads, len(self.layers))
        if self.reads is not None and (residual or normalise):
            raise ArgumentError("layers that name what they read are neither residual nor normalised")
        if (residual or normalise or reads is not None) and any(D is not None for D in self.decor):
            raise ArgumentError(
                "D must see what layers read: a network that is residual, normalised or a graph takes no "
                "decor"
            )

    def start(self, batch: int) -> tuple:
        """Return the state before the first step: ((h, r), ...), one pair per layer, leaves `(B, ...)`.

        Floats have the dtype of the layer's weights.

        Arguments:
            batch: number of examples, B.
        """
        states = []
        for i, layer in enumerate(self.layers):
            dtype = jnp.result_type(*(jax.tree.leaves(weights(layer)) or [float]))
            first = check_start(layer_label(i, layer), layer.start())
            h, y = jax.tree.map(lambda leaf, dtype=dtype: _constant(leaf, dtype), first)
            states.append((h, self._through_decor(i + 1, y)))
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), tuple(states))

    def step(
        self,
        state: tuple,
        x: Inexact[Array, "B n_in"],
        noise: Sequence[Array] | None = None,
        shift: Sequence[Array] | None = None,
        held: Sequence[Array] | None = None,
        masks: Sequence[Array] | None = None,
    ):
        """Advance by one step: -> (state, y `(B, n_out)`, one `Site` per layer).

        Raises LayerError, which names the layer, where shapes or dtypes do not fit each other.

        Arguments:
            state: ((h, r), ...) per layer, as `start` returns it.
            x: inputs, `(B, n_in)`.
            noise: per layer what is added to the pre-activations, like a.
            shift: per layer what is added to the outputs, like y.
            held: per hidden layer what layers above read in this step in place of its output, like r; the
                state after the step then holds what each layer would have said.
            masks: per hidden layer what its outputs are multiplied with, like y, as in dropout.
        """
        y = z = self._through_decor(0, x)  # (B, n_in)
        after, said, sites = [], [], []
        for i, (layer, (h, r)) in enumerate(zip(self.layers, state, strict=True)):
            if self.reads is not None:
                z = self._read(i, x, state, said)  # (B, n_below)
            read = normalised(z) if self.normalise and i > 0 else z  # (B, n_below)
            a = drive_batch(i, layer, read, r, self._below(i))  # (B, n) or (B, gates, n)
            if noise is not None:
                a = a + noise[i]
            sites.append(Site(read, r, a))
            before = h, r
            h, y = advance_batch(i, layer, h, a)
            if shift is not None:
                y = y + shift[i]
            if masks is not None and i < len(masks):
                y = y * masks[i]
            y = self._through_decor(i + 1, y)  # (B, n)
            check_kept(i, layer, before, (h, y), read)
            after.append((h, y))
            if held is not None and i < len(held):
                y = held[i]
            said.append(y)
            z = z + y if self.adds(i) else y
        return tuple(after), y, tuple(sites)

    def adds(self, i: int) -> bool:
        """Return whether layer i adds its output to what it read, for the layer above.

        Arguments:
            i: number of the layer.
        """
        if not self.residual or not 0 < i < len(self.layers) - 1:
            return False
        return self.layers[i - 1].width == self.layers[i].width

    def streams(self, y: Sequence[Array]) -> list[Array]:
        """Return what the layers of a stack read from below before it is normalised, the first one nothing.

        Arguments:
            y: output of every layer, `(..., n)`.
        """
        streams = [jnp.zeros((*y[0].shape[:-1], 0), y[0].dtype)]
        for i in range(len(self.layers) - 1):
            streams.append(streams[i] + y[i] if self.adds(i) else y[i])
        return streams

    def sources(self, i: int) -> tuple[Source, ...]:
        """Return what a layer reads from outside itself: in a stack the layer below it.

        Arguments:
            i: number of the layer.
        """
        return (Source(i - 1),) if self.reads is None else self.reads[i]

    def _read(self, i: int, x: Array, state: tuple, said: list[Array]) -> Array:
        """Return what layer i of a graph reads, side by side: `(B, n_below)`.

        Arguments:
            i: number of the layer.
            x: inputs of the step, `(B, n_in)`.
            state: of all layers, of the last step.
            said: outputs of the layers that have made this step.
        """
        parts = []
        for layer, late in self.sources(i):
            parts.append(x if layer < 0 else state[layer][1] if late else said[layer])
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, -1)

    def _below(self, i: int) -> str:
        """Return how errors call what layer i reads."""
        names = [layer_label(s.layer, self.layers[s.layer]) for s in self.sources(i) if s.layer >= 0]
        return " and ".join(names) if names else "the inputs"

    def credit(self, sites: Sequence[Site], signal: Sequence[Array]) -> "Network":
        """Return the sum over rows of signal (x) presynaptic activity, a tree like `weights(net)`.

        This is the transpose of the linear maps from weights to pre-activations, applied to the signals.
        Raises LayerError where a drive is not linear in its weights.

        Arguments:
            sites: one per layer, with z and r `(rows, ...)`.
            signal: one per layer, `(rows, ...)` like its pre-activation.
        """
        summed = [
            pull_back(i, layer, site.z, site.r, s)
            for i, (layer, site, s) in enumerate(zip(self.layers, sites, signal, strict=True))
        ]
        return self.like(summed)

    def sites_like(self, x: Any) -> tuple[Site, ...]:
        """Return the shapes of the sites of one step, one per layer, without computing anything.

        z, r and a of each are `jax.ShapeDtypeStruct`s `(B, ...)`.

        Arguments:
            x: inputs of one step, `(B, n_in)`: an array, or its shape and dtype.
        """

        def sites_of_one_step(x: Array) -> tuple[Site, ...]:
            return self.step(self.start(x.shape[0]), x)[2]

        return jax.eval_shape(sites_of_one_step, x)

    def like(self, layers: Sequence[Layer], decor: Sequence[Fixed | None] | None = None) -> "Network":
        """Return a network of other layers and matrices D, wired as this one is.

        Arguments:
            layers: from the input to the readout.
            decor: for each layer a D or None; by default there is none.
        """
        return Network(layers, decor, residual=self.residual, normalise=self.normalise, reads=self.reads)

    def _through_decor(self, i: int, y: Array) -> Array:
        """Return y as layer i reads it: through its D, which no derivative ever reaches."""
        D = self.decor[i] if i < len(self.decor) else None
        if D is None:
            return y
        if y.shape[-1] != len(D.value):
            raise LayerError(
                f"{layer_label(i, self.layers[i])}: it reads {y.shape[-1]} values through a D of shape "
                f"{D.value.shape}"
            )
        return y @ jax.lax.stop_gradient(D.value)

    def decorrelated(self, which: str, n_in: int) -> "Network":
        """Old name of `perturbax.add_decorrelation(net, which, n_in)`."""
        from perturbax.network import decorrelation

        _warn_of_new_name("net.decorrelated(which, n_in)", "perturbax.add_decorrelation(net, which, n_in)")
        return decorrelation.add_decorrelation(self, which, n_in)

    def decorrelation(self, sites: Sequence[Site]) -> tuple[Array | None, ...]:
        """Old name of `decorrelation_update(net, sites)` in perturbax.network.decorrelation."""
        from perturbax.network import decorrelation

        _warn_of_new_name(
            "net.decorrelation(sites)", "perturbax.network.decorrelation.decorrelation_update(net, sites)"
        )
        return decorrelation.decorrelation_update(self, sites)

    def redecor(self, directions: Sequence[Array | None], lr: float | Array) -> "Network":
        """Old name of `apply_decorrelation(net, directions, lr)` in perturbax.network.decorrelation."""
        from perturbax.network import decorrelation

        _warn_of_new_name(
            "net.redecor(directions, lr)",
            "perturbax.network.decorrelation.apply_decorrelation(net, directions, lr)",
        )
        return decorrelation.apply_decorrelation(self, directions, lr)


def normalised(z: Array) -> Array:
    """Return z `(B, n)` shifted and scaled to mean 0 and variance 1 over units."""
    z = z - z.mean(-1, keepdims=True)
    return z * jax.lax.rsqrt(jnp.mean(z * z, -1, keepdims=True) + 1e-5)


def _warn_of_new_name(old: str, new: str) -> None:
    """Warn the caller of a method that has moved."""
    warnings.warn(f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, 3)


def _constant(leaf: Array, dtype: Any) -> Array:
    """Return an array as a constant; floats in the dtype given, complex numbers in that of its precision."""
    leaf = jnp.asarray(leaf)
    if jnp.iscomplexobj(leaf):
        dtype = jnp.promote_types(dtype, jnp.complex64)
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        leaf = leaf.astype(dtype)
    return jax.lax.stop_gradient(leaf)
