"""Node perturbation."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Scaled
from perturbax.learning.rule import StepRule
from perturbax.learning.scalars import credited, differences, settled
from perturbax.learning.shares import ROWS, SAMPLES
from perturbax.learning.signs import expanded, is_packed
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.base import Perturbation
from perturbax.rules.perturbation.node_base import NodeRule


class Node(NodeRule):
    """Node perturbation: the injected noise, weighted by the change of loss that came with it.

        dL/da_t  ~  xi_t / sigma * sum_{k < window} discount^k delta_{t+k},      delta = L(noisy) - L(clean)

    Unbiased (up to sigma^2) for the gradient cut at every step with same-step credit, and for the full
    gradient with to-go credit at discount 1. Flower & Jabri 1992; Fiete & Seung 2006; Dalm et al. 2023, eq.
    NP.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (delta / sigma) xi z^T",
        target="same-step: gradient cut at every step; to-go: full gradient; between: discounted",
        uses=("score",),
        cost="1 + K passes",
        memory="constant; to-go: T x B x units",
        papers=("flower1992", "fiete2006", "dalm2023"),
        passes=2,
    )

    def described(self) -> Facts:
        """Return the facts: without bias for what its credit covers; replay takes one more clean pass
        only.
        """
        facts = super().described()
        if not self._has_own_signal:
            return facts  # of a class derived from this one
        passes = self.rows + 1 if self.credit == "replay" and self.clean else facts.passes
        return facts.but(target=self.credited_target(), passes=passes)

    @property
    def _has_own_signal(self) -> bool:
        return type(self).signal is Node.signal

    def signal(
        self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """Return the noise difference over its variance."""
        return delta, [noise / self.variance for noise in self.pair(list(inject))]

    def repacked(self, estimate: Estimate, noise: PyTree) -> Estimate:
        """Return the estimate with the noise itself as its signal, if that was drawn as signs of one size."""
        xi = noise[0] if self.ambient else noise
        if not (self._signal_is_noise and all(is_packed(e) for e in xi)):
            return estimate
        difference = self.sigma if self.clean else 2 * self.sigma  # within a pair, of a sign +1
        signal = [e.with_scale(e.scale * difference / self.variance) for e in xi]  # (K, B, ...) per layer
        return estimate._replace(parts=Outer(estimate.parts.sites, tuple(signal)))

    @property
    def _signal_is_noise(self) -> bool:
        own, plain = type(self), Perturbation
        return (
            self._has_own_signal
            and own.heard is NodeRule.heard
            and own.injected is NodeRule.injected
            and own.noise_of_rows is plain.noise_of_rows
            and own.pair is plain.pair
            and self.difference != "noisy"
            and type(self.noise) is not Scaled
        )

    def scalars(self, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array, which: Array) -> tuple:
        """Return (loss, deltas `(m, T, B)`): what the noise was and what each layer read is known to all.

        Arguments and errors as in `Rule.scalars`.
        """
        if type(self) is not Node:
            return super().scalars(net, xs, ys, loss, key, which)
        if self.ambient:
            raise ArgumentError("ambient noise is in the clean pass, too, which hosts could not repeat")
        clean, delta = differences(self.of_samples(which), loss, net, xs, ys, key)
        return clean, jnp.moveaxis(delta, 1, 0)

    def from_scalars(self, net: Network, xs: Array, key: Array, scalars: Array) -> Network:
        """Return the gradient by one clean pass, and the noise made again.

        Arguments as in `Rule.from_scalars`.
        """
        c = credited(self.pairing(), jnp.moveaxis(scalars, 0, 1))  # (T, K, B)
        return settled(self.of_samples(), net, xs, key, c)

    def second_pass(self) -> StepRule:
        """Return a pass of the clean row alone: signals are the noise itself."""
        return CleanPass(self) if self.clean and self._has_own_signal else self


class CleanPass(StepRule):
    """The second pass of node perturbation under replay credit: the clean row, and the noise as its signal.

    Attributes:
        rule: the rule whose first pass this follows.
    """

    rule: Node

    def compared_noise(self) -> Any:
        """Return that of the first pass: both run in the same precision."""
        return self.rule.compared_noise()

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the clean row, and that of the noise."""
        states, noise_state = self.rule.init_sequence(net, state, x, key)
        return jax.tree.map(lambda s: s[:1], states), noise_state

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw the same noise again."""
        return self.rule.draw(net, carry, xs, keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step the clean row."""
        rule, (states, noise_state) = self.rule, carry
        spread = rule.noise.spread(noise_state)
        clean, y, sites = net.step(jax.tree.map(lambda s: s[0], states), x)
        gain = rule.sigma / rule.variance
        if spread is None:
            signal = [e.with_scale(e.scale * gain) if is_packed(e) else e * gain for e in noise]
        else:  # noise with a scale of its own per unit
            signal = [e * (gain / s[None, None]) for e, s in zip(expanded(noise), spread, strict=True)]
        noise_state = rule.noise.adapt(noise_state, [site.a for site in sites])
        carry = jax.tree.map(lambda s: s[None], clean), noise_state
        return carry, Estimate(score(y), y, sites, None, Outer.of(sites, signal))
