"""What evolution strategies over truncated unrolls share: mirrored networks that live on between updates."""

import abc
import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import in_range, positive, setting
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Direct, Estimate
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Noise, as_noise, check_white
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.shares import ROWS, OwnNoise, Share
from perturbax.learning.trees import tree_add
from perturbax.network.network import Network
from perturbax.rules.perturbation.helpers import (
    check_resolution,
    draw_once,
    shift_weights,
    weight_noise_shapes,
)


class Unrolled(StepRule):
    """Base of the evolution strategies whose networks live on between updates; a rule says when noise is
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
        remembers: whether noise of earlier windows is credited with the losses of later ones (of the class).
    """

    sigma: float = 0.02
    samples: int = setting(1)
    reset: int = setting(0)
    noise: Noise = eqx.field(converter=as_noise, default="rademacher")

    perturbs_weights: ClassVar[bool] = True
    remembers: ClassVar[bool] = False

    def __check_init__(self) -> None:
        """Check noise, samples and reset."""
        positive("sigma", self.sigma)
        positive("samples", self.samples)
        check_white(self.noise, type(self).__name__.lower())
        in_range("reset", self.reset, 0)

    @abc.abstractmethod
    def due(self, at: Array) -> Array:
        """Return whether new noise is drawn at a step of an episode, `()` bool.

        Arguments:
            at: number of the step, above 0, `()`.
        """

    def of_share(self, share: Share) -> Rule | None:
        """Return the rule of a share: rows share their directions, samples have their own."""
        if share.of == ROWS:
            return self
        if self.samples % share.n:
            return None
        return dataclasses.replace(self, samples=self.samples // share.n, noise=OwnNoise(self.noise, share))

    def described(self) -> Facts:
        """Return the facts: nothing is cut within an episode, and noise never forgotten would add up without
        end.
        """
        target = f"gradient of episodes of {self.reset} steps" if self.reset else "full gradient"
        offline = "" if self.reset else f"{type(self).__name__} online: set reset to the steps of an episode"
        return self.facts.but(target=target, passes=2 * self.samples, offline=offline)

    def pairing(self) -> Credit:
        """Return same-step credit; a longer block would hold a copy of the noise for each of its steps."""
        return Credit(block=1)

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return states of both networks of each pair, the noise, that before it (none), and step 0."""
        shapes = weight_noise_shapes(net, self.samples)
        check_resolution(self.sigma, shapes)
        noise_state, xi = draw_once(self.noise, self.noise.init(shapes), key, shapes)
        before = jax.tree.map(jnp.zeros_like, xi) if self.remembers else ()
        return self._start(net, len(x)), noise_state, xi, before, jnp.zeros((), int)

    def _start(self, net: Network, batch: int) -> PyTree:
        """Return network states at rest, `(2 K, B, ...)`."""
        return jax.tree.map(lambda s: jnp.broadcast_to(s, (2 * self.samples, *s.shape)), net.start(batch))

    def _redrawn(self, net: Network, live: tuple, restart: Array, batch: int, key: Array) -> tuple:
        """Return (states, noise state, xi, before) with new noise; a restart also resets states and
        forgets.
        """
        states, noise_state, xi, before = live
        rest = self._start(net, batch)
        states = jax.tree.map(lambda new, old: jnp.where(restart, new, old), rest, states)
        if self.remembers:
            before = jax.tree.map(lambda s, e: jnp.where(restart, 0, s + e), before, xi)
        noise_state, xi = draw_once(self.noise, noise_state, key, weight_noise_shapes(net, self.samples))
        return states, noise_state, xi, before

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step one network per row; noise is a key, for new weight noise where it is due."""
        *live, t = carry
        at = t % self.reset if self.reset else t
        restart = (t > 0) & (at == 0)
        due = restart | ((at > 0) & self.due(at))
        states, noise_state, xi, before = jax.lax.cond(
            due, lambda: self._redrawn(net, tuple(live), restart, len(x), noise), lambda: tuple(live)
        )
        shift = jax.tree.map(lambda e: self.sigma * jnp.concatenate([e, -e]), xi)  # leaves (2 K, ...)
        states, y, sites = jax.vmap(lambda e, state: shift_weights(net, e).step(state, x))(shift, states)
        loss = jax.vmap(score)(y)  # (2 K, B)
        delta = loss[: self.samples] - loss[self.samples :]
        credited = tree_add(xi, before) if self.remembers else xi
        parts = Direct(jax.tree.map(lambda e: e / (2 * self.sigma), credited))
        estimate = Estimate(loss.mean(0), y.mean(0), jax.tree.map(lambda s: s.mean(0), sites), delta, parts)
        return (states, noise_state, xi, before, t + 1), estimate
