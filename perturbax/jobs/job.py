"""Pieces of work for other processes, and the loop that hands them out."""

import abc
import contextlib
import queue
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from perturbax import errors
from perturbax.errors import PerturbaxError

TRIES = 3  # how often a job is begun whose process dies
BLAMED = 10  # how often a process may die of a job that is not known to have begun
BEGUN = "begun"  # the event with which a job begins, also when it does so again
PRINTED = "printed"  # the event of a line that a job has printed


class Job(NamedTuple):
    """A piece of work whose results lie in files: it is finished when they are there.

    Attributes:
        name: its name, of which there is one among all that are handed out together.
        function: what does it, as module:function. It takes the settings, and a function by which it tells
            how it goes on: tell(event, name=value, ...). Called again after it was stopped at any moment, it
            goes on from its files.
        settings: plain values, as JSON holds them.
        group: jobs of one group have a compiled program in common, which a process keeps.
        after: names of the jobs whose results it needs.
    """

    name: str
    function: str
    settings: dict[str, Any]
    group: str = ""
    after: tuple[str, ...] = ()


class Lost(NamedTuple):
    """A job that was not done.

    Attributes:
        job: the job.
        reason: why, in words.
    """

    job: Job
    reason: str


class Heard(NamedTuple):
    """What the loop hears of a job.

    Attributes:
        job: its name; "" for what ends all.
        event: `told`, `done`, `failed` (an error that the user mends), `broke` (any other), `died` (its
            process), or `over` (nothing more can be done).
        values: what was told; else a `message`, of `failed` the `kind` of error also.
    """

    job: str
    event: str
    values: dict[str, Any]


OnTold = Callable[[Job, str, dict[str, Any]], None]
"""A function of (job, event, values): what a job tells, and `done` or `lost`, without values, at its end."""


class Engine(abc.ABC):
    """What does jobs in other processes."""

    @abc.abstractmethod
    def start(self, heard: "queue.SimpleQueue[Heard]") -> None:
        """Begin.

        Arguments:
            heard: where everything is put that the loop should hear.
        """

    @abc.abstractmethod
    def give(self, ready: Sequence[Job]) -> Job | None:
        """Begin one of these jobs; return which, or None if there is no room for one now.

        Arguments:
            ready: jobs that can be done now.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """End everything that goes on; no process is left behind."""


def run_jobs(jobs: Sequence[Job], engine: Engine, on_told: OnTold) -> list[Lost]:
    """Have all jobs done, each after those whose results it needs.

    Arguments:
        jobs: the jobs.
        engine: does them.
        on_told: is told how they go on, in this thread.

    Returns what was lost: jobs whose process died `TRIES` times, that broke, or that needed such a one.
    Raises the PerturbaxError of the first job that fails with one, and PerturbaxError where the engine is
    lost; all others have been stopped by then.
    """
    heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
    work = _Work(jobs, on_told)
    try:
        engine.start(heard)
        while work.waiting or work.going:
            while (ready := work.ready()) and (begun := engine.give(ready)):
                work.begin(begun)
            with contextlib.suppress(queue.Empty):  # a worker may have joined meanwhile
                work.hear(heard.get(timeout=1.0))
    finally:
        engine.stop()
    return work.lost


def run_here(jobs: Sequence[Job], on_told: OnTold, own: Mapping[str, Callable[..., None]]) -> None:
    """Do all jobs in this process, one after the other, each after those whose results it needs.

    Arguments:
        jobs: the jobs.
        on_told: as for `run_jobs`.
        own: what does each job, by its name, with a function by which it tells how it goes on.

    Raises what the first job raises that fails.
    """
    work = _Work(jobs, on_told)
    while ready := work.ready():
        job = ready[0]
        work.begin(job)

        def tell(event: str, job: Job = job, **values: Any) -> None:
            on_told(job, event, values)

        on_told(job, BEGUN, {})
        own[job.name](tell)
        work.hear(Heard(job.name, "done", {}))


class _Work:
    """What waits, what goes on, and what has ended."""

    def __init__(self, jobs: Sequence[Job], on_told: OnTold):
        self.waiting = list(jobs)
        self.going: dict[str, Job] = {}
        self.lost: list[Lost] = []
        self._done: set[str] = set()
        self._begun: Counter[str] = Counter()
        self._blamed: Counter[str] = Counter()  # for the death of a process; it may only have waited there
        self._here = {job.name for job in jobs}
        self._on_told = on_told

    def ready(self) -> list[Job]:
        """Return the jobs that wait for none but those which have ended."""
        return [job for job in self.waiting if not self._open(job)]

    def _open(self, job: Job) -> bool:
        """Whether a job needs one that has not ended."""
        return any(name in self._here and name not in self._done for name in job.after)

    def begin(self, job: Job) -> None:
        """Note that a job has begun."""
        self.waiting.remove(job)
        self.going[job.name] = job

    def hear(self, heard: Heard) -> None:
        """Act on what is heard of a job."""
        if heard.event == "over":
            raise PerturbaxError(heard.values["message"])
        job = self.going.get(heard.job)
        if job is None:
            return  # of one that has been told of already
        if heard.event == "told":
            values = dict(heard.values)
            event = values.pop("event")
            self._begun[job.name] += event == BEGUN
            self._on_told(job, event, values)
            return
        del self.going[job.name]
        if heard.event == "failed":
            raise getattr(errors, heard.values["kind"], PerturbaxError)(heard.values["message"])
        if heard.event == "done":
            self._done.add(job.name)
            self._on_told(job, "done", {})
            return
        self._blamed[job.name] += 1
        again = self._begun[job.name] < TRIES and self._blamed[job.name] < BLAMED
        if heard.event == "died" and again:
            self.waiting.insert(0, job)
        else:
            self._lose(job, heard.values["message"])

    def _lose(self, job: Job, reason: str) -> None:
        """Note that a job was not done, nor those that need it."""
        self.lost.append(Lost(job, reason))
        self._on_told(job, "lost", {})
        for other in [other for other in self.waiting if job.name in other.after]:
            self.waiting.remove(other)
            self._lose(other, f"it needs {job.name}, which was lost")
