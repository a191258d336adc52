"""Episodes that are kept and learnt from again: `reward` with a linear critic, off policy."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import one_of, positive, whole
from perturbax.learning.blocks import step_keys
from perturbax.learning.credit import to_go
from perturbax.learning.estimate import Outer, averaged
from perturbax.learning.noise import Gaussian
from perturbax.learning.products import passes_of
from perturbax.learning.sequence import run_block, visible_loss
from perturbax.loop.in_world import InWorld
from perturbax.loop.offpolicy import TRACES, close_enough, corrected, weights_of_actor
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.critic import Critic, features


class Episodes(NamedTuple):
    """What is kept of episodes: enough to know how likely a network would have acted as they did.

    Attributes:
        sites: what each layer saw, z and r, leaves `(T, N, ...)`.
        signal: noise over sigma, xi / sigma, per layer `(T, N, ...)`.
        mean: pre-activations without noise, of the network that acted, per layer `(T, N, ...)`.
        loss: of each step, `(T, N)`.
        last: features after the last step, `(1, N, F)`.
        lived: the number of the update in which the episode was lived, below 0 for none, `(1, N)`.
    """

    sites: PyTree
    signal: PyTree
    mean: PyTree
    loss: Array
    last: Array
    lived: Array

    def features(self) -> Float[Array, "states N F"]:
        """Return what the critic reads before each step, and after the last."""
        said = jnp.concatenate([site.r for site in self.sites], -1)  # (T, N, F - 1)
        return jnp.concatenate([jnp.concatenate([said, jnp.ones_like(said[..., :1])], -1), self.last])

    def and_older(self, older: "Episodes") -> "Episodes":
        """Return these episodes before older ones, so that as many are kept as before."""
        N = older.loss.shape[1]
        return jax.tree.map(lambda new, old: jnp.concatenate([new, old], 1)[:, :N], self, older)


class Memory(NamedTuple):
    """The episodes kept, and how many of them were of use.

    Attributes:
        episodes: the last N.
        updates: number of updates so far, `()`.
        for_critic: episodes that the critic was solved from in the last update, `()`.
        for_actor: episodes that the weights learnt from in the last update, `()`.
    """

    episodes: Episodes
    updates: Array
    for_critic: Array
    for_actor: Array


class Replay(NamedTuple):
    """How `reward` learns from its last N episodes as well as from those it lives now.

    The noise xi is the action: the policy of a layer is a_t ~ N(m_t, sigma^2), m_t = drive(z_t, r_t). What
    follows a_t does not depend on the weights, so that a recorded episode has a probability under any:

        log rho_t = sum over units (d_t xi_t / sigma - d_t^2 / (2 sigma^2)),       d_t = m_t(now) - m_t(then)
        dL/da_t   ~ (a_t - m_t(now)) / sigma^2 sum_s (discount lam)^{s-t} rho_0 .. rho_s delta_s

    The critic takes all episodes whose mean variance of log rho_t is below the limit at a step, by traces
    (`offpolicy.corrected`); the weights learn from those for which it is below the limit over the episode,
    which are few where steps are large or episodes long.

    Attributes:
        rule: `reward` with critic linear, credit to-go or trace, and Gaussian noise.
        keep: N, the number of episodes kept.
        traces: rbis, retrace, recursive-retrace or truncated-is.
        limit: the largest variance of the log of a weight.
    """

    rule: Any
    keep: int
    traces: str
    limit: float

    def checked(self) -> "Replay":
        """Return this; raise ArgumentError for a rule without a critic, or noise without a density."""
        whole("replay", self.keep)
        one_of("traces", self.traces, TRACES)
        positive("limit", self.limit)
        rule = self.rule
        if getattr(rule, "critic", "none") != "linear" or rule.credit not in ("to-go", "trace"):
            raise ArgumentError(
                "replay corrects a critic: take px.rules.Reward(critic='linear'), credit to-go or trace"
            )
        if not isinstance(rule.noise, Gaussian):
            raise ArgumentError(
                "replay asks how likely noise was under other weights: take noise='gaussian'; "
                f"{type(rule.noise).__name__} noise has no density"
            )
        return self

    def empty(self, net: InWorld, kept: PyTree, key: Array) -> Memory:
        """Return a memory of no episodes.

        Arguments:
            net: the network in its world.
            kept: what the rule keeps.
            key: a JAX key, for shapes.
        """
        shapes = jax.eval_shape(lambda: self.lived(net, kept, 1, 0, key))[0]

        def room(s: Any) -> Array:
            return jnp.zeros((s.shape[0], self.keep, *s.shape[2:]), s.dtype)

        episodes = jax.tree.map(room, shapes)
        none = jnp.zeros((), int)
        return Memory(episodes._replace(lived=episodes.lived - 1), none, none, none)

    def lived(
        self, net: InWorld, kept: PyTree, episodes: int, update: Array | int, key: Array
    ) -> tuple[Episodes, PyTree]:
        """Live through episodes under the rule's noise: -> (what is recorded, what the rule keeps).

        Arguments:
            net: the network in its world.
            kept: what the rule keeps.
            episodes: how many, side by side.
            update: number of the update.
            key: a JAX key.
        """
        key_chance, key_noise = jr.split(key)
        chance, targets = net.environment.sample(key_chance, episodes)
        key_start, key_steps = jr.split(key_noise)
        rule = self.rule
        carry = rule.init_sequence(net, kept, chance[0], key_start)
        carry, noise = rule.draw(net, carry, chance, step_keys(key_steps, 0, len(chance)))
        score = visible_loss(rule, net.environment.loss)
        carry, result = run_block(rule, score, net, carry, (chance, targets, noise))
        sites, signal = result.parts.sites, tuple(s[:, 0] for s in result.parts.signal)
        mean = self._mean(net, sites)
        last, when = features(carry[0])[None], jnp.full((1, episodes), update)
        recorded = Episodes(sites, signal, mean, result.loss, last, when)
        return recorded, rule.final_state(carry)

    def update(
        self, net: InWorld, kept: PyTree, memory: Memory, episodes: int, key: Array
    ) -> tuple[PyTree, Memory, Array, Network]:
        """Live through episodes, and learn from all that are kept: -> (kept, memory, loss now, gradients).

        Arguments:
            net: the network in its world.
            kept: what the rule keeps.
            memory: the episodes kept so far.
            episodes: how many to live, side by side.
            key: a JAX key.

        Raises ArgumentError where an update lives more episodes than are kept.
        """
        if episodes > self.keep:
            raise ArgumentError(f"replay={self.keep} keeps fewer episodes than the {episodes} of an update")
        critic = kept[-1]
        lived, kept = self.lived(net, kept, episodes, memory.updates, key)
        known = lived.and_older(memory.episodes)
        (A, b), grads, for_critic, for_actor = self.learnt(net, critic, known)
        kept = (*kept[:-1], critic.taught(A, b, self.rule.critic_rate))
        return kept, Memory(known, memory.updates + 1, for_critic, for_actor), lived.loss.mean(), grads

    def learnt(
        self, net: Network, critic: Critic, episodes: Episodes
    ) -> tuple[tuple[Array, Array], Network, Array, Array]:
        """Return (what a critic solves, gradients, number of episodes in the first, in the second).

        Arguments:
            net: the network as it is now.
            critic: as it was before the last episodes.
            episodes: those kept.
        """
        rule = self.rule
        moved = [now - then for now, then in zip(self._mean(net, episodes.sites), episodes.mean, strict=True)]
        log_ratio, variance = 0.0, 0.0  # (T, N) each, sums over all units
        for d, s in zip(moved, episodes.signal, strict=True):
            squared = (d / rule.sigma) ** 2
            log_ratio = log_ratio + _over_units(d * s - squared / 2)
            variance = variance + _over_units(squared)
        lived = episodes.lived[0]
        heard, share = close_enough(jnp.mean(variance, 0), lived, self.limit)
        taken, share_of_taken = close_enough(jnp.sum(variance, 0), lived, self.limit)
        log_ratio = jnp.where(heard, log_ratio, 0)

        phi = episodes.features()
        solves = corrected(phi, episodes.loss, log_ratio, rule.discount, rule.lam, self.traces, share)

        error = partial(critic.error, discount=rule.discount)
        delta = jax.vmap(error)(episodes.loss, phi[:-1], phi[1:])  # (T, N)
        weight = share_of_taken[None] * weights_of_actor(jnp.where(taken, log_ratio, 0))
        c = to_go(weight * delta, rule.discount * rule.lam)[:, None]  # (T, 1, N)
        signal = tuple(
            (s - d / rule.sigma**2)[:, None] for d, s in zip(moved, episodes.signal, strict=True)
        )  # (a - m) / sigma^2, (T, 1, N, ...)
        grads = Outer(episodes.sites, signal).settle(net, c)
        return solves, averaged(grads, len(c), c), heard.sum(), taken.sum()

    def _mean(self, net: Network, sites: tuple[Site, ...]) -> tuple[Array, ...]:
        """Return the pre-activations of each layer without noise, at what it saw, `(T, N, ...)`."""
        with passes_of(self.rule, net):
            return tuple(
                jax.vmap(jax.vmap(layer.drive))(site.z, site.r)
                for layer, site in zip(net.layers, sites, strict=True)
            )


def _over_units(x: Array) -> Array:
    """Return sums over all axes but time and episodes, `(T, N)`."""
    return x.sum(tuple(range(2, x.ndim)))
