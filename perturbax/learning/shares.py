"""One estimate by several devices: each takes a share of the rows of a batch, or of the samples of noise.

Weights are on every device, and so is the random key: noise is that of one device, of which each makes its
own share. Where an estimate is the mean of the estimates of shares, as in all rules that say so
(`Rule.shares`), devices meet once per update, to average the loss and the gradient. Of other rules the rows
are split, and XLA finds out what must be exchanged.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import setting
from perturbax.learning.noise import Noise, Scaled, draw_packed

AXIS = "shares"
ROWS, SAMPLES = "rows", "samples"


class Share(NamedTuple):
    """How an estimate is shared by devices.

    Attributes:
        of: what is split, `rows` or `samples`.
        mesh: the devices.
    """

    of: str
    mesh: Mesh

    @property
    def n(self) -> int:
        """Number of shares, one per device."""
        return self.mesh.size

    def apart(self, x: Array, axis: int = 0) -> Array:
        """Return an array whose axis is split over the devices.

        Arguments:
            x: the array.
            axis: its axis of shares, or of rows.
        """
        spec = PartitionSpec(*[None] * axis, self.mesh.axis_names)
        return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))


_IN_FORCE: ContextVar[Share | None] = ContextVar("share", default=None)


@contextlib.contextmanager
def _in_force(share: Share) -> Iterator[None]:
    """What is traced within is one of the shares."""
    token = _IN_FORCE.set(share)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def mean_over(of: str, tree: PyTree) -> PyTree:
    """Return means over a share as those over all of them; as they are where nothing of that kind is split.

    Arguments:
        of: what the means are over, `rows` or `samples`.
        tree: the means, arrays of floats.
    """
    share = _IN_FORCE.get()
    return tree if share is None or share.of != of else jax.lax.pmean(tree, AXIS)


def gathered(x: Array) -> Array:
    """Return what all shares have, one behind the other; x as it is where samples are not split.

    Arguments:
        x: what this share has, samples in front.
    """
    share = _IN_FORCE.get()
    return x if share is None or share.of != SAMPLES else jax.lax.all_gather(x, AXIS, tiled=True)


def own_samples(x: Array) -> Array:
    """Return what belongs to the samples of this share; x as it is where samples are not split.

    Arguments:
        x: what all shares have, samples in front.
    """
    share = _IN_FORCE.get()
    if share is None or share.of != SAMPLES:
        return x

    def by_share(x: Array) -> Array:  # (samples, ...) -> (n, samples / n, ...)
        return x.reshape(share.n, len(x) // share.n, *x.shape[1:])

    @custom_vmap
    def own(i: Array, x: Array) -> Array:
        return by_share(x)[i]

    @own.def_vmap
    def of_all(size: int, batched: list, i: Array, x: Array) -> tuple[Array, bool]:
        return share.apart(by_share(x)), True

    return own(jax.lax.axis_index(AXIS), x)


def samples_in_all(own: int) -> int:
    """Return how many samples there are in all shares.

    Arguments:
        own: those of this share.
    """
    share = _IN_FORCE.get()
    return own if share is None or share.of != SAMPLES else own * share.n


class OwnNoise(Noise):
    """A share of noise: the same values that one device would draw, split along one axis.

    All shares are drawn in one piece that is split over the devices, so that each makes its own values alone.

    Attributes:
        noise: the noise.
        share: how it is shared.
        halves: 2 where samples are two sets that are compared with each other, else 1.
    """

    noise: Noise
    share: Share = setting(None)
    halves: int = setting(1)

    def init(self, like: PyTree) -> PyTree:
        """Return the state of the noise, the same in all shares."""
        return self.noise.init(jax.tree.map(self._whole, like))

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return (state, xi) of this share: leaves of xi `(steps, K, B, ...)` like those asked for."""
        return self._own(self.noise.draw, state, keys, like)

    def draw_packed(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return the same, of signs of one size as `PackedSigns`.

        Arguments as in `draw`.
        """
        as_arrays = type(self.noise) is Scaled
        draw = self.noise.draw if as_arrays else partial(draw_packed, self.noise)
        return self._own(draw, state, keys, like)

    def _own(self, draw: Callable, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return what belongs to this share of a draw for all of them."""
        shapes = jax.tree.map(self._whole, like)

        @custom_vmap
        def own(i: Array, state: PyTree, keys: Array) -> tuple[PyTree, PyTree]:
            after, xi = draw(state, keys, shapes)
            return after, jax.tree.map(lambda e: self._shares(e)[i] if e.ndim > 1 else e, xi)

        @own.def_vmap
        def of_all(size: int, batched: list, i: Array, state: PyTree, keys: Array) -> tuple:
            after, xi = draw(state, keys, shapes)
            split = jax.tree.map(lambda e: self.share.apart(self._shares(e)) if e.ndim > 1 else e, xi)
            has_shares = jax.tree.map(lambda e: e.ndim > 1, xi)
            return (after, split), (jax.tree.map(lambda _: False, after), has_shares)

        return own(jax.lax.axis_index(AXIS), state, keys)

    def spread(self, state: PyTree) -> list[Array] | None:
        """Return the scale of the noise of each layer, the same in all shares."""
        return self.noise.spread(state)

    def adapt(self, state: PyTree, activity: list[Array]) -> PyTree:
        """Return the state after a step: the mean of what shares make of their activity."""
        if type(self.noise).adapt is Noise.adapt:
            return state
        return mean_over(self.share.of, self.noise.adapt(state, activity))

    @property
    def _axis(self) -> int:
        """The axis of `(K, B, ...)` that is split."""
        return 1 if self.share.of == ROWS else 0

    def _whole(self, like: Any) -> jax.ShapeDtypeStruct:
        """Return the shape of all shares together."""
        shape = list(like.shape)
        shape[self._axis] *= self.share.n
        return jax.ShapeDtypeStruct(tuple(shape), like.dtype)

    def _shares(self, e: Array) -> Array:
        """Return noise `(steps, K, B, ...)` by share, `(n, steps, ...)`."""
        at = self._axis + 1
        size = e.shape[at] // self.share.n
        apart = (*e.shape[:at], self.halves, self.share.n, size // self.halves, *e.shape[at + 1 :])
        by_share = jnp.moveaxis(e.reshape(apart), at + 1, 0)  # (n, ..., halves, size / halves, ...)
        return by_share.reshape(self.share.n, *e.shape[:at], size, *e.shape[at + 1 :])


def mesh_of(devices: Any) -> Mesh | None:
    """Return the devices of an estimate as a mesh that JAX may partition for; None for one device or None.

    Arguments:
        devices: how many of this process's devices, the first ones; a `jax.sharding.Mesh`; or None.

    Raises ArgumentError for what is neither, and for more devices than JAX has.
    """
    if devices is None:
        return None
    if isinstance(devices, Mesh):
        automatic = (AxisType.Auto,) * len(devices.axis_names)
        return Mesh(devices.devices, devices.axis_names, automatic) if devices.size > 1 else None
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        raise ArgumentError(
            f"devices must be a whole number of at least 1, or a jax.sharding.Mesh, not {devices!r}"
        )
    found = jax.devices()
    if devices > len(found):
        raise ArgumentError(
            f"JAX has {len(found)} {found[0].platform} device{'s' * (len(found) > 1)} here, not {devices}; "
            f"the cores of a CPU are one device unless JAX_NUM_CPU_DEVICES={devices} is set"
        )
    return Mesh(np.array(found[:devices]), (AXIS,)) if devices > 1 else None


def chosen(rule: Any, mesh: Mesh, batch: int) -> tuple[Share, Any]:
    """Return (what is split, the rule of one share): rows where they divide by the devices, else samples.

    The rule is None where it has no share of its own to take, and XLA partitions its estimate.

    Arguments:
        rule: the rule.
        mesh: the devices.
        batch: examples, B.

    Raises ArgumentError where neither divides.
    """
    if batch % mesh.size == 0:
        share = Share(ROWS, mesh)
        return share, rule.of_share(share) if ROWS in shares_of(rule) else None
    if SAMPLES in shares_of(rule):
        share = Share(SAMPLES, mesh)
        part = rule.of_share(share)
        if part is not None:
            return share, part
    raise ArgumentError(
        f"{mesh.size} devices cannot share the work: neither the batch of {batch} nor the samples of this "
        f"rule can be split by {mesh.size}; take a batch that divides by {mesh.size}"
    )


def shares_of(rule: Any) -> tuple[str, ...]:
    """Return what a rule says of its estimates, by its own class alone: one derived from it may change them.

    Arguments:
        rule: the rule.
    """
    return vars(type(rule)).get("shares", ())


def over_devices(rule: Any, mesh: Mesh, learn_by: Callable[[Any], Callable]) -> Callable:
    """Return (state, net, xs, ys, key) -> (state, loss, grads) of a rule, worked out by several devices.

    Arguments:
        rule: the rule.
        mesh: the devices.
        learn_by: rule -> the same function on one device.
    """

    def learn(state: PyTree, net: Any, xs: Array, ys: PyTree, key: Array) -> tuple:
        share, part = chosen(rule, mesh, xs.shape[1])
        if share.of == ROWS:
            xs, ys = jax.tree.map(lambda s: share.apart(s, 1), (xs, ys))
        if part is None:
            return learn_by(rule)(state, net, xs, ys, key)

        def one_share(xs: Array, ys: PyTree) -> tuple:
            with _in_force(share):
                after, loss, grads = learn_by(part)(state, net, xs, ys, key)
            return after, *jax.lax.pmean((loss, grads), AXIS)

        axis = None
        if share.of == ROWS:
            axis = 1
            xs, ys = jax.tree.map(lambda s: _by_share(share, s), (xs, ys))
        return jax.vmap(one_share, axis, None, axis_name=AXIS, axis_size=share.n)(xs, ys)

    return learn


def _by_share(share: Share, s: Array) -> Array:
    """Return rows `(T, B, ...)` by share, `(T, n, B / n, ...)`."""
    T, B, *rest = s.shape
    return share.apart(s.reshape(T, share.n, B // share.n, *rest), 1)
