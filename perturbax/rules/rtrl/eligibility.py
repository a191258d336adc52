"""What the rules with a few eligibility traces per weight share: e-prop, RFLO, D-RTRL, SnAp."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Both, Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import Errors, check_acts_within_step, errors, reads_itself
from perturbax.learning.rule import StepRule
from perturbax.learning.traces import Plan, Traces, block, owned
from perturbax.network.layer import Layer, advance_batch, weights
from perturbax.network.network import Network
from perturbax.network.sources import Source


class EligibilityRule(StepRule):
    """Base of the rules that follow what every weight does to few values: its own unit's, or its neighbours'.

        eps_t = J_t eps_{t-1} + (direct influence),   dL_t/dw ~ q_t . eps_t,   q_t = dL_t/dy_t within the step

    Each layer keeps traces of its own weights on its own units; what goes on through the carried state of
    layers above is left out. A leaky readout is linear, so what it remembers is put into the traces of the
    layer below it.
    """

    @abc.abstractmethod
    def plan(self, net: Network, i: int, n: int) -> Plan:
        """Return which units the traces of layer i follow.

        Arguments:
            net: the network.
            i: number of the layer.
            n: number of its units.
        """

    def learning_signal(self, net: Network, feedback: PyTree, e: Errors) -> tuple[PyTree, list[Array]]:
        """Return (what the rule carries for it, the learning signal of every layer): here the error
        itself.

        A learning signal takes the place of dL/dy of the layer's visible output within the step, `(B, n)`.

        Arguments:
            net: the network.
            feedback: what the rule carries for it, as the step before returned it.
            e: the step, with the error of its loss.
        """
        check_acts_within_step(net)
        return feedback, e.q

    def pairing(self) -> Credit:
        """Return that gradients of every step are summed as they come."""
        return Credit(form="summed")

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, traces of zero, and nothing for the learning signal."""
        start = net.start(len(x))
        return start, tuple(self._empty(net, i, h, len(x)) for i, (h, _) in enumerate(start)), ()

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Multiply errors with traces, layer by layer."""
        state, traces, feedback = carry
        e = errors(net, state, x, score)
        feedback, q = self.learning_signal(net, feedback, e)
        per_layer = [
            self._layer_step(net, i, h, e.sites[i], traces[i], q[i]) for i, (h, _) in enumerate(state)
        ]
        after, grads, signals = zip(*per_layer, strict=True)
        outer = Outer.of(e.sites, [s[None] for s in signals])
        return (e.after, after, feedback), Estimate(e.loss, e.y, e.sites, None, Both(outer, net.like(grads)))

    def _layer_step(
        self, net: Network, i: int, h: PyTree, site: Any, trace: Any, q: Array
    ) -> tuple[Any, Layer, Array]:
        """Return one layer's (traces, gradient through them, signal of this step)."""
        layer, n = net.layers[i], site.a.shape[-1]
        plan, rows, late = self._rows(net, i, h, n)
        if not units_of_weights(layer):
            rows = late = 0
        if rows or late:
            owned(i, layer, site)
        elif not layer.unitwise:  # nothing is followed in time: units may act on each other
            pull = jax.vjp(lambda a: advance_batch(i, layer, h, a)[1], site.a)[1]
            return (), jax.tree.map(jnp.zeros_like, weights(layer)), pull(q)[0]
        b, q = block(plan, net, i, h, site), q.reshape(len(q), -1, n)
        if not rows and not late:
            return (), jax.tree.map(jnp.zeros_like, weights(layer)), Traces.now(site, b, q)
        if len(plan.slots) > 1:
            q = jnp.moveaxis(q[..., plan.slots], 2, 1).reshape(len(q), -1, n)
        return trace.advance(layer, site, b, q, self._kappa(net, i))

    def _empty(self, net: Network, i: int, h: PyTree, batch: int) -> Any:
        """Return a layer's traces; nothing where its weights act on nothing that is carried."""
        n = units_of_weights(net.layers[i])
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
        last = len(net.layers) - 1
        readers = [j for j in range(len(net.layers)) if Source(i) in net.sources(j)]
        leak = net.layers[last].filters() if readers == [last] else 0.0
        if leak and net.normalise:
            raise LayerError("traces cannot follow a leaky readout through normalise: take a kappa of 0")
        return leak


def eligibility_facts(**facts: Any) -> Facts:
    """Return the facts of a rule with eligibility traces: what it uses, its cost and its memory."""
    return Facts(
        uses=("own activity", "output error", "derivatives", "transposed weights"),
        cost="3 passes and some sweeps of the traces",
        memory="B x weights x followed values, constant in T",
        **facts,
    )


def units_of_weights(layer: Layer) -> int:
    """Return how many units a layer has, whose weights have them on their last axis; 0 without weights.

    Arguments:
        layer: the layer.
    """
    some = jax.tree.leaves(weights(layer))
    return some[0].shape[-1] if some else 0
