"""The shared anatomy of rules that keep the influence of every weight on everything carried: RTRL, m-order
e-prop.
"""

import abc
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.learning.credit import Both, Estimate, Outer
from perturbax.learning.jacobian import Flat, carries, each, linearise
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import nothing
from perturbax.network.layer import weights
from perturbax.network.network import Network


class Influence(Rule):
    """Base of the rules that keep the influence M of every weight on every carried value.

        M_t = J_t M_{t-1} + (direct),    dL_t/dw = (dL_t/ds_{t-1}) M_{t-1} + (dL_t/da_t) z_t^T

    s is all that the next step reads. Layers above the last one that carries anything have no influence to
    keep.
    """

    uses: ClassVar[tuple[str, ...]] = ("own activity", "output error", "derivatives", "transposed weights")
    locality: ClassVar[str] = "network"
    accrues: ClassVar[bool] = True

    @abc.abstractmethod
    def orders(self) -> int:
        """Return how many influences are kept, by number of crossings; 0 for the sum of all."""

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network, no influence yet."""
        state = net.start(batch)
        S = Flat.of(net, state).vector.shape[1]
        none = jax.tree.map(lambda w: jnp.zeros((batch, S, *w.shape), w.dtype), _below(net))
        return state, (none,) * max(1, self.orders())

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let the derivative by the carried state meet the influence on it."""
        state, M = carry
        now = linearise(net, state, x, score)
        J, rows = now.rows()
        J = jnp.moveaxis(J, 1, 0)
        upto = len(M[0])
        direct = tuple(
            each(*args) for args in zip(net.layers[:upto], now.sites[:upto], rows[:upto], strict=True)
        )
        if not self.orders():
            g = _met(now.back, M[0])
            M = (_plus(_moved(J, M[0]), direct),)
        else:
            explicit = jnp.asarray(Flat.of(net, state).explicit, J.dtype)[None]
            hidden, visible = J * (1 - explicit)[None], J * explicit[None]
            terms = [_met(now.back * (1 - explicit), m) for m in M] + [
                _met(now.back * explicit, m) for m in M[:-1]
            ]
            g = functools.reduce(_plus, terms)
            inside, across = [_moved(hidden, m) for m in M], [_moved(visible, m) for m in M[:-1]]
            M = tuple(_plus(a, b) for a, b in zip(inside, [direct, *across], strict=True))
        whole = nothing(net)
        grads = whole.like((*g, *whole.layers[upto:]))
        parts = Both(Outer(now.sites, tuple(s[None] for s in now.signal)), grads)
        return (now.after, M), Estimate(now.loss, now.y, now.sites, None, parts)


class Dense(Influence):
    """The influence of every weight on every carried value."""

    def orders(self) -> int:
        """All crossings count."""
        return 0


def only_carrier(net: Network) -> bool:
    """Whether the lowest layer alone carries anything, and traces per unit fit it."""
    return [i for i, layer in enumerate(net.layers) if carries(layer)] == [0] and net.layers[0].unitwise


def _below(net: Network) -> tuple:
    """Return the weights of the layers up to the last that carries anything."""
    return weights(net).layers[
        : max([i + 1 for i, layer in enumerate(net.layers) if carries(layer)], default=0)
    ]


def _met(back: Array, M: PyTree) -> PyTree:
    """Return sum_{b,s} back_bs M_bs."""
    return jax.tree.map(lambda m: jnp.tensordot(back, m, 2), M)


def _moved(J: Array, M: PyTree) -> PyTree:
    """Return J M of every example, as one matrix product per weight array."""
    return jax.tree.map(lambda m: jnp.matmul(J, m.reshape(*m.shape[:2], -1)).reshape(m.shape), M)


def _plus(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)
