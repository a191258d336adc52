"""A bandit that pays late."""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from perturbax.errors import ArgumentError
from perturbax.fields import chance as check_chance
from perturbax.fields import setting, whole
from perturbax.tasks.environment import Environment


class Machine(NamedTuple):
    """The world of a bandit.

    Attributes:
        t: step of the episode, `()`.
        good: the arm that is good in this episode, `()`.
        chosen: the arm that was chosen, -1 before, `()`.
    """

    t: Int[Array, ""]
    good: Int[Array, ""]
    chosen: Int[Array, ""]


class Bandit(Environment):
    """Delayed-choice bandit: see which arm is good, choose one later, be paid later still.

        step 0              the good arm is shown, one input of 1 per arm
        step wait           the go input is 1; the largest output is the arm that is chosen
        step wait + 1       the chosen arm is shown, on inputs of its own
        step wait + delay   a reward of 1, with probability `odds` for the good arm, 1 - `odds` for others

    T = wait + delay + 1. Nothing that the network sees or does between its choice and its reward matters: a
    rule must credit what it did `delay` steps ago. The best return is `odds`.

    Attributes:
        arms: number of arms.
        wait: steps from the sight of the good arm to the choice.
        delay: steps from the choice to the reward.
        odds: probability that the good arm pays.
    """

    arms: int = setting(4)
    wait: int = setting(0)
    delay: int = setting(50)
    odds: float = setting(0.9)
    summary: ClassVar[str] = "choose the arm that was shown, and be paid much later; an environment, in JAX"
    papers: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[dict[str, Any]] = {
        "cell": "tanh",
        "units": 16,
        "batch": 32,
        "steps": 400,
        "lr": 1e-2,
        "logs": 20,
        "optimiser": "adam",
    }
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        "evolution": ({"population": 16, "sigma": 0.3, "rank": 0, "lr": 3e-2},),
        "weight": ({"samples": 8, "sigma": 0.3, "difference": "antithetic", "lr": 3e-2},),
        "pes": ({"samples": 8, "sigma": 0.3, "window": 60, "lr": 3e-2},),
        "node": ({"sigma": 0.5, "credit": "to-go"},),
        "reward": ({"sigma": 0.5, "credit": "trace"},),
    }

    def __check_init__(self) -> None:
        """Check the counts, and that the good arm is better than others."""
        for name, least in {"arms": 2, "wait": 0, "delay": 0}.items():
            whole(name, getattr(self, name), least)
        check_chance("odds", self.odds)
        if self.odds <= 0.5:
            raise ArgumentError(f"odds must be above 0.5, so that the good arm is good; not {self.odds}")

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): the good arm, go, the chosen arm; one output per arm."""
        return 2 * self.arms + 1, self.arms

    @property
    def steps(self) -> int:
        """Steps of an episode."""
        return self.wait + self.delay + 1

    @property
    def best(self) -> float:
        """The best return: that of the good arm."""
        return self.odds

    def begin(self, chance: Float[Array, "1"]) -> Machine:
        """Return the machine, one of its arms good."""
        good = jnp.minimum((chance[0] * self.arms).astype(int), self.arms - 1)
        return Machine(jnp.zeros((), int), good, jnp.full((), -1))

    def observe(self, world: Machine) -> Float[Array, " n_in"]:
        """Return the good arm at step 0, go at the choice, the chosen arm right after it."""
        arms = jnp.arange(self.arms)
        good = (arms == world.good) & (world.t == 0)
        chosen = (arms == world.chosen) & (world.t == self.wait + 1)
        return jnp.concatenate([good, (world.t == self.wait)[None], chosen]).astype(jnp.result_type(float))

    def act(
        self, world: Machine, outputs: Float[Array, " arms"], chance: Float[Array, "1"]
    ) -> tuple[Machine, Float[Array, ""], Bool[Array, ""]]:
        """Choose, wait, or be paid."""
        chosen = jnp.where(world.t == self.wait, jnp.argmax(outputs), world.chosen)
        odds = jnp.where(chosen == world.good, self.odds, 1 - self.odds)
        # At step 0 chance has drawn the good arm: its remainder is as good as a fresh number.
        luck = jnp.where(world.t == 0, chance[0] * self.arms % 1, chance[0])
        paid = (world.t == self.wait + self.delay) & (luck < odds)
        world = Machine(world.t + 1, world.good, chosen.astype(world.chosen.dtype))
        return world, paid.astype(jnp.result_type(float)), jnp.zeros((), bool)
