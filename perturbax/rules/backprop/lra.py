"""Local representation alignment through time."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import positive, setting
from perturbax.learning.jacobian import Flat
from perturbax.learning.rule import WholeSequence
from perturbax.learning.sequence import Estimator, Loss, raised
from perturbax.network.layer import join, split
from perturbax.network.network import Network


class LRA(WholeSequence):
    """Local representation alignment: targets for every step's state, and a local loss that pulls towards
    each.

        target of s_t:  shat <- shat - rate clip(d loc_{t+1}(shat) / dshat + dL_t/ds_t),  inner times, from
        s_t dW ~ sum_t d loc_t / dW,   loc_t(s) = |F(s_{t-1}) - shat_t|^2 / 2,   targets and s_{t-1} constant

    Runs backwards through the sequence, one step of derivatives at a time. With rate 1, one inner step and no
    clipping targets lie where backpropagated errors point: that is BPTT. Smaller rates discount the past by
    rate per step, more inner steps follow the curve of the step. Ororbia and Mali 2019; for recurrent
    networks Manchev and Spratling 2020.

    Attributes:
        rate: of the steps that targets take.
        inner: steps that every target takes.
        clip: largest norm of a step, per example; 0 for none.
    """

    rate: float = 0.5
    inner: int = setting(2)
    clip: float = setting(1.0)

    equation: ClassVar[str] = "shat = s - rate clip(d loc'/ds + dL/ds), dW = d |F(s) - shat|^2 / 2 / dW"
    target: ClassVar[str] = "biased by rate, clipping and inner steps; rate 1, inner 1, clip 0: full gradient"
    uses: ClassVar[tuple[str, ...]] = ("output error", "stored sequence", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 + 3 inner passes"
    memory: ClassVar[str] = "T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("ororbia2019", "manchev2020")

    def __check_init__(self) -> None:
        """Targets must move."""
        positive("rate", self.rate)
        positive("inner", self.inner)
        if self.clip < 0:
            raise ArgumentError(f"clip must be 0 (off) or more, not {self.clip}")

    def passes(self) -> int:
        """Forth, then for every inner step and for the weights a step and its derivative."""
        return 3 + 3 * self.inner

    def estimator(self, loss: Loss) -> Estimator:
        """Forth for states, back for targets and gradients."""

        def estimate(net: Network, xs: Array, ys: Any, key: Array) -> tuple[Array, Network]:
            some, rest = split(net)

            def forth(state: PyTree, x: Array) -> tuple[PyTree, PyTree]:
                return net.step(state, x)[0], state

            states = jax.lax.scan(forth, net.start(xs.shape[1]), xs)[1]

            def local(some: Network, state: PyTree, v: Array, now: tuple) -> tuple[Array, Array]:
                """Return (distance from the target + this step's loss, this step's loss), from the vector
                v.
                """
                x, y, aim = now
                after, out, _ = join(some, rest).step(Flat.of(net, state).build(v), x)
                own = loss(raised(out), y).sum()
                return jnp.sum((Flat.of(net, after).vector - aim) ** 2) / 2 + own, own

            def back(carry: tuple, now: tuple) -> tuple[tuple, Array]:
                aim, grads = carry
                state, x, y = now
                v = Flat.of(net, state).vector
                more, total = jax.grad(local, has_aux=True)(some, state, v, (x, y, aim))
                moved = v
                for _ in range(self.inner):
                    moved = moved - self.rate * self._clipped(
                        jax.grad(local, 2, has_aux=True)(some, state, moved, (x, y, aim))[0]
                    )
                return (moved, jax.tree.map(jnp.add, grads, more)), total

            end = Flat.of(net, forth(jax.tree.map(lambda s: s[-1], states), xs[-1])[0]).vector
            start = end, jax.tree.map(jnp.zeros_like, some)
            (_, grads), losses = jax.lax.scan(back, start, (states, xs, ys), reverse=True)
            rows = xs.shape[0] * xs.shape[1]
            return losses.sum() / rows, jax.tree.map(lambda g: g / rows, grads)

        return estimate

    def _clipped(self, g: Array) -> Array:
        if not self.clip:
            return g
        norm = jnp.linalg.norm(g, axis=1, keepdims=True)
        return g * jnp.minimum(1.0, self.clip / jnp.maximum(norm, 1e-30))
