"""The interface of tasks that answer back: what the network does changes what it sees next."""

import abc
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PyTree

from perturbax.tasks.base import HeldOut, Metrics, Task, held_out_key


class Life(NamedTuple):
    """One copy of a world in the middle of an episode.

    Attributes:
        t: steps of the episode so far, `()`.
        alive: whether the episode has not ended yet, `()`.
        world: what the environment keeps, any tree of arrays.
    """

    t: Int[Array, ""]
    alive: Bool[Array, ""]
    world: PyTree


class Environment(Task):
    """Base of all environments: worlds that a network acts in, which pay it rewards.

        o_t = observe(w_t),   u_t = network(o_1 .. o_t),   w_{t+1}, r_t, ended = act(w_t, u_t)

    Written for ONE episode, in JAX. An episode has at most `steps` steps; once it has ended, nothing is seen
    (observations of 0) and nothing is earned. A complete environment, in which the network holds a drifting
    number near 0:

        class Hold(px.Environment):
            sizes = property(lambda self: (1, 1))                 # observations, outputs of the network
            steps = property(lambda self: 20)
            def begin(self, chance):              return 2 * chance - 1
            def observe(self, world):             return world
            def act(self, world, u, chance):
                world = world + 0.1 * u + 0.1 * (chance - 0.5)
                return world, -world[0] ** 2, jnp.abs(world[0]) > 3

    What is random comes from `chance`: numbers between 0 and 1, `draws` fresh ones at every step. Every
    sequence of training data is the chance of one episode, so that all passes under different noise live
    through the same chance, each in a world of its own.

    The loss is what the network misses of the best return, 1 - return / best, where `best` is known, else
    minus the return; the mean over steps of

        L_t = 1 - r_t T / best,      else  L_t = -r_t T.

    Test metrics: `loss`, and `return`, the sum of rewards of an episode, averaged over 100 episodes that are
    never trained on.
    """

    held_out_sequences: ClassVar[int] = 100
    loss_in: ClassVar[str] = "missed share of the best return"

    @property
    def draws(self) -> int:
        """Random numbers that the world needs at a step, at least 1."""
        return 1

    @property
    def best(self) -> float | None:
        """The best return of an episode on average, above 0; None where it is not known."""
        return None

    @abc.abstractmethod
    def begin(self, chance: Float[Array, " draws"]) -> PyTree:
        """Return the world at the start of an episode.

        Arguments:
            chance: random numbers between 0 and 1, those of the first step, `(draws,)`.
        """

    def began(self, first: Bool[Array, ""], world: PyTree, chance: Float[Array, " draws"]) -> PyTree:
        """Return the world of this step: one that begins where an episode starts, else as it is.

        Arguments:
            first: whether an episode starts with this step, `()`.
            world: as the last step left it.
            chance: random numbers of the step, `(draws,)`.
        """
        return jax.tree.map(lambda new, old: jnp.where(first, new, old), self.begin(chance), world)

    @abc.abstractmethod
    def observe(self, world: PyTree) -> Float[Array, " n_in"]:
        """Return what the network sees of the world, `(n_in,)`."""

    @abc.abstractmethod
    def act(
        self, world: PyTree, outputs: Float[Array, " n_out"], chance: Float[Array, " draws"]
    ) -> tuple[PyTree, Array, Array]:
        """Return (world, reward `()`, whether the episode ends here `()`) after one step.

        Arguments:
            world: the world before.
            outputs: of the network, `(n_out,)`; the environment makes actions of them.
            chance: random numbers between 0 and 1, `(draws,)`.
        """

    @property
    def data_sizes(self) -> tuple[int, int]:
        """(inputs, targets) of the data: the chance of a step, and the reward that would be the best."""
        return self.draws, 1

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B draws"], Float[Array, "T B 1"]]:
        """Return the chance of episodes, `(T, B, draws)`, and the reward of a step that would be the best on
        average, 0 where it is not known, `(T, B, 1)`.
        """
        chance = jr.uniform(key, (self.steps, batch, self.draws))
        return chance, jnp.full((self.steps, batch, 1), (self.best or 0.0) / self.steps)

    def begins_anew(self, i: Array | int, batch: int) -> bool:
        """Return True: every piece of the streams is an episode of its own."""
        return True

    def error(self, y: Float[Array, "*rows 1"], target: Float[Array, "*rows 1"]) -> Float[Array, "*rows"]:
        """Return the loss of each step, `(*rows,)`.

        Arguments:
            y: rewards, `(*rows, 1)`.
            target: the best rewards, `(*rows, 1)`, as `sample` returns them.
        """
        missed = (target - y)[..., 0] * self.steps  # (*rows,)
        return missed if self.best is None else missed / self.best

    def return_of(self, loss: Array) -> Array:
        """Return the return of an episode with this mean loss.

        Arguments:
            loss: mean over the steps of one or more episodes.
        """
        return -loss if self.best is None else self.best * (1 - loss)

    def metrics(self, y: Float[Array, "T B 1"], target: Float[Array, "T B 1"]) -> Metrics:
        """Return `loss` and `return`; y are rewards, `(T, B, 1)`."""
        return {**super().metrics(y, target), "return": y.sum(0).mean()}

    def says(self, y: Array) -> Array:
        """Return rewards as figures show them: as they are."""
        return y

    @property
    def unit(self) -> str:
        """What figures show."""
        return "reward"

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of outputs drawn at random at every step."""
        test = self.held_out("test")
        outputs = jr.normal(held_out_key(3), (*test.xs.shape[:2], self.sizes[1]))
        return {"random": _judged(self, outputs, test)}

    def unborn(self) -> Life:
        """Return the life of a world that has not begun: zeros, whose shapes count."""
        chance = jax.ShapeDtypeStruct((self.draws,), jnp.result_type(float))
        world = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(self.begin, chance))
        return Life(jnp.zeros((), int), jnp.ones((), bool), world)

    def awake(self, life: Life, chance: Float[Array, " draws"]) -> tuple[Life, Float[Array, " n_in"]]:
        """Return (life, what is seen of it); a world whose episode starts with this step begins here.

        Arguments:
            life: one copy of the world, before the step.
            chance: random numbers of the step, `(draws,)`.
        """
        first = life.t == 0
        world = self.began(first, life.world, chance)
        life = Life(life.t, life.alive | first, world)
        seen = self.observe(world)
        return life, jnp.where(life.alive, seen, jnp.zeros_like(seen))

    def lived(
        self, life: Life, outputs: Float[Array, " n_out"], chance: Float[Array, " draws"]
    ) -> tuple[Life, Float[Array, ""]]:
        """Return (life, reward) after a step; a new episode begins after `steps` steps.

        Arguments:
            life: one copy of the world, as `awake` returned it.
            outputs: of the network, `(n_out,)`.
            chance: random numbers of the step, `(draws,)`.
        """
        world, reward, ended = self.act(life.world, outputs, chance)
        world = jax.tree.map(lambda new, old: jnp.where(life.alive, new, old), world, life.world)
        reward = jnp.where(life.alive, reward, jnp.zeros_like(reward))
        return Life((life.t + 1) % self.steps, life.alive & ~ended, world), reward


@jax.jit
def _judged(task: Environment, outputs: Float[Array, "T B n_out"], held: HeldOut) -> Metrics:
    """Return the metrics of outputs that do not heed what is seen."""

    def step(lives: Life, now: tuple[Array, Array]) -> tuple[Life, Array]:
        u, chance = now
        lives, _ = jax.vmap(task.awake)(lives, chance)
        return jax.vmap(task.lived)(lives, u, chance)

    batch = outputs.shape[1]
    unborn = jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), task.unborn())
    rewards = jax.lax.scan(step, unborn, (outputs, held.xs))[1]  # (T, B)
    return task.metrics(rewards[..., None], held.ys)
