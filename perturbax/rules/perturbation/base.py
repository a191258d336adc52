"""What the perturbation rules share: which losses noise is paired with, and passes that differ in their
noise.
"""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, one_of, positive, setting
from perturbax.learning.credit import Credit
from perturbax.learning.facts import USES, Facts
from perturbax.learning.noise import Noise, Orthogonal, as_noise
from perturbax.learning.rule import Rule
from perturbax.learning.scalars import BySample
from perturbax.learning.shares import SAMPLES, OwnNoise, Share, mean_over

# Variance of a difference of noises, in sigma^2.
DIFFERENCES = {"one-sided": 1, "linearised": 1, "antithetic": 4, "noisy": 2}
CREDITS = ("same-step", "window", "to-go", "replay", "trace")
STATES = ("free", "restarted")


class Credited(Rule):
    """Base of the rules whose noise is paired with losses over time.

    Attributes:
        credit: which losses a signal is paired with: same-step, window, to-go (all later steps), replay
            (to-go by a second pass, in little memory) or trace (to-go by decaying traces, also online).
        window: number of steps in window credit, the present one included.
        discount: weight of a loss k steps later is discount^k, except in same-step credit.
        noise: rademacher, gaussian, orthogonal, low-rank, correlated, scaled, a Noise, or module:name of your
            own function (key, shape, dtype) -> values.
        follows_asking: whether a run may take other credit than the default, by when answers are asked for
            (of the class).
    """

    follows_asking: ClassVar[bool] = False
    credit: str = setting("same-step")
    window: int = setting(20)
    discount: float = 1.0
    noise: Noise = eqx.field(converter=as_noise, default="rademacher")

    def __check_init__(self) -> None:
        """Check window, credit and discount."""
        positive("window", self.window)
        one_of("credit", self.credit, CREDITS)
        in_range("discount", self.discount, 0, 1)
        if self.credit == "replay" and not self.noise.replayable:
            kind = type(self.noise).__name__
            raise ArgumentError(
                f"credit replay draws its noise twice, which {kind} noise cannot do (use to-go)"
            )

    def described(self) -> Facts:
        """Return the facts: why credit to the end cannot be had online, and that noise may have a state."""
        offline = ""
        if self.credit in ("to-go", "replay"):
            offline = (
                f"credit {self.credit} needs the end of the sequence: "
                "online, use credit window, trace or same-step"
            )
        return self.facts.but(offline=offline, keeps=self.noise.keeps)

    def credited_target(self) -> str:
        """Return the gradient that a signal without bias amounts to under this credit, in words."""
        if self.credit == "same-step":
            return "gradient cut at every step" + self.noise.bias
        part = f"gradient through {self.window} steps" if self.credit == "window" else "full gradient"
        part += self.noise.bias
        if not isinstance(self.discount, int | float):  # traced: a number that a compiled program leaves open
            return f"{part}, losses k steps later weighted by discount^k"
        return part if self.discount == 1 else f"{part}, losses k steps later weighted by {self.discount:g}^k"

    def pairing(self) -> Credit:
        """Return the window in steps: 1, `window`, or None for all later ones."""
        windows = {"same-step": 1, "window": self.window}
        form = self.credit if self.credit in ("replay", "trace") else "held"
        return Credit(windows.get(self.credit), self.discount, form)


class Perturbation(Credited):
    """Base of the rules that learn from what noise does to the score.

    Passes run as stacked rows, the same network under different noise, and are compared in pairs:

        one-sided     K noisy rows, each against one clean row             1 + K passes
        linearised    the same, L(noisy) - L(clean) as <dL/dy, y_noisy - y_clean>: needs the output error
        antithetic    K rows with noise +xi against K rows with -xi        2 K passes
        noisy         K noisy rows against K other noisy rows              2 K passes (no clean pass needed)

    All rows see the same data and differ in their noise only (common random numbers).
    Presynaptic activity is the clean row's, or the mean over all rows where there is no clean one (the same
    up to order sigma^2).

    Attributes:
        sigma: standard deviation of the injected noise, in units of what it is added to; auto measures
            the largest that curvature leaves usable.
        samples: K, the number of pairs of passes that are averaged; auto measures how many the noise asks
            for.
        difference: one-sided, linearised, antithetic or noisy (noisy against noisy).
        noisy_state: free (noisy rows keep states of their own) or restarted (from the clean state at every
            step).
    """

    sigma: float = 1e-3
    samples: int = setting(1)
    difference: str = setting("one-sided")
    noisy_state: str = setting("free")

    def __check_init__(self) -> None:
        """Check noise, samples and difference."""
        positive("sigma", self.sigma)
        positive("samples", self.samples)
        one_of("difference", self.difference, DIFFERENCES)
        one_of("noisy_state", self.noisy_state, STATES)
        if self.noisy_state == "restarted" and not (self.clean and self.credit == "same-step"):
            raise ArgumentError(
                "noisy_state restarted needs a clean pass to restart from, and credit same-step: "
                "noise that is forgotten after a step cannot earn later losses"
            )
        if self.difference == "noisy" and isinstance(self.noise, Orthogonal):
            raise ArgumentError(
                "orthogonal samples share their signs, so they cannot be compared with each other: "
                "take difference one-sided or antithetic"
            )

    def described(self) -> Facts:
        """Return the facts: the number of passes, and that linearised differences need the output error."""
        facts = super().described()
        extra = {"output error"} if self.difference == "linearised" else set()
        uses = tuple(use for use in USES if use in {*facts.uses, *extra})
        return facts.but(uses=uses, passes=self.rows * (2 if self.credit == "replay" else 1))

    def with_own_samples(self, share: Share) -> Rule | None:
        """Return the rule of a share of the samples; None where they do not divide by the devices.

        Arguments:
            share: one of samples.
        """
        if self.samples % share.n:
            return None
        halves = 2 if self.difference == "noisy" else 1
        noise = OwnNoise(self.noise, share, halves)
        return dataclasses.replace(self, samples=self.samples // share.n, noise=noise)

    def of_samples(self, which: Array | None = None) -> Any:
        """Return the rule of some samples, each with noise from a key of its own.

        Arguments:
            which: numbers of the samples, `(m,)`; None for all.

        Raises ArgumentError for noise of which one sample cannot be drawn alone, and for samples that are
        compared with each other.
        """
        like = [jax.ShapeDtypeStruct((1, 1, 1), jnp.result_type(float))]
        kind = type(self.noise).__name__
        if isinstance(self.noise, Orthogonal) or jax.tree.leaves(self.noise.init(like)):
            raise ArgumentError(f"one sample of {kind} noise cannot be drawn alone: take another noise")
        if self.difference not in ("one-sided", "linearised"):
            raise ArgumentError(f"difference {self.difference} has no clean pass: take one-sided")
        which = jnp.arange(self.samples) if which is None else which
        return dataclasses.replace(self, samples=len(which), noise=BySample(self.noise, which))

    @property
    def clean(self) -> bool:
        """Whether row 0 is free of noise."""
        return self.difference in ("one-sided", "linearised")

    @property
    def rows(self) -> int:
        """Number of passes that run side by side."""
        return 1 + self.samples if self.clean else 2 * self.samples

    @property
    def variance(self) -> Any:
        """Variance of the noise difference within a pair."""
        return DIFFERENCES[self.difference] * self.sigma**2

    def noise_shapes(self, shapes: PyTree) -> PyTree:
        """Return the shapes of the noise to draw: K rows (or 2 K independent ones) in front of the given
        shapes.

        Arguments:
            shapes: of what noise is added to; a tree of arrays, or of their shapes.
        """
        drawn = self.samples * (2 if self.difference == "noisy" else 1)
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct((drawn, *s.shape), s.dtype), shapes)

    def noise_of_rows(self, xi: PyTree) -> PyTree:
        """Return the noise of all rows, `(rows, ...)`, in units of what it is added to.

        Arguments:
            xi: noise as it was drawn, of unit variance, leaves `(K, ...)`, or `(2 K, ...)` for difference
                noisy.
        """

        def stack(e: Array) -> Array:
            if self.difference == "noisy":
                return self.sigma * e
            first = jnp.zeros_like(e[:1]) if self.clean else self.sigma * e
            second = self.sigma * e if self.clean else -self.sigma * e
            return jnp.concatenate([first, second])

        return jax.tree.map(stack, xi)

    def pair(self, rows: PyTree) -> PyTree:
        """Return the differences within pairs, leaves `(K, ...)`.

        Arguments:
            rows: something that every row has, leaves `(rows, ...)`.
        """

        def one(s: Array) -> Array:
            return s[1:] - s[:1] if self.clean else s[: self.samples] - s[self.samples :]

        return jax.tree.map(one, rows)

    def middle(self, rows: PyTree) -> PyTree:
        """Return the clean row, or the mean of all rows.

        Arguments:
            rows: something that every row has, leaves `(rows, ...)`.
        """
        if self.clean:
            return jax.tree.map(lambda s: s[0], rows)
        return mean_over(SAMPLES, jax.tree.map(lambda s: s.mean(0), rows))

    def next_states(self, states: PyTree) -> PyTree:
        """Return the states that the next step starts from: unchanged, or all reset to the clean row's.

        Arguments:
            states: states of the network after a step, leaves `(rows, B, ...)`.
        """
        if self.noisy_state == "free":
            return states
        return jax.tree.map(lambda s: jnp.broadcast_to(s[:1], s.shape), states)

    def compare(self, score: Any, y: Array) -> tuple[Array, Array]:
        """Return the loss `(B,)`, of the clean row or the mean of all, and delta `(K, B)`.

        Arguments:
            score: output `(B, n_out)` -> loss per example `(B,)`; differentiated where the difference is
                linearised.
            y: outputs of all rows, `(rows, B, n_out)`.
        """
        if self.difference != "linearised":
            loss = jax.vmap(score)(y)  # (rows, B)
            return self.middle(loss), self.pair(loss)
        loss, pull = jax.vjp(score, y[0])
        error = pull(jnp.ones_like(loss))[0]  # (B, n_out)
        return loss, jnp.sum(error[None] * self.pair(y), -1)
