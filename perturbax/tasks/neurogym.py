"""Decision tasks of NeuroGym."""

import dataclasses
import hashlib
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from perturbax.errors import ArgumentError
from perturbax.fields import setting, whole
from perturbax.moved import old_names
from perturbax.plugins import import_optional
from perturbax.tasks.base import HeldOut, Metrics, require_data
from perturbax.tasks.classify import Classify, right
from perturbax.tasks.shipped_credit import ONLINE_WINDOW, TO_GO, for_node_rules

SEEDS = {"train": 0, "valid": 10**6, "test": 2 * 10**6}
ENVIRONMENTS = 16  # per call

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)


class Pool(eqx.Module):
    """Sequences of trials.

    Attributes:
        x: observations, `(T, N, n_in)`.
        action: the right action at each step, `(T, N)`.
    """

    x: Float[Array, "T N n_in"]
    action: Int[Array, "T N"]


class NeuroGym(Classify):
    """Any NeuroGym environment with discrete actions: choose the right action at every step.

        input  the environment's observation;   target  its right action `gt`, asked for at every step

    Molano-Mazón et al. 2022. Trials follow each other in a sequence. They come from the package's `Dataset`,
    drawn with fixed seeds when the task is opened: `pool` sequences for training, from which batches are
    drawn, a quarter as many for validation and for testing.

    Attributes:
        env: name of the environment.
        dt: milliseconds per step; 0 for the environment's own.
        length: steps of a sequence, T.
        pool: number of training sequences.
        pools: the sequences by part; no setting.
        actions: number of actions; no setting.
    """

    env: str = setting("PerceptualDecisionMaking-v0")
    dt: int = setting(0)
    length: int = setting(100)
    pool: int = setting(512)
    pools: dict[str, Pool] | None = eqx.field(default=None, metadata={"data": True})
    actions: int = eqx.field(default=0, static=True, metadata={"data": True})
    summary: ClassVar[str] = (
        "say the right action in any NeuroGym environment (--task.env NAME; needs neurogym)"
    )
    papers: ClassVar[tuple[str, ...]] = ("molano2022",)
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules(TO_GO, {**ONLINE_WINDOW, "lr": 1e-3}),
        "mirror": ({"lr": 1e-2},),
        "bptt": ({"lr": 1e-2},),
    }

    def __check_init__(self) -> None:
        """Check the counts."""
        for name, least in {"dt": 0, "length": 1, "pool": 1}.items():
            whole(name, getattr(self, name), least)

    @property
    def opened(self) -> dict[str, Pool]:
        """The sequences by part; ArgumentError before `open`."""
        return require_data(self, self.pools, "trials")

    @property
    def classes(self) -> int:
        """Number of classes: the environment's actions."""
        return self.actions

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): entries of an observation, one output per action."""
        return self.opened["train"].x.shape[2], self.actions

    @property
    def steps(self) -> int:
        """The length."""
        return self.length

    def open(self, data: Path | None) -> "NeuroGym":
        """Return the task with its trials drawn.

        Arguments:
            data: None.

        Raises ArgumentError for a file, without the package, or for an environment that cannot be used.
        """
        super().open(data)
        package = import_optional("task neurogym", "neurogym", "neurogym")
        counts = {part: self.pool if part == "train" else math.ceil(self.pool / 4) for part in SEEDS}
        actions, pools = 0, {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of gymnasium, about how NeuroGym uses it
            for part, seed in SEEDS.items():
                actions, pools[part] = self._draw_pool(package, counts[part], seed)
        return dataclasses.replace(self, pools=pools, actions=actions)

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return sequences of the training pool."""
        return self._read("train", jr.randint(key, (batch,), 0, self.opened["train"].x.shape[1]))

    def held_out(self, part: str) -> HeldOut:
        """Return all sequences of part `valid` or `test`."""
        return HeldOut(*self._read(part, jnp.arange(self.opened[part].x.shape[1])))

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, `accuracy`, and `decisions`: the accuracy where the right action is not the first.

        In NeuroGym the first action is to wait, which is right most of the time. Of two actions the other one
        is then always right: where waiting is a choice (GoNogo-v0), look at the accuracy.
        """
        acting = jnp.where(target[..., :1] > 0, jnp.nan, target)
        return {**super().metrics(y, target), "decisions": self.over_asked(right, y, acting)}

    def digest(self) -> str:
        """Return a hash of the trials."""
        arrays = [np.asarray(a).tobytes() for pool in self.opened.values() for a in (pool.x, pool.action)]
        return hashlib.sha256(b"".join(arrays)).hexdigest()[:16]

    def _read(self, part: str, rows: Array) -> tuple[Array, Array]:
        """Return inputs `(T, B, n_in)` and one-hot targets of stored sequences by number `(B,)`."""
        pool = self.opened[part]
        return pool.x[:, rows], jnp.eye(self.actions)[pool.action[:, rows]]

    def _draw_pool(self, package: Any, count: int, seed: int) -> tuple[int, Pool]:
        """Return the number of actions, and `count` sequences that depend on the seed only."""
        options = {"dt": self.dt} if self.dt else {}
        try:
            # With a cache of one batch each call draws anew, so that nothing precedes the seed.
            data = package.Dataset(
                self.env, env_kwargs=options, batch_size=ENVIRONMENTS, seq_len=self.length, cache_len=1
            )
            actions = getattr(data.env.action_space, "n", None)
            if actions is None:
                raise ArgumentError(
                    f"environment {self.env} has no discrete actions, which task neurogym needs"
                )
            data.seed(seed)
            batches = [[np.array(v) for v in data()] for _ in range(math.ceil(count / ENVIRONMENTS))]
        except ArgumentError:
            raise
        except Exception as error:  # whatever the environment does
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise ArgumentError(f"environment {self.env} cannot be used: {first}") from error
        _check_batch(self.env, batches[0], (self.length, ENVIRONMENTS))
        observations, answers = (np.concatenate(v, 1)[:, :count] for v in zip(*batches, strict=True))
        _check_trials(self.env, observations, answers, int(actions))
        flat = observations.reshape(*observations.shape[:2], -1)  # (T, N, n_in)
        xs = jnp.asarray(flat, jnp.result_type(float))
        return int(actions), Pool(xs, jnp.asarray(answers, int))


def _check_batch(env: str, batch: list[np.ndarray], shape: tuple[int, int]) -> None:
    """Raise ArgumentError unless a batch has one observation and one right action per step, `(T, B, ...)`."""
    observations, answers = batch
    if observations.shape[:2] != shape or answers.shape != shape:
        raise ArgumentError(
            f"environment {env} cannot be used: observations must be ({shape[0]}, {shape[1]}, entries) and "
            f"right actions {shape}, not {observations.shape} and {answers.shape}"
        )


def _check_trials(env: str, observations: np.ndarray, answers: np.ndarray, actions: int) -> None:
    """Raise ArgumentError unless observations are finite and right actions whole, from 0 to actions - 1."""
    if observations.dtype.kind not in "biuf" or not np.isfinite(observations).all():
        raise ArgumentError(f"environment {env} cannot be used: observations must be finite numbers")
    low, high = answers.min(), answers.max()
    if (
        answers.dtype.kind not in "biuf"
        or not (answers == np.floor(answers)).all()
        or low < 0
        or high >= actions
    ):
        raise ArgumentError(
            f"environment {env} cannot be used: right actions must be whole numbers from 0 to {actions - 1}, "
            f"not from {low} to {high}"
        )
