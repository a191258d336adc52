"""Activity-based node perturbation (ANP)."""

from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS, SAMPLES
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.node_base import NodeRule


class Activity(NodeRule):
    """Activity-based node perturbation: the measured change of pre-activations stands in for the unknown
    noise.

        dL/da_t  ~  delta_t * N da_t / ||da_t||^2,      da = a(noisy) - a(clean)

    The norm runs over all pre-activations of the network, per example; N is their number. With this factor it
    is unbiased where da is isotropic (one layer, one step); through layers and time da carries earlier noise
    and the direction is biased. Dalm et al. 2023, eq. ANP; Garcia Fernandez et al. 2024 for the time domain.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    facts: ClassVar[Facts] = Facts(
        equation="dA = delta N da / ||da||^2 z^T",
        target="biased: da carries noise from earlier steps and layers",
        uses=("score", "own activity"),
        cost="1 + K passes",
        memory="constant; to-go: T x B x units",
        papers=("dalm2023", "garcia2024"),
        passes=2,
    )

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return the activity difference over its mean square."""
        da = [self.pair(site.a) for site in sites]  # (K, B, ...) per layer
        square = sum(jnp.sum(d * d, tuple(range(2, d.ndim))) for d in da)  # (K, B)
        units = sum(d[0, 0].size for d in da)
        gain = units * delta / jnp.where(square > 0, square, jnp.inf)  # a silent network learns nothing
        return gain, da
