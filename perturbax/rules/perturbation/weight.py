"""Weight perturbation."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.credit import Credit
from perturbax.learning.facts import Facts
from perturbax.learning.scalars import differences
from perturbax.learning.shares import ROWS, SAMPLES
from perturbax.network.network import Network
from perturbax.rules.perturbation.weight_base import WeightRule


class Weight(WeightRule):
    """Weight perturbation: one random direction in weight space, weighted by the change of loss along it.

        dL/dw  ~  (xi / sigma) sum_t delta_t,      delta_t = L_t(w + sigma xi) - L_t(w)

    A direction is shared by the batch and kept for the whole sequence, which credits every loss to it:
    unbiased (up to sigma^2) for the full gradient, with a variance that grows with the number of weights.
    Jabri & Flower 1992; Cauwenberghs 1993; Zuege et al. 2023.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    facts: ClassVar[Facts] = Facts(
        equation="dW = (delta / sigma) xi",
        target="full gradient",
        uses=("score",),
        cost="1 + K passes",
        memory="K x weights",
        papers=("jabri1992", "cauwenberghs1993", "zuege2023"),
        passes=2,
    )

    def described(self) -> Facts:
        """Return the facts: a direction is credited with what happens while it is held, or as credit says."""
        facts = super().described()
        if self.hold_steps == 1:
            return facts.but(target=self.credited_target())
        if self.hold_steps:
            return facts.but(target=f"gradient cut every {self.hold_steps} steps")
        return facts.but(target="full gradient" + self.noise.bias)

    def pairing(self) -> Credit:
        """Return the credit; a longer block would hold a copy of the direction for each of its steps."""
        return super().pairing()._replace(block=1)

    def gradient(self, net: Network, sites: PyTree, first: Array, shift: Network) -> Network:
        """Return the noise difference over its variance."""
        return jax.tree.map(lambda e: e / self.variance, shift)

    def scalars(self, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array, which: Array) -> tuple:
        """Return (loss, the delta of each direction, averaged over T and B, `(m,)`).

        Arguments and errors as in `Rule.scalars`.
        """
        if type(self) is not Weight:
            return super().scalars(net, xs, ys, loss, key, which)
        if self.hold_steps:
            raise ArgumentError(
                "hosts share directions that are kept for the sequence: leave hold_steps at 0"
            )
        clean, delta = differences(self.of_samples(which), loss, net, xs, ys, key)
        return clean, delta.mean((0, 2))

    def from_scalars(self, net: Network, xs: Array, key: Array, scalars: Array) -> Network:
        """Return the mean of the directions, each times its scalar.

        Arguments as in `Rule.from_scalars`.
        """
        every = self.of_samples()
        xi = every.init_sequence(net, (), xs[0], jr.split(key)[0])[2]
        along = jax.tree.map(lambda e: e / self.variance, every.pair(every.noise_of_rows(xi)))  # (K, ...)
        return jax.tree.map(lambda e: jnp.tensordot(scalars.astype(e.dtype), e, 1) / len(scalars), along)
