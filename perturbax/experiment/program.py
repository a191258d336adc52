"""What advances the runs of an experiment: its compiled program, or a device (device_program.py)."""

import abc
import copy
import time
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from perturbax.errors import ArgumentError
from perturbax.experiment import adas
from perturbax.experiment.build import Parts
from perturbax.experiment.config import Resolved
from perturbax.experiment.reservoir import solve
from perturbax.experiment.result import SHOWN
from perturbax.experiment.train_step import (
    Hyperparameters,
    State,
    chunk,
    chunk_length,
    correlation,
    evaluate_compiled,
    start,
)
from perturbax.network.arrays import check_leaves, from_named_arrays, to_named_arrays
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.base import HeldOut, Task
from perturbax.tasks.contract import held_out, is_own
from perturbax.tasks.environment import Environment

VECTORISE = 512  # units x batch up to which runs are faster as one vmapped program (measured on 2 cores)


def in_one_program(e: Resolved) -> bool:
    """Whether several seeds of a run are faster side by side in one program than in turn."""
    if e.schedule == adas.NAME:  # side by side, singular values would be computed at every update
        return False
    return e.device is None and sum(e.units) * e.batch <= VECTORISE


class Program(abc.ABC):
    """What advances the runs of one experiment, and judges the networks that they keep.

    Attributes:
        parts: the parts of the experiment.
        valid: validation data.
        length: training steps between logs, the length of a chunk.
        bytes: memory of one run, where that is known; else 0.
    """

    def __init__(self, parts: Parts):
        e = parts.experiment
        self.parts = parts
        self.length = chunk_length(e.steps, e.logs)
        self.valid = held_out(parts.setup.task, "valid")
        self.bytes = 0
        if is_own(self.parts.task):
            _ = self.test  # what is wrong with it must be said before training, not after

    @property
    def side_by_side(self) -> bool:
        """Whether several runs are faster side by side than in turn."""
        return in_one_program(self.parts.experiment)

    @cached_property
    def test(self) -> HeldOut:
        """What the kept networks are judged by."""
        return held_out(self.parts.task, "test")

    @cached_property
    def seen(self) -> HeldOut | None:
        """Training data that the kept networks are judged by as well."""
        return self.parts.task.seen()

    @cached_property
    def baselines(self) -> dict[str, Any]:
        """What needs no network; the same for all seeds."""
        return self.parts.task.baselines()

    @cached_property
    def valid_baselines(self) -> dict[str, Any]:
        """The same on validation data, where they differ from test data; the same for all seeds."""
        return self.parts.task.valid_baselines()

    @staticmethod
    def stored(state: State) -> dict[str, Any]:
        """Return the arrays of a state by name, without hyperparameters, which follow from the settings."""
        return to_named_arrays(state._replace(hyperparameters=None))

    @staticmethod
    def restored(first: State, arrays: dict[str, Any], path: Path) -> State:
        """Return the state that was stored.

        Arguments:
            first: the first state of that run, for its structure and hyperparameters.
            arrays: what `stored` returned.
            path: the file they were read from, for errors.

        Raises StoreError for arrays of another network.
        """
        if not jax.tree.leaves(
            getattr(first.learner, "kept", None)
        ):  # version 0.1.0 kept zeros, for their shapes
            arrays = {name: a for name, a in arrays.items() if not name.startswith("learner.kept")}
        found = from_named_arrays(first._replace(hyperparameters=None), arrays, path)
        return found._replace(hyperparameters=first.hyperparameters)

    def pop_compile_seconds(self) -> float:
        """Return the seconds spent compiling since the last call."""
        return 0.0

    def spent(self) -> dict[str, Any]:
        """Return what a line of metrics says of the cost so far, beside time and passes."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return what config.json says of how the run is advanced, which it has to go on with."""
        return {}

    def begin(self, last_line: dict[str, Any] | None) -> None:
        """Count the cost of a run from here on; last_line: of its metrics, where it is one that goes on."""
        del last_line

    @abc.abstractmethod
    def start(self, seed: int, hyperparameters: Hyperparameters | None = None) -> State:
        """Return the state before the first step; hyperparameters None for those of the experiment."""

    @abc.abstractmethod
    def prepare(self, states: list[State], length: int) -> Any:
        """Get ready to run a chunk of so many steps for these states: what cannot run is refused here."""

    @abc.abstractmethod
    def advance(
        self, states: list[State], length: int
    ) -> tuple[list[State], np.ndarray, list[dict[str, Any]], float]:
        """Run a chunk for every state.

        Returns (states, losses `(runs, length)`, validation metrics of each, seconds per run).
        """

    @abc.abstractmethod
    def outputs(self, net: Network, xs: Any) -> Any:
        """Return the outputs of a network over sequences, `(T, B, n_out)`; None where there are scores alone.

        Arguments:
            net: the network.
            xs: inputs `(T, B, n_in)`.
        """

    @abc.abstractmethod
    def judged(self, net: Network, held: HeldOut) -> dict[str, Any]:
        """Return the task's metrics of a network on held-out sequences."""

    def tested(self, net: Network, held: HeldOut) -> tuple[dict[str, Any], Any]:
        """Return (the task's metrics, the outputs or None) of a network on held-out sequences.

        Arguments:
            net: the network.
            held: the sequences.
        """
        return self.judged(net, held), self.outputs(net, held.xs)

    def reservoir(self, first: State) -> dict[str, Any] | None:
        """Return the score of the reservoir; None where the activity of the network cannot be had.

        first: the state before the first step.
        """
        return None

    def further(self, first: State, net: Network) -> dict[str, Any]:
        """Return what result.json says beside.

        Arguments:
            first: the state before the first step.
            net: the kept network.
        """
        return {}


class Compiled(Program):
    """The compiled chunks of one experiment, shared by its runs at other seeds and hyperparameters.

    Attributes:
        parts: the parts of the experiment.
        valid: validation data.
        length: training steps between logs, the length of a chunk.
        side_by_side: whether several runs are faster side by side than in turn.
        bytes: memory of one run, as the compiler states it; 0 before anything is compiled.
    """

    def __init__(self, parts: Parts):
        if parts.device is not None:
            raise ArgumentError(
                "this needs a network in this process, for exact gradients or many runs side by side: "
                "it takes no device"
            )
        super().__init__(parts)
        self._compile_seconds = 0.0  # of compilation that no run was charged with yet
        self._programs: dict[tuple, Any] = {}
        self._start = self._compiled_start()

    def _compiled_start(self) -> Any:
        """Return (seed, hyperparameters) -> the state before the first step, compiled.

        Weights that are split are never whole on a device.
        """
        setup = self.parts.setup

        def begin(seed: Any, hyperparameters: Hyperparameters) -> State:
            return start(setup, seed, hyperparameters)

        if not setup.placement.split_weights:
            return jax.jit(begin)
        shapes = jax.eval_shape(begin, 0, setup.hyperparameters)
        return jax.jit(begin, out_shardings=setup.placement.shardings(shapes))

    @cached_property
    def _data(self) -> tuple:
        """The task and validation data where the program has them: on every device."""
        valid = (self.valid.xs, self.valid.ys)
        return self.parts.setup.placement.whole((self.parts.setup.task, valid))

    @property
    def side_by_side(self) -> bool:
        """Whether several runs are faster side by side than in turn; never where weights are split."""
        return super().side_by_side and not self.parts.setup.placement.split_weights

    def with_parts(self, parts: Parts) -> "Compiled":
        """Return the same programs for a run that differs in seed, learning rates or discount alone."""
        other = copy.copy(self)
        other.parts = parts
        other._compile_seconds = 0.0
        vars(other).pop("_data", None)
        return other

    def pop_compile_seconds(self) -> float:
        """Return the seconds spent compiling since the last call."""
        seconds, self._compile_seconds = self._compile_seconds, 0.0
        return seconds

    def start(self, seed: int, hyperparameters: Hyperparameters | None = None) -> State:
        """Return the state before the first step; hyperparameters None for those of the experiment.

        Arguments:
            seed: of weights, data order and noise.
            hyperparameters: None for those of the experiment.

        Raises PerturbaxError for a network, optimiser or rule that keeps anything but arrays and numbers.
        """
        given = hyperparameters or self.parts.setup.hyperparameters
        try:
            state = self._start(jnp.asarray(seed), given)
        except TypeError:
            shapes = eqx.filter_eval_shape(partial(start, self.parts.setup), jnp.asarray(seed), given)
            check_leaves(shapes)
            raise
        task = self.parts.task
        if not task.starts_at_zero:
            return state
        # The network that answers zero is a forecast of its own: training must do better than that.
        loss = evaluate_compiled(task, state.best, self.valid.xs, self.valid.ys, self.valid.warmup)["loss"]
        return state._replace(best_loss=jnp.asarray(loss, state.best_loss.dtype))

    def advance(
        self, states: list[State], length: int
    ) -> tuple[list[State], np.ndarray, list[dict[str, Any]], float]:
        """Run a chunk for every state, side by side.

        Returns (states, losses `(runs, length)`, validation metrics of each, seconds per run).
        """
        n = len(states)
        key = self.prepare(states, length)
        state = _stacked(states)
        began = time.perf_counter()
        placement = self.parts.setup.placement
        outcome = jax.block_until_ready(self._programs[key](*self._data, placement.placed(state)))
        state, losses, metrics = placement.on_first(outcome)
        seconds = time.perf_counter() - began
        losses = np.asarray(losses).reshape(n, length)
        if n == 1:
            return [state], losses, [metrics], seconds
        each = [jax.tree.map(lambda s, i=i: s[i], (state, metrics)) for i in range(n)]
        return [s for s, _ in each], losses, [m for _, m in each], seconds / n

    def prepare(self, states: list[State], length: int) -> tuple:
        """Compile a chunk for these states, unless that is done: what cannot run is refused here.

        Returns the key of the program: number of runs, length, and which hyperparameters are given.
        """
        n = len(states)
        key = n, length, jax.tree.structure(states[0].hyperparameters)
        if key in self._programs:
            return key
        setup, warmup = self.parts.setup, self.valid.warmup
        began = time.perf_counter()

        def advance_one(task: Task, valid: tuple, state: State) -> tuple:
            return chunk(setup, length, warmup, task, valid, state)

        program = advance_one if n == 1 else jax.vmap(advance_one, in_axes=(None, None, 0))
        placement = setup.placement
        given = *self._data, placement.placed(_stacked(states))
        where = None
        if placement.mesh is not None:
            whole = NamedSharding(placement.mesh, PartitionSpec())
            where = placement.shardings(given[2]), whole, whole
        compiled = jax.jit(program, out_shardings=where).lower(*given).compile()
        self._programs[key] = compiled
        self._compile_seconds += time.perf_counter() - began
        if memory := compiled.memory_analysis():
            used = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
            self.bytes = max(self.bytes, used // n)
        return key

    def outputs(self, net: Network, xs: Any) -> Any:
        """Return the outputs of a network over sequences, `(T, B, n_out)`; arguments as in `Program`."""
        return jax.jit(forward)(net, xs)

    def judged(self, net: Network, held: HeldOut) -> dict[str, Any]:
        """Return the task's metrics of a network on held-out sequences."""
        return evaluate_compiled(self.parts.task, net, *held)

    def reservoir(self, first: State) -> dict[str, Any] | None:
        """Return the score of the reservoir; None in a world, where no output is known to be the right one.

        first: the state before the first step.
        """
        if isinstance(self.parts.task, Environment):
            return None
        return self.judged(solve(first.best, self.parts.task, self.valid, first.key), self.test)

    def further(self, first: State, net: Network) -> dict[str, Any]:
        """Return the correlation of activity before and after training; arguments as in `Program.further`."""
        measure_correlation = jax.jit(correlation)
        few = self.valid.xs[:SHOWN, :8]
        before, after = measure_correlation(first.best, few), measure_correlation(net, few)
        return {"correlation": {"before": before, "after": after}}


def _stacked(states: list[State]) -> State:
    """Return several states as one, with an axis of runs in front; one alone stays as it is."""
    return states[0] if len(states) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
