"""Node perturbation."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.learning.credit import Estimate, Outer
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.base import NodePerturbation


class Node(NodePerturbation):
    """Node perturbation: the injected noise, weighted by the change of loss that came with it.

        dL/da_t  ~  xi_t / sigma * sum_{k < window} discount^k delta_{t+k},      delta = L(noisy) - L(clean)

    Unbiased (up to sigma^2) for the gradient cut at every step with same-step credit, and for the full
    gradient with to-go credit at discount 1. Flower & Jabri 1992; Fiete & Seung 2006; Dalm et al. 2023, eq.
    NP.
    """

    equation: ClassVar[str] = "dA = (delta / sigma) xi z^T"
    target: ClassVar[str] = "same-step: gradient cut at every step; to-go: full gradient; between: discounted"
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = "1 + K passes"
    memory: ClassVar[str] = "constant; to-go: T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("flower1992", "fiete2006", "dalm2023")

    def aim(self) -> str:
        """Unbiased within the reach of its credit."""
        return self.reach()

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return the noise difference over its variance."""
        return delta, [noise / self.variance for noise in self.pair(list(inject))]

    def passes(self) -> int:
        """Replay takes one more clean pass: signals are the noise itself."""
        return self.lanes + 1 if self.credit == "replay" and self.clean else super().passes()

    def rewind(self, carry: PyTree) -> PyTree:
        """The clean row alone."""
        states, left = carry
        return jax.tree.map(lambda s: s[:1], states) if self.clean else states, left

    def again(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step the clean row."""
        if not self.clean:
            return super().again(net, carry, x, score, noise)
        states, left = carry
        spread = self.noise.spread(left) or [jnp.ones(e.shape[2:], e.dtype) for e in noise]
        clean, y, sites = net.step(jax.tree.map(lambda s: s[0], states), x)
        signal = [
            e * (self.sigma / (self.variance * s[None, None])) for e, s in zip(noise, spread, strict=True)
        ]
        left = self.noise.adapt(left, [site.a for site in sites])
        parts = Outer(tuple(site._replace(a=None) for site in sites), tuple(signal))
        return (jax.tree.map(lambda s: s[None], clean), left), Estimate(score(y), y, sites, None, parts)
