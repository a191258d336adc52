"""One-step backpropagation."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import check_acts_within_step
from perturbax.learning.rule import StepRule
from perturbax.learning.shares import ROWS
from perturbax.network.network import Network
from perturbax.rules.backprop.base import differentiate_step


class OneStep(StepRule):
    """One-step backpropagation: the exact gradient of each loss through its own step only.

        dL_t/da_t, with all that was carried over from step t - 1 held constant

    What the public code of Garcia Fernandez et al. 2024 uses as its backpropagation baseline; e-prop for
    cells without internal state (Bellec et al. 2020).
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (dL_t/da_t) z_t^T, carried state constant",
        target="gradient cut at every step, exact",
        uses=("output error", "derivatives", "transposed weights"),
        cost="3 passes",
        memory="constant",
        papers=("garcia2024", "bellec2020"),
    )

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Return the derivatives themselves as signals."""
        check_acts_within_step(net)
        now = differentiate_step(net, carry, x, score)
        parts = Outer.of(now.sites, [slope[None] for slope in now.slopes])
        return now.after, Estimate(now.loss, now.y, now.sites, None, parts)
