"""Innovation rule: node perturbation with noise that nobody recorded."""

from collections.abc import Sequence
from typing import ClassVar

import jax
from jaxtyping import Array

from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS, SAMPLES
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.node_base import NodeRule


class Innovation(NodeRule):
    """Innovation rule: recovers unknown noise from what each unit sees, then does node perturbation.

        xi_t sigma = a_t - drive(z_t, r_t)   in the noisy network,      dL/da_t ~ (innovation / sigma^2) delta

    Local to the unit, and unbiased like node perturbation without knowing the noise (only its variance).
    The innovation of a linear predictor (Kailath 1968), used here as a learning signal.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (delta / sigma^2) (a - drive(z, r))_noisy z^T",
        target="as node, without knowing the noise",
        uses=("score", "own activity", "forward weights"),
        cost="1 + K passes, and the drive of each noisy row once more",
        memory="constant; to-go: T x B x units",
        papers=("kailath1968", "fiete2006"),
        passes=2,
    )

    def described(self) -> Facts:
        """Return the facts: without bias for what its credit covers."""
        return super().described().but(target=self.credited_target())

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return the innovation difference over its variance."""
        innovation = []
        for layer, site in zip(net.layers, sites, strict=True):
            predicted = jax.vmap(jax.vmap(layer.drive))(site.z, site.r)  # (rows, B, ...)
            innovation.append(site.a - predicted)
        return delta, [i / self.measured_variance for i in self.pair(innovation)]
