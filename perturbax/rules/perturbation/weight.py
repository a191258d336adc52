"""Weight perturbation."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import setting
from perturbax.learning.credit import Direct, Estimate
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import Perturbation, resolved
from perturbax.rules.perturbation.helpers import drawn, shifted


class WeightPerturbation(Perturbation):
    """Base of the rules that perturb weights: a network per row, a rule is its `gradient`.

    Attributes:
        hold_steps: steps before a new direction is drawn, 0 to keep one for the whole sequence. With 1,
            credit window and to-go apply; with more, losses beyond the hold are not credited.
    """

    hold_steps: int = setting(0)

    def __check_init__(self) -> None:
        """Refuse credit that would count a loss twice."""
        if self.hold_steps < 0:
            raise ArgumentError(f"hold_steps must be 0 or more, not {self.hold_steps}")
        if self.credit in ("replay", "trace"):
            raise ArgumentError(f"credit {self.credit} is for noise in pre-activations, not in weights")
        if self.noise.spread(self.noise.init([jnp.ones((1, 1))])) is not None:
            raise ArgumentError(f"{type(self.noise).__name__} noise is for pre-activations, not for weights")
        if self.credit != "same-step" and self.hold_steps != 1:
            raise ArgumentError(
                "a direction kept over steps is credited with every loss already: "
                "leave credit at same-step, or set hold_steps to 1"
            )

    @abc.abstractmethod
    def gradient(self, net: Network, sites: PyTree, first: Array, shift: Network) -> Network:
        """Return what delta is multiplied with: shift is the difference of weight noise, `(K, ...)` per
        weight.
        """

    def needs_sequence(self) -> str:
        """A direction that is never redrawn can only be judged at the end of a sequence."""
        if not self.hold_steps:
            return "weight perturbation keeps one direction per sequence: online, set hold_steps to redraw it"
        return super().needs_sequence()

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """One state per row, and the first direction."""
        resolved(self.sigma, weights(net))
        rows = jax.tree.map(lambda s: jnp.broadcast_to(s, (self.lanes, *s.shape)), net.start(batch))
        left, xi = self._direction(net, self.noise.init(self.like(weights(net))), key)
        return rows, left, xi, jnp.zeros((), int)

    def _direction(self, net: Network, left: PyTree, key: Array) -> tuple[PyTree, PyTree]:
        return drawn(self.noise, left, key, self.like(weights(net)))

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step one network per row."""
        states, left, xi, t = carry
        if self.hold_steps:
            due = (t > 0) & (t % self.hold_steps == 0)
            left, xi = jax.lax.cond(due, lambda: self._direction(net, left, noise), lambda: (left, xi))
        inject = self.rows(xi)

        def run(shift: Network, state: PyTree) -> tuple:
            return shifted(net, shift).step(state, x)

        states, y, sites = jax.vmap(run)(inject, states)
        (loss, delta), sites = self.compare(score, y), self.middle(sites)
        parts = Direct(self.gradient(net, sites, t == 0, self.pair(inject)))
        estimate = Estimate(loss, self.middle(y), sites, delta, parts)
        return (self.onward(states), left, xi, t + 1), estimate


class Weight(WeightPerturbation):
    """Weight perturbation: one random direction in weight space, weighted by the change of loss along it.

        dL/dw  ~  (xi / sigma) sum_t delta_t,      delta_t = L_t(w + sigma xi) - L_t(w)

    A direction is shared by the batch and kept for the whole sequence, which credits every loss to it:
    unbiased (up to sigma^2) for the full gradient, with a variance that grows with the number of weights.
    Jabri & Flower 1992; Cauwenberghs 1993; Zuege et al. 2023.
    """

    equation: ClassVar[str] = "dW = (delta / sigma) xi"
    target: ClassVar[str] = "full gradient"
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = "1 + K passes"
    memory: ClassVar[str] = "K x weights"
    papers: ClassVar[tuple[str, ...]] = ("jabri1992", "cauwenberghs1993", "zuege2023")
    block: ClassVar[int] = 1  # a longer block would hold a copy of the direction for each of its steps

    def aim(self) -> str:
        """A direction is credited with what happens while it is held, or as credit says."""
        if self.hold_steps == 1:
            return self.reach()
        return (
            f"gradient cut every {self.hold_steps} steps"
            if self.hold_steps
            else "full gradient" + self.noise.bias
        )

    def gradient(self, net: Network, sites: PyTree, first: Array, shift: Network) -> Network:
        """The noise difference over its variance."""
        return jax.tree.map(lambda e: e / self.variance, shift)
