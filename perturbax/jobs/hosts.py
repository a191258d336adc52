"""Processes that keep something and answer questions about it: workers of dask.distributed, asked one by one.

What a job opens on a host stays there until another one is opened, and is lost with the process. Questions
and answers are bytes, and a job is text, as in `jobs.cluster`, where it is also said who is trusted.
"""

import abc
import asyncio
import contextlib
import json
import queue
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from perturbax.errors import ArgumentError, HostsError, PerturbaxError, first_line
from perturbax.jobs.choice import is_address
from perturbax.jobs.cluster import Open, at, local, quiet
from perturbax.jobs.job import Job
from perturbax.jobs.perform import Surroundings, numpys_threads, own_threads, perform
from perturbax.plugins import import_attribute, import_optional

PLACES = "local:N for N processes of this machine, or the address of a scheduler of dask, tcp://HOST:PORT"
LOOK = 1.0  # seconds between two looks for who is there
NOT_OPEN = b""
"""The answer of a host on which nothing was opened, or something else: an empty one."""


class Heard(NamedTuple):
    """What is heard of a host.

    Attributes:
        host: its name.
        answer: what it answered; None where it could not.
        error: why, in words.
    """

    host: str
    answer: bytes | None
    error: str = ""


class Hosts(abc.ABC):
    """Processes that can be asked."""

    @abc.abstractmethod
    def there(self) -> set[str]:
        """Return the names of those that are there; a process that is started again has another one."""

    @abc.abstractmethod
    def ask(self, host: str, question: bytes, opening: bool) -> None:
        """Ask a host that is there and has nothing to answer.

        Arguments:
            host: its name.
            question: what it is asked.
            opening: whether the job is opened there first.
        """

    @abc.abstractmethod
    def heard(self, timeout: float) -> Heard | None:
        """Return what is heard next; None if that is nothing within so many seconds."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close what was opened; processes that were started for this end."""


class Workers(Hosts):
    """Workers of dask.

    Arguments:
        connect: opens the cluster: what `perturbax.jobs.cluster.local` or `at` returns.
        surroundings: what the job finds.
        job: what is opened on a worker, by its function.
        answering: what answers, as module:function of (name of the job, question).

    Raises ArgumentError where dask is not installed, and for a scheduler that does not answer.
    """

    def __init__(self, connect: Open, surroundings: Surroundings, job: Job, answering: str):
        distributed = import_optional("a run on a cluster", "distributed", "distributed")
        self._job, self._text, self._answering = job.name, surroundings.text(job), answering
        self._heard: queue.SimpleQueue[tuple[Any, Heard]] = queue.SimpleQueue()
        self._asked: dict[str, Any] = {}  # futures, by the address of the worker
        self._there: set[str] = set()
        self._seen, self._lost = -LOOK, False
        with contextlib.ExitStack() as opening:
            opening.enter_context(quiet(lambda: self._lost))
            self._client, self._name = connect(distributed, opening)
            self._closing = opening.pop_all()

    def there(self) -> set[str]:
        """Return the addresses of the workers, as they were within the last second.

        Raises HostsError where the scheduler is lost.
        """
        self._lost = self._client.status != "running"
        if self._lost:
            raise HostsError(f"{self._name} is lost")
        if time.monotonic() >= self._seen + LOOK:
            with contextlib.suppress(Exception):  # that the scheduler is lost is seen next time
                self._there = set(self._client.nthreads())
            self._seen = time.monotonic()
            for host in set(self._asked) - self._there:
                self._asked.pop(host).cancel()
        return self._there

    def ask(self, host: str, question: bytes, opening: bool) -> None:
        """Ask a worker; arguments as in `Hosts`."""
        future = self._client.submit(
            answer_on_worker,
            self._job,
            self._text if opening else "",
            self._answering,
            question,
            key=f"perturbax-{uuid.uuid4().hex}",
            pure=False,
            workers=[host],
            allow_other_workers=False,
        )
        self._asked[host] = future
        self._client.loop.add_callback(self._listen, host, future)

    async def _listen(self, host: str, future: Any) -> None:
        """Wait for what becomes of a question, without limit: `there` takes back what the dead were asked."""
        try:
            heard = Heard(host, await self._client.gather(future, asynchronous=True))
        except asyncio.CancelledError:
            heard = Heard(host, NOT_OPEN)
        except Exception as error:
            failed = future.status == "error" and type(error).__name__ != "KilledWorker"
            heard = Heard(host, None, first_line(error)) if failed else Heard(host, NOT_OPEN)
            self._seen = self._seen if failed else -LOOK  # look at once who is there
        self._heard.put((future, heard))

    def heard(self, timeout: float) -> Heard | None:
        """Return what is heard next; None if that is nothing within so many seconds."""
        with contextlib.suppress(queue.Empty):
            future, heard = self._heard.get(timeout=timeout)
            if self._asked.get(heard.host) is future:
                del self._asked[heard.host]
                return heard
        return None

    def close(self) -> None:
        """Close what was opened; workers of this machine end."""
        with contextlib.suppress(Exception):
            for future in self._asked.values():
                future.cancel()
        self._closing.close()


def check_place(place: Any) -> int:
    """Return how many processes of this machine a place names; 0 where it names a scheduler.

    place: as for `workers_at`.

    Raises ArgumentError for a place that is none.
    """
    kind, _, number = str(place).partition(":")
    if kind == "local" and number.isdecimal() and int(number) > 0:
        return int(number)
    if not isinstance(place, str) or not is_address(place):
        raise ArgumentError(f"hosts that exchange scalars are {PLACES}; not {place!r}")
    return 0


def workers_at(place: str, computing: Mapping[str, Any], job: Job, answering: str) -> Workers:
    """Return hosts that are workers of dask.

    Arguments:
        place: local:N for N processes of this machine, or the address of a scheduler, which must be trusted.
        computing: settings of JAX that they have, by the names that `jax.config.update` takes.
        job: as for `Workers`.
        answering: as for `Workers`.

    Raises what `check_place` and `Workers` raise.
    """
    processes = check_place(place)
    connect = local(processes, numpys_threads()) if processes else at(place)
    return Workers(connect, Surroundings(own_threads(), computing), job, answering)


def answer_on_worker(job: str, text: str, answering: str, question: bytes) -> bytes:
    """Answer on a worker of dask.

    Arguments:
        job: the name of the job that opened what answers.
        text: that job and its surroundings, where it is opened first; else "".
        answering: module:function of (job, question) that returns the answer.
        question: what is asked.

    Raises PerturbaxError where it cannot be opened.
    """
    from distributed import get_worker

    threads = get_worker().state.nthreads
    if threads != 1:
        raise ArgumentError(f"it does {threads} jobs at once: start it with --nthreads 1")
    if text:
        ended = json.loads(perform(text, lambda told: None))
        if ended["event"] != "done":
            raise PerturbaxError(ended["message"])
    return import_attribute("work", answering)(job, question)
