"""The front door to environments in JAX: from a rule and an environment to a network that acts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import check_key, whole
from perturbax.learning.checks import check_network, check_rule
from perturbax.learning.estimator import learner
from perturbax.learning.sequence import apply_estimate
from perturbax.loop.in_world import InWorld, check_can_act
from perturbax.loop.replay import Replay
from perturbax.network.layer import weights, words_of
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.environment import Environment


class Acting(NamedTuple):
    """What learning in a closed loop carries from update to update.

    Attributes:
        net: the network, from observations to outputs.
        opt: the optimiser's state.
        kept: what the rule keeps from one update to the next.
        memory: a `Memory` of the episodes kept, and of how many were of use; None without replay.
    """

    net: Network
    opt: PyTree
    kept: PyTree
    memory: Any = None


class ClosedLoop(NamedTuple):
    """A rule at work in an environment.

    Attributes:
        init: (net, key) -> Acting, the state before the first update.
        update: (state, key, episodes=32) -> (state, return): live through so many episodes side by side, and
            make one update; the return, the sum of rewards, is the mean over episodes, under the rule's
            noise.
        play: (net, key, episodes=100) -> returns `(episodes,)` of the network without noise.
    """

    init: Callable[..., Acting]
    update: Callable[..., tuple[Acting, Array]]
    play: Callable[..., Float[Array, " episodes"]]


def closed_loop(
    rule: Any, environment: Any, optimiser: Any, replay: int = 0, traces: str = "rbis", limit: float = 1.0
) -> ClosedLoop:
    """Return (init, update, play) of a rule in an environment written in JAX.

        loop = px.closed_loop(px.RULES["reward"](sigma=0.5), px.tasks.CartPole(), optax.adam(1e-2))
        state = loop.init(net, key)
        state, mean_return = loop.update(state, key)      # once per batch of episodes

    Every noisy pass lives in a world of its own, under the same chance. Estimates are of the gradient of the
    environment's loss, averaged over steps and episodes.

    With `replay`, `reward` with a linear critic learns from the last episodes too, those just lived included:
    the critic by traces that are corrected for what the network would do now, the weights by the plain
    probability of an episode now over that of then (docs/closed-loop.md).

    Arguments:
        rule: a rule that is told its score alone: `evolution`, `pes`, `weight`, `node` (credit to-go),
            `reward`, ...
        environment: an opened `Environment`.
        optimiser: an optax transformation.
        replay: episodes kept to be learnt from again; 0 for none.
        traces: how the critic is corrected: rbis, retrace, recursive-retrace or truncated-is.
        limit: the largest variance of the log of a ratio: the critic leaves out episodes whose steps are
            beyond it, the weights of the network those that are beyond it as a whole.

    Raises ArgumentError for a rule that needs derivatives or an output error, for what is no environment or
    optimiser, for a network whose inputs or outputs are not those of the environment, and for replay with a
    rule that has no critic or whose noise is not Gaussian.
    """
    check_rule(rule)
    check_can_act(rule)
    if not isinstance(environment, Environment):
        raise ArgumentError(
            f"environment must be a px.Environment, px.tasks.CartPole() say; got {words_of(environment)}"
        )
    if not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise ArgumentError(
            f"optimiser must be an optax transformation, optax.adam(1e-3) say; got {words_of(optimiser)}"
        )
    begin, learn = learner(rule, environment.loss)
    again = Replay(rule, replay, traces, limit).checked() if replay else None

    def init(net: Network, key: Array) -> Acting:
        check_network(net)
        check_key(key)
        check_fits(net, environment)
        inside = InWorld(net, environment)
        some: Any = weights(inside)
        x = jnp.zeros((1, environment.draws), jnp.result_type(*jax.tree.leaves(some)))
        kept = begin(inside, x, key)
        return Acting(net, optimiser.init(some), kept, again and again.empty(inside, kept, key))

    @eqx.filter_jit
    def update(state: Acting, key: Array, episodes: int = 32) -> tuple[Acting, Array]:
        whole("episodes", episodes)
        inside = InWorld(state.net, environment)
        if again:
            kept, memory, loss, grads = again.update(inside, state.kept, state.memory, episodes, key)
        else:
            key_chance, key_noise = jax.random.split(key)
            chance, targets = environment.sample(key_chance, episodes)
            kept, loss, grads = learn(state.kept, inside, chance, targets, key_noise)
            memory = None
        after: Any
        after, opt = apply_estimate(inside, optimiser, state.opt, grads, rule)
        return Acting(after.net, opt, kept, memory), environment.return_of(loss)

    @eqx.filter_jit
    def play(net: Network, key: Array, episodes: int = 100) -> Array:
        whole("episodes", episodes)
        chance, _ = environment.sample(key, episodes)
        return forward(InWorld(net, environment), chance).sum((0, 2))  # (episodes,)

    return ClosedLoop(init, update, play)


def check_fits(net: Network, environment: Environment) -> None:
    """Raise ArgumentError for a network whose outputs are not as many as the environment reads.

    Arguments:
        net: the network.
        environment: the environment.
    """
    n_in, n_out = environment.sizes
    dtype = jnp.result_type(*jax.tree.leaves(weights(net)))
    x = jax.ShapeDtypeStruct((1, n_in), dtype)
    y = jax.eval_shape(lambda x: net.step(net.start(1), x)[1], x)
    if y.shape[-1] != n_out:
        raise ArgumentError(
            f"{type(environment).__name__} reads {n_out} outputs of a network that sees {n_in} numbers: this "
            f"one has {y.shape[-1]}"
        )
