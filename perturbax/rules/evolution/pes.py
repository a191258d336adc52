"""Persistent evolution strategies: unbiased evolution strategies over truncated unrolls."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import positive, setting
from perturbax.learning.credit import Direct, Estimate
from perturbax.learning.noise import Noise, as_noise, plain
from perturbax.learning.rule import Rule
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import resolved
from perturbax.rules.perturbation.helpers import drawn, shifted, weight_noise


class Unrolled(Rule):
    """Base of the evolution strategies whose particles live on between updates; a rule says when noise is
    redrawn.

        dL_t/dw  ~  (L_t+ - L_t-) / (2 sigma) sum of all noise since the episode began

    K mirrored pairs of networks w +- sigma xi, each with states of its own, that no update interrupts. An
    episode is a sequence, or `reset` steps of one or of a stream: then states start anew and noise is
    forgotten.

    Attributes:
        sigma: standard deviation of the weight noise.
        samples: K, the number of mirrored pairs.
        reset: steps of an episode; 0 for the whole sequence. Online it must be set.
        noise: rademacher, gaussian, orthogonal, low-rank, a Noise, or module:name of your own function.
    """

    sigma: float = 0.02
    samples: int = setting(1)
    reset: int = setting(0)
    noise: Noise = eqx.field(converter=as_noise, default="rademacher")

    remembers: ClassVar[bool] = (
        False  # whether noise of earlier windows is credited with the losses of later ones
    )
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = "2 K passes"
    block: ClassVar[int] = 1  # a longer block would hold a copy of the noise for each of its steps

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("sigma", self.sigma)
        positive("samples", self.samples)
        plain(self.noise, type(self).__name__.lower())
        if self.reset < 0:
            raise ArgumentError(
                f"reset must be 0 (at the start of a sequence only) or more steps, not {self.reset}"
            )

    @abc.abstractmethod
    def due(self, at: Array) -> Array:
        """Return whether new noise is drawn at step `at` > 0 of an episode."""

    def aim(self) -> str:
        """Nothing is cut within an episode."""
        return f"gradient of episodes of {self.reset} steps" if self.reset else "full gradient"

    def passes(self) -> int:
        """Two per pair."""
        return 2 * self.samples

    def needs_sequence(self) -> str:
        """Noise that is never forgotten adds up without end."""
        return "" if self.reset else f"{type(self).__name__} online: set reset to the steps of an episode"

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """States of both networks of each pair, the first noise, and none before it."""
        like = weight_noise(net, self.samples)
        resolved(self.sigma, like)
        left, xi = drawn(self.noise, self.noise.init(like), key, like)
        before = jax.tree.map(jnp.zeros_like, xi) if self.remembers else ()
        return self._start(net, batch), left, xi, before, jnp.zeros((), int)

    def _start(self, net: Network, batch: int) -> PyTree:
        return jax.tree.map(lambda s: jnp.broadcast_to(s, (2 * self.samples, *s.shape)), net.start(batch))

    def _moved(self, net: Network, live: tuple, restart: Array, batch: int, key: Array) -> tuple:
        """Return (states, left, xi, before) with new noise, after a restart from the start."""
        states, left, xi, before = live
        states = jax.tree.map(lambda new, old: jnp.where(restart, new, old), self._start(net, batch), states)
        if self.remembers:
            before = jax.tree.map(lambda s, e: jnp.where(restart, 0, s + e), before, xi)
        return states, *drawn(self.noise, left, key, weight_noise(net, self.samples)), before

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step one network per particle."""
        *live, t = carry
        at = t % self.reset if self.reset else t
        restart = (t > 0) & (at == 0)
        due = restart | ((at > 0) & self.due(at))
        live = jax.lax.cond(
            due, lambda: self._moved(net, tuple(live), restart, len(x), noise), lambda: tuple(live)
        )
        states, left, xi, before = live
        shift = jax.tree.map(lambda e: self.sigma * jnp.concatenate([e, -e]), xi)
        states, y, sites = jax.vmap(lambda e, state: shifted(net, e).step(state, x))(shift, states)
        loss = jax.vmap(score)(y)
        every = jax.tree.map(jnp.add, xi, before) if self.remembers else xi
        parts = Direct(jax.tree.map(lambda e: e / (2 * self.sigma), every))
        delta = loss[: self.samples] - loss[self.samples :]
        sites = jax.tree.map(lambda s: s.mean(0), sites)
        return (states, left, xi, before, t + 1), Estimate(loss.mean(0), y.mean(0), sites, delta, parts)


class PES(Unrolled):
    """Persistent evolution strategy: new weight noise every window, losses credited with all noise so far.

        dL_t/dw  ~  (L_t+ - L_t-) / (2 sigma) sum_{windows i until now} xi_i

    Unbiased (up to sigma^2) for the gradient of a whole episode from windows of any length, as later losses
    still feel earlier noise through the states; its variance grows with the number of windows. Online,
    updates need not come once per window (`every` = window is the paper's); states come from the weights of
    their time. Vicol, Metz and Sohl-Dickstein 2021.

    Attributes:
        window: steps before new noise is drawn.
    """

    window: int = setting(4)

    equation: ClassVar[str] = "dW = (L+ - L-) / (2 sigma) sum_i xi_i, xi redrawn every window"
    target: ClassVar[str] = "full gradient of an episode, from truncated unrolls"
    memory: ClassVar[str] = "2 K x weights, constant in T"
    papers: ClassVar[tuple[str, ...]] = ("vicol2021",)
    remembers: ClassVar[bool] = True

    def __check_init__(self) -> None:
        """A window has steps."""
        positive("window", self.window)

    def due(self, at: Array) -> Array:
        """At the start of a window."""
        return at % self.window == 0
