"""The forward pass of a simulated device: a compiled program with faults in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.devices.faults import Faults
from perturbax.errors import DeviceError
from perturbax.learning.products import full
from perturbax.network.layer import Layer, advance_batch, drive_batch, join, layer_label, split
from perturbax.network.network import Network

TAPS = ("z", "r", "a", "y")


def run_from_rest(
    net: Network,
    xs: Array,
    currents: Sequence[Any],
    stuck: Sequence[Any],
    key: Array,
    faults: Faults,
    taps: tuple[tuple[int, str], ...],
    of_taps: Callable[[Array], Array] = lambda seen: seen,
) -> tuple[Array, list[Array]]:
    """Run a network with faults from rest: -> (outputs `(T, B, n_out)`, the taps asked for). Traceable.

    Arguments:
        net: the network, with the weights that are in force.
        xs: inputs, `(T, B, n_in)`.
        currents: per layer what is added to its pre-activations, `(T, B, ...)`, or None.
        stuck: per layer which of its outputs are stuck, `(n,)` bool, or None for none.
        key: of all noise.
        faults: the faults of the device.
        taps: (number of the layer, z, r, a or y) of each tap.
        of_taps: what is kept of a tap in a step, a function of `(B, ...)`.
    """
    T, B = xs.shape[:2]
    first = net.start(B)
    outputs_before = tuple(y for _, y in first)
    shapes = [site.a for site in net.sites_like(xs[0])]
    signs = tuple(_signs(jr.fold_in(key, i), a) for i, a in enumerate(shapes)) if faults.telegraph else ()
    noisy = faults.noise != "none"
    keys = jax.vmap(lambda t: jr.fold_in(key, t))(len(shapes) + jnp.arange(T)) if noisy else None

    def one_step(carry: PyTree, now: tuple) -> tuple[PyTree, tuple]:
        state, before, signs = carry
        x, added, key = now
        y, below = x, "the inputs"
        after, seen, flipped = [], [], []
        for i, (layer, (h, r)) in enumerate(zip(net.layers, state, strict=True)):
            z = before[i - 1] if faults.delay and i else y  # (B, n_below)
            z, r, largest = _as_seen(layer, z, r, faults)
            a = drive_batch(i, layer, z, r, below)  # (B, n) or (B, gates, n)
            if noisy:
                key_read, key_ambient, key_turns = jr.split(jr.fold_in(key, i), 3)
                a = a + _white_noise(a, largest, key_read, key_ambient, faults)
                if faults.telegraph:
                    turned = jr.bernoulli(key_turns, faults.telegraph_rate, a.shape)
                    flipped.append(jnp.where(turned, -signs[i], signs[i]))
                    a = a + faults.telegraph * flipped[i]
            if added[i] is not None:
                a = a + added[i]
            h, y = advance_batch(i, layer, h, a)
            if stuck[i] is not None:
                y = jnp.where(stuck[i], jnp.asarray(faults.stuck_at, y.dtype), y)
            after.append((h, y))
            seen.append({"z": z, "r": r, "a": a, "y": y})
            below = layer_label(i, layer)
        before = tuple(y for _, y in after)
        return (tuple(after), before, tuple(flipped)), (y, [of_taps(seen[i][tap]) for i, tap in taps])

    with full():  # trials are compared with each other, by whoever asked for them
        return jax.lax.scan(one_step, (first, outputs_before, signs), (xs, tuple(currents), keys))[1]


run_compiled = eqx.filter_jit(run_from_rest)
"""`run_from_rest` as one program."""


@partial(jax.jit, static_argnames=("shapes", "rest", "rows", "middle", "taps"))
def run_settings(
    settings: Sequence[Array],
    fixed: Sequence[Array],
    xs: Array,
    currents: Sequence[Any],
    *,
    shapes: tuple[tuple[int, ...] | None, ...],
    rest: "Rest",
    rows: tuple[tuple[int, float], ...],
    middle: str | None,
    taps: tuple[tuple[int, str], ...],
) -> tuple[Array, list[Array]]:
    """Run rows of trials on a network without faults, for each of S settings of its weights, as one program.

    -> (outputs `(T, S R B, n_out)`, the taps asked for), as `driver.write_and_run` describes them.

    Arguments:
        settings: the weights, leaves `(S, ...)`.
        fixed: arrays of the network that are no weights.
        xs: inputs, `(T, B, n_in)`.
        currents: per layer blocks `(T, K, B, ...)`, or the bits and the size of `driver.Signs`, or None.
        shapes: per layer the shape of signs that come as bits; None for others.
        rest: what the network is besides.
        rows: (block, factor) of each row.
        middle: `first`, `mean` or None.
        taps: (number of the layer, z, r, a or y) of each tap.
    """
    B = xs.shape[1]
    xs = jnp.tile(xs, (1, len(rows), 1))  # (T, R B, n_in)
    added = [
        None if current is None else _spread(_unpacked(current, shape), rows)
        for current, shape in zip(currents, shapes, strict=True)
    ]
    nothing, key = [None] * len(added), jr.PRNGKey(0)

    def of_taps(seen: Array) -> Array:  # (R B, ...) -> (B, ...)
        if middle is None:
            return seen
        each = seen.reshape(-1, B, *seen.shape[1:])
        return each[0] if middle == "first" else each.mean(0)

    def on(some: Sequence[Array]) -> tuple[Array, list[Array]]:
        return run_from_rest(rest.with_arrays(some, fixed), xs, added, nothing, key, Faults(), taps, of_taps)

    def side_by_side(found: Array) -> Array:  # (S, T, trials, ...) -> (T, S trials, ...)
        return jnp.moveaxis(found, 0, 1).reshape(found.shape[1], -1, *found.shape[3:])

    if len(settings[0]) == 1:
        return on([array[0] for array in settings])
    return jax.tree.map(side_by_side, jax.vmap(on)(settings))


@dataclass(frozen=True, eq=False)
class Rest:
    """What a network is besides its arrays; compared by identity, so that it can choose a compiled program.

    Attributes:
        weights: structure of its weights.
        fixed: structure of its other arrays.
        others: all that is no array.
    """

    weights: Any
    fixed: Any
    others: Any

    @classmethod
    def of(cls, net: Network) -> "tuple[Rest, list[Array]]":
        """Return (the rest, the arrays that are no weights) of a network."""
        some, rest = split(net)
        arrays, others = eqx.partition(rest, eqx.is_array)
        leaves, fixed = jax.tree.flatten(arrays)
        return cls(jax.tree.structure(some), fixed, others), leaves

    def with_arrays(self, some: Sequence[Array], fixed: Sequence[Array]) -> Network:
        """Return the network of these weights and other arrays."""
        arrays = jax.tree.unflatten(self.fixed, fixed)
        return join(jax.tree.unflatten(self.weights, some), eqx.combine(arrays, self.others))


def place_of(device: str, names: Sequence[str], tap: str) -> tuple[int, str]:
    """Return (number of the layer, tap) of a tap's full name.

    Arguments:
        device: the name of the device, for errors.
        names: of its layers.
        tap: the full name, such as `layers[0].z`.

    Raises DeviceError for a tap that is not there.
    """
    layer, _, name = tap.rpartition(".")
    if layer not in names or name not in TAPS:
        raise DeviceError(f"{device} has no tap {tap!r}: choose z, r, a or y of {', '.join(names)}")
    return names.index(layer), name


def _spread(blocks: Array, rows: tuple[tuple[int, float], ...]) -> Array:
    """Return the currents of all rows, `(T, R B, ...)`, of blocks `(T, K, B, ...)`."""
    parts = []
    for k, factor in rows:
        block = blocks[:, k]
        parts.append(jnp.zeros_like(block) if factor == 0 else block * jnp.asarray(factor, block.dtype))
    return jnp.concatenate(parts, 1)


def _unpacked(current: Any, shape: tuple[int, ...] | None) -> Array:
    """Return an array as it is, or that of the bits and the size of `driver.Signs`."""
    if shape is None:
        return current
    bits, size = current
    return jnp.where(jnp.unpackbits(bits, count=prod(shape)).reshape(shape) > 0, size, -size)


def _as_seen(layer: Layer, z: Array, r: Array, faults: Faults) -> tuple[Array, Array, Array | None]:
    """Return what the synapses see of z and r, and the largest absolute value of each trial, `(B, 1)`."""
    if not faults.input_bits and not faults.read_noise:
        return z, r, None
    wiring = layer.wiring()
    read = jnp.concatenate([z, r], -1) if wiring is None or wiring.any() else z  # (B, n_below + n)
    largest = jnp.max(jnp.abs(read), -1, keepdims=True)  # (B, 1)
    if faults.input_bits:
        levels = 2 ** (faults.input_bits - 1) - 1
        step = jnp.where(largest > 0, largest, 1) / levels  # (B, 1)
        z, r = jnp.round(z / step) * step, jnp.round(r / step) * step
    return z, r, largest


def _white_noise(
    a: Array, largest: Array | None, key_read: Array, key_ambient: Array, faults: Faults
) -> Array:
    """Return the noise that is added to pre-activations, like them."""
    noise = jnp.zeros_like(a)
    if faults.read_noise and largest is not None:
        size = largest.reshape(-1, *[1] * (a.ndim - 1))  # (B, 1) or (B, 1, 1)
        noise = noise + faults.read_noise * size * jr.normal(key_read, a.shape, a.dtype)
    if faults.ambient:
        noise = noise + faults.ambient * jr.normal(key_ambient, a.shape, a.dtype)
    return noise


def _signs(key: Array, like: Any) -> Array:
    """Return random signs of the shape and dtype of an array."""
    return jr.rademacher(key, like.shape, like.dtype)
