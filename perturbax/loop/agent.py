"""A network that lives anywhere: it is shown something, acts, and is told what that was worth."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import of_kind
from perturbax.learning.blocks import step_keys
from perturbax.learning.checks import check_network, check_rule
from perturbax.learning.online import begun_anew, online
from perturbax.learning.rule import StepRule
from perturbax.loop.in_world import check_can_act
from perturbax.network.layer import weights
from perturbax.network.network import Network


class Agent:
    """A network that acts and learns step by step, in a world that is not written in JAX: a robot, a game.

        agent = px.Agent(net, px.RULES["reward"](sigma=0.3, credit="trace", discount=0.95), optax.adam(1e-3))
        action = agent.act(observation)
        agent.learn(reward)                    # or agent.learn(reward, ended=True), after the last step

    One life, so one pass: its own noise is what it explores with, and `reward` is the rule. `learn` makes one
    update of the weights (`optax.MultiSteps` gathers several). The loss of a step is minus its reward.

    Arguments:
        net: the network, from observations to outputs.
        rule: a rule of one pass that can learn online: `reward` with credit `trace`, `window` or
            `same-step`.
        optimiser: an optax transformation.
        seed: of the noise.
        choose: whether an action is the number of the largest output; else it is the outputs, `(n_out,)`.

    Raises ArgumentError for rules that compare passes, need the end of a sequence, or more than a score.
    """

    def __init__(self, net: Any, rule: Any, optimiser: Any, seed: int = 0, choose: bool = True):
        check_network(net)
        check_rule(rule)
        check_can_act(rule)
        of_kind("seed", seed, int)
        of_kind("choose", choose, bool)
        if rule.described().passes != 1 or not isinstance(rule, StepRule):
            raise ArgumentError(
                f"an agent lives once, and {type(rule).__name__} compares several passes: take reward"
            )
        self._rule, self._choose = rule, choose
        self._begin, self._learn = online(rule, _loss, optimiser)
        self._given, self._key = net, jr.key(seed)
        self._dtype = jnp.result_type(*jax.tree.leaves(weights(net)))
        self._stream: Any = None
        self._seen: Array | None = None
        self._look = eqx.filter_jit(self._looked)
        self._update = eqx.filter_jit(self._learn)
        self._anew = eqx.filter_jit(self._begun_anew)

    @property
    def net(self) -> Network:
        """The network as it is now."""
        return self._given if self._stream is None else self._stream.net

    def act(self, observation: Any) -> Any:
        """Return what the network does: the number of its largest output, or its outputs, noise included.

        Arguments:
            observation: numbers, `(n_in,)`.

        Raises ArgumentError where the last action has not been rewarded yet, and for what are no finite
        numbers.
        """
        if self._seen is not None:
            raise ArgumentError(
                "the last action waits for its reward: call learn(reward) before the next act"
            )
        seen = np.asarray(observation, self._dtype)
        if seen.ndim != 1 or not np.isfinite(seen).all():
            raise ArgumentError(f"observation must be finite numbers (n_in,); got shape {seen.shape}")
        x = jnp.asarray(seen)[None]  # (1, n_in)
        if self._stream is None:
            self._stream = self._begin(self._given, x, self._nothing(), self._key)
        y = np.asarray(self._look(self._stream, x))
        self._seen = x
        return int(y.argmax()) if self._choose else y

    def learn(self, reward: float, ended: bool = False) -> None:
        """Tell the network what its last action was worth, and make one update.

        Arguments:
            reward: a finite number.
            ended: whether the episode ends here: states and traces are then forgotten, weights stay.

        Raises ArgumentError without an action, and for what is no finite number.
        """
        if self._seen is None:
            raise ArgumentError("there is no action to reward: call act(observation) first")
        if not np.ndim(reward) == 0 or not np.isfinite(reward):
            raise ArgumentError(f"reward must be a finite number, not {reward!r}")
        x, self._seen = self._seen, None
        rewards = jnp.full((1, 1), reward, self._dtype)  # (T, B)
        self._stream, _ = self._update(self._stream, x[None], (rewards,))
        if ended:
            self._stream = self._anew(self._stream, x)

    def _nothing(self) -> tuple[Array]:
        """Return the rewards of a step in which nothing was earned, `(B,)`."""
        return (jnp.zeros((1,), self._dtype),)

    def _looked(self, stream: Any, x: Array) -> Array:
        """Return the outputs of the step that will be learnt from, under its very noise: `(n_out,)`."""
        carry, noise = self._rule.draw(stream.net, stream.carry, x[None], step_keys(stream.key, stream.t, 1))
        noise = jax.tree.map(lambda e: e[0], noise)
        return self._rule.step(stream.net, carry, x, lambda y: jnp.zeros(len(y), y.dtype), noise)[1].y[0]

    def _begun_anew(self, stream: Any, x: Array) -> PyTree:
        """Return the stream at the start of an episode."""
        key = jr.fold_in(self._key, stream.t)
        return begun_anew(self._rule, self._begin, stream, x, self._nothing(), key)


def _loss(y: Array, target: tuple[Array]) -> Array:
    """Return minus the reward, which is the target, `(B,)`."""
    del y
    return -target[0]
