"""Diagonal state feedback."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import in_range
from perturbax.learning.estimate import Outer, averaged
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import Errors, check_acts_within_step, errors
from perturbax.learning.rule import SequenceRule
from perturbax.learning.shares import ROWS
from perturbax.network.layer import advance_batch
from perturbax.network.network import Network


class DSF(SequenceRule):
    """Diagonal state feedback: the backward pass through time with a fixed diagonal in place of the Jacobian.

        delta_t = q_t + decay delta_{t+1},   dL/da_t ~ (dy_t/da_t)^T delta_t,   q_t = dL_t/dy_t in the step

    The recursion is linear and the same for all, so it runs parallel in T. decay 0 is one-step
    backpropagation of visible outputs; exact for a linear layer whose units only decay by themselves.
    Caillon, Fagnou and Allauzen 2025.

    Attributes:
        decay: what takes the place of dy_{t+1}/dy_t, per unit, |decay| < 1.
    """

    decay: Any = 0.9

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="delta_t = q_t + decay delta_{t+1}, dA = (dy/da delta) z^T",
        target="biased: the Jacobian through time is a constant times 1",
        uses=("output error", "stored sequence", "derivatives", "transposed weights"),
        cost="3 passes, backward in parallel",
        memory="T x B x units",
        papers=("caillon2025",),
    )

    def __check_init__(self) -> None:
        """Check that feedback fades."""
        in_range("decay", self.decay, -1, 1, above=True, below=True)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run forward for errors within steps, then send them back through all of time at once."""
        check_acts_within_step(net)

        def one_step(state: PyTree, now: tuple) -> tuple[PyTree, tuple[PyTree, Errors]]:
            x, y = now
            e = errors(net, state, x, lambda out: loss(out, y))
            return e.after, (state, e._replace(after=()))

        states, e = jax.lax.scan(one_step, net.start(xs.shape[1]), (xs, ys))[1]
        signal = []
        for i, ((h, _), site, q) in enumerate(zip(states, e.sites, e.q, strict=True)):
            is_readout = i == len(net.layers) - 1  # only a filter makes its own output act on later ones
            decay = net.layers[i].filters() if is_readout else self.decay
            delta = _fed_back(q, jnp.asarray(decay, q.dtype))  # (T, B, n)
            signal.append(_through_neurons(i, net, h, site.a, delta)[:, None])
        steps_and_examples = xs.shape[0] * xs.shape[1]
        grads = Outer.of(e.sites, signal).settle(net, None)
        return state, e.loss.mean(), averaged(grads, steps_and_examples, None)


def _fed_back(q: Array, decay: Array) -> Array:
    """Return delta_t = q_t + decay delta_{t+1}, by an associative scan from the end."""

    def both(later: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Array, Array]:
        return later[0] * now[0], later[1] * now[0] + now[1]

    factor = jnp.broadcast_to(decay, q.shape)
    return jax.lax.associative_scan(both, (factor, q), reverse=True)[1]


def _through_neurons(i: int, net: Network, h: PyTree, a: Array, delta: Array) -> Array:
    """Return (dy/da)^T delta of a layer for all of time at once."""

    def outputs(a: Array) -> Array:
        return jax.vmap(lambda h, a: advance_batch(i, net.layers[i], h, a)[1])(h, a)

    return jax.vjp(outputs, a)[1](delta)[0]
