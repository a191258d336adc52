"""Guided perturbation: any guess of the node gradient as a control variate, unbiased all the same."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import one_of, setting
from perturbax.learning.facts import USES
from perturbax.network.network import Network
from perturbax.rules.feedback.base import Guess, Guesses, Seen, gains, through
from perturbax.rules.feedback.feedback import Feedback
from perturbax.rules.feedback.mirror import Mirror

GUESSES = ("none", "random", "feedback", "mirror")


class Guided(Guess):
    """Node perturbation with a control variate: a guess of the gradient, and what perturbation says it
    missed.

        g_t = ghat_t + (delta_t / sigma - <ghat_t, xi_t>) xi_t,      delta_t with all later losses

    Unbiased for any guess, of lower variance for a good one. Through time <ghat, xi> of all later steps and
    the effect of earlier noise are taken out too (see `Guess`). Control variates for node perturbation with
    learnt
    feedback: Lansdell, Prakash and Kording 2020; for scores: Grathwohl et al. 2018.

    Attributes:
        guess_by: none (plain node perturbation), random (fixed random feedback of the present error), or the
            learnt guess of rule feedback or mirror, at their defaults.
    """

    guess_by: str = setting("mirror")

    equation: ClassVar[str] = "dA = g z^T, g = ghat + (delta / sigma - <ghat, xi>) xi"
    target: ClassVar[str] = "full gradient"
    uses: ClassVar[tuple[str, ...]] = ("score", "own activity", "output error", "stored sequence")
    cost: ClassVar[str] = "1 + K passes, and those of the guess"
    papers: ClassVar[tuple[str, ...]] = ("lansdell2020", "lillicrap2016")

    def __check_init__(self) -> None:
        """Refuse an unknown guess."""
        one_of("guess_by", self.guess_by, GUESSES)

    def aim(self) -> str:
        """Unbiased within the reach of its credit, where perturbation may correct in full."""
        full = isinstance(self.lam, int | float) and self.lam == 1
        return self.reach() if full else f"biased: the guess, and {self.lam:g} of what it missed"

    def passes(self) -> int:
        """Those of the guess."""
        return self.lanes + (self.guess_by == "mirror")

    def told(self) -> tuple[str, ...]:
        """What the guess uses."""
        return tuple(u for u in USES if u in self.uses)

    @property
    def _inner(self) -> Guess | None:
        fields = {
            "sigma": self.sigma,
            "samples": self.samples,
            "difference": self.difference,
            "noise": self.noise,
        }
        made = {"feedback": Feedback, "mirror": Mirror}.get(self.guess_by)
        return made and made(**fields)

    def know(self, net: Network, x: Array) -> PyTree:
        """Return what the guess knows; for random feedback its weights."""
        if self._inner:
            return self._inner.know(net, x)
        n_out = net.layers[-1].start()[1].shape[-1]
        keys = jax.random.split(jax.random.PRNGKey(0), len(net.layers))
        sizes = [layer.start()[1].shape[-1] for layer in net.layers[:-1]]
        scale = 0.0 if self.guess_by == "none" else n_out**-0.5
        return [scale * jax.random.normal(k, (n, n_out)) for k, n in zip(keys, sizes, strict=False)]

    def guess(self, net: Network, known: PyTree, seen: Seen) -> Guesses:
        """Ask whoever guesses."""
        if self._inner:
            return self._inner.guess(net, known, seen)
        sent = [jnp.einsum("tbo,no->tbn", seen.error, M.astype(seen.error.dtype)) for M in known]
        return [through(psi, s) for psi, s in zip(gains(net, seen), sent, strict=True)]

    def fit(self, net: Network, known: PyTree, seen: Seen) -> PyTree:
        """Let the guess learn."""
        return self._inner.fit(net, known, seen) if self._inner else known
