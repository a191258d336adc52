"""Equilibrium propagation: gradients from how outputs that are nudged move a network that has settled."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import in_range, one_of, positive, setting, whole
from perturbax.learning.estimate import no_gradient
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import carries
from perturbax.learning.rule import SequenceRule
from perturbax.learning.trees import tree_add
from perturbax.network.layer import apply_updates, join, layer_label, split
from perturbax.network.network import Network, Site

NUDGES = ("symmetric", "one-sided", "random-sign", "holomorphic")


class Equilibrium(SequenceRule):
    """Equilibrium propagation: a network settles, its outputs are nudged, and the difference is the gradient.

        s^0: after the T steps of the sequence,   s^b: after `nudged` further steps of
        a <- drive(x, s) - b dC/ds,   s <- f(a)
        dW = -(a^+ b^+ - a^- b^-) / (2 beta)   for every weight between activities a and b,   b = +-beta

    C is the cost of the network's output with the layers above the settling one, whose own weights learn by
    their gradient at the nudged states. Through layers above (a readout) dC/ds takes their transposed
    weights; `facts.uses` does not name these, as it speaks of the rule without a network, and outputs within
    the settling layer need none. For an input that is held, symmetric weights (cell `settling`) and
    states that have settled this is the gradient through the nudged steps up to O(beta^2), for `one-sided`
    (and `random-sign` in the mean) O(beta). The input is that of the last step; answers are asked there, or
    at all steps alike. Scellier and Bengio 2017, Ernoult et al. 2019, 2020; symmetric nudging and softmax
    readouts Laborieux et al. 2021, holomorphic Laborieux and Zenke 2022.

    Attributes:
        beta: how strongly outputs are nudged; in float32 not below 1e-3.
        nudged: steps that the network is nudged for, K.
        nudge: symmetric (+beta and -beta), one-sided (+beta against the settled state), random-sign
            (one-sided, with the sign of beta drawn for every batch) or holomorphic (`points` complex values
            around a circle of radius beta: bias O(beta^points), for smooth f and losses).
        points: number of complex values, for holomorphic.
        field: differences of activity meet the activities of the settled state (vector field), which needs no
            symmetric weights: approximately right where weights back are about those forth.
        continual: learning rate at which weights move in every nudged step (continual equilibrium
            propagation), well below beta; 0 for weights that stay.
    """

    beta: float = 0.1
    nudged: int = 10
    nudge: str = setting("symmetric")
    points: int = setting(4)
    field: bool = setting(False)
    continual: float = setting(0.0)

    facts: ClassVar[Facts] = Facts(
        equation="dW = -(y+ y+^T - y- y-^T) / (2 beta), y+-: settled under a <- a -+ beta dC/dy",
        target="full gradient through the last nudged steps, bias O(beta^2); needs an input that is held",
        uses=("own activity", "output error"),
        cost="1 pass, and nudged steps of 2 phases",
        memory="3 B x units, constant in T",
        papers=("scellier2017", "ernoult2019", "ernoult2020", "laborieux2021", "laborieux2022"),
        locality="layer",
    )

    def __check_init__(self) -> None:
        """Check the strength, the number of steps and the kind of nudging."""
        positive("beta", self.beta)
        whole("nudged", self.nudged)
        one_of("nudge", self.nudge, NUDGES)
        whole("points", self.points, 2)
        in_range("continual", self.continual, 0)
        if self.continual and (self.nudge == "holomorphic" or self.field):
            raise ArgumentError(
                "continual needs real nudging and two activities: not holomorphic, field false"
            )

    def described(self) -> Facts:
        """Return the facts under these settings: phases that are nudged, and their bias."""
        phases = {"symmetric": 2, "holomorphic": self.points}.get(self.nudge, 1)
        bias = {"symmetric": "O(beta^2)", "holomorphic": f"O(beta^{self.points})"}.get(self.nudge, "O(beta)")
        target = f"full gradient through the last nudged steps, bias {bias}; needs an input that is held"
        cost = f"1 pass, and nudged steps of {phases} phase{'s' * (phases > 1)}"
        return super().described().but(passes=1 + phases, cost=cost, target=target)

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return nothing; raises LayerError for a network that does not settle as the rule needs it."""
        bottom, above = net.layers[0], range(1, len(net.layers))
        settles = getattr(bottom, "symmetric", False)
        remembers = bool(jax.tree.leaves(bottom.start()[0]))
        if not above or any(carries(net, i) for i in above) or (remembers and not settles):
            raise LayerError(
                "equilibrium needs one layer that settles (cell settling, with blocks for depth), under "
                "layers without memory"
            )
        if remembers and self.nudge == "holomorphic":
            raise LayerError(
                f"{layer_label(0, bottom)}: spikes are not smooth, as nudge holomorphic needs neurons to be: "
                "take symmetric"
            )
        if not (self.field or settles):
            raise LayerError(
                f"{layer_label(0, bottom)}: equilibrium needs weights that are the same both ways, as the "
                "cell settling has them; field true does without, approximately"
            )
        if net.residual or net.normalise or net.reads or any(D is not None for D in net.decor[1:]):
            raise LayerError(
                "equilibrium needs a stack whose layers read what is below as it is: no decorrelation of "
                "hidden layers, residual or normalise"
            )
        return ()

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Settle, nudge, and return the difference."""

        def settle(free: PyTree, now: tuple) -> tuple[PyTree, Array]:
            x, target = now
            free, out, _ = net.step(free, x)
            return free, loss(out, target)

        free, losses = jax.lax.scan(settle, net.start(xs.shape[1]), (xs, ys))
        settled = free[0]  # (h, y)
        beta, factor = self._phases(key, settled[1].dtype)  # (P,) each
        nudge = jax.vmap(lambda beta: self._nudged(net, settled, xs[-1], ys, loss, beta))
        nudged, by_above, moved = nudge(beta)  # (P, B, n), gradients (P, ...)
        if self.continual:
            by_settling = jax.tree.map(lambda g: jnp.mean(g, 0), moved)
        else:
            by_settling = self._difference(net, xs[-1], settled, nudged, factor)
        by_above = jax.tree.map(lambda g: jnp.mean(g, 0).real, by_above)
        grads = net.like((*by_settling.layers, *by_above.layers))
        return state, losses.mean(), jax.tree.map(lambda g: g / xs.shape[1], grads)

    def _phases(self, key: Array, dtype: Any) -> tuple[Array, Array]:
        """Return the strengths of nudging and the factor of each phase's difference, `(P,)` each."""
        if self.nudge == "holomorphic":
            around = np.exp(2j * np.pi * np.arange(self.points) / self.points)  # (P,)
            beta = jnp.asarray(self.beta * around, jnp.promote_types(dtype, jnp.complex64))
        elif self.nudge == "symmetric":
            beta = jnp.asarray([self.beta, -self.beta], dtype)
        elif self.nudge == "random-sign":
            beta = self.beta * jr.rademacher(key, (1,), dtype)
        else:
            beta = jnp.asarray([self.beta], dtype)
        return beta, 1 / (len(beta) * beta)

    def _nudged(
        self, net: Network, settled: tuple, x: Array, ys: PyTree, loss: Any, beta: Array
    ) -> tuple[Array, Network, Network]:
        """Return activities after the nudged steps `(B, n)`, gradients of the layers above there, and of the
        settling layer what all steps moved, for `continual`.

        Arguments:
            net: the network.
            settled: hidden state and output (h, y) of its settling layer, leaves `(B, ...)`.
            x: the input that is held, `(B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            loss: (y `(B, n_out)`, target) -> `(B,)`.
            beta: strength of nudging, `()`, real or complex.
        """
        lower, upper = _cut(net)
        kind = jnp.result_type(settled[1], beta)
        some, rest = jax.tree.map(lambda w: w.astype(kind), split(upper)[0]), split(upper)[1]
        start = jax.tree.map(lambda leaf: leaf.astype(kind), upper.start(len(x)))

        def cost(some: Network, y: Array) -> Array:
            """Return the sum over examples of the loss, averaged over the targets of all steps."""
            out = join(some, rest).step(start, y)[1]
            return jax.vmap(loss, (None, 0))(out, ys).mean(0).sum()

        slope = jax.grad(cost, (0, 1), holomorphic=jnp.issubdtype(kind, jnp.complexfloating))

        def one_step(carry: tuple, _: Any) -> tuple[tuple, None]:
            before, moved = carry
            push = -beta * _activity(lower, slope(some, before[1])[1])  # (B, n)
            now = lower
            if self.continual:
                now = apply_updates(lower, jax.tree.map(lambda g: -self.continual / len(x) * g, moved))
            (after,), _, sites = now.step((before,), x, [push])
            if self.continual:
                y, y_after = _activity(lower, before[1]), _activity(lower, after[1])
                moved = tree_add(moved, _credited(lower, sites[0].z, y, y_after, -1 / beta))
            return (after, moved), None

        def as_nudged(leaf: Array) -> Array:
            """Return a part of the state in the kind of numbers that nudging makes of it; counts stay."""
            return leaf.astype(kind) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

        start_of_nudge = jax.tree.map(as_nudged, settled), no_gradient(lower)
        ((_, y), moved), _ = jax.lax.scan(one_step, start_of_nudge, length=self.nudged)
        return _activity(lower, y), slope(some, y)[0], moved

    def _difference(self, net: Network, x: Array, settled: tuple, nudged: Array, factor: Array) -> Network:
        """Return -sum_p factor_p (dPhi/dW(nudged_p) - dPhi/dW(settled)), of the settling layer alone.

        Arguments:
            net: the network.
            x: the input that is held, `(B, n_in)`.
            settled: hidden state and output (h, y) of the settling layer, leaves `(B, ...)`.
            nudged: its activities in every phase, `(P, B, n)`.
            factor: of each phase, `(P,)`.
        """
        lower = _cut(net)[0]
        z = lower.step((settled,), x)[2][0].z  # (B, n_in), as the layer reads the input
        start = _activity(lower, settled[1])  # (B, n)
        if self.field:
            signal = -jnp.tensordot(factor, nudged - start[None], 1).real  # (B, n)
            return lower.credit([Site(z, start, None)], [signal])
        of_phases = jax.vmap(lambda y, factor: _credited(lower, z, start, y, -factor))(nudged, factor)
        return jax.tree.map(lambda g: g.sum(0), of_phases)


def _cut(net: Network) -> tuple[Network, Network]:
    """Return the settling layer, and the layers above it, as networks of their own."""
    return Network(net.layers[:1], net.decor[:1]), Network(net.layers[1:])


def _activity(lower: Network, y: Array) -> Array:
    """Return the activities of the settling layer, `(..., n)`, of its outputs, of which spikes are part."""
    return getattr(lower.layers[0], "activity", lambda y: y)(y)


def _credited(lower: Network, z: Array, before: Array, after: Array, factor: Array) -> Network:
    """Return factor (dPhi/dW(after) - dPhi/dW(before)), summed over examples; weights are real.

    a b - a' b' = (a - a') (b + b') / 2 + (a + a') / 2 (b - b'): the difference in activity is the signal, the
    mean what it meets.

    Arguments:
        lower: the settling layer.
        z: what it reads of the input, `(B, n_in)`.
        before: its activities, `(B, n)`.
        after: those after some steps.
        factor: of the difference, `()`.
    """
    signal, read = factor * (after - before), (after + before) / 2  # (B, n) each
    return lower.credit([Site(z, read, None)], [signal])
