"""Iterative node perturbation (INP): one layer noised at a time."""

from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import setting
from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS
from perturbax.learning.trees import expand_like
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.node_base import NodeRule


class Iterative(NodeRule):
    """Iterative node perturbation: each noisy pass perturbs one layer, which learns from what its own noise
    did.

        dL/da_l  ~  delta_l N_l da_l / ||da_l||^2,      da_l = a_l(noisy) - a_l(clean), noise in layer l alone

    N_l is the number of units of layer l; the norm is taken per example. Pass k perturbs layer k mod L. No
    layer sees another's noise, at L + 1 passes or more. Dalm et al. 2023, eq. INP. In time da_l also carries
    the noise of earlier steps through recurrent weights, and the direction is biased, as in `activity`.
    """

    samples: int = setting(2)

    shares: ClassVar[tuple[str, ...]] = (ROWS,)  # which layer a sample perturbs depends on its place
    facts: ClassVar[Facts] = Facts(
        equation="dA_l = delta_l N_l da_l / ||da_l||^2 z^T, noise in layer l alone",
        target="feed-forward: full gradient; in time biased: da carries noise from earlier steps",
        uses=("score", "own activity"),
        cost="1 + K passes, K at least the number of layers",
        memory="constant; to-go: T x B x units",
        papers=("dalm2023",),
        passes=3,
    )

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the state of the noise; raises ArgumentError with fewer samples than layers."""
        if self.samples < len(net.layers):
            raise ArgumentError(
                f"iterative perturbs one layer per pass: samples must be {len(net.layers)} or more"
            )
        return super().init_state(net, x, key)

    def noise_of_rows(self, xi: PyTree) -> PyTree:
        """Return the noise of all rows, in each row only in the layer whose turn it is."""
        draws = len(xi[0]) // self.samples  # one, or one for either row of a pair
        masked = []
        for e, mine in zip(xi, self._turns(len(xi)), strict=True):
            in_turn = jnp.tile(mine, draws).astype(e.dtype)
            masked.append(e * expand_like(in_turn, e))
        return super().noise_of_rows(masked)

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return each layer's activity difference in its own passes, over its mean square."""
        signal = []
        for site, mine in zip(sites, self._turns(len(sites)), strict=True):
            da = self.pair(site.a)  # (K, B, ...)
            square = jnp.sum(da * da, tuple(range(2, da.ndim)), keepdims=True)
            units = da[0, 0].size
            share = self.samples / mine.sum()  # estimates are averaged over all passes
            mine = expand_like(mine.astype(da.dtype), da)
            signal.append(mine * share * units * da / jnp.where(square > 0, square, jnp.inf))
        return delta, signal

    def _turns(self, layers: int) -> list[Array]:
        """Return for every layer which of the K pairs of passes are its own, 1 or 0, `(K,)`."""
        turn = jnp.arange(self.samples) % layers
        return [jnp.where(turn == layer, 1.0, 0.0) for layer in range(layers)]
