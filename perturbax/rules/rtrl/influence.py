"""What the rules share that keep the influence of every weight on everything carried: RTRL, m-order
e-prop.
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Both, Estimate, Outer, no_gradient
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import Flat, carries, linearise, per_example
from perturbax.learning.rule import StepRule
from perturbax.learning.trees import tree_add
from perturbax.network.layer import weights
from perturbax.network.network import Network

USES = ("own activity", "output error", "derivatives", "transposed weights")


class Influence(StepRule):
    """Base of the rules that keep the influence M of every weight on every carried value.

        M_t = J_t M_{t-1} + (direct),    dL_t/dw = (dL_t/ds_{t-1}) M_{t-1} + (dL_t/da_t) z_t^T

    s is all that the next step reads, J = ds_t/ds_{t-1}. Layers above the last one that carries anything have
    no influence to keep.
    """

    @abc.abstractmethod
    def orders(self) -> int:
        """Return how many influences are kept, by number of crossings; 0 for the sum of all."""

    def pairing(self) -> Credit:
        """Return that gradients of every step are summed as they come."""
        return Credit(form="summed")

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, and influences of zero, leaves `(B, S, ...)` of the weights."""
        start = net.start(len(x))
        S = Flat.of(net, start).vector.shape[1]
        none = jax.tree.map(lambda w: jnp.zeros((len(x), S, *w.shape), w.dtype), _weights_with_influence(net))
        return start, (none,) * max(1, self.orders())

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Multiply the derivative by the carried state with the influence on it, then renew the influence."""
        state, M = carry
        now = linearise(net, state, x, score)
        J, by_a = now.rows()
        J = jnp.moveaxis(J, 1, 0)  # (B, S', S)
        layers = len(M[0])  # those whose weights have an influence
        direct = tuple(
            per_example(layer, site, rows)
            for layer, site, rows in zip(net.layers[:layers], now.sites[:layers], by_a[:layers], strict=True)
        )
        if not self.orders():
            past = _gradient(now.back, M[0])
            M = (tree_add(_propagated(J, M[0]), direct),)
        else:
            past, M = self._by_orders(net, state, now.back, J, M, direct)
        nothing = no_gradient(net)
        grads = nothing.like((*past, *nothing.layers[layers:]))
        parts = Both(Outer.of(now.sites, [s[None] for s in now.signal]), grads)
        return (now.after, M), Estimate(now.loss, now.y, now.sites, None, parts)

    def _by_orders(
        self, net: Network, state: PyTree, back: Array, J: Array, M: tuple, direct: PyTree
    ) -> tuple[PyTree, tuple]:
        """Return (gradient through the past, influences after the step) with crossings between units told
        apart.

        M^k_t = J_h M^k_{t-1} + J_r M^{k-1}_{t-1}, where the columns of J_h belong to hidden state, of J_r to
        outputs.
        """
        crosses = jnp.asarray(Flat.of(net, state).explicit, J.dtype)[None]  # (1, S)
        through_hidden, through_outputs = J * (1 - crosses)[None], J * crosses[None]
        past = _gradient(back * (1 - crosses), M[0])
        for m in M[1:]:
            past = tree_add(past, _gradient(back * (1 - crosses), m))
        for m in M[:-1]:
            past = tree_add(past, _gradient(back * crosses, m))
        entering = [direct, *(_propagated(through_outputs, m) for m in M[:-1])]
        renewed = tuple(
            tree_add(_propagated(through_hidden, m), new) for m, new in zip(M, entering, strict=True)
        )
        return past, renewed


class FullInfluence(Influence):
    """The influence of every weight on every carried value, as one matrix per weight array."""

    def orders(self) -> int:
        """Return 0: all crossings count."""
        return 0


def influence_facts(**facts: Any) -> Facts:
    """Return the facts of a rule that keeps influences: what it uses, and that a synapse must know the
    network.
    """
    return Facts(uses=USES, locality="network", **facts)


def only_carrier(net: Network) -> bool:
    """Whether the lowest layer alone carries anything from step to step, and has neurons that do not mix
    units.

    Arguments:
        net: the network.
    """
    carriers = [i for i in range(len(net.layers)) if carries(net, i)]
    alone = not any(source.late for i in range(len(net.layers)) for source in net.sources(i))
    return carriers == [0] and alone and net.layers[0].unitwise


def _weights_with_influence(net: Network) -> tuple:
    """Return the weights of the layers up to the last that carries anything."""
    carriers = [i + 1 for i in range(len(net.layers)) if carries(net, i)]
    return weights(net).layers[: max(carriers, default=0)]


def _gradient(back: Array, M: PyTree) -> PyTree:
    """Return sum_{b,s} back_bs M_bs."""
    return jax.tree.map(lambda m: jnp.tensordot(back, m, 2), M)


def _propagated(J: Array, M: PyTree) -> PyTree:
    """Return J M of every example, as one matrix product per weight array."""
    return jax.tree.map(lambda m: jnp.matmul(J, m.reshape(*m.shape[:2], -1)).reshape(m.shape), M)
