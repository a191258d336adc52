"""Innovation rule: node perturbation with noise that nobody recorded."""

from collections.abc import Sequence
from typing import ClassVar

import jax
from jaxtyping import Array

from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.base import NodePerturbation


class Innovation(NodePerturbation):
    """Innovation rule: recovers unknown noise from what each unit sees, then does node perturbation.

        xi_t sigma = a_t - drive(z_t, r_t)   in the noisy network,      dL/da_t ~ (innovation / sigma^2) delta

    Local to the unit, and unbiased like node perturbation without knowing the noise (only its variance).
    The innovation of a linear predictor; used here as a learning signal.
    """

    equation: ClassVar[str] = "dA = (delta / sigma^2) (a - drive(z, r))_noisy z^T"
    target: ClassVar[str] = "as node, without knowing the noise"
    uses: ClassVar[tuple[str, ...]] = ("score", "own activity", "forward weights")
    cost: ClassVar[str] = "1 + K passes, and the drive of each noisy row once more"
    memory: ClassVar[str] = "constant; to-go: T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("kailath1968", "fiete2006")

    def aim(self) -> str:
        """Unbiased within the reach of its credit."""
        return self.reach()

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return the innovation difference over its variance."""
        drives = [
            jax.vmap(jax.vmap(layer.drive))(s.z, s.r) for layer, s in zip(net.layers, sites, strict=True)
        ]
        innovation = [site.a - drive for site, drive in zip(sites, drives, strict=True)]
        return delta, [i / self.measured_variance for i in self.pair(innovation)]
