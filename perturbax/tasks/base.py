"""The interface of every task: sequences to learn from, held-out ones to be judged by, and trivial
baselines.
"""

import abc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float

from perturbax.errors import ArgumentError

Metrics = dict[str, Any]


class HeldOut(NamedTuple):
    """Sequences for evaluation: xs `(T, B, n_in)`, ys `(T, B, n_out)`; the first `warmup` steps are not
    scored.
    """

    xs: Array
    ys: Array
    warmup: int = 0


class Task(eqx.Module):
    """A problem to train on; its static fields are its settings.

    A complete task:

        class CopyNow(Task):
            length: int = setting(5)
            sizes = property(lambda self: (1, 1))                    # inputs, outputs
            steps = property(lambda self: self.length)               # T of one training sequence
            def sample(self, key, batch):
                xs = jr.normal(key, (self.steps, batch, 1))
                return xs, xs

    Everything else has a default: fresh sequences as a stream, held-out sequences from keys of their own,
    mean squared error, and the training mean as baseline.

    A target of NaN is not asked for: steps whose answer is not judged carry NaN in every entry of the target.
    A task with such steps says in `asked_steps` how many are left.
    """

    held_out_sequences: ClassVar[int] = 256
    papers: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str] = ""
    loss_in: ClassVar[str] = "MSE"  # what `loss` is measured in, as figures name it
    settings: ClassVar[dict[str, Any]] = {}  # run settings shipped for this task, below those a user names
    cell_settings: ClassVar[dict[str, dict[str, Any]]] = {}  # fields of a cell, by its name
    # The same by rule name, run settings and fields of the rule together: the first entry, or the first of
    # the mode # that the user asks for.
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {}

    @property
    @abc.abstractmethod
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out)."""

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Steps T of one training sequence."""

    @property
    def asked_steps(self) -> int:
        """Steps of a training sequence whose answer is judged: all of them, unless targets are NaN."""
        return self.steps

    def open(self, data: Path | None) -> "Task":
        """Return the task ready to sample, its data read; the default takes no data."""
        if data is not None:
            raise ArgumentError(f"task {type(self).__name__} generates its data: it takes no --data")
        return self

    @abc.abstractmethod
    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return a batch of training sequences (inputs, targets). Pure, traceable."""

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return piece i (T steps) of `batch` endless streams, for online learning. Pure, traceable."""
        return self.sample(jr.fold_in(key, i), batch)

    def held_out(self, part: str) -> HeldOut:
        """Return the sequences of part `valid` or `test`: the same for every seed, never trained on."""
        key = jr.fold_in(jr.key(982451653), {"valid": 1, "test": 2}[part])
        return HeldOut(*drawn(self, key, self.held_out_sequences))

    def seen(self) -> HeldOut | None:
        """Return sequences of the training data, about as many as of the test part.

        None where all are fresh, or where the task keeps none to be judged by.
        """
        return None

    def asked(self, target: Float[Array, "*rows n_out"]) -> Bool[Array, "*rows"]:
        """Return whether an answer is judged: a target of NaN is not."""
        return ~jnp.any(jnp.isnan(target), -1)

    def error(
        self, y: Float[Array, "*rows n_out"], target: Float[Array, "*rows n_out"]
    ) -> Float[Array, "*rows"]:
        """Return what is wrong with each answer: the mean squared error over outputs. The targets are
        numbers.
        """
        return jnp.mean((y - target) ** 2, -1)

    def loss(self, y: Float[Array, "B n_out"], target: Float[Array, "B n_out"]) -> Float[Array, " B"]:
        """Return one number per example: its error times T / `asked_steps`, 0 where no answer is asked for.

        The mean over all steps, which training estimates, is then the mean over those asked for, the held-out
        `loss`.
        """
        return self.judged(self.error, y, target) * (self.steps / self.asked_steps)

    def judged(self, measure: Callable[..., Array], y: Array, target: Array) -> Array:
        """Return measure(y, target) of answers asked for, else 0; NaN enters neither value nor derivative."""
        asked = self.asked(target)
        return jnp.where(asked, measure(y, jnp.where(asked[..., None], target, 0)), 0)

    def over_asked(self, measure: Callable[..., Array], y: Array, target: Array) -> Array:
        """Return the mean of measure(y, target) over the answers asked for."""
        return jnp.sum(self.judged(measure, y, target)) / jnp.maximum(jnp.sum(self.asked(target)), 1)

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss` and the task's own measures of held-out predictions. Traceable."""
        return {"loss": self.over_asked(self.error, y, target)}

    def readouts(self, solved: np.ndarray, mean: np.ndarray) -> list[np.ndarray]:
        """Return readouts `(n + 1, n_out)`, bias last, to choose from: solved by least squares; mean: of
        targets.
        """
        return [solved]

    def digest(self) -> str:
        """Return a fingerprint of the data that was read; empty for a task that generates its own."""
        return ""

    def in_units(self, y: Array) -> Array:
        """Return outputs or targets in the task's own units."""
        return y

    def says(self, y: Array) -> Array:
        """Return outputs as a picture shows them beside targets in the task's own units."""
        return self.in_units(y)

    def scaling(self) -> dict[str, np.ndarray]:
        """Return what it takes to use a trained network on new data; kept beside its weights."""
        return {}

    def baselines(self) -> dict[str, Metrics]:
        """Return the metrics, on the test part, of predictors that need no network."""
        ys, test = drawn(self, jr.key(0), 4096)[1], self.held_out("test")
        constant = jnp.broadcast_to(jnp.nanmean(ys, (0, 1)), test.ys.shape)
        return {"mean": measured(self, constant[test.warmup :], test.ys[test.warmup :])}


@partial(jax.jit, static_argnums=2)
def drawn(task: Task, key: Array, batch: int) -> tuple[Array, Array]:
    """Return task.sample(key, batch), compiled as one: step by step, every operation would be compiled
    alone.
    """
    return task.sample(key, batch)


@jax.jit
def measured(task: Task, y: Array, target: Array) -> Metrics:
    """Return task.metrics(y, target), compiled as one."""
    return task.metrics(y, target)
