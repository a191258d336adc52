"""Guided perturbation: any guess of the node gradient as a control variate, unbiased all the same."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import one_of, setting
from perturbax.learning.facts import Facts
from perturbax.network.network import Network
from perturbax.rules.feedback.base import Guesses, LearntFeedback, Observed
from perturbax.rules.feedback.feedback import Feedback
from perturbax.rules.feedback.mirror import Mirror
from perturbax.rules.feedback.probe import measured_gains, through_gains

GUESSES = ("none", "random", "feedback", "mirror")


class Guided(LearntFeedback):
    """Node perturbation with a control variate: a guess of the gradient, and what perturbation says it
    missed.

        g_t = ghat_t + (delta_t / sigma - <ghat_t, xi_t>) xi_t,      delta_t with all later losses

    Unbiased for any guess, of lower variance for a good one. Through time <ghat, xi> of all later steps and
    the effect of earlier noise are taken out too (see `LearntFeedback`). Control variates for node
    perturbation with learnt
    feedback: Lansdell, Prakash and Kording 2020; for scores: Grathwohl et al. 2018.

    Attributes:
        guess_by: none (plain node perturbation), random (fixed random feedback of the present error), or the
            learnt guess of rule feedback or mirror, at their defaults.
    """

    guess_by: str = setting("mirror")

    facts: ClassVar[Facts] = Facts(
        equation="dA = g z^T, g = ghat + (delta / sigma - <ghat, xi>) xi",
        target="full gradient",
        uses=("score", "own activity", "output error", "stored sequence"),
        cost="1 + K passes, and those of the guess",
        memory="T x B x units",
        papers=("lansdell2020", "lillicrap2016"),
        keeps="what its guess learns",
        passes=3,
    )

    def __check_init__(self) -> None:
        """Check who guesses."""
        one_of("guess_by", self.guess_by, GUESSES)

    def described(self) -> Facts:
        """Return the facts: without bias for what its credit covers, where perturbation may correct in
        full.
        """
        facts = super().described()
        target = "biased: the guess, and a part of what it missed"
        if isinstance(self.lam, int | float):  # else traced: a number that a compiled program leaves open
            part = f"biased: the guess, and {self.lam:g} of what it missed"
            target = self.credited_target() if self.lam == 1 else part
        return facts.but(target=target, passes=facts.passes + (self.guess_by == "mirror"))

    @property
    def _guesser(self) -> LearntFeedback | None:
        """The rule that guesses, with the noise of this one; None for a guess that learns nothing."""
        known = {"feedback": Feedback, "mirror": Mirror}
        if self.guess_by not in known:
            return None
        return known[self.guess_by](
            sigma=self.sigma, samples=self.samples, difference=self.difference, noise=self.noise
        )

    def init_knowledge(self, net: Network, x: Array) -> PyTree:
        """Return what the guess knows before the first sequence; for random feedback its weights."""
        if self._guesser:
            return self._guesser.init_knowledge(net, x)
        n_out = net.layers[-1].width
        keys = jax.random.split(jax.random.PRNGKey(0), len(net.layers))
        scale = 0.0 if self.guess_by == "none" else n_out**-0.5
        hidden = zip(keys, net.layers[:-1], strict=False)
        return [scale * jax.random.normal(key, (layer.width, n_out)) for key, layer in hidden]

    def guess(self, net: Network, known: PyTree, seen: Observed) -> Guesses:
        """Return the guess of feedback or mirror, or the present error sent back through fixed weights."""
        if self._guesser:
            return self._guesser.guess(net, known, seen)
        guesses = []
        for gain, B in zip(measured_gains(net, seen.before, seen.sites), known, strict=True):
            worth = jnp.einsum("tbo,no->tbn", seen.error, B.astype(seen.error.dtype))
            guesses.append(through_gains(gain, worth))
        return guesses

    def fit(self, net: Network, known: PyTree, seen: Observed) -> PyTree:
        """Return what the guess knows after a sequence."""
        return self._guesser.fit(net, known, seen) if self._guesser else known
