"""Diagonal state feedback."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.credit import Outer
from perturbax.learning.jacobian import Errors, errors
from perturbax.learning.rule import WholeSequence
from perturbax.learning.sequence import Estimator, Loss, averaged, raised
from perturbax.network.layer import advance_batch
from perturbax.network.network import Network


class DSF(WholeSequence):
    """Diagonal state feedback: the backward pass through time with a fixed diagonal in place of the Jacobian.

        delta_t = q_t + decay delta_{t+1},   dL/da_t  ~  (dy_t/da_t)^T delta_t,   q_t = dL_t/dy_t within the step

    The recursion is linear and the same for all, so it runs parallel in T. decay 0 is one-step
    backpropagation of visible outputs; exact for a linear layer whose units only decay by themselves.
    Caillon, Fagnou and Allauzen 2025.

    Attributes:
        decay: what takes the place of dy_{t+1}/dy_t, per unit, |decay| < 1.
    """

    decay: Any = 0.9

    equation: ClassVar[str] = "delta_t = q_t + decay delta_{t+1}, dA = (dy/da delta) z^T"
    target: ClassVar[str] = "biased: the Jacobian through time is a constant times 1"
    uses: ClassVar[tuple[str, ...]] = ("output error", "stored sequence", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 passes, backward in parallel"
    memory: ClassVar[str] = "T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("caillon2025",)

    def __check_init__(self) -> None:
        """Feedback must fade."""
        if isinstance(self.decay, int | float) and not -1 < self.decay < 1:
            raise ArgumentError(f"decay must lie between -1 and 1, not {self.decay}")

    def estimator(self, loss: Loss) -> Estimator:
        """Run forth for errors within steps, then all of time at once."""

        def estimate(net: Network, xs: Array, ys: Any, key: Array) -> tuple[Array, Network]:
            def forth(state: PyTree, now: tuple) -> tuple[PyTree, tuple[PyTree, Errors]]:
                x, y = now
                e = errors(net, state, x, lambda out: loss(raised(out), y))
                return e.after, (state, e._replace(after=()))

            states, e = jax.lax.scan(forth, net.start(xs.shape[1]), (xs, ys))[1]
            signal = []
            for i, ((h, _), site, q) in enumerate(zip(states, e.sites, e.q, strict=True)):
                last = (
                    i == len(net.layers) - 1
                )  # only a filter makes its own output act on later ones: that is known
                decay = net.layers[i].filters() if last else self.decay
                delta = _fed_back(q, jnp.asarray(decay, q.dtype))
                signal.append(_behind(i, net, h, site.a, delta)[:, None])
            rows = xs.shape[0] * xs.shape[1]
            grads = Outer(tuple(s._replace(a=None) for s in e.sites), tuple(signal)).settle(net, None)
            return e.loss.mean(), averaged(grads, rows, None)

        return estimate


def _fed_back(q: Array, decay: Array) -> Array:
    """Return delta_t = q_t + decay delta_{t+1}, by an associative scan from the end."""

    def both(later: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Array, Array]:
        return later[0] * now[0], later[1] * now[0] + now[1]

    factor = jnp.broadcast_to(decay, q.shape)
    return jax.lax.associative_scan(both, (factor, q), reverse=True)[1]


def _behind(i: int, net: Network, h: PyTree, a: Array, delta: Array) -> Array:
    """Return (dy/da)^T delta of a layer for all of time at once."""

    def outputs(a: Array) -> Array:
        return jax.vmap(lambda h, a: advance_batch(i, net.layers[i], h, a)[1])(h, a)

    return jax.vjp(outputs, a)[1](delta)[0]
