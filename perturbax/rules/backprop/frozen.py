"""Frozen recurrence with a trained readout."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.rule import StepRule
from perturbax.learning.shares import ROWS
from perturbax.network.network import Network
from perturbax.rules.backprop.base import differentiate_step


class Frozen(StepRule):
    """Frozen recurrence: every layer but the last keeps its random weights; the readout gets its exact
    gradient.

        dA_readout = (dL_t/da_t) z_t^T,   all else 0

    The reservoir (echo state) baseline: a rule that does not beat it has not trained the recurrence. Jaeger
    2001.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (dL_t/da_t) z_t^T for the readout, 0 elsewhere",
        target="full gradient of the readout, exact",
        uses=("output error",),
        cost="1 pass",
        memory="constant",
        papers=("jaeger2001",),
        passes=1,
    )

    def modify_updates(self, updates: Network, some: Network) -> Network:
        """Return zeros for the reservoir, so that no optimiser (weight decay) moves it without a gradient."""
        still = jax.tree.map(jnp.zeros_like, updates.layers[:-1])
        return updates.like((*still, updates.layers[-1]), updates.decor)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Return a signal for the readout only."""
        now = differentiate_step(net, carry, x, score)
        *hidden, readout = now.slopes
        signal = [*(jnp.zeros_like(slope[None]) for slope in hidden), readout[None]]
        return now.after, Estimate(now.loss, now.y, now.sites, None, Outer.of(now.sites, signal))
