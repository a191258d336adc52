"""The shared anatomy of rules that keep the influence of every weight on everything carried: RTRL, m-order e-prop."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.credit import Both, Estimate, Outer
from perturbax.gradient import nothing
from perturbax.influence import Flat, Linear, carries, each, linearise
from perturbax.layer import weights
from perturbax.network import Network
from perturbax.rule import Rule


class Influence(Rule):
    """Base of the rules that keep the influence M of every weight on every carried value.

        M_t = J_t M_{t-1} + (direct),    dL_t/dw = (dL_t/ds_{t-1}) M_{t-1} + (dL_t/da_t) z_t^T

    s is all that the next step reads. Layers above the last one that carries anything have no influence to keep.
    """

    uses: ClassVar[tuple[str, ...]] = ("own activity", "output error", "derivatives", "transposed weights")
    accrues: ClassVar[bool] = True

    @abc.abstractmethod
    def orders(self) -> int:
        """Return how many influences are kept, by number of crossings; 0 for the sum of all."""

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network, no influence yet."""
        state = net.start(batch)
        flat = Flat.of(net, state)
        size = sum(w.size for w in jax.tree.leaves(_below(net)))
        return state, jnp.zeros((max(1, self.orders()), batch, flat.vector.shape[1], size), flat.vector.dtype)

    def step(self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree) -> tuple[PyTree, Estimate]:
        """Let the derivative by the carried state meet the influence on it."""
        state, M = carry
        now = linearise(net, state, x, score)
        explicit = jnp.asarray(Flat.of(net, state).explicit, M.dtype)[None]
        J, direct = now.rows()
        direct = _rows(net, now, direct)
        if not self.orders():
            g = jnp.einsum("bs,bsp->p", now.back, M[0])
            M = (jnp.einsum("kbs,bsp->bkp", J, M[0]) + direct)[None]
        else:
            hidden, visible = J * (1 - explicit)[None], J * explicit[None]
            g = jnp.einsum("bs,mbsp->p", now.back * (1 - explicit), M)
            g += jnp.einsum("bs,mbsp->p", now.back * explicit, M[:-1])
            inside = jnp.einsum("kbs,mbsp->mbkp", hidden, M).at[0].add(direct)
            M = inside.at[1:].add(jnp.einsum("kbs,mbsp->mbkp", visible, M[:-1]))
        parts = Both(Outer(now.sites, tuple(s[None] for s in now.signal)), _unflat(net, g))
        return (now.after, M), Estimate(now.loss, now.y, now.sites, None, parts)


def _below(net: Network) -> tuple:
    """Return the weights of the layers up to the last that carries anything."""
    return weights(net).layers[: max([i + 1 for i, layer in enumerate(net.layers) if carries(layer)], default=0)]


def _rows(net: Network, now: Linear, da: list[Array]) -> Array:
    """Return the direct influence `(B, S, P)` of weights on the carried vector."""
    some = _below(net)
    leaves = [
        w.reshape(*w.shape[:2], -1)
        for layer, site, d in zip(net.layers[: len(some)], now.sites, da, strict=False)
        for w in jax.tree.leaves(each(layer, site, d))
    ]
    return jnp.moveaxis(jnp.concatenate(leaves, 2), 0, 1) if leaves else jnp.zeros((*now.vector.shape, 0))


def _unflat(net: Network, g: Array) -> Network:
    """Return a gradient `(P,)` as a tree; zero for the layers above."""
    some, at, parts = _below(net), 0, []
    leaves, tree = jax.tree.flatten(some)
    for w in leaves:
        parts.append(g[at : at + w.size].reshape(w.shape))
        at += w.size
    none = nothing(net)
    return none.like((*tree.unflatten(parts), *none.layers[len(some) :]))
