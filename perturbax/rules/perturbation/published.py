"""The perturbation rules exactly as the public code of Garcia Fernandez et al. 2024 has them.

They share one loss difference between all examples of a batch, pair it with the same step only, and scale by
1/sigma, or by sqrt(N) and a norm per layer: other steps than the rules of this library take, kept for
comparison. The public code sums over time where estimates here are averages, hence `summed`; it runs them
with plain SGD.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.errors import ArgumentError
from perturbax.fields import setting
from perturbax.learning.credit import Credit
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Noise, as_noise
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.base import Perturbation
from perturbax.rules.perturbation.node_base import NodeRule
from perturbax.rules.perturbation.weight_base import WeightRule

PLAIN_SGD: dict[str, Any] = {"optimiser": "sgd", "schedule": "constant", "clip": 0.0}
PUBLISHED = Facts(
    cost="1 + K passes",
    memory="constant",
    papers=("garcia2024",),
    passes=2,
    run_settings=PLAIN_SGD,
    summed=True,
)


def _shared(delta: Array) -> Array:
    """One difference for the whole batch, not yet divided by the batch size."""
    return jnp.broadcast_to(delta.sum(-1, keepdims=True), delta.shape)


def _one_sided(rule: Perturbation) -> None:
    if rule.difference != "one-sided":
        raise ArgumentError(
            "the published rules compare a noisy pass with a clean one: difference is one-sided"
        )


class PublishedNode(NodeRule):
    """Published node perturbation: scaled by 1/sigma and one loss difference per batch.

    dA_t = (1/sigma) delta_t eps_t z_t^T,   eps ~ N(0, sigma^2), summed over batch and time
    """

    follows_asking: ClassVar[bool] = False  # as it was published
    noise: Noise = eqx.field(converter=as_noise, default="gaussian")

    facts: ClassVar[Facts] = PUBLISHED.but(
        equation="dA = (delta / sigma) eps z^T, eps = sigma xi, delta a batch mean",
        target="sigma x the gradient cut at every step, of the batch",
    )

    def __check_init__(self) -> None:
        """Refuse differences that were not published."""
        _one_sided(self)

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return the noise over sigma, and one loss difference for the batch."""
        return _shared(delta), [noise / self.sigma for noise in self.pair(list(inject))]


class PublishedActivity(NodeRule):
    """Published activity perturbation: sqrt(N), a norm per layer over the whole batch, one difference per
    batch.

        dA_t = sqrt(N) delta_t (da_t / ||da_t||_F^2) z_t^T,   N = inputs + units of all layers

    Attributes:
        over_batch: divide by the batch size, as the published Mackey-Glass and weather loops do.
    """

    follows_asking: ClassVar[bool] = False  # as it was published
    noise: Noise = eqx.field(converter=as_noise, default="gaussian")
    over_batch: bool = setting(False)

    facts: ClassVar[Facts] = PUBLISHED.but(
        equation="dA = sqrt(N) delta da / ||da||_F^2 z^T, delta a batch mean",
        target="biased; layers are scaled by 1 / their size",
        uses=("score", "own activity"),
    )

    def __check_init__(self) -> None:
        """Refuse differences that were not published."""
        _one_sided(self)

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return activity differences over their squared norm, layer by layer."""
        units = sites[0].z.shape[-1] + sum(site.a[0, 0].size for site in sites)
        da = [self.pair(site.a) for site in sites]
        square = [jnp.sum(d * d, tuple(range(1, d.ndim)), keepdims=True) for d in da]
        gain = math.sqrt(units) * _shared(delta) / (delta.shape[-1] if self.over_batch else 1)
        return gain, [d / jnp.where(s > 0, s, jnp.inf) for d, s in zip(da, square, strict=True)]


class PublishedWeight(WeightRule):
    """Published weight perturbation: a new direction at every step, shared by the batch, scaled by 1/sigma.

    dW_t = (1/sigma) delta_t eps_t,   eps ~ N(0, sigma^2); recurrent weights rest at the first step
    """

    noise: Noise = eqx.field(converter=as_noise, default="gaussian")
    hold_steps: int = setting(1)

    facts: ClassVar[Facts] = PUBLISHED.but(
        equation="dW = (delta / sigma) eps, eps = sigma xi redrawn at every step",
        target="sigma x the gradient cut at every step",
        memory="K x weights",
    )

    def __check_init__(self) -> None:
        """Refuse differences that were not published."""
        _one_sided(self)

    def pairing(self) -> Credit:
        """Return the credit; a longer block would hold a copy of the direction for each of its steps."""
        return super().pairing()._replace(block=1)

    def gradient(self, net: Network, sites: Sequence[Site], first: Array, shift: Network) -> Network:
        """Return the noise over sigma, only where something flows through the weight: not through r at
        first.
        """
        ones = [Site(jnp.ones_like(s.z), jnp.where(first, 0, jnp.ones_like(s.r)), None) for s in sites]
        reached = net.credit(ones, [jnp.ones_like(s.a) for s in sites])
        return jax.tree.map(lambda e, f: jnp.where(f != 0, e / self.sigma, 0), shift, reached)
