"""Local representation alignment through time."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import in_range, positive, setting
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import Flat
from perturbax.learning.rule import SequenceRule
from perturbax.learning.shares import ROWS
from perturbax.learning.trees import tree_add
from perturbax.network.layer import join, split
from perturbax.network.network import Network


class LRA(SequenceRule):
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

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="shat = s - rate clip(d loc'/ds + dL/ds), dW = d |F(s) - shat|^2 / 2 / dW",
        target="biased by rate, clipping and inner steps; rate 1, inner 1, clip 0: full gradient",
        uses=("output error", "stored sequence", "derivatives", "transposed weights"),
        cost="3 + 3 inner passes",
        memory="T x B x units",
        papers=("ororbia2019", "manchev2020"),
        passes=9,
    )

    def __check_init__(self) -> None:
        """Check the steps that targets take."""
        positive("rate", self.rate)
        positive("inner", self.inner)
        in_range("clip", self.clip, 0)

    def described(self) -> Facts:
        """Return the facts: a pass, then a step and its derivative for every inner step and for the
        weights.
        """
        return super().described().but(passes=3 + 3 * self.inner)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run forward for states, then backward for targets and gradients."""
        some, rest = split(net)

        def one_step(state: PyTree, x: Array) -> tuple[PyTree, PyTree]:
            return net.step(state, x)[0], state

        states = jax.lax.scan(one_step, net.start(xs.shape[1]), xs)[1]

        def local_loss(
            some: Network, state: PyTree, v: Array, x: Array, y: Any, aim: Array
        ) -> tuple[Array, Array]:
            """Return (squared distance from the target / 2 + this step's loss, this step's loss) from the
            vector v.
            """
            after, out, _ = join(some, rest).step(Flat.of(net, state).build(v), x)
            own = loss(out, y).sum()
            return jnp.sum((Flat.of(net, after).vector - aim) ** 2) / 2 + own, own

        def one_step_back(carry: tuple, now: tuple) -> tuple[tuple, Array]:
            aim, grads = carry
            state, x, y = now
            v = Flat.of(net, state).vector  # (B, S)
            by_weights, own = jax.grad(local_loss, has_aux=True)(some, state, v, x, y, aim)
            target = v
            for _ in range(self.inner):
                by_state = jax.grad(local_loss, 2, has_aux=True)(some, state, target, x, y, aim)[0]
                target = target - self.rate * self._clipped(by_state)
            return (target, tree_add(grads, by_weights)), own

        last_state = jax.tree.map(lambda s: s[-1], states)
        end = Flat.of(net, net.step(last_state, xs[-1])[0]).vector
        start = end, jax.tree.map(jnp.zeros_like, some)
        (_, grads), losses = jax.lax.scan(one_step_back, start, (states, xs, ys), reverse=True)
        steps_and_examples = xs.shape[0] * xs.shape[1]
        return state, losses.sum() / steps_and_examples, jax.tree.map(lambda g: g / steps_and_examples, grads)

    def _clipped(self, g: Array) -> Array:
        """Return g `(B, S)` with the norm of every example at most `clip`."""
        if not self.clip:
            return g
        norm = jnp.linalg.norm(g, axis=1, keepdims=True)
        return g * jnp.minimum(1.0, self.clip / jnp.maximum(norm, 1e-30))
