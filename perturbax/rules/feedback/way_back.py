"""Feedback weights of one layer: how they are fitted to what noise showed, and how they send worth back."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array

from perturbax.learning.jacobian import wiring_of
from perturbax.network.layer import Layer
from perturbax.network.linearity import uses_input
from perturbax.network.network import Network, Site


class WayBack(NamedTuple):
    """What the synapses of a layer read of neurons, and so the rows of its feedback weights V `(rows, m)`.

    The first rows are of the outputs from below, the others of the layer's own outputs one step ago: a row
    for each of them; or, where every unit reads itself alone, a row for each of the values that a unit has,
    since a column of V then belongs to one unit. A layer that reads nothing of its own keeps rows of zero.

    Attributes:
        below: number of outputs from below; 0 for the first layer, whose input no noise reaches.
        own: number of its own outputs.
        units: number of its units, the last axis of its pre-activations and outputs.
        recurs: whether it reads its own outputs.
        alone: whether each unit reads its own outputs alone.
    """

    below: int
    own: int
    units: int
    recurs: bool
    alone: bool

    @classmethod
    def of(cls, net: Network, i: int, site: Site) -> "WayBack":
        """Return what layer i of a stack reads.

        Arguments:
            net: the network.
            i: number of the layer.
            site: what the layer saw, leaves `(..., n)`.
        """
        layer, units = net.layers[i], site.a.shape[-1]
        wiring = wiring_of(net, i)
        alone = wiring is not None and np.array_equal(wiring, np.eye(units, dtype=bool))
        below = net.layers[i - 1].width if i else 0
        return cls(below, layer.width, units, is_recurrent(layer, site), alone)

    @property
    def values(self) -> int:
        """Number of outputs that a unit has."""
        return self.own // self.units

    @property
    def rows(self) -> int:
        """Number of rows of V."""
        return self.below + (self.values if self.alone else self.own)

    def fitted(self, V: Array, from_below: Array, own: Array, shown: Array, steps: int) -> Array:
        """Return V after some steps of conjugate gradients towards least squares of V^T dy = shown.

        Arguments:
            V: where to begin, `(rows, m)`.
            from_below: differences in what is read from below, `(N, below)`.
            own: differences in the layer's own outputs one step ago, `(N, own)`.
            shown: what they did to pre-activations, `(N, m)`.
            steps: the most that are made.
        """
        if self.recurs and self.alone:
            return self._fitted_alone(V, from_below, own, shown, steps)
        dy = jnp.concatenate([from_below, own], -1) if self.recurs else from_below  # (N, seen)
        seen = dy.shape[-1]
        if not seen:  # there is nothing below, and nothing goes back in time
            return V
        found = solved(Sums(dy.T @ dy), dy.T @ shown, V[:seen], steps)
        return V.at[:seen].set(found)

    def _fitted_alone(self, V: Array, from_below: Array, own: Array, shown: Array, steps: int) -> Array:
        """Return V likewise, where each unit reads its own outputs alone: few unknowns for every column."""
        entries = V.shape[-1] // self.units
        of_unit = own.reshape(-1, self.values, self.units)  # (N, values, n)
        moved = shown.reshape(-1, entries, self.units)  # (N, entries, n)

        def over_steps(s: Array) -> Array:  # (N, n), one value per unit -> (m,), one for each column
            return jnp.tile(s.sum(0), entries)

        values = range(self.values)
        with_own = [jnp.tile(from_below.T @ of_unit[:, k], entries) for k in values]  # (below, m) each
        among_own = [[over_steps(of_unit[:, k] * of_unit[:, j]) for j in values] for k in values]
        right = [
            jnp.concatenate([(of_unit[:, k] * moved[:, e]).sum(0) for e in range(entries)]) for k in values
        ]
        C = jnp.concatenate([from_below.T @ shown, jnp.stack(right)])  # (rows, m)
        sums = Sums(from_below.T @ from_below, jnp.stack(with_own), jnp.array(among_own))
        return solved(sums, C, V, steps)

    def sent(self, V: Array, a: Array) -> tuple[Array, Array]:
        """Return what outputs from below, and the layer's own one step ago, are worth: V dL/da, of a batch.

        Arguments:
            V: feedback weights, `(rows, m)`.
            a: worth of pre-activations, `(B, ..., n)`.
        """
        flat = a.reshape(len(a), -1)  # (B, m)
        nothing = jnp.zeros((len(a), self.own), a.dtype)
        if not self.recurs:
            return flat @ V[: self.below].T, nothing
        if not self.alone:
            both = flat @ V.T  # (B, below + own)
            return both[:, : self.below], both[:, self.below :]
        entries = a.reshape(len(a), -1, self.units)  # (B, entries, n)
        weights = V[self.below :].reshape(self.values, -1, self.units)  # (values, entries, n)
        own = [sum_of([entries[:, e] * w[None] for e, w in enumerate(of_value)]) for of_value in weights]
        return flat @ V[: self.below].T, jnp.concatenate(own, -1)


class Sums(NamedTuple):
    """A of the normal equations A_j v_j = c_j, one for every column j, of which much may be shared.

        A_j = [[shared, with_own_j], [with_own_j^T, among_own_j]]

    Attributes:
        shared: of what every column reads, `(n, n)`, symmetric, without eigenvalues below 0.
        with_own: of that with the k values that each column reads alone, `(k, n, m)`; None without such.
        among_own: of these values among each other, `(k, k, m)`.
    """

    shared: Array
    with_own: Array | None = None
    among_own: Array | None = None


def solved(sums: Sums, C: Array, V: Array, steps: int) -> Array:
    """Return V' `(n + k, m)` of A_j V'_j = C_j, each column alone, or what some steps of conjugate gradients
    find of it.

    Arguments:
        sums: A of all columns.
        C: what A_j V'_j should be, `(n + k, m)`.
        V: where to begin, `(n + k, m)`; what A does not see of it stays.
        steps: the most that are made.
    """
    shared, rounding = sums.shared, float(jnp.finfo(C.dtype).eps)

    def inverse(diagonal: Array) -> Array:
        return jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)

    def column(c: Array, v: Array) -> Array:
        scale = inverse(jnp.diagonal(shared))
        return cg(lambda p: shared @ p, c, v, tol=rounding, maxiter=steps, M=lambda r: scale * r)[0]

    def column_with_own(c: Array, v: Array, with_own: Array, among_own: Array) -> Array:
        n, k = len(shared), len(among_own)
        scale = inverse(jnp.concatenate([jnp.diagonal(shared), jnp.diagonal(among_own)]))

        def times(p: Array) -> Array:  # few values are added in plain sight: XLA's products of few are slow
            upper = shared @ p[:n] + sum_of([with_own[j] * p[n + j] for j in range(k)])
            lower = [
                with_own[i] @ p[:n] + sum_of([among_own[i, j] * p[n + j] for j in range(k)]) for i in range(k)
            ]
            return jnp.concatenate([upper, jnp.stack(lower)])

        return cg(times, c, v, tol=rounding, maxiter=steps, M=lambda r: scale * r)[0]

    if sums.with_own is None or sums.among_own is None:
        return jax.vmap(column, 1, 1)(C, V)
    return jax.vmap(column_with_own, (1, 1, 2, 2), 1)(C, V, sums.with_own, sums.among_own)


def sum_of(parts: list[Array]) -> Array:
    """Return the sum of a few arrays, one after the other."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def is_recurrent(layer: Layer, site: Site) -> bool:
    """Return whether the synapses of a layer read its own output of one step ago.

    Arguments:
        layer: the layer.
        site: what it reads, leaves `(..., n_below)` and `(..., n)`.
    """
    z, r = (jax.ShapeDtypeStruct(read.shape[-1:], read.dtype) for read in (site.z, site.r))
    return uses_input(jax.make_jaxpr(layer.drive)(z, r), 1)
