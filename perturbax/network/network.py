"""Networks: stacks of layers over a batch, and what flows between them."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError
from perturbax.fields import setting
from perturbax.network.layer import Fixed, Layer, advance_batch, pull_back, weights


class Site(NamedTuple):
    """What one layer saw in one step: input from below z, own output r one step ago, pre-activation a."""

    z: Any
    r: Any
    a: Any


class Network(eqx.Module):
    """A stack of layers, vectorised over the batch; the last layer is the readout.

        a_i = drive_i(z_i, r_i) (+ noise_i),   (h_i, y_i) = advance_i(h_i, a_i),
        y_i = y_i (+ shift_i),   z_{i+1} = D_{i+1} y_i

    Layer i reads its own D_{i+1} y_i of the previous step as r_i. `decor[i]` (None, or D_i as a `Fixed`
    matrix) acts on what layer i reads from below; `decor[0]` acts on the network's input. Like weights, D is
    stored presynaptic first, so that z = y value and value = D^T: few rows times a matrix are faster that way
    round.

    residual: hidden layers above the first add to what they read, z_{i+1} = z_i + y_i. normalise: what layers
    read from a layer below is shifted and scaled to mean 0 and variance 1 over its units, example by example
    (Ba, Kiros, Hinton 2016, without weights); sums of `residual` are normalised when they are read.
    """

    layers: tuple[Layer, ...]
    decor: tuple[Fixed | None, ...]
    residual: bool = setting(False)
    normalise: bool = setting(False)

    def __init__(
        self,
        layers: Sequence[Layer],
        decor: Sequence[Fixed | None] | None = None,
        *,
        residual: bool = False,
        normalise: bool = False,
    ):
        self.layers = tuple(layers)
        self.decor = (None,) * len(self.layers) if decor is None else tuple(decor)
        self.residual, self.normalise = residual, normalise
        if not self.layers:
            raise ArgumentError("a network needs at least one layer")
        if len(self.decor) != len(self.layers):
            raise ArgumentError(
                f"decor needs one entry per layer: {len(self.decor)} for {len(self.layers)} layers"
            )
        if (residual or normalise) and any(D is not None for D in self.decor):
            raise ArgumentError(
                "a network is decorrelated, or residual or normalised: D must see what layers read"
            )

    def start(self, batch: int) -> tuple:
        """Return the state before the first step, ((h, r), ...) with a leading batch axis, dtype of the
        weights.
        """
        states = []
        for i, layer in enumerate(self.layers):
            dtype = jnp.result_type(*(jax.tree.leaves(weights(layer)) or [float]))
            h, y = jax.tree.map(lambda s, d=dtype: _constant(s, d), layer.start())
            states.append((h, self._mix(i + 1, y)))
        return jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), tuple(states))

    def step(
        self,
        state: tuple,
        x: Float[Array, "B n_in"],
        noise: Sequence[Array] | None = None,
        shift: Sequence[Array] | None = None,
    ):
        """Advance one step: -> (state, y `(B, n_out)`, sites). noise, shift: `(B, ...)` per layer, on a and
        on y.
        """
        y = z = self._mix(0, x)
        after, sites = [], []
        for i, (layer, (h, r)) in enumerate(zip(self.layers, state, strict=True)):
            read = self._normal(z) if i and self.normalise else z
            a = jax.vmap(layer.drive)(read, r)
            if noise is not None:
                a = a + noise[i]
            sites.append(Site(read, r, a))
            h, y = advance_batch(i, layer, h, a)
            y = self._mix(i + 1, y if shift is None else y + shift[i])
            after.append((h, y))
            z = z + y if self.residual and 0 < i < len(self.layers) - 1 and z.shape == y.shape else y
        return tuple(after), y, tuple(sites)

    def credit(self, sites: Sequence[Site], signal: Sequence[Array]) -> "Network":
        """Sum signal (x) presynaptic activity over the leading axis: a tree shaped like `weights(net)`.

        The transpose of the linear map weights -> a, at each site. sites and signal: `(rows, ...)`.
        Raises LayerError where a drive is not linear in its weights.
        """
        each = enumerate(zip(self.layers, sites, signal, strict=True))
        return self.like([pull_back(i, layer, site.z, site.r, s) for i, (layer, site, s) in each])

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
        """Return a network wired alike."""
        return Network(layers, decor, residual=self.residual, normalise=self.normalise)

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
        """Old name of `apply_decorrelation(net, update, lr)` in perturbax.network.decorrelation."""
        from perturbax.network import decorrelation

        _warn_of_new_name(
            "net.redecor(directions, lr)",
            "perturbax.network.decorrelation.apply_decorrelation(net, directions, lr)",
        )
        return decorrelation.apply_decorrelation(self, directions, lr)

    def _mix(self, i: int, y: Array) -> Array:
        """Apply the D that the reader i sees through; no derivative ever reaches D."""
        D = self.decor[i] if i < len(self.decor) else None
        return y if D is None else y @ jax.lax.stop_gradient(D.value)

    @staticmethod
    def _normal(z: Array) -> Array:
        """Shift and scale to mean 0 and variance 1 over units."""
        z = z - z.mean(-1, keepdims=True)
        return z * jax.lax.rsqrt(jnp.mean(z * z, -1, keepdims=True) + 1e-5)


def _warn_of_new_name(old: str, new: str) -> None:
    """Warn the caller of a method that has moved; it goes with the release after this one."""
    warnings.warn(f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, 3)


def _constant(s: Array, dtype: Any) -> Array:
    """Return the array as a constant; floats in the dtype given."""
    s = jnp.asarray(s)
    return jax.lax.stop_gradient(s.astype(dtype) if jnp.issubdtype(s.dtype, jnp.inexact) else s)
