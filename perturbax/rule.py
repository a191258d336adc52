"""The interface of every learning rule, and the shared anatomy of the perturbation rules."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.credit import Credit, Estimate, Outer
from perturbax.errors import ArgumentError, one_of, positive
from perturbax.gradient import Estimator, Loss, streamed
from perturbax.network import Network, Site, setting
from perturbax.noise import Noise, as_noise

# What a rule may be told or may use, from least to most.
USES = (
    "score", "own activity", "forward weights", "output error", "stored sequence", "derivatives", "transposed weights",
)  # fmt: skip


class Rule(eqx.Module):
    """A learning rule; its fields are its hyperparameters.

    A streaming rule says something at every step:

        class OneStep(Rule):
            def init(self, net, batch, key):                return net.start(batch)
            def step(self, net, carry, x, score, noise):
                ...                                         # run net.step, form one signal per pre-activation
                return carry, Estimate(loss, y, sites, None, Outer(sites, signal))

    A rule that needs whole sequences overrides `estimator` instead. The class variables say what the rule is:
    its equation, the gradient it targets, what it uses (of `USES`), its passes and memory, and its sources.
    """

    equation: ClassVar[str] = ""
    target: ClassVar[str] = ""
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = ""
    memory: ClassVar[str] = ""
    papers: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[dict[str, Any]] = {}  # run settings that belong to the rule, below those a user names
    summed: ClassVar[bool] = False  # the source sums over time what is averaged here: sequence mode takes lr x T
    block: ClassVar[int] = 32  # most steps to multiply out at once

    @property
    def differentiates(self) -> bool:
        """Whether the rule may take derivatives of the score."""
        return "output error" in self.uses or "derivatives" in self.uses

    def aim(self) -> str:
        """Return what these very settings estimate; `target` speaks of the rule in general."""
        return self.target

    def passes(self) -> int:
        """Return the cost of one update in forward passes over its data; BPTT counts 3."""
        return 3

    def credit_over(self) -> Credit:
        """Return which later deltas a signal is paired with."""
        return Credit()

    def needs_sequence(self) -> str:
        """Return why the rule cannot learn online, or nothing."""
        return ""

    def hold(self, updates: Network) -> Network:
        """Have the last word on the optimiser's updates; rules that hold weights still zero theirs."""
        return updates

    def estimator(self, loss: Loss) -> Estimator:
        """Return (net, xs, ys, key) -> (loss, grads)."""
        return streamed(self, loss)

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """Return the carry at the start of a sequence."""
        raise NotImplementedError

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Return (carry, noise) for the block of steps xs `(b, B, n_in)`; by default the keys themselves."""
        return carry, keys

    def step(self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree) -> tuple[PyTree, Estimate]:
        """Make one step: deterministic given the noise. score: output -> loss per example."""
        raise NotImplementedError


class WholeSequence(Rule):
    """A rule that cannot speak before the sequence has ended."""

    def needs_sequence(self) -> str:
        """Say so."""
        return f"{type(self).__name__} needs whole sequences: it cannot learn online (use sequence mode)"


DIFFERENCES = {"one-sided": 1, "antithetic": 4, "noisy": 2}  # variance of a difference of noises, in sigma^2
CREDITS = ("same-step", "window", "to-go")


class Perturbation(Rule):
    """Base of the rules that learn from what noise does to the score.

    Passes run as stacked rows, the same network under different noise, and are compared in pairs:

        one-sided     K noisy rows, each against one clean row             1 + K passes
        antithetic    K rows with noise +xi against K rows with -xi        2 K passes
        noisy         K noisy rows against K other noisy rows              2 K passes (no clean pass is needed)

    Presynaptic activity is the clean row's, or the mean over all rows where there is no clean one (the same up to
    order sigma^2).

    Attributes:
        sigma: standard deviation of the injected noise, in units of what it is added to.
        samples: K, the number of pairs of passes that are averaged.
        difference: one-sided, antithetic or noisy (noisy against noisy).
        credit: which losses a signal is paired with: same-step, window, or to-go (all later steps).
        window: number of steps in window credit, the present one included.
        discount: weight of a loss k steps later is discount^k, in window and to-go credit.
        noise: rademacher, gaussian, or a Noise object.
    """

    sigma: float = 1e-3
    samples: int = setting(1)
    difference: str = setting("one-sided")
    credit: str = setting("same-step")
    window: int = setting(20)
    discount: float = 1.0
    noise: Noise = eqx.field(converter=as_noise, default="rademacher")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("sigma", self.sigma)
        positive("samples", self.samples)
        positive("window", self.window)
        one_of("difference", self.difference, DIFFERENCES)
        one_of("credit", self.credit, CREDITS)
        if isinstance(self.discount, int | float) and not 0 <= self.discount <= 1:
            raise ArgumentError(f"discount must lie between 0 and 1, not {self.discount}")

    def passes(self) -> int:
        """1 + K, or 2 K where there is no clean pass."""
        return 1 + self.samples if self.difference == "one-sided" else 2 * self.samples

    def reach(self) -> str:
        """Return which gradient an unbiased signal amounts to under this credit."""
        if self.credit == "same-step":
            return "gradient cut at every step"
        part = "full gradient" if self.credit == "to-go" else f"gradient through {self.window} steps"
        return part if self.discount == 1 else f"{part}, losses k steps later weighted by {self.discount:g}^k"

    def credit_over(self) -> Credit:
        """Same step, window or to the end."""
        return Credit({"same-step": 1, "window": self.window, "to-go": None}[self.credit], self.discount)

    def needs_sequence(self) -> str:
        """Credit to-go needs the end of the sequence."""
        if self.credit == "to-go":
            return "credit to-go needs the end of the sequence: online, use credit window (or same-step)"
        return ""

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
            first = jnp.zeros_like(e[:1]) if self.difference == "one-sided" else self.sigma * e
            second = self.sigma * e if self.difference == "one-sided" else -self.sigma * e
            return jnp.concatenate([first, second])

        return jax.tree.map(stack, xi)

    def pair(self, rows: PyTree) -> PyTree:
        """Return the differences within pairs, `(K, ...)`, of something that every row has."""
        one = self.difference == "one-sided"
        return jax.tree.map(lambda s: s[1:] - s[:1] if one else s[: self.samples] - s[self.samples :], rows)

    def middle(self, rows: PyTree) -> PyTree:
        """Return the clean row, or the mean of all rows."""
        return jax.tree.map(lambda s: s[0] if self.difference == "one-sided" else s.mean(0), rows)


class NodePerturbation(Perturbation):
    """Base of the rules that inject noise into pre-activations; a rule is its `signal`."""

    @abc.abstractmethod
    def signal(self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]) -> tuple:
        """Return (delta `(K, B)`, signal `(K, B, ...)` per layer).

        sites and inject (the noise) hold all rows; delta is the loss difference of each pair.
        """

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """One state per row."""
        rows = jax.tree.map(lambda s: jnp.broadcast_to(s, (self.passes(), *s.shape)), net.start(batch))
        return rows, self.noise.init()

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Noise for every pre-activation of the block."""
        states, noise = carry
        one = jax.tree.map(lambda s: s[0], states)
        shapes = [site.a for site in jax.eval_shape(net.step, one, xs[0])[2]]
        noise, xi = self.noise.draw(noise, keys, self.like(shapes))
        return (states, noise), xi

    def step(self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree) -> tuple[PyTree, Estimate]:
        """Step all rows at once, each weight read once."""
        states, left = carry
        inject = self.rows(noise)
        states, y, sites = jax.vmap(net.step, in_axes=(0, None, 0))(states, x, inject)
        loss = jax.vmap(score)(y)
        delta, signal = self.signal(net, sites, self.pair(loss), inject)
        middle = self.middle(sites)
        parts = Outer(tuple(site._replace(a=None) for site in middle), tuple(signal))
        return (states, left), Estimate(self.middle(loss), self.middle(y), middle, delta, parts)


def value_and_estimate(rule: Rule, loss: Loss) -> Estimator:
    """Return the estimator (net, xs, ys, key) -> (loss, grads) of any rule.

    loss(y `(B, n_out)`, target) -> `(B,)`; xs `(T, B, n_in)`; grads has the tree of `weights(net)` and estimates
    the gradient of the loss averaged over T and B.
    """
    return rule.estimator(loss)
