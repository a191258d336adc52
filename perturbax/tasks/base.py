"""The interface of every task: sequences to learn from, held-out ones to be judged by, and baselines."""

import abc
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float

from perturbax.errors import ArgumentError
from perturbax.fields import check_given, one_of, refuse_abstract
from perturbax.tasks.arguments import PARTS, check_arguments

Metrics = dict[str, Any]
Data = TypeVar("Data")

HELD_OUT = 982451653  # seed of the sequences that are never trained on


class HeldOut(NamedTuple):
    """Sequences for evaluation.

    Attributes:
        xs: inputs, `(T, B, n_in)`.
        ys: targets, `(T, B, n_out)`.
        warmup: first steps that warm the state up and are not scored.
        base: what the targets are changes from, `(T, B, n_out)` in own units; None where they are no changes.
    """

    xs: Array
    ys: Array
    warmup: int = 0
    base: Array | None = None


class Shipped(NamedTuple):
    """Settings that a task ships, below those that a user names.

    Attributes:
        settings: of a run.
        rule_settings: of a run and of a rule, by the rule's name: see `Task`.
    """

    settings: Mapping[str, Any]
    rule_settings: Mapping[str, tuple[dict[str, Any], ...]]


class Task(eqx.Module):
    """Base of all tasks: a problem to train on. Its static fields are its settings.

    A complete task:

        class CopyNow(Task):
            length: int = setting(5)
            sizes = property(lambda self: (1, 1))                    # inputs, outputs
            steps = property(lambda self: self.length)               # T of one training sequence
            def sample(self, key, batch):
                xs = jr.normal(key, (self.steps, batch, 1))
                return xs, xs

    Everything else has a default: fresh sequences as a stream, held-out sequences from keys of their own,
    mean squared error, and the training mean as baseline. A property `unit`, where there is one, labels the
    outputs in figures.

    A target of NaN is not asked for, output by output: the error of an answer is the mean over the outputs
    asked for, and a step whose entries are all NaN is not judged. A task with such steps says in
    `asked_steps` how many are left.

    Class attributes: `held_out_sequences` (how many the default `held_out` draws), `papers` (keys of
    perturbax.papers), `summary` (one line for `perturbax list tasks`), `loss_in` (what `loss` is measured in,
    as figures name it), `settings` (run settings shipped for this task, below those a user names),
    `cell_settings` (fields of a cell, by its name), `rule_settings` (run settings and fields of a rule, by
    its name: the first entry, or the first of the mode that the user asks for).
    """

    held_out_sequences: ClassVar[int] = 256
    papers: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str] = ""
    loss_in: ClassVar[str] = "MSE"
    settings: ClassVar[dict[str, Any]] = {}
    cell_settings: ClassVar[dict[str, dict[str, Any]]] = {}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {}

    def __init_subclass__(cls, **settings: Any):
        """Let tasks of this package check what their methods are given."""
        super().__init_subclass__(**settings)
        check_arguments(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse a class that lacks `sizes`, `steps` or `sample`, and settings that it does not have, with
        ArgumentError.
        """
        refuse_abstract("task", cls)
        check_given(cls, kwargs)
        return super().__new__(cls)

    @classmethod
    def shipped(cls, options: Mapping[str, Any], data: str | None = None) -> Shipped:
        """Return the settings that the task ships, where they depend on settings of the task or its data.

        Arguments:
            options: the settings of the task that a user named, as typed.
            data: file or folder that the user names, or None.
        """
        return Shipped(cls.settings, cls.rule_settings)

    @property
    @abc.abstractmethod
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): inputs and outputs of a network for this task."""

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Steps T of one training sequence."""

    @property
    def image(self) -> tuple[int, ...]:
        """Shape of the image that one step shows, `(height, width[, colours])`; () where it shows none."""
        return ()

    @property
    def data_sizes(self) -> tuple[int, int]:
        """(inputs, targets) of one step of the data: `sizes`, unless a world stands between."""
        return self.sizes

    @property
    def starts_at_zero(self) -> bool:
        """Whether outputs of zero are an answer to start from, so that a fresh readout is zero."""
        return False

    @property
    def asked_steps(self) -> int:
        """Steps of a training sequence whose answer is judged: all of them, unless targets are NaN."""
        return self.steps

    def open(self, data: Path | None) -> "Task":
        """Return the task ready to sample, with its data read or generated.

        The default is for tasks that generate each batch.

        Arguments:
            data: file or folder that the user names, or None.

        Raises ArgumentError where a file is named and the task takes none.
        """
        if data is not None:
            raise ArgumentError(f"task {type(self).__name__} generates its data: it takes no --data")
        return self

    @abc.abstractmethod
    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return a batch of training sequences: (inputs `(T, B, n_in)`, targets `(T, B, n_out)`).

        Pure, traceable. T is `steps`, n_in and n_out are `sizes`; targets are NaN where no answer is asked
        for.

        Arguments:
            key: a JAX key, of which the batch is a function.
            batch: number of sequences, B.
        """

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return piece i of endless streams for online learning: (inputs, targets), shaped as by `sample`.

        Pure, traceable. By default the pieces are sequences that do not go on from each other.

        Arguments:
            key: a JAX key, of which the streams are a function.
            i: number of the piece, from 0; each has T steps.
            batch: number of streams side by side, B.
        """
        return self.sample(jr.fold_in(key, i), batch)

    def begins_anew(self, i: Array | int, batch: int) -> Array | bool:
        """Return whether the streams begin anew with piece i: nothing of the piece before is carried over.

        Pure, traceable. By default, and at piece 0 alike, that is left to the streams: False.

        Arguments:
            i: number of the piece, from 0.
            batch: number of streams side by side, B.
        """
        return False

    def held_out(self, part: str) -> HeldOut:
        """Return held-out sequences: the same for every seed, never trained on.

        Arguments:
            part: `valid` or `test`.
        """
        key = held_out_key(held_out_number(part))
        return HeldOut(*draw_batch(self, key, self.held_out_sequences))

    def seen(self) -> HeldOut | None:
        """Return sequences of the training data, about as many as of the test part.

        None where all are fresh, or where the task keeps none to be judged by.
        """
        return None

    def asked(self, target: Float[Array, "*rows n_out"]) -> Bool[Array, "*rows"]:
        """Return whether an answer is asked for, `(*rows,)`: one whose targets are NaN in every output is
        not.

        Arguments:
            target: targets, `(*rows, n_out)`.
        """
        return ~jnp.all(jnp.isnan(target), -1)

    def error(
        self, y: Float[Array, "*rows n_out"], target: Float[Array, "*rows n_out"]
    ) -> Float[Array, "*rows"]:
        """Return the error of each answer: by default the mean squared error over the outputs asked for.

            sum_k m_k (y_k - target_k)^2 / sum_k m_k,      m_k = 0 where target_k is NaN, else 1

        Arguments:
            y: outputs, `(*rows, n_out)`.
            target: targets, `(*rows, n_out)`; NaN for an output not asked for, but never for all outputs of a
                row.
        """
        n_out = target.shape[-1]
        if n_out == 1:
            return jnp.mean((y - target) ** 2, -1)
        known = ~jnp.isnan(target)  # (*rows, n_out)
        squares = (y - jnp.where(known, target, y)) ** 2  # (*rows, n_out): 0 where not asked for
        share = jnp.mean(known, -1, dtype=squares.dtype)  # (*rows,)
        return jnp.mean(squares, -1) / share

    def loss(self, y: Float[Array, "B n_out"], target: Float[Array, "B n_out"]) -> Float[Array, " B"]:
        """Return one number per example: its error times T / `asked_steps`, 0 where no answer is asked for.

        The mean over all steps, which training estimates, is then the mean over those asked for, the held-out
        `loss`.

        Arguments:
            y: outputs of one step, `(B, n_out)`.
            target: targets of that step, `(B, n_out)`; NaN for outputs that are not asked for.
        """
        return self.judged(self.error, y, target) * (self.steps / self.asked_steps)

    def judged(self, measure: Callable[..., Array], y: Array, target: Array) -> Array:
        """Return measure(y, target) of each answer asked for, else 0: no NaN in value or derivative.

        Arguments:
            measure: (outputs `(*rows, n_out)`, targets) -> `(*rows,)`; targets hold NaN only in rows that
                are asked for in part.
            y: outputs, `(*rows, n_out)`.
            target: targets, `(*rows, n_out)`.
        """
        asked = self.asked(target)  # (*rows,)
        numbers = jnp.where(asked[..., None], target, 0)  # (*rows, n_out)
        return jnp.where(asked, measure(y, numbers), 0)

    def over_asked(self, measure: Callable[..., Array], y: Array, target: Array) -> Array:
        """Return the mean of measure(y, target) over answers asked for, `()`; arguments as in `judged`."""
        return jnp.sum(self.judged(measure, y, target)) / jnp.maximum(jnp.sum(self.asked(target)), 1)

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss` and the task's own measures of held-out predictions, one number each, by name.

        Traceable.

        Arguments:
            y: outputs, `(T, B, n_out)`, without the steps that warm up.
            target: targets, `(T, B, n_out)`; NaN for outputs that are not asked for.
        """
        return {"loss": self.over_asked(self.error, y, target)}

    def details(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> dict[str, Any]:
        """Return what result.json keeps of the test part beside numbers, in types of JSON; here nothing.

        Arguments:
            y: outputs, `(T, B, n_out)`.
            target: targets, `(T, B, n_out)`.
        """
        return {}

    def readouts(self, solved: np.ndarray, mean: np.ndarray) -> list[np.ndarray]:
        """Return the candidates for the readout of the reservoir baseline, `(n + 1, n_out)` each, bias last.

        Arguments:
            solved: the readout that least squares finds, `(n + 1, n_out)`.
            mean: mean of the targets, `(n_out,)`.
        """
        return [solved]

    def digest(self) -> str:
        """Return a fingerprint of the data that was read; empty for a task that generates its own."""
        return ""

    def measures(
        self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"], base: Float[Array, "T B n_out"]
    ) -> Metrics:
        """Return further measures of held-out predictions that need own units, by name. Traceable.

        Arguments:
            y: outputs, `(T, B, n_out)`.
            target: targets, `(T, B, n_out)`.
            base: what the targets are changes from, `(T, B, n_out)` in own units.
        """
        return {}

    def measures_of_outputs(self, y: Array, target: Array, base: Array) -> dict[str, Array]:
        """Return measures of each output, `(n_out,)`, by name. Traceable.

        Arguments as in `measures`.
        """
        return {}

    def in_units(self, y: Array, base: Array | None = None) -> Array:
        """Return outputs or targets in the task's own units.

        Arguments:
            y: outputs or targets, `(..., n_out)`.
            base: what they are changes from, like y in own units; None where they are no changes.
        """
        return y

    def says(self, y: Array) -> Array:
        """Return outputs as a figure shows them beside targets in the task's own units.

        Arguments:
            y: outputs, `(..., n_out)`.
        """
        return self.in_units(y)

    def output_names(self) -> list[dict[str, Any]]:
        """Return what each output is, such as its column and horizon; by default its number."""
        return [{"output": i} for i in range(self.sizes[1])]

    def facts(self) -> dict[str, Any]:
        """Return what was found out when the data were opened, for config.json; empty by default."""
        return {}

    def notes(self) -> list[str]:
        """Return sentences about the opened data that are said when a run begins; none by default."""
        return []

    def scaling(self) -> dict[str, np.ndarray]:
        """Return what it takes to use a trained network on new data; it is kept beside the weights."""
        return {}

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of predictors that need no network, by name; here of the mean target."""
        ys, test = draw_batch(self, jr.key(0), 4096)[1], self.held_out("test")
        constant = jnp.broadcast_to(jnp.nanmean(ys, (0, 1)), test.ys.shape)
        return {"mean": measure(self, constant[test.warmup :], test.ys[test.warmup :])}

    def valid_baselines(self) -> dict[str, Metrics]:
        """Return the same of the validation part, beside which validation losses are shown; empty where test
        and validation data are drawn alike.
        """
        return {}


class FixedLength(Task):
    """Base of the tasks whose sequences have as many steps as the setting `length` says."""

    length: eqx.AbstractVar[int]  # pyright: ignore[reportGeneralTypeIssues]

    @property
    def steps(self) -> int:
        """The length."""
        return self.length


@partial(jax.jit, static_argnums=2)
def draw_batch(task: Task, key: Array, batch: int) -> tuple[Array, Array]:
    """Return task.sample(key, batch), compiled as one program, not operation by operation.

    Arguments:
        task: the task.
        key: a JAX key.
        batch: number of sequences, B.
    """
    return task.sample(key, batch)


@jax.jit
def measure(task: Task, y: Array, target: Array) -> Metrics:
    """Return task.metrics(y, target), compiled as one program.

    Arguments:
        task: the task.
        y: outputs, `(T, B, n_out)`.
        target: targets, `(T, B, n_out)`.
    """
    return task.metrics(y, target)


def held_out_number(part: str) -> int:
    """Return the number of held-out data for `held_out_key`; ArgumentError for what is no such part."""
    one_of("part", part, PARTS[1:])
    return PARTS.index(part)


def held_out_key(n: int) -> Array:
    """Return the key of fixed data number n, the same in every run.

    Arguments:
        n: number of the data; 1 is validation and 2 test data, 0 training data that are drawn once.
    """
    return jr.fold_in(jr.key(HELD_OUT), n)


def require_data(task: Task, data: Data | None, what: str) -> Data:
    """Return the data of a task that has been opened; ArgumentError for one that has not.

    Arguments:
        task: the task.
        data: its data, None before `open`.
        what: what the data are, as the error calls them: rows, trials, text.
    """
    if data is None:
        raise ArgumentError(f"task {type(task).__name__} has no {what} yet: use the task that open() returns")
    return data


def split_in_order(n: int, valid: float, test: float) -> dict[str, tuple[int, int]]:
    """Return (first, end) of the parts train, valid and test of n entries in order; end is excluded.

    Arguments:
        n: number of entries.
        valid: fraction for validation.
        test: fraction for testing.
    """
    n_valid, n_test = round(n * valid), round(n * test)
    end_train, end_valid = n - n_valid - n_test, n - n_test
    return {"train": (0, end_train), "valid": (end_train, end_valid), "test": (end_valid, n)}
