"""Eligibility traces, unit by unit: few influences per weight, for neurons that look at themselves only."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.learning.jacobian import per_example
from perturbax.learning.products import full
from perturbax.learning.trees import remembered, structure_and_shapes
from perturbax.network.layer import Layer, advance_batch, layer_label, pull_back, weights
from perturbax.network.network import Network, Site


class Units(NamedTuple):
    """Derivatives of one layer's neurons, unit by unit; h has C float values per unit, y has Y, a has G.

    Attributes:
        hh: h'_c by h_c', `(C, C', B, n)`.
        ha: h' by a, `(C, G, B, n)`.
        yh: y by h, `(Y, C, B, n)`.
        ya: y by a, `(Y, G, B, n)`.
    """

    hh: Array
    ha: Array
    yh: Array
    ya: Array


def owned(i: int, layer: Layer, site: Site) -> None:
    """Raise LayerError unless the traces of a weight can be those of one unit.

    Neurons must not mix units, and every weight, units on its last axis, must feed its own unit alone.

    Arguments:
        i: number of the layer, for errors.
        layer: the layer.
        site: what it saw, for shapes.
    """
    if not layer.unitwise:
        raise LayerError(
            f"{layer_label(i, layer)}: advance mixes units: none has traces of its own (use rtrl, m-order)"
        )
    of_one_example = tuple(((1, *s.shape[1:]), s.dtype) for s in (site.z, site.r, site.a))
    if not _feeds_own_units(i, *structure_and_shapes(layer), of_one_example):
        raise LayerError(
            f"{layer_label(i, layer)}: traces need weights whose last axis is their unit (use rtrl, m-order)"
        )


@remembered
def _feeds_own_units(i: int, structure: Any, leaves: tuple, of_one_example: tuple) -> bool:
    """Whether every weight of a layer, units on its last axis, feeds its own unit alone.

    Any values will do, so that layers of one structure and shape are looked at once.

    Arguments:
        i: number of the layer, for errors.
        structure: of the layer.
        leaves: (shape, dtype) of its arrays.
        of_one_example: (shape, dtype) of its z, r and a.
    """
    shape, dtype = of_one_example[2]
    ramp = np.broadcast_to(np.arange(1, shape[-1] + 1, dtype=dtype), shape)

    def pull_both() -> list[list[Array]]:
        ones = structure.unflatten([jnp.ones(*leaf) for leaf in leaves])
        z, r, count = (jnp.ones(*values) for values in of_one_example)
        return [jax.tree.leaves(pull_back(i, ones, z, r, s)) for s in (jnp.asarray(ramp), count)]

    with jax.ensure_compile_time_eval(), full():
        found, fed = jax.jit(pull_both)()
    unit = ramp.reshape(-1, ramp.shape[-1])[0]
    if any(w.shape[-1] != len(unit) for w in found):
        return False
    return all(np.allclose(w, np.asarray(c) * unit) for w, c in zip(found, fed, strict=True))


def per_unit(s: PyTree, B: int, n: int, dtype: Any) -> Array:
    """Return the float leaves of a layer's hidden state as `(B, values per unit, n)`.

    Arguments:
        s: the hidden state, leaves `(B, ..., n)`.
        B: number of examples.
        n: number of units.
        dtype: of what is returned where the state has no floats.
    """
    leaves = [v.reshape(B, -1, n) for v in jax.tree.leaves(s) if jnp.issubdtype(v.dtype, jnp.inexact)]
    return jnp.concatenate(leaves, 1) if leaves else jnp.zeros((B, 0, n), dtype)


def units(i: int, layer: Layer, h: PyTree, a: Array) -> Units:
    """Differentiate the neurons of a layer at (h, a), each unit by itself: one forward derivative per value.

    Arguments:
        i: number of the layer, for errors.
        layer: the layer.
        h: hidden state, leaves `(B, ...)`.
        a: pre-activations, `(B, ..., n)`.
    """
    B, n = len(a), a.shape[-1]
    leaves, tree = jax.tree.flatten(h)
    moving = [jnp.issubdtype(v.dtype, jnp.inexact) for v in leaves]
    start = per_unit(h, B, n, a.dtype)

    def run(c: Array, g: Array) -> tuple[Array, Array]:
        parts, at = list(leaves), 0
        for k, leaf in enumerate(leaves):
            if moving[k]:
                width = leaf.size // (B * n)
                parts[k], at = c[:, at : at + width].reshape(leaf.shape), at + width
        after, y = advance_batch(i, layer, tree.unflatten(parts), g.reshape(a.shape))
        return per_unit(after, B, n, a.dtype), y.reshape(B, -1, n)

    flat = a.reshape(B, -1, n)
    C, G = start.shape[1], flat.shape[1]
    basis = jnp.eye(C + G, dtype=a.dtype)[:, None, :, None] * jnp.ones((1, B, 1, n), a.dtype)
    hd, yd = jax.vmap(lambda e: jax.jvp(run, (start, flat), (e[:, :C], e[:, C:]))[1])(basis)
    hd, yd = (jnp.moveaxis(d, (0, 2), (1, 0)) for d in (hd, yd))  # (value out, value in, B, n)
    return Units(hd[:, :C], hd[:, C:], yd[:, :C], yd[:, C:])


def own_synapses(net: Network, i: int, site: Site) -> Array:
    """Return da/dy for a layer's own output one step ago, `(G, n, Y, n)` [gate, unit, value, unit read].

    A decorrelating matrix between them is included.

    Arguments:
        net: the network.
        i: number of the layer.
        site: what it saw, `(B, ...)`, for shapes.
    """
    layer, D = net.layers[i], net.decor[i + 1] if i + 1 < len(net.decor) else None

    def drive(y: Array) -> Array:
        return layer.drive(jnp.zeros_like(site.z[0]), y if D is None else y @ D.value)

    J = jax.jacrev(drive)(jnp.zeros_like(site.r[0]))
    n = J.shape[-2]
    return J.reshape(-1, n, J.shape[-1] // n, n)


class Plan(NamedTuple):
    """Which units' state each weight's eligibility trace tracks.

    Attributes:
        slots: column i lists the r units tracked for weights of unit i, i first, `(r, n)`.
        valid: which entries of slots are used, `(r, n)`.
        through: whether visible outputs and recurrent synapses count, not hidden state alone.
    """

    slots: np.ndarray
    valid: np.ndarray
    through: bool


def alone(n: int, through: bool = False) -> Plan:
    """Return the plan of tracking a unit's own state only.

    Arguments:
        n: number of units.
        through: whether its visible outputs and synapses on itself count, too.
    """
    return Plan(np.arange(n)[None], np.ones((1, n), bool), through)


def reachable(wiring: np.ndarray | None, n: int, steps: int | None) -> Plan:
    """Return the plan of tracking all units that a unit reaches within so many steps of the wiring.

    Arguments:
        wiring: which unit reads which, `(n, n)` bool [reader, read]; None where all read all.
        n: number of units.
        steps: steps within which a unit must be reached; None for ever.
    """
    reads = np.ones((n, n), bool) if wiring is None else np.asarray(wiring, bool)
    return _reachable(reads.tobytes(), n, steps)


@lru_cache(64)
def _reachable(wiring: bytes, n: int, steps: int | None) -> Plan:
    one = np.eye(n, dtype=bool) | np.frombuffer(wiring, bool).reshape(n, n)
    reach, left = np.eye(n, dtype=bool), n if steps is None else min(n, steps)
    while left:  # powers by squaring: a ring of n units takes log n products
        if left % 2:
            reach = one.astype(np.float32) @ reach.astype(np.float32) > 0
        left //= 2
        one = one.astype(np.float32) @ one.astype(np.float32) > 0
    most = int(reach.sum(0).max())
    # Of each column the reached units, the unit itself in front; stable sort puts what is not reached behind.
    order = np.argsort(np.where(np.eye(n, dtype=bool), 0, np.where(reach, 1, 2)), 0, kind="stable")[:most]
    return Plan(order, np.take_along_axis(reach, order, 0), True)


class Block(NamedTuple):
    """Derivatives of one step of a layer between the values that its traces track.

    The tracked values are x = slots x values per unit, h first, then y where the plan goes through outputs.

    Attributes:
        J: tracked by tracked values, `(B, x, x, n)`; the columns of owner i are around unit i.
        Jy: visible outputs by tracked values, `(B, slots x Y, x, n)`.
        Ja: a unit's own values by its a, `(values, B, ...)`.
        Jya: its outputs by its a, `(Y, B, ...)`.
    """

    J: Array
    Jy: Array
    Ja: Array
    Jya: Array


def block(plan: Plan, net: Network, i: int, h: PyTree, site: Site) -> Block:
    """Differentiate one step of layer i for its plan.

    Arguments:
        plan: which values are tracked.
        net: the network.
        i: number of the layer.
        h: its hidden state before the step.
        site: what it saw in the step.
    """
    u, r, B, n = units(i, net.layers[i], h, site.a), len(plan.slots), len(site.a), site.a.shape[-1]

    def like_a(d: Array) -> Array:
        return jnp.moveaxis(d, 1, 2).reshape(len(d), *site.a.shape)

    if not plan.through:
        return Block(jnp.moveaxis(u.hh, 2, 0), jnp.moveaxis(u.yh, 2, 0), like_a(u.ha), like_a(u.ya))
    by_h, by_a = jnp.concatenate([u.hh, u.yh]), jnp.concatenate([u.ha, u.ya])  # (values, C | G, B, n)
    own = jnp.moveaxis(own_synapses(net, i, site), 2, 1)  # (G, Y, n, n)
    if r == 1:
        crossing = jnp.diagonal(own, axis1=2, axis2=3)[:, :, None, None]
    else:
        crossing = own[:, :, plan.slots[:, None], plan.slots[None, :]]  # (G, Y, slot, slot that it reads, n)

    def at_slots(d: Array) -> Array:
        """Return derivatives by unit, `(..., n)`, as those of the units tracked for each, `(..., r, n)`."""
        return d[..., None, :] if r == 1 else d[..., plan.slots]

    implicit = jnp.einsum("kcbsn,st->bsktcn", at_slots(by_h), jnp.eye(r, dtype=site.a.dtype))
    explicit = jnp.einsum("kgbsn,gystn->bsktyn", at_slots(by_a), crossing)
    J = jnp.concatenate([implicit, explicit], 4) * plan.valid[None, :, None, None, None]
    C, x = len(u.hh), r * len(by_h)
    return Block(J.reshape(B, x, x, n), J[:, :, C:].reshape(B, -1, x, n), like_a(by_a), like_a(u.ya))


class Traces(NamedTuple):
    """Eligibility traces of a layer.

    Attributes:
        eps: what each weight did to the x values tracked for it, leaves `(B, x, ...)` of the weights.
        late: the same for visible outputs as a leaky readout remembers them; () without one.
    """

    eps: PyTree
    late: PyTree

    @classmethod
    def empty(cls, layer: Layer, rows: int, late: int, batch: int) -> "Traces":
        """Return traces of zero.

        Arguments:
            layer: the layer.
            rows: number of tracked values, x.
            late: number of outputs that a leaky readout remembers.
            batch: number of examples.
        """

        def room(values: int) -> PyTree:
            """Return zeros `(B, values, ...)` for each of the weights."""
            return jax.tree.map(lambda w: jnp.zeros((batch, values, *w.shape), w.dtype), weights(layer))

        return cls(room(rows), room(late) if late else ())

    def advance(
        self, layer: Layer, site: Site, b: Block, q: Array, kappa: float
    ) -> tuple["Traces", PyTree, Array]:
        """Make a step: -> (traces, gradient through the traces, signal of this step).

            eps' = J eps + Ja (x) presynaptic,   late' = kappa late + Jy eps + Jya (x) presynaptic
            gradient = q Jy eps,  signal = q Jya;  behind a leaky readout gradient = q late', signal = 0

        Arguments:
            layer: the layer.
            site: what it saw.
            b: derivatives of the step.
            q: dL/dy within the step, `(B, slots x Y, n)`.
            kappa: leak of the readout above; 0 where there is none.
        """
        eps = _added(_mixed(b.J, self.eps), per_example(layer, site, b.Ja))
        if kappa:
            passed = _added(_mixed(b.Jy, self.eps), per_example(layer, site, b.Jya))
            late = jax.tree.map(lambda old, new: kappa * old + new, self.late, passed)
            return Traces(eps, late), _weighted(q, late), jnp.zeros_like(site.a)
        past = jnp.sum(q[:, :, None] * b.Jy, 1)
        return Traces(eps, ()), _weighted(past, self.eps), self.now(site, b, q)

    @staticmethod
    def now(site: Site, b: Block, q: Array) -> Array:
        """Return the signal of this step alone, q Jya, `(B, ...)` like a.

        Arguments:
            site: what the layer saw, `(B, ...)`.
            b: derivatives of the step.
            q: dL/dy within the step, `(B, slots x Y, n)`.
        """
        own = jnp.moveaxis(q[:, : len(b.Jya)], 1, 0)
        return jnp.sum(own.reshape(*own.shape[:2], *[1] * (site.a.ndim - 2), own.shape[-1]) * b.Jya, 0)


FEW = 4  # so many terms are written out, as XLA fuses sums of products and does not fuse matrix products


def _mixed(J: Array, eps: PyTree) -> PyTree:
    """Return J eps, unit by unit."""

    def one(e: Array) -> Array:
        flat = e.reshape(*e.shape[:2], math.prod(e.shape[2:-1]), e.shape[-1])
        if J.shape[2] > FEW:
            out = jnp.einsum("bxyn,bypn->bxpn", J, flat)
        else:
            out = sum(
                (J[:, :, y, None] * flat[:, None, y] for y in range(J.shape[2])), jnp.zeros((), e.dtype)
            )
            out = jnp.broadcast_to(out, (*J.shape[:2], *flat.shape[2:]))
        return out.reshape(*J.shape[:2], *e.shape[2:])

    return jax.tree.map(one, eps)


def _added(eps: PyTree, own: PyTree) -> PyTree:
    """Add what weights did to their own unit: its values `(B, values, ...)` come first among the tracked."""

    def one(e: Array, o: Array) -> Array:
        return e + o if e.shape == o.shape else e.at[:, : o.shape[1]].add(o)

    return jax.tree.map(one, eps, own)


def _weighted(c: Array, eps: PyTree) -> PyTree:
    """Return sum_{b,x} c_bxn eps_bx...n."""
    return jax.tree.map(
        lambda e: jnp.sum(c.reshape(*c.shape[:2], *[1] * (e.ndim - 3), c.shape[-1]) * e, (0, 1)), eps
    )
