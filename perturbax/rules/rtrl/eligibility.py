"""The shared anatomy of rules with a few eligibility traces per weight: e-prop, RFLO, D-RTRL, SnAp."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.learning.credit import Both, Estimate, Outer
from perturbax.learning.jacobian import Errors, errors, reads_itself
from perturbax.learning.rule import Rule
from perturbax.learning.traces import Plan, Traces, block, owned
from perturbax.network.layer import Layer, weights
from perturbax.network.network import Network


class Local(Rule):
    """Base of the rules that follow, for every weight, what it does to few values: its own unit's, or its
    neighbours'.

        eps_t = J_t eps_{t-1} + (direct influence),   dL_t/dw  ~  q_t . eps_t,     q_t = dL_t/dy_t within the step

    Each layer keeps traces of its own weights on its own units; what goes on through the carried state of
    layers above is left out. A leaky readout is linear, so what it remembers is put into the traces of the
    layer below it.
    """

    uses: ClassVar[tuple[str, ...]] = ("own activity", "output error", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 passes and some sweeps of the traces"
    memory: ClassVar[str] = "B x weights x followed values, constant in T"
    accrues: ClassVar[bool] = True

    @abc.abstractmethod
    def plan(self, net: Network, i: int, n: int) -> Plan:
        """Return which units the traces of layer i follow."""

    def teach(self, net: Network, taught: PyTree, e: Errors) -> tuple[PyTree, list[Array]]:
        """Return (what the rule carries for it, the learning signal of every layer): here the error
        itself.
        """
        return taught, e.q

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network, no influence yet."""
        state = net.start(batch)
        return state, tuple(self._empty(net, i, h, batch) for i, (h, _) in enumerate(state)), ()

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let errors meet traces, layer by layer."""
        state, traces, taught = carry
        e = errors(net, state, x, score)
        taught, q = self.teach(net, taught, e)
        each = [self._meet(net, i, h, e.sites[i], traces[i], q[i]) for i, (h, _) in enumerate(state)]
        after, grads, signals = zip(*each, strict=True)
        outer = Outer(tuple(site._replace(a=None) for site in e.sites), tuple(s[None] for s in signals))
        return (e.after, after, taught), Estimate(e.loss, e.y, e.sites, None, Both(outer, net.like(grads)))

    def _meet(
        self, net: Network, i: int, h: PyTree, site: Any, trace: Any, q: Array
    ) -> tuple[Any, Layer, Array]:
        """Return one layer's (traces, gradient through them, signal of this step)."""
        layer, n = net.layers[i], site.a.shape[-1]
        plan, rows, late = self._rows(net, i, h, n)
        if rows or late:
            owned(i, layer, site)
        b, q = block(plan, net, i, h, site), q.reshape(len(q), -1, n)
        if not rows and not late:
            return (), jax.tree.map(jnp.zeros_like, weights(layer)), Traces.now(site, b, q)
        if len(plan.slots) > 1:
            q = jnp.moveaxis(q[..., plan.slots], 2, 1).reshape(len(q), -1, n)
        return trace.advanced(layer, site, b, q, self._kappa(net, i))

    def _empty(self, net: Network, i: int, h: PyTree, batch: int) -> Any:
        """Return a layer's traces; nothing where its weights act on nothing that is carried."""
        n = width(net.layers[i])
        _, rows, late = self._rows(net, i, h, n) if n else (None, 0, 0)
        return Traces.empty(net.layers[i], rows, late, batch) if rows or late else ()

    def _rows(self, net: Network, i: int, h: PyTree, n: int) -> tuple[Plan, int, int]:
        """Return (plan, values that a weight's traces follow, visible ones that a leaky readout
        remembers).
        """
        layer = net.layers[i]
        floats = [s for s in jax.tree.leaves(h) if jnp.issubdtype(s.dtype, jnp.inexact)]
        C, Y = sum(s.size // (len(s) * n) for s in floats), jax.eval_shape(layer.start)[1].shape[-1] // n
        plan = self.plan(net, i, n)
        if not reads_itself(layer):  # its output goes nowhere in time
            plan = Plan(plan.slots[:1], plan.valid[:1], through=False)
        late = len(plan.slots) * Y if self._kappa(net, i) else 0
        return plan, len(plan.slots) * (C + Y if plan.through else C), late

    def _kappa(self, net: Network, i: int) -> float:
        """Return the leak of the readout that stands on layer i; 0 where there is none."""
        leak = net.layers[-1].filters() if i == len(net.layers) - 2 else 0.0
        if leak and net.normalise:
            raise LayerError("traces cannot follow a leaky readout through normalise: take a kappa of 0")
        return leak


def width(layer: Layer) -> int:
    """Return the units of a layer whose weights have them on their last axis; 0 for one without weights."""
    some = jax.tree.leaves(weights(layer))
    return some[0].shape[-1] if some else 0
