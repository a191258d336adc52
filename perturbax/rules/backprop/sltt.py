"""Spatial learning through time: spiking networks by one-step backpropagation."""

from typing import Any, ClassVar

import jax
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.fields import in_range
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.rule import StepRule
from perturbax.network.network import Network
from perturbax.rules.backprop.base import differentiate_step, membrane_leaks


class SLTT(StepRule):
    """Spatial learning through time: spiking networks by one-step backpropagation, in all steps or in a
    random share.

        dL_t/da_t through the surrogate derivative, all that was carried constant; steps drawn with
        probability share

    Meng et al. 2023. Divided by share, so that the expectation does not depend on it.

    Attributes:
        share: probability that a step is learnt from, 0 < share <= 1 (K steps of T: K / T).
    """

    share: float = 1.0

    facts: ClassVar[Facts] = Facts(
        equation="dA = (dL_t/da_t) z_t^T in a share of the steps",
        target="gradient cut at every step",
        uses=("output error", "derivatives", "transposed weights"),
        cost="3 passes; hardware may skip two in steps left out",
        memory="constant",
        papers=("meng2023",),
    )

    def __check_init__(self) -> None:
        """Check the share of steps."""
        in_range("share", self.share, 0, 1, above=True)

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network; raises LayerError for cells that do not spike."""
        membrane_leaks(net)
        return net.start(len(x))

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw whether a step is learnt from: 1 / share or 0."""
        return carry, jax.vmap(lambda k: jr.bernoulli(k, self.share) / self.share)(keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Return the derivatives of this step, times the weight that was drawn for it."""
        now = differentiate_step(net, carry, x, score)
        signal = [(noise.astype(slope.dtype) * slope)[None] for slope in now.slopes]
        return now.after, Estimate(now.loss, now.y, now.sites, None, Outer.of(now.sites, signal))
