"""The shared anatomy of the perturbation rules: differences, credit, noise; and of those with noise in
nodes.
"""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import one_of, positive, setting
from perturbax.learning.credit import Credit, Estimate, Outer
from perturbax.learning.facts import USES
from perturbax.learning.noise import Gaussian, Noise, Orthogonal, as_noise
from perturbax.learning.rule import Rule
from perturbax.network.network import Network, Site

# Variance of a difference of noises, in sigma^2.
DIFFERENCES = {"one-sided": 1, "linearised": 1, "antithetic": 4, "noisy": 2}
CREDITS = ("same-step", "window", "to-go", "replay", "trace")
STATES = ("free", "restarted")


def resolved(sigma: Any, like: PyTree) -> None:
    """Raise ArgumentError where rounding would leave less than nine tenths of the noise; traced values pass.

    A loss difference is off by about eps / sigma, measured for float32 and bfloat16
    (benchmarks/precision.py).
    """
    for dtype in {leaf.dtype for leaf in jax.tree.leaves(like) if jnp.issubdtype(leaf.dtype, jnp.inexact)}:
        least = 10 * float(jnp.finfo(dtype).eps)
        if isinstance(sigma, int | float) and sigma < least:
            raise ArgumentError(
                f"sigma {sigma:g} drowns in the rounding of {dtype}: take at least {least:.2g}"
            )


class Credited(Rule):
    """Base of the rules whose noise is paired with losses over time.

    Attributes:
        credit: which losses a signal is paired with: same-step, window, to-go (all later steps), replay
            (to-go by a second pass, in little memory) or trace (to-go by decaying traces, also online).
        window: number of steps in window credit, the present one included.
        discount: weight of a loss k steps later is discount^k, except in same-step credit.
        noise: rademacher, gaussian, orthogonal, low-rank, correlated, scaled, a Noise, or module:name of your
            own function (key, shape, dtype) -> values.
    """

    credit: str = setting("same-step")
    window: int = setting(20)
    discount: float = 1.0
    noise: Noise = eqx.field(converter=as_noise, default="rademacher")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("window", self.window)
        one_of("credit", self.credit, CREDITS)
        if isinstance(self.discount, int | float) and not 0 <= self.discount <= 1:
            raise ArgumentError(f"discount must lie between 0 and 1, not {self.discount}")
        if self.credit == "replay" and not self.noise.replayable:
            raise ArgumentError(
                f"credit replay: {type(self.noise).__name__} noise cannot be drawn again (use to-go)"
            )

    def reach(self) -> str:
        """Return which gradient an unbiased signal amounts to under this credit."""
        if self.credit == "same-step":
            return "gradient cut at every step" + self.noise.bias
        part = f"gradient through {self.window} steps" if self.credit == "window" else "full gradient"
        part += self.noise.bias
        return part if self.discount == 1 else f"{part}, losses k steps later weighted by {self.discount:g}^k"

    def credit_over(self) -> Credit:
        """Same step, window or to the end."""
        form = self.credit if self.credit in ("replay", "trace") else "held"
        return Credit({"same-step": 1, "window": self.window}.get(self.credit), self.discount, form)

    def needs_sequence(self) -> str:
        """Credit to-go needs the end of the sequence."""
        if self.credit in ("to-go", "replay"):
            return f"credit {self.credit} needs the end of the sequence: online, use credit window, trace or same-step"
        return ""


class Perturbation(Credited):
    """Base of the rules that learn from what noise does to the score.

    Passes run as stacked rows, the same network under different noise, and are compared in pairs:

        one-sided     K noisy rows, each against one clean row             1 + K passes
        linearised    the same, L(noisy) - L(clean) taken as <dL/dy, y_noisy - y_clean>: needs the output error
        antithetic    K rows with noise +xi against K rows with -xi        2 K passes
        noisy         K noisy rows against K other noisy rows              2 K passes (no clean pass is needed)

    All rows see the same data and differ in their noise only (common random numbers).
    Presynaptic activity is the clean row's, or the mean over all rows where there is no clean one (the same
    up to order sigma^2).

    Attributes:
        sigma: standard deviation of the injected noise, in units of what it is added to; auto measures
            the largest that curvature leaves usable.
        samples: K, the number of pairs of passes that are averaged; auto measures how many the noise asks
            for.
        difference: one-sided, linearised, antithetic or noisy (noisy against noisy).
        noisy_state: free (noisy rows live their own lives) or restarted (from the clean state at every step).
    """

    sigma: float = 1e-3
    samples: int = setting(1)
    difference: str = setting("one-sided")
    noisy_state: str = setting("free")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
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
                "orthogonal samples share their signs: compare them with a clean pass, or antithetic"
            )

    def passes(self) -> int:
        """1 + K, or 2 K where there is no clean pass; twice that with replay."""
        return self.lanes * (2 if self.credit == "replay" else 1)

    @property
    def clean(self) -> bool:
        """Whether row 0 is free of noise."""
        return self.difference in ("one-sided", "linearised")

    @property
    def lanes(self) -> int:
        """Passes that run side by side."""
        return 1 + self.samples if self.clean else 2 * self.samples

    def told(self) -> tuple[str, ...]:
        """Linearised differences need the output error."""
        extra = {"output error"} if self.difference == "linearised" else set()
        return tuple(u for u in USES if u in {*self.uses, *extra})

    @property
    def variance(self) -> Any:
        """Variance of the noise difference within a pair."""
        return DIFFERENCES[self.difference] * self.sigma**2

    def like(self, shapes: PyTree) -> PyTree:
        """Return the shapes of the noise to draw, K (or 2 K independent) rows in front of the given ones."""
        drawn = self.samples * (2 if self.difference == "noisy" else 1)
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct((drawn, *s.shape), s.dtype), shapes)

    def rows(self, xi: PyTree) -> PyTree:
        """Return the noise of all rows, in units of the injected quantity."""

        def stack(e: Array) -> Array:
            if self.difference == "noisy":
                return self.sigma * e
            first = jnp.zeros_like(e[:1]) if self.clean else self.sigma * e
            second = self.sigma * e if self.clean else -self.sigma * e
            return jnp.concatenate([first, second])

        return jax.tree.map(stack, xi)

    def pair(self, rows: PyTree) -> PyTree:
        """Return the differences within pairs, `(K, ...)`, of something that every row has."""
        return jax.tree.map(
            lambda s: s[1:] - s[:1] if self.clean else s[: self.samples] - s[self.samples :], rows
        )

    def middle(self, rows: PyTree) -> PyTree:
        """Return the clean row, or the mean of all rows."""
        return jax.tree.map(lambda s: s[0] if self.clean else s.mean(0), rows)

    def onward(self, states: PyTree) -> PyTree:
        """Return the states that the next step starts from."""
        if self.noisy_state == "free":
            return states
        return jax.tree.map(lambda s: jnp.broadcast_to(s[:1], s.shape), states)

    def compare(self, score: Any, y: Array) -> tuple[Array, Array]:
        """Return the loss `(B,)` and delta `(K, B)` of outputs `(rows, B, n_out)`."""
        if self.difference != "linearised":
            loss = jax.vmap(score)(y)
            return self.middle(loss), self.pair(loss)
        loss, pull = jax.vjp(score, y[0])
        return loss, jnp.sum(pull(jnp.ones_like(loss))[0][None] * self.pair(y), -1)


class NodePerturbation(Perturbation):
    """Base of the rules that inject noise into pre-activations; a rule is its `signal`.

    Attributes:
        ambient: standard deviation of Gaussian noise that the network has of its own while it learns, at
            every step, in every row, the clean one too; no rule sees it but in what it measures (innovation
            knows its variance).
    """

    ambient: float = setting(0.0)

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.ambient < 0:
            raise ArgumentError(f"ambient must be 0 or more, not {self.ambient}")
        if self.ambient and self.credit == "replay":
            raise ArgumentError(
                "credit replay runs the clean pass twice: with ambient noise it is another (use to-go)"
            )

    @property
    def measured_variance(self) -> Any:
        """Variance of all noise within a pair, whoever knows of it."""
        return self.variance + 2 * self.ambient**2

    @abc.abstractmethod
    def signal(self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]) -> tuple:
        """Return (delta `(K, B)`, signal `(K, B, ...)` per layer).

        sites and inject (the noise) hold all rows; delta is the loss difference of each pair.
        """

    def begin(self, net: Network, x: Array) -> PyTree:
        """The state of the noise."""
        shapes = self._shapes(net, net.start(x.shape[0]), x)
        resolved(self.sigma, shapes)
        return self.noise.init(shapes)

    def _shapes(self, net: Network, state: PyTree, x: Array) -> PyTree:
        return self.like([site.a for site in jax.eval_shape(net.step, state, x)[2]])

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """One state per row; the noise's is what was kept."""
        return jax.tree.map(lambda s: jnp.broadcast_to(s, (self.lanes, *s.shape)), net.start(batch)), ()

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Noise goes on."""
        return carry[0], kept

    def keep(self, carry: PyTree) -> PyTree:
        """The state of the noise."""
        return carry[1]

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Noise for every pre-activation of the block."""
        states, left = carry
        like = self._shapes(net, jax.tree.map(lambda s: s[0], states), xs[0])
        left, xi = self.noise.draw(left, keys, like)
        if not self.ambient:
            return (states, left), xi
        rows = jax.tree.map(lambda s: jax.ShapeDtypeStruct((self.lanes, *s.shape[1:]), s.dtype), like)
        apart = jax.vmap(lambda key: jr.fold_in(key, len(like)))(
            keys
        )  # the noise's own keys are 0 to len - 1
        return (states, left), (xi, Gaussian().draw((), apart, rows)[1])

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step all rows at once, each weight read once."""
        states, left = carry
        noise, own = noise if self.ambient else (noise, None)
        inject, spread = self.rows(noise), self.noise.spread(left)
        inject = (
            inject if spread is None else [i * s[None, None] for i, s in zip(inject, spread, strict=True)]
        )
        every = inject if own is None else [i + self.ambient * o for i, o in zip(inject, own, strict=True)]
        states, y, sites = jax.vmap(net.step, in_axes=(0, None, 0))(states, x, every)
        loss, delta = self.compare(score, y)
        delta, signal = self.signal(net, sites, delta, inject)
        if spread is not None:
            signal = [g / s[None, None] ** 2 for g, s in zip(signal, spread, strict=True)]
        middle = self.middle(sites)
        left = self.noise.adapt(left, [site.a for site in middle])
        parts = Outer(tuple(site._replace(a=None) for site in middle), tuple(signal))
        return (self.onward(states), left), Estimate(loss, self.middle(y), middle, delta, parts)
