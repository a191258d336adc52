"""What advances a run over hosts that exchange scalars alone: they run the passes, updates are made by all.

This process draws the same data and noise as the hosts and makes every update itself, from the scalars that
came; it validates, logs and writes the folder, and runs no noisy passes.
"""

import contextlib
import dataclasses
import math
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from perturbax.errors import ArgumentError, HostsError
from perturbax.experiment.build import Parts
from perturbax.experiment.halves import (
    Answer,
    Halves,
    Question,
    check_of,
    moving,
    open_host,
    packed,
    result_of,
)
from perturbax.experiment.halves import answer as answering
from perturbax.experiment.portable import is_portable
from perturbax.experiment.precision import computing
from perturbax.experiment.program import Compiled
from perturbax.experiment.train_step import State, validated, whole
from perturbax.jobs.hosts import LOOK, Hosts, check_place, workers_at
from perturbax.jobs.job import Job

LATE = 2.0  # a host is late that takes so many times longer than the first one, and ...
LEAST = 1.0  # ... as many seconds longer
PATIENCE = 60.0  # seconds without any host, until the run ends
TRIES = 2  # how often the weights of a host differ before it is left out


@dataclasses.dataclass
class _Host:
    """What is known of a host.

    Attributes:
        samples: the first of its samples, and the one behind the last; None while it has none.
        step: updates that it has made; None where it must be sent the state.
        open: whether it has answered since it is there.
        asked: the question that it has not answered yet; None for none.
        differed: how often its weights were others.
        reason: why it is left out; "" for a host that is not.
        missed: updates since the last log in which its samples were missing.
    """

    samples: tuple[int, int] | None = None
    step: int | None = None
    open: bool = False
    asked: Question | None = None
    differed: int = 0
    reason: str = ""
    missed: int = 0


class _Update:
    """What has come for an update.

    Attributes:
        step: updates made before.
        check: check value of the weights.
        every: scalars of all samples, `(K, ...)`; 0 of those that are missing.
        present: which of them have come, `(K,)`.

    Arguments:
        step: see there.
        check: see there.
        like: shape and dtype of the scalars of all samples.
    """

    def __init__(self, step: int, check: int, like: jax.ShapeDtypeStruct):
        self.step, self.check = step, check
        self.every, self.present = np.zeros(like.shape, like.dtype), np.zeros(like.shape[0], bool)
        self._loss = 0.0

    def add(self, asked: Question, answer: Answer) -> None:
        """Add the answer to a question."""
        self.every[asked.first : asked.end], self.present[asked.first : asked.end] = answer.scalars, True
        self._loss += answer.loss * len(answer.scalars)

    @property
    def loss(self) -> float:
        """Mean loss, as the hosts say that were heard."""
        return self._loss / int(self.present.sum())


class ByScalars(Compiled):
    """The runs of one experiment, whose noisy passes are those of hosts.

    Samples are divided among the hosts at every log. Those of a host that is gone, late, or has other weights
    are left out of the update; a host that joins takes samples that nobody has.

    Arguments:
        parts: the parts of the run.
        halves: the halves of its training steps.
        hosts: the hosts.
    """

    def __init__(self, parts: Parts, halves: Halves, hosts: Hosts):
        super().__init__(parts)
        self._halves, self._hosts = halves, hosts
        self._known: dict[str, _Host] = {}
        self._blocks: list[tuple[int, int]] = []  # of samples, one for each host at the last log
        self._results: dict[int, bytes] = {}  # of the last updates, by the number of those before
        self._bytes = self._heard = self._updates = 0
        self._judge, self._ready = jax.jit(self._validated), False

    @property
    def side_by_side(self) -> bool:
        """False: hosts keep one run."""
        return False

    def facts(self) -> dict[str, Any]:
        """Return that noise has a key for every sample, with which the run has to go on."""
        return {"scalars": True}

    def begin(self, last_line: dict[str, Any] | None) -> None:
        """Count the bytes that are exchanged from those of the last line on."""
        self._bytes = int((last_line or {}).get("bytes_exchanged", 0))

    def spent(self) -> dict[str, Any]:
        """Return the bytes exchanged so far, and the share of samples heard since the last log."""
        share = self._heard / max(1, self._updates * self._halves.samples)
        return {"bytes_exchanged": self._bytes, "samples_heard": share}

    def prepare(self, states: list[State], length: int) -> tuple:
        """Compile the update and the validation, unless that is done."""
        if not self._ready:
            began, state, like = time.perf_counter(), states[0], self._halves.like
            every, present = np.zeros(like.shape, like.dtype), np.ones(like.shape[0], bool)
            first = self._halves.update(self.parts.task, moving(state), every, present)
            jax.block_until_ready((first, self._judge(*self._data, state, whole(state))))
            self._compile_seconds += time.perf_counter() - began
            self._ready = True
        return ()

    def advance(
        self, states: list[State], length: int
    ) -> tuple[list[State], np.ndarray, list[dict[str, Any]], float]:
        """Run a chunk; see `Program.advance`.

        Raises HostsError where no host is left.
        """
        self.prepare(states, length)
        began, before, task = time.perf_counter(), states[0], self.parts.task
        state, losses = moving(before), []
        self._heard = self._updates = 0
        for done in range(length):
            now = self._scalars(state, anew=done == 0)
            self._keep(now.step, result_of(now.every, now.present))
            state = self._halves.update(task, state, now.every, now.present)
            self._heard, self._updates = self._heard + int(now.present.sum()), self._updates + 1
            losses.append(now.loss)
        self._say_who_was_late(int(state.step), length)
        state = before._replace(learner=state.learner, step=state.step)
        state, metrics = self._judge(*self._data, state, whole(before))
        seconds = time.perf_counter() - began
        return [state], np.asarray([losses], before.best_loss.dtype), [metrics], seconds

    def further(self, first: State, net: Any) -> dict[str, Any]:
        """Return also how many bytes hosts have exchanged; arguments as in `Program.further`."""
        return super().further(first, net) | {"bytes_exchanged": self._bytes}

    def _validated(self, task: Any, valid: tuple, state: State, begun_whole: Any) -> tuple[State, dict]:
        """Return the state with the best network so far, and the validation metrics."""
        setup = self.parts.setup.at(state.hyperparameters)
        return validated(setup, self.valid.warmup, task, valid, state, begun_whole)

    def _keep(self, step: int, result: bytes) -> None:
        """Keep a result for hosts that have not made that update, as long as that is less than the state."""
        self._results[step] = result
        most = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self._halves.shapes.learner))
        while len(self._results) > 1 and sum(map(len, self._results.values())) > most:
            del self._results[min(self._results)]

    def _scalars(self, state: State, anew: bool) -> "_Update":
        """Return what hosts say for an update, of at least one of them.

        Every host is waited for, but not much longer than the first that answers takes, and one that has only
        just come not at all.

        Arguments:
            state: where the run is.
            anew: whether samples are divided anew.
        """
        now = _Update(int(state.step), check_of(state.learner.net), self._halves.like)
        alone = time.monotonic()
        while not now.present.any():
            self._look(now.step)
            while self._hear(0.0, now):  # of those that were late
                pass
            if anew:
                self._divide()
            anew, asked = False, self._ask(state, now.step)
            waited = [name for name in asked if self._known[name].open] or asked
            if waited:
                self._wait(waited, now)
                continue
            self._hear(LOOK / 4, now)
            if any(not one.reason for one in self._known.values()):
                alone = time.monotonic()  # none is missing: those that are late will answer
            self._require_hosts(alone)
        for one in self._known.values():
            one.missed += int(one.open and one.samples is not None and not now.present[one.samples[0]])
        return now

    def _wait(self, waited: list[str], now: "_Update") -> None:
        """Wait for the answers of some hosts, until all are there or late."""
        began, until = time.monotonic(), math.inf
        while any(name in self._known and self._known[name].asked for name in waited):
            left = until - time.monotonic()
            if not self._hear(max(0.0, min(LOOK, left)), now):
                if left <= 0:
                    return
                self._look(now.step)
            elif until == math.inf and now.present.any():
                first = time.monotonic()
                until = first + max(LEAST, LATE * (first - began))

    def _hear(self, timeout: float, now: "_Update") -> bool:
        """Hear a host, of use or not; return whether any has said something within so many seconds."""
        heard = self._hosts.heard(timeout)
        if heard is None:
            return False
        one = self._known.get(heard.host)
        if one is None or one.asked is None:
            return True
        asked, one.asked = one.asked, None
        if heard.answer is None:
            self._leave_out(heard.host, now.step, heard.error)
        elif not heard.answer:  # it was started again, say
            one.step, one.open = None, False
        else:
            self._bytes += len(heard.answer)
            if not one.open and asked.step < now.step:
                _say(now.step, f"host {heard.host} has joined")
            one.step, one.open = asked.step, True
            if asked.step == now.step and one.samples:
                self._use(heard.host, asked, Answer.of(heard.answer, self._halves.like), now)
        return True

    def _use(self, name: str, asked: Question, answer: Answer, now: "_Update") -> None:
        """Use an answer for the update, if it is about the same weights."""
        if answer.check == now.check:
            now.add(asked, answer)
            return
        one = self._known[name]
        one.step, one.differed = None, one.differed + 1
        if one.differed < TRIES:
            _say(now.step, f"host {name} has other weights than this process: left out, and sent these")
        else:
            self._leave_out(name, now.step, "it computes other weights than this process")

    def _require_hosts(self, alone: float) -> None:
        """Raise HostsError where no host is left; alone: since when there is none."""
        reasons = [one.reason for one in self._known.values()]
        if reasons and all(reasons):
            raise HostsError(f"no host is left: {reasons[-1]}")
        if time.monotonic() > alone + PATIENCE:
            raise HostsError(f"no host was there for {PATIENCE:g} seconds")

    def _look(self, step: int) -> None:
        """Look who has come and who is gone."""
        there = self._hosts.there()
        for name in set(self._known) - there:
            one = self._known.pop(name)
            if one.samples is not None:
                _say(step, f"host {name} is gone; its samples are left out until another host takes them")
        for name in sorted(there - set(self._known)):
            self._known[name] = _Host()
        taken = {one.samples for one in self._known.values()}
        free = [block for block in self._blocks if block not in taken]
        for name, one in self._known.items():
            if free and one.samples is None and not one.reason:
                one.samples = free.pop(0)
                _say(step, f"host {name} takes samples {one.samples[0]} to {one.samples[1] - 1}")

    def _divide(self) -> None:
        """Divide the samples anew among the hosts that have answered, or all at first."""
        there = [one for one in self._known.values() if not one.reason]
        sharing = [one for one in there if one.open] or there
        parts = np.array_split(np.arange(self._halves.samples), max(1, len(sharing)))
        self._blocks = [(int(part[0]), int(part[-1]) + 1) for part in parts if part.size]
        for one in there:
            one.samples = None
        for one, block in zip(sharing, self._blocks, strict=False):
            one.samples = block

    def _ask(self, state: State, step: int) -> list[str]:
        """Ask every host that has samples and nothing to answer; return their names.

        One that has only just come is asked without any, so that it is ready when samples are divided anew.
        """
        some = 0, -(-self._halves.samples // (len(self._blocks) + 1))
        idle = {name: one for name, one in self._known.items() if not one.asked and not one.reason}
        asking = {name: one for name, one in idle.items() if one.samples or not one.open}
        for name, one in asking.items():
            first, end = one.samples or some
            since = range(step if one.step is None else one.step, step)
            if one.step is None or any(update not in self._results for update in since):
                one.asked = Question(step, first, end, state=packed(state))
            else:
                results = b"".join(self._results[update] for update in since)
                one.asked = Question(step, first, end, results)
            question = one.asked.to_bytes()
            self._hosts.ask(name, question, not one.open)
            self._bytes += len(question)
        return [name for name, one in asking.items() if one.samples]

    def _leave_out(self, name: str, step: int, reason: str) -> None:
        """Leave a host out for good."""
        one = self._known[name]
        one.reason, one.samples = reason, None
        _say(step, f"host {name} is left out: {reason}")

    def _say_who_was_late(self, step: int, length: int) -> None:
        """Say which hosts were missing since the last log."""
        for name, one in self._known.items():
            if one.missed:
                _say(step, f"host {name} was missing in {one.missed} of the last {length} updates")
            one.missed = 0


def _say(step: int, said: str) -> None:
    """Print a line on standard error; step: updates that were made before."""
    print(f"perturbax: after {step} updates: {said}", file=sys.stderr)


@contextlib.contextmanager
def by_scalars(parts: Parts, place: str) -> Iterator[ByScalars]:
    """Yield what advances a run over hosts that exchange scalars alone.

    Arguments:
        parts: the parts of the run.
        place: local:N, or the address of a scheduler of dask, as for `perturbax.jobs.hosts.workers_at`.

    Raises ArgumentError for a run that cannot be shared so, and for hosts that cannot be had.
    """
    processes = check_place(place)
    e = parts.experiment
    if parts.device is not None or parts.setup.placement.mesh is not None:
        raise ArgumentError("hosts that exchange scalars share a run, or devices do: not both")
    if not is_portable(e):
        raise ArgumentError("this run cannot be handed to another process: leave scalars out")
    halves = Halves(parts)
    if processes > (K := halves.samples):
        raise ArgumentError(f"{processes} hosts cannot share {K} samples: take more samples, or {K} hosts")
    settings = {"experiment": e.to_dict(), "data": parts.task.digest(), "run": uuid.uuid4().hex}
    job = Job(settings["run"], f"{open_host.__module__}:{open_host.__name__}", settings)
    hosts = workers_at(place, computing(), job, f"{answering.__module__}:{answering.__name__}")
    with contextlib.closing(hosts):
        if not hosts.there():
            print(f"waiting for a worker of {place}", file=sys.stderr)
        yield ByScalars(parts, halves, hosts)
