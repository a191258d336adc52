"""Jobs done by processes of this machine, with the standard library alone."""

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from perturbax.jobs.apart import no_script, unheard
from perturbax.jobs.job import Engine, Heard, Job
from perturbax.jobs.perform import Surroundings, perform
from perturbax.jobs.slots import Slot, choose


class Pool(Engine):
    """An engine of processes on this machine. They end with this one, however it ends.

    Each is an executor with one process, so that it is known which job a process died of.

    Arguments:
        workers: how many processes.
        surroundings: what jobs find.
    """

    def __init__(self, workers: int, surroundings: Surroundings):
        self._workers = [_Worker(surroundings) for _ in range(workers)]
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._stopped = False

    def start(self, heard: "queue.SimpleQueue[Heard]") -> None:
        """Begin; a process is started when there is work for it.

        Arguments:
            heard: where everything is put that the loop should hear.
        """
        self._heard = heard

    def give(self, ready: Sequence[Job]) -> Job | None:
        """Begin one of these jobs in a process that is free; return it, or None if none is.

        Arguments:
            ready: jobs that can be done now.
        """
        found = None if self._stopped else choose(ready, self._workers)
        if found is None:
            return None
        worker, job = found
        worker.do(job, self._heard)
        return job

    def stop(self) -> None:
        """End all processes; no other is started."""
        self._stopped = True
        for worker in self._workers:
            worker.stop()


class _Worker(Slot):
    """One process, and another one if it dies."""

    def __init__(self, surroundings: Surroundings):
        super().__init__()
        self._surroundings = surroundings
        self._executor: concurrent.futures.ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._listening: threading.Thread | None = None

    def do(self, job: Job, heard: "queue.SimpleQueue[Heard]") -> None:
        """Begin a job."""
        self.job, self.group = job, job.group
        text = self._surroundings.text(job)
        future = None
        if self._executor is not None:
            with contextlib.suppress(concurrent.futures.BrokenExecutor):  # it has died since its last job
                future = self._executor.submit(_do, text)
        if future is None:
            future = self._start(text, heard)
        process, listening = self._process, self._listening

        def ended(future: "concurrent.futures.Future[None]") -> None:
            if future.cancelled() or future.exception() is None:
                return
            if process is not None and listening is not None:
                process.kill()  # it is dead already, in all likelihood
                process.join()
                listening.join()  # what it told before comes first
                self._executor = None
                self._died(_reason(process.exitcode), heard)

        future.add_done_callback(ended)

    def _start(self, text: str, heard: "queue.SimpleQueue[Heard]") -> "concurrent.futures.Future[None]":
        """Start a process, which begins with a job."""
        spawn = multiprocessing.get_context("spawn")  # threads of JAX do not survive a fork
        reading, writing = spawn.Pipe(duplex=False)
        before = set(multiprocessing.active_children())
        with no_script(), unheard():
            executor = concurrent.futures.ProcessPoolExecutor(
                1, mp_context=spawn, initializer=_begin, initargs=(writing,)
            )
            future = executor.submit(_do, text)
        (self._process,) = set(multiprocessing.active_children()) - before
        writing.close()  # that of the process is left: reading ends with it
        self._listening = threading.Thread(target=self._listen, args=(reading, heard), daemon=True)
        self._listening.start()
        self._executor = executor
        return future

    def _listen(self, reading: Connection, heard: "queue.SimpleQueue[Heard]") -> None:
        """Hand on what a process tells, until it ends."""
        with reading, contextlib.suppress(EOFError, OSError):
            while True:
                told = json.loads(reading.recv_bytes())
                job = self.job
                if job is None:
                    continue
                if "ended" in told:
                    outcome = json.loads(told["ended"])
                    self.job = None
                    heard.put(Heard(job.name, outcome.pop("event"), outcome))
                else:
                    heard.put(Heard(job.name, "told", told))

    def _died(self, reason: str, heard: "queue.SimpleQueue[Heard]") -> None:
        """Say that the process of a job has died."""
        job, self.job, self.group = self.job, None, ""
        if job is not None:
            heard.put(Heard(job.name, "died", {"message": reason}))

    def stop(self) -> None:
        """End the process and wait for it."""
        executor, process = self._executor, self._process
        if process is not None:
            process.kill()
            process.join()
        if executor is not None:
            executor.shutdown(cancel_futures=True)
        if self._listening is not None:
            self._listening.join()


_TO: dict[str, Connection] = {}  # in a process of a pool: the way to the one that has started it


def _begin(writing: Connection) -> None:
    """Prepare a process of a pool: Ctrl-C is left to the one that has started it, and it ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _TO["parent"] = writing
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process, whatever it does, when the one that has started it is gone: files are written such
    that this loses nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _do(text: str) -> None:
    """Do a job in a process of a pool."""
    to = _TO["parent"]
    outcome = perform(text, lambda told: to.send_bytes(told.encode()))
    to.send_bytes(json.dumps({"ended": outcome}).encode())


def _reason(status: int | None) -> str:
    """Return how a process ended, in words."""
    if status is not None and status == -signal.SIGKILL:
        return "its process was killed, perhaps for want of memory"
    if status is not None and status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"
