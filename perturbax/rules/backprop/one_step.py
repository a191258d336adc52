"""Backpropagation through one step, and through the readout alone."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.learning.credit import Estimate, Outer
from perturbax.learning.rule import Rule
from perturbax.network.network import Network


def one_step(net: Network, state: PyTree, x: Array, score: Any) -> tuple[PyTree, Array, Array, tuple, list]:
    """Step, and differentiate this step's loss by each pre-activation: no error crosses a time step."""

    def run(shift: list[Array]) -> tuple[Array, tuple]:
        after, y, sites = net.step(state, x, shift)
        return score(y), (after, y, sites)

    shapes = jax.eval_shape(net.step, state, x)[2]
    still = [jnp.zeros(site.a.shape, site.a.dtype) for site in shapes]
    loss, pull, (after, y, sites) = jax.vjp(run, still, has_aux=True)
    return after, loss, y, sites, pull(jnp.ones_like(loss))[0]


class OneStep(Rule):
    """One-step backpropagation: the exact gradient of each loss through its own step only.

        dL_t/da_t, with all that was carried over from step t - 1 held constant

    What the public code of Garcia Fernandez et al. 2024 uses as its backpropagation baseline; e-prop for
    cells without internal state (Bellec et al. 2020).
    """

    equation: ClassVar[str] = "dA = (dL_t/da_t) z_t^T, carried state constant"
    target: ClassVar[str] = "gradient cut at every step, exact"
    uses: ClassVar[tuple[str, ...]] = ("output error", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 passes"
    memory: ClassVar[str] = "constant"
    papers: ClassVar[tuple[str, ...]] = ("garcia2024", "bellec2020")

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network."""
        return net.start(batch)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Signals are the derivatives themselves."""
        after, loss, y, sites, slopes = one_step(net, carry, x, score)
        return after, Estimate(loss, y, sites, None, Outer(sites, tuple(s[None] for s in slopes)))


class Frozen(Rule):
    """Frozen recurrence: every layer but the last keeps its random weights; the readout gets its exact
    gradient.

        dA_readout = (dL_t/da_t) z_t^T,   all else 0

    The reservoir (echo state) baseline: a rule that does not beat it has not trained the recurrence. Jaeger
    2001.
    """

    equation: ClassVar[str] = "dA = (dL_t/da_t) z_t^T for the readout, 0 elsewhere"
    target: ClassVar[str] = "full gradient of the readout, exact"
    uses: ClassVar[tuple[str, ...]] = ("output error",)
    cost: ClassVar[str] = "1 pass"
    memory: ClassVar[str] = "constant"
    papers: ClassVar[tuple[str, ...]] = ("jaeger2001",)

    def passes(self) -> int:
        """The backward product touches the readout only."""
        return 1

    def hold(self, updates: Network, some: Network) -> Network:
        """Keep optimisers that move weights without a gradient (weight decay) off the reservoir."""
        still = jax.tree.map(jnp.zeros_like, updates.layers[:-1])
        return updates.like((*still, updates.layers[-1]), updates.decor)

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network."""
        return net.start(batch)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Only the readout has a signal."""
        after, loss, y, sites, slopes = one_step(net, carry, x, score)
        signal = [jnp.zeros_like(s[None]) for s in slopes[:-1]] + [slopes[-1][None]]
        return after, Estimate(loss, y, sites, None, Outer(sites, tuple(signal)))
