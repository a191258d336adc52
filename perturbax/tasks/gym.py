"""Environments of Gymnasium, stepped from within compiled programs."""

import dataclasses
import itertools
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from perturbax.errors import ArgumentError
from perturbax.fields import setting, whole
from perturbax.plugins import import_optional
from perturbax.tasks.environment import Environment

GROUPS = 8  # groups of copies that are kept, each begun by one program at one time


class Copy(NamedTuple):
    """Where one copy of the environment is.

    Attributes:
        group: number of the group it began in, `()`.
        row: its number in the group, `()`.
        t: steps so far, `()`.
        seen: what it shows, `(n_in,)`.
    """

    group: Int[Array, ""]
    row: Int[Array, ""]
    t: Int[Array, ""]
    seen: Float[Array, " n_in"]


class Gym(Environment):
    """Any environment of Gymnasium whose observations and actions are numbers (extra `[gym]`).

    Observations: a Box, flattened, or Discrete, one input of 1 per value. Actions: Discrete, the number of
    the largest output; or a Box, one output per entry, from -1 (its lowest value) to 1 (its highest),
    clipped; outputs as they are where it has no bounds.

    Every noisy pass has a copy of its own, which the program calls back to step; a seed for each comes from
    the data, so that a run can be repeated. The loss is minus the return, as the best one is not known.
    Towers et al. 2024.

    Attributes:
        name: name of the environment, as gymnasium.make takes it.
        length: most steps of an episode; 0 for the environment's own limit.
        shown: numbers in an observation; no setting.
        choices: how many values a Discrete observation has, 0 for a Box; no setting.
        outputs: outputs that an action is made of; no setting.
        low: lowest values of a Box of actions, empty for Discrete; no setting.
        high: its highest values; no setting.
        limit: steps of an episode; no setting.
    """

    name: str = setting("CartPole-v1")
    length: int = setting(0)
    shown: int = eqx.field(default=0, static=True, metadata={"data": True})
    choices: int = eqx.field(default=0, static=True, metadata={"data": True})
    outputs: int = eqx.field(default=0, static=True, metadata={"data": True})
    low: tuple[float, ...] = eqx.field(default=(), static=True, metadata={"data": True})
    high: tuple[float, ...] = eqx.field(default=(), static=True, metadata={"data": True})
    limit: int = eqx.field(default=0, static=True, metadata={"data": True})
    loss_in: ClassVar[str] = "minus the return"
    summary: ClassVar[str] = "act in any environment of Gymnasium (--task.name NAME; needs gymnasium)"
    papers: ClassVar[tuple[str, ...]] = ("towers2024",)
    settings: ClassVar[dict[str, Any]] = {
        "cell": "tanh",
        "units": 16,
        "batch": 8,
        "steps": 200,
        "lr": 2e-2,
        "logs": 10,
        "optimiser": "adam",
    }
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        "evolution": ({"population": 16, "sigma": 0.1, "rank": 0},),
        "node": ({"sigma": 0.5, "credit": "to-go", "discount": 0.97, "difference": "noisy"},),
        "reward": ({"sigma": 0.5, "discount": 0.97},),
    }

    def __check_init__(self) -> None:
        """Check the length."""
        whole("length", self.length, 0)

    def open(self, data: Path | None) -> "Gym":
        """Return the task with what its spaces are.

        Arguments:
            data: None.

        Raises ArgumentError for a file, without the package, and for an environment that is not there, that
        has no limit of steps, or whose spaces are no numbers.
        """
        super().open(data)
        made = make(self.name)
        shown, choices = _numbers_shown(self.name, made.observation_space)
        outputs, low, high = _action(self.name, made.action_space)
        limit = self.length or getattr(made.spec, "max_episode_steps", None)
        made.close()
        if not limit:
            raise ArgumentError(f"environment {self.name} has no limit of steps: name one (--task.length)")
        return dataclasses.replace(
            self, shown=shown, choices=choices, outputs=outputs, low=low, high=high, limit=int(limit)
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): numbers that are shown, outputs that an action is made of."""
        if not self.limit:
            raise ArgumentError("task Gym has not been opened yet: use the task that open() returns")
        return self.shown, self.outputs

    @property
    def steps(self) -> int:
        """Most steps of an episode."""
        return self.limit

    @property
    def draws(self) -> int:
        """Random numbers of a step: two, for the seed at the start."""
        return 2

    def begin(self, chance: Float[Array, "2"]) -> Copy:
        """Return a fresh copy."""
        none = jnp.zeros((), jnp.int32)
        nothing = Copy(none, none, none, jnp.zeros(self.shown))
        return self.began(jnp.ones((), bool), nothing, chance)

    def began(self, first: Bool[Array, ""], world: Copy, chance: Float[Array, "2"]) -> Copy:
        """Return the copy, a fresh one where an episode starts."""
        like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), world)
        begin = partial(_begun, self.name, self.choices)
        return jax.pure_callback(begin, like, first, world, chance, vmap_method="broadcast_all")

    def observe(self, world: Copy) -> Float[Array, " n_in"]:
        """Return what the copy shows."""
        return world.seen

    def act(
        self, world: Copy, outputs: Float[Array, " n_out"], chance: Float[Array, "2"]
    ) -> tuple[Copy, Float[Array, ""], Bool[Array, ""]]:
        """Let the copy make one step."""
        like = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), (world, world.seen[0], world.t > 0)
        )
        step = partial(_stepped, self.choices, self.low, self.high)
        return jax.pure_callback(step, like, world, outputs, vmap_method="broadcast_all")


class _One:
    """One copy of an environment, and what it said last."""

    def __init__(self, made: Any):
        self.made: Any = made
        self.t = 0
        self.last: tuple[Any, float, bool] = (0.0, 0.0, False)


_GROUPS: OrderedDict[int, tuple[str, list[_One]]] = OrderedDict()
_IDLE: dict[str, list[_One]] = {}
_NUMBERS = itertools.count(1)


def make(name: str) -> Any:
    """Return a new environment; ArgumentError without the package, or where there is none of that name.

    Arguments:
        name: as gymnasium.make takes it.
    """
    package = import_optional("task gym", "gymnasium", "gymnasium")
    try:
        return package.make(name)
    except Exception as error:  # whatever the package or the environment does
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ArgumentError(f"environment {name} cannot be made: {first}") from error


def _numbers_shown(name: str, space: Any) -> tuple[int, int]:
    """Return (numbers, values of a Discrete space or 0) of an observation."""
    kind = type(space).__name__
    if kind == "Box":
        return int(np.prod(space.shape)), 0
    if kind == "Discrete":
        return int(space.n), int(space.n)
    raise ArgumentError(f"environment {name} shows a {kind}: task gym reads Box and Discrete observations")


def _action(name: str, space: Any) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Return (outputs, lowest values, highest values) of an action; no values for Discrete."""
    kind = type(space).__name__
    if kind == "Discrete" and int(getattr(space, "start", 0)) == 0:
        return int(space.n), (), ()
    if kind == "Box" and len(space.shape) == 1:
        return int(space.shape[0]), tuple(map(float, space.low)), tuple(map(float, space.high))
    raise ArgumentError(
        f"environment {name} takes actions {space}: task gym gives Discrete ones, and Boxes of one axis"
    )


def _written(leaf: Any) -> Any:
    """Return an array of numpy that can be written to."""
    return np.array(leaf)


def _begun(name: str, choices: int, first: Any, copies: Copy, chance: Any) -> Copy:
    """Begin a copy for every entry whose episode starts; called back, with any axes in front."""
    first, chance = np.asarray(first), np.asarray(chance)
    world: Any = Copy(*(_written(leaf) for leaf in copies))
    places = np.argwhere(first)
    if not len(places):
        return world
    number = next(_NUMBERS)
    group = [_copy_of(name) for _ in places]
    _GROUPS[number] = name, group
    while len(_GROUPS) > GROUPS:
        of, left = _GROUPS.popitem(last=False)[1]
        _IDLE.setdefault(of, []).extend(left)
    for row, (place, one) in enumerate(zip(map(tuple, places), group, strict=True)):
        high, low = (chance[place] * 2**15).astype(int)  # chance is below 1
        seen, _ = one.made.reset(seed=int(high * 2**15 + low))
        one.t, one.last = 0, (0.0, 0.0, False)
        world.group[place], world.row[place], world.t[place] = number, row, 0
        world.seen[place] = _numbers(seen, choices)
    return world


def _copy_of(name: str) -> _One:
    """Return an idle copy of an environment, or a new one."""
    idle = _IDLE.get(name)
    return idle.pop() if idle else _One(make(name))


def _stepped(choices: int, low: tuple, high: tuple, copies: Copy, outputs: Any) -> tuple[Copy, Any, Any]:
    """Let every copy make its step; one that has made it, or whose episode is over, repeats what it said.

    Called back.
    """
    world: Any = Copy(*(_written(leaf) for leaf in copies))
    outputs = np.asarray(outputs)
    shape = world.t.shape
    rewards, ended = np.zeros(shape, world.seen.dtype), np.zeros(shape, bool)
    for place in np.ndindex(shape):
        one = _GROUPS[int(world.group[place])][1][int(world.row[place])]
        if one.t == world.t[place] and not one.last[2]:
            seen, reward, ends, cut, _ = one.made.step(_chosen(outputs[place], low, high))
            one.t, one.last = one.t + 1, (_numbers(seen, choices), float(reward), bool(ends or cut))
        world.seen[place], rewards[place], ended[place] = one.last
    return world._replace(t=world.t + np.int32(1)), rewards, ended


def _chosen(outputs: np.ndarray, low: tuple, high: tuple) -> Any:
    """Return the action that outputs stand for."""
    if not low:
        return int(outputs.argmax())
    least, most = np.asarray(low), np.asarray(high)
    bounded = np.isfinite(least) & np.isfinite(most)
    with np.errstate(invalid="ignore"):
        scaled = least + (np.clip(outputs, -1, 1) + 1) / 2 * (most - least)
    return np.where(bounded, scaled, outputs).astype(np.float32)


def _numbers(seen: Any, choices: int) -> np.ndarray:
    """Return an observation as numbers, `(n_in,)`."""
    return np.eye(choices)[int(seen)] if choices else np.ravel(seen)
