"""The compiled program of an experiment, which advances one run or several side by side."""

import time
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perturbax.experiment import run_folder
from perturbax.experiment.build import Pace, Parts, parse_units
from perturbax.experiment.train_step import State, chunk, chunk_length, start
from perturbax.tasks.base import HeldOut, Task

VECTORISE = 512  # units x batch up to which seeds run faster as one vmapped program (measured on 2 cores)


class Compiled:
    """The compiled chunks of one experiment, shared by its seeds."""

    def __init__(self, parts: Parts):
        self.parts = parts
        self.valid = parts.task.held_out("valid")
        self.bytes = 0
        self._spent = 0.0  # seconds of compilation that no run was charged with yet
        self._made: dict[tuple, Any] = {}
        self._start = jax.jit(lambda seed, pace: start(parts, seed, pace))

    @cached_property
    def test(self) -> HeldOut:
        """What the kept networks are judged by."""
        return self.parts.task.held_out("test")

    @cached_property
    def seen(self) -> HeldOut | None:
        """Training data that the kept networks are judged by as well."""
        return self.parts.task.seen()

    @cached_property
    def baselines(self) -> dict[str, Any]:
        """What needs no network; the same for all seeds."""
        return self.parts.task.baselines()

    @property
    def abreast(self) -> bool:
        """Whether several runs are faster side by side than in turn."""
        e = self.parts.experiment
        return sum(parse_units(e.units)) * (e.batch or 1) <= VECTORISE

    @property
    def length(self) -> int:
        """Steps between logs."""
        return chunk_length(self.parts.experiment)

    @staticmethod
    def stored(state: State) -> dict[str, Any]:
        """Return the arrays of a state by name; the pace follows from the settings."""
        return run_folder.named(state._replace(pace=None))

    @staticmethod
    def restored(first: State, arrays: dict[str, Any], path: Path) -> State:
        """Return the state that these arrays were, of the run with that first state."""
        return run_folder.fill(first._replace(pace=None), arrays, path)._replace(pace=first.pace)

    def charge(self) -> float:
        """Seconds spent compiling since the last call."""
        spent, self._spent = self._spent, 0.0
        return spent

    def start(self, seed: int, pace: Pace | None = None) -> State:
        """Return the state before the first step; pace None for that of the experiment."""
        return self._start(jnp.asarray(seed), pace or Pace.of(self.parts.experiment))

    def advance(
        self, states: list[State], length: int
    ) -> tuple[list[State], np.ndarray, list[dict[str, Any]], float]:
        """Run a chunk for every state: -> (states, losses `(seeds, length)`, validation metrics, seconds)."""
        n = len(states)
        state = states[0] if n == 1 else jax.tree.map(lambda *s: jnp.stack(s), *states)
        valid = (self.valid.xs, self.valid.ys)
        key = self.prepare(states, length)
        began = time.perf_counter()
        state, losses, metrics = jax.block_until_ready(self._made[key](self.parts.task, valid, state))
        seconds = time.perf_counter() - began
        losses = np.asarray(losses).reshape(n, length)
        if n == 1:
            return [state], losses, [metrics], seconds
        each = [jax.tree.map(lambda s, i=i: s[i], (state, metrics)) for i in range(n)]
        return [s for s, _ in each], losses, [m for _, m in each], seconds / n

    def prepare(self, states: list[State], length: int) -> tuple:
        """Compile a chunk, unless it is compiled already, -> its key: what cannot run is refused here."""
        n = len(states)
        key = n, length, jax.tree.structure(states[0].pace)
        if key in self._made:
            return key
        state = states[0] if n == 1 else jax.tree.map(lambda *s: jnp.stack(s), *states)
        valid = (self.valid.xs, self.valid.ys)
        began = time.perf_counter()

        def one(task: Task, valid: tuple, state: State) -> tuple:
            return chunk(self.parts, length, self.valid.warmup, task, valid, state)

        every = one if n == 1 else jax.vmap(one, in_axes=(None, None, 0))
        made = jax.jit(every).lower(self.parts.task, valid, state).compile()
        self._made[key] = made
        self._spent += time.perf_counter() - began
        if memory := made.memory_analysis():
            used = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
            self.bytes = max(self.bytes, used // n)
        return key
