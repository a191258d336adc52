"""Jobs done by the workers of dask.distributed: of this machine, of a scheduler that is named, or of Slurm.

A scheduler and its workers run what is sent to them, so whoever reaches a scheduler without TLS may run code
as the user: what is started here listens behind TLS, with keys made for this command, and what is named must
be trusted. Jobs and what they tell are sent as text; the one function named with them is `do_on_worker`.
"""

import contextlib
import json
import logging
import os
import queue
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from perturbax.errors import ArgumentError, first_line
from perturbax.jobs.apart import no_script, unheard
from perturbax.jobs.job import Engine, Heard, Job
from perturbax.jobs.perform import NUMPYS_THREADS, Stopped, Surroundings, perform
from perturbax.jobs.slots import Slot, choose
from perturbax.plugins import import_optional

PATIENCE = "10s"  # until a scheduler that does not answer counts as absent
NANNY = "distributed.nanny.pre-spawn-environ"
LEFT_BEHIND = ("MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED", "__DASK_PARENT_PID", *NUMPYS_THREADS)
"""Variables that dask sets in this process, too."""
OURS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
Open = Callable[[Any, contextlib.ExitStack], tuple[Any, str]]
"""A function of (module distributed, what closes it again) that returns (its client, what to call it)."""


class Cluster(Engine):
    """An engine of dask.distributed.

    Arguments:
        connect: opens the cluster: what `local` or `at` returns.
        surroundings: what jobs find.
        alone: whether its workers end with this process.
    """

    def __init__(self, connect: Open, surroundings: Surroundings, alone: bool = False):
        self._distributed = import_optional("a run on a cluster", "distributed", "distributed")
        self._connect, self._surroundings, self._alone = connect, surroundings, alone
        self._open = contextlib.ExitStack()
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._futures: dict[str, Any] = {}
        self._topic = f"perturbax-{uuid.uuid4().hex}"
        self._slots: dict[str, Slot] = {}  # by the address of the worker
        self._going: dict[str, Job] = {}  # by name
        self._seen = -1.0
        self._stopping = self._lost = False

    def start(self, heard: "queue.SimpleQueue[Heard]") -> None:
        """Open the cluster.

        Arguments:
            heard: where everything is put that the loop should hear.

        Raises ArgumentError for a scheduler that does not answer.
        """
        self._heard = heard
        self._open.enter_context(quiet(lambda: self._lost))
        self._client, self._name = self._connect(self._distributed, self._open)
        self._client.subscribe_topic(self._topic, self._tell)
        self._look()
        if not self._slots:
            print(f"waiting for a worker of {self._name}", file=sys.stderr)

    def give(self, ready: Sequence[Job]) -> Job | None:
        """Begin one of these jobs on a worker that is free; return it, or None if none is.

        No job waits at a worker if that can be helped: when it dies, dask blames all that are there, and
        gives up those that it has blamed often enough, though they never began.

        Arguments:
            ready: jobs that can be done now.
        """
        if self._stopping:
            return None
        if self._client.status != "running":
            self._lose()
            return None
        self._look()
        found = choose(ready, self._slots.values()) if len(self._going) < len(self._slots) else None
        if found is None:
            return None
        slot, job = found
        slot.job, slot.group = job, job.group  # dask gives it to a free worker, of which there is mostly one
        self._going[job.name] = job
        future = self._client.submit(
            do_on_worker,
            job.name,
            self._topic,
            self._surroundings.text(job),
            self._alone,
            key=f"perturbax-{uuid.uuid4().hex}",
            pure=False,
        )
        self._futures[job.name] = future
        future.add_done_callback(lambda future: self._ended(job, future))
        return job

    def stop(self) -> None:
        """Take back what has not ended, and close what was opened."""
        self._stopping = True
        with contextlib.suppress(Exception):
            for future in self._futures.values():
                if not future.done():
                    future.cancel(force=True)
        self._open.close()

    def _tell(self, event: tuple[float, dict[str, str]]) -> None:
        """Hand on what a job has told."""
        told = event[1]
        job, by = self._going.get(told["job"]), self._slots.get(told["worker"])
        if job is not None and by is not None and by.job is not job:
            self._free(job)
            by.job, by.group = job, job.group
        self._heard.put(Heard(told["job"], "told", json.loads(told["text"])))

    def _free(self, job: Job) -> None:
        """Note that no worker does a job, as far as is known."""
        for slot in self._slots.values():
            if slot.job is job:
                slot.job = None

    def _look(self) -> None:
        """Look for workers that have joined or left, at most once a second."""
        if time.monotonic() < self._seen + 1.0:
            return
        with contextlib.suppress(Exception):  # that the scheduler is lost is seen elsewhere
            there = self._client.nthreads()
            self._slots = {address: self._slots.get(address) or Slot() for address in there}
        self._seen = time.monotonic()

    def _lose(self) -> None:
        """Say that the scheduler is lost."""
        self._lost = True
        message = f"{self._name} is lost; what is done is kept: the same command goes on"
        self._heard.put(Heard("", "over", {"message": message}))

    def _ended(self, job: Job, future: Any) -> None:
        """Hand on how a job has ended."""
        if self._stopping:
            return
        self._going.pop(job.name, None)
        self._free(job)
        if future.status == "finished":
            try:
                outcome = json.loads(future.result(timeout=PATIENCE))
            except Exception as error:
                outcome = {"event": "died", "message": f"its result was lost ({first_line(error)})"}
            self._heard.put(Heard(job.name, outcome.pop("event"), outcome))
        elif future.status == "error":
            error = future.exception()
            said = f"{type(error).__name__}: {first_line(error)}"
            if isinstance(error, self._distributed.KilledWorker):
                said = "its worker died, perhaps for want of memory"
            self._heard.put(Heard(job.name, "died", {"message": said}))
        else:  # cancelled, and not by us
            self._lose()


@contextlib.contextmanager
def quiet(lost: Callable[[], bool]) -> Iterator[None]:
    """Keep what dask logs off the screen: what matters is said in a line.

    lost: whether the scheduler is lost, of which dask logs for a while yet.
    """
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            if not lost():
                logger.setLevel(level)


def local(workers: int, numpys: int) -> Open:
    """Return what opens a cluster of processes of this machine, which listens on this machine alone.

    Arguments:
        workers: how many processes.
        numpys: threads of NumPy in each.
    """

    def connect(distributed: Any, closing: contextlib.ExitStack) -> tuple[Any, str]:
        closing.enter_context(no_script())
        closing.enter_context(configured({f"{NANNY}.{name}": numpys for name in NUMPYS_THREADS}))
        with unheard():
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=None,
                host="127.0.0.1",
                dashboard_address=None,
                scheduler_kwargs=NO_DASHBOARD,
                security=distributed.Security.temporary(),
                silence_logs=logging.CRITICAL,
            )
            closing.callback(cluster.close)
            client = distributed.Client(cluster, set_as_default=False)
        closing.callback(client.close)
        return client, "this machine"

    return connect


def at(address: str) -> Open:
    """Return what opens a cluster that is there already.

    Arguments:
        address: of its scheduler, such as tcp://host:8786 or tls://host:8786 (with the keys that dask's own
            configuration names).
    """

    def connect(distributed: Any, closing: contextlib.ExitStack) -> tuple[Any, str]:
        try:
            client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ArgumentError(f"no scheduler of dask answers at {address}: {first_line(error)}") from error
        closing.callback(client.close)
        return client, f"the scheduler at {address}"

    return connect


def do_on_worker(name: str, topic: str, text: str, alone: bool) -> str:
    """Do a job on a worker of dask.

    Arguments:
        name: of the job.
        topic: under which the client hears of it.
        text: the job and its surroundings.
        alone: whether workers end with their client.

    Returns how it ended, as `perform` does.
    """
    from distributed import Lock, Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    if worker.state.nthreads != 1:
        message = f"a worker at {worker.address} does {worker.state.nthreads} jobs at once: start it with "
        message += "--nthreads 1, and as many workers as it should do"
        return json.dumps({"event": "failed", "kind": "ArgumentError", "message": message})

    def send(told: str) -> None:
        task = worker.state.tasks.get(key)
        wanted = task is not None and task.state == "executing"
        if not wanted or worker.status not in (Status.running, Status.paused):
            raise Stopped
        worker.log_event(topic, {"job": name, "worker": worker.address, "text": told})

    if alone:
        return perform(text, send)
    # A worker that has lost its client goes on until it next tells something: nobody else begins before.
    with Lock(f"perturbax {json.loads(text)['folder']} {name}"):
        return perform(text, send)


@contextlib.contextmanager
def configured(more: Mapping[str, Any]) -> Iterator[None]:
    """Set what a cluster of our own takes from dask's configuration alone: it serves no pages, and tells us
    at once when a worker dies.

    Arguments:
        more: other settings of dask.
    """
    import dask

    before = set(os.environ)
    try:
        with dask.config.set({**OURS, **more}):
            yield
    finally:
        for name in set(LEFT_BEHIND) - before:
            os.environ.pop(name, None)
