"""Spatial learning through time: spiking networks by one-step backpropagation."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import chance, whole
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import check_acts_within_step
from perturbax.learning.rule import StepRule
from perturbax.learning.shares import ROWS
from perturbax.network.network import Network
from perturbax.rules.backprop.base import differentiate_step, membrane_leaks


class Drawn(NamedTuple):
    """How far the draw of distinct steps has come within its stretch.

    Attributes:
        seen: steps of the stretch that were decided, integer.
        taken: how many of them are learnt from, integer.
    """

    seen: Array
    taken: Array


class SLTT(StepRule):
    """Spatial learning through time: spiking networks by one-step backpropagation, in all steps, in a
    random share, or in a fixed number of distinct steps.

        dL_t/da_t through the surrogate derivative, all that was carried constant

    Meng et al. 2023. With share, every step is drawn by itself; with steps (their SLTT-K), every stretch of
    `of` steps has exactly that many, and all choices of distinct steps are equally likely. Either way the sum
    is divided by the share of steps that are learnt from, so that its expectation does not depend on it; the
    paper's own gradient is steps / of times this one.

    Attributes:
        share: probability that a step is learnt from, 0 < share <= 1.
        steps: how many distinct steps of each stretch are learnt from (K); 0: as share says.
        of: length of a stretch; the length T of the sequences, for K distinct steps of each.
    """

    share: float = 1.0
    steps: int = 0
    of: int = 0

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (dL_t/da_t) z_t^T in a share of the steps",
        target="gradient cut at every step",
        uses=("output error", "derivatives", "transposed weights"),
        cost="3 passes; hardware may skip two in steps left out",
        memory="constant",
        papers=("meng2023",),
    )

    def __check_init__(self) -> None:
        """Check the share of steps, or how many of how many."""
        chance("share", self.share)
        whole("steps", self.steps, 0)
        whole("of", self.of, 0)
        if (self.steps or self.of) and not 1 <= self.steps <= self.of:
            raise ArgumentError(
                "sltt learns from `steps` distinct steps of every `of`, 1 <= steps <= of; "
                f"not {self.steps} of {self.of}"
            )
        if self.steps and self.share != 1.0:
            raise ArgumentError(
                "sltt learns from a share of the steps, or from `steps` of every `of`: give one"
            )

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, with distinct steps (state, how far their draw is).

        Raises LayerError for cells that do not spike.
        """
        membrane_leaks(net)
        state, none = net.start(len(x)), jnp.zeros((), int)
        return (state, Drawn(none, none)) if self.steps else state

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw the weight of every step: 1 over the share of steps that are learnt from, or 0."""
        if not self.steps:
            return carry, jax.vmap(lambda key: jr.bernoulli(key, self.share) / self.share)(keys)
        state, drawn = carry
        drawn, taken = jax.lax.scan(self._draw_distinct, drawn, keys)  # taken: (b,)
        return (state, drawn), taken * (self.of / self.steps)

    def _draw_distinct(self, drawn: Drawn, key: Array) -> tuple[Drawn, Array]:
        """Take a step with the probability (steps still to take) / (steps left in its stretch)."""
        still_to_take, left = self.steps - drawn.taken, self.of - drawn.seen
        take = jr.uniform(key) * left < still_to_take
        seen, taken = drawn.seen + 1, drawn.taken + take
        goes_on = seen < self.of
        return Drawn(seen * goes_on, taken * goes_on), take

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Return the derivatives of this step, times the weight that was drawn for it."""
        state, drawn = carry if self.steps else (carry, None)
        check_acts_within_step(net)
        now = differentiate_step(net, state, x, score)
        signal = [(noise.astype(slope.dtype) * slope)[None] for slope in now.slopes]
        after = (now.after, drawn) if self.steps else now.after
        return after, Estimate(now.loss, now.y, now.sites, None, Outer.of(now.sites, signal))
