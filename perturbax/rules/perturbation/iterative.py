"""Iterative node perturbation (INP): one layer noised at a time."""

from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import setting
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.base import NodePerturbation


class Iterative(NodePerturbation):
    """Iterative node perturbation: each noisy pass perturbs one layer, which learns from what its own noise
    did.

        dL/da_l  ~  delta_l N_l da_l / ||da_l||^2,      da_l = a_l(noisy) - a_l(clean), noise in layer l alone

    N_l is the number of units of layer l; the norm is taken per example. Pass k perturbs layer k mod L. No
    layer sees another's noise, at L + 1 passes or more. Dalm et al. 2023, eq. INP. In time da_l also carries
    the noise of earlier steps through recurrent weights, and the direction is biased, as in `activity`.
    """

    samples: int = setting(2)

    equation: ClassVar[str] = "dA_l = delta_l N_l da_l / ||da_l||^2 z^T, noise in layer l alone"
    target: ClassVar[str] = "feed-forward: full gradient; in time biased: da carries noise from earlier steps"
    uses: ClassVar[tuple[str, ...]] = ("score", "own activity")
    cost: ClassVar[str] = "1 + K passes, K at least the number of layers"
    memory: ClassVar[str] = "constant; to-go: T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("dalm2023",)

    def begin(self, net: Network, x: Array) -> PyTree:
        """Every layer needs a pass of its own."""
        if self.samples < len(net.layers):
            raise ArgumentError(
                f"iterative perturbs one layer per pass: samples must be {len(net.layers)} or more"
            )
        return super().begin(net, x)

    def rows(self, xi: PyTree) -> PyTree:
        """Noise in the layer whose turn it is."""
        mine = self._turns(len(xi))
        drawn = len(xi[0]) // self.samples  # once, or for both of a pair
        return super().rows([e * _front(jnp.tile(m, drawn), e) for e, m in zip(xi, mine, strict=True)])

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return each layer's activity difference in its own passes, over its mean square."""
        signal = []
        for site, mine in zip(sites, self._turns(len(sites)), strict=True):
            da = self.pair(site.a)
            square = jnp.sum(da * da, tuple(range(2, da.ndim)), keepdims=True)
            share = self.samples / mine.sum()  # estimates are averaged over all passes
            signal.append(
                _front(mine, da) * share * da[0, 0].size * da / jnp.where(square > 0, square, jnp.inf)
            )
        return delta, signal

    def _turns(self, layers: int) -> list[Array]:
        """Return for every layer which of the K pairs of passes are its own, 1 or 0, `(K,)`."""
        turn = jnp.arange(self.samples) % layers
        return [jnp.where(turn == layer, 1.0, 0.0) for layer in range(layers)]


def _front(values: Array, like: Array) -> Array:
    """Return values `(K,)` for products with an array of any rank, `(K, ...)`."""
    return values.reshape(-1, *[1] * (like.ndim - 1)).astype(like.dtype)
