"""What the rules that perturb weights share."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, setting
from perturbax.learning.estimate import Direct, Estimate
from perturbax.learning.facts import Facts
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.shares import ROWS, Share
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import Perturbation
from perturbax.rules.perturbation.helpers import check_resolution, draw_once, shift_weights


class WeightRule(Perturbation, StepRule):
    """Base of the rules that perturb weights: one network per row; a rule is its `gradient`.

    Attributes:
        hold_steps: steps before a new direction is drawn, 0 to keep one for the whole sequence. With 1,
            credit window and to-go apply; with more, losses beyond the hold are not credited.
    """

    hold_steps: int = setting(0)

    perturbs_weights: ClassVar[bool] = True

    def __check_init__(self) -> None:
        """Refuse credit that would count a loss twice, and noise that is for pre-activations."""
        in_range("hold_steps", self.hold_steps, 0)
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
        """Return what delta is multiplied with, leaves `(K, ...)` of the weights.

        Arguments:
            net: the network.
            sites: what each layer saw, of the clean row or the mean row, leaves `(B, ...)`.
            first: whether this is the first step of the sequence, `()` bool.
            shift: the difference of the weight noise within pairs, leaves `(K, ...)`.
        """

    def of_share(self, share: Share) -> Rule | None:
        """Return the rule of a share: rows share their directions, samples have their own."""
        return self if share.of == ROWS else self.with_own_samples(share)

    def described(self) -> Facts:
        """Return the facts: a direction that is never redrawn can only be judged at the end of a sequence."""
        facts = super().described()
        if self.hold_steps:
            return facts.but(keeps="")
        offline = "weight perturbation keeps one direction per sequence: online, set hold_steps to redraw it"
        return facts.but(keeps="", offline=offline)

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return one network state per row, the state of the noise, the first direction, and step 0."""
        check_resolution(self.sigma, weights(net))
        start = net.start(x.shape[0])
        rows = jax.tree.map(lambda s: jnp.broadcast_to(s, (self.rows, *s.shape)), start)
        noise_state, xi = self._new_direction(net, self.noise.init(self.noise_shapes(weights(net))), key)
        return rows, noise_state, xi, jnp.zeros((), int)

    def _new_direction(self, net: Network, noise_state: PyTree, key: Array) -> tuple[PyTree, PyTree]:
        return draw_once(self.noise, noise_state, key, self.noise_shapes(weights(net)))

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step one network per row; noise is a key, for a new direction where one is due."""
        states, noise_state, xi, t = carry
        if self.hold_steps:
            due = (t > 0) & (t % self.hold_steps == 0)
            noise_state, xi = jax.lax.cond(
                due, lambda: self._new_direction(net, noise_state, noise), lambda: (noise_state, xi)
            )
        inject = self.noise_of_rows(xi)

        def run_row(shift: Network, state: PyTree) -> tuple:
            return shift_weights(net, shift).step(state, x)

        states, y, sites = jax.vmap(run_row)(inject, states)
        estimate = self.heard(net, score, y, sites, t == 0, self.pair(inject))
        return (self.next_states(states), noise_state, xi, t + 1), estimate

    def heard(
        self, net: Network, score: Any, y: Array, sites: PyTree, first: Array, shift: Network
    ) -> Estimate:
        """Return what the rule makes of a step of all rows, whoever ran them.

        Arguments:
            net: the network, its weights not shifted.
            score: output `(B, n_out)` -> loss per example `(B,)`.
            y: outputs of all rows, `(rows, B, n_out)`.
            sites: what each layer saw, leaves `(rows, B, ...)`.
            first: whether this is the first step of the sequence, `()` bool.
            shift: the difference of the weight noise within pairs, leaves `(K, ...)`.
        """
        loss, delta = self.compare(score, y)
        middle = self.middle(sites)
        parts = Direct(self.gradient(net, middle, first, shift))
        return Estimate(loss, self.middle(y), middle, delta, parts)
