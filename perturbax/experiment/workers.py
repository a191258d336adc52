"""Runs side by side in processes of their own, with the numbers that they have one after the other.

A process has as many threads as there are cores, as the only one would have, since the last digits of a sum
may depend on how many share it; the processes share the cores as the system has it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from perturbax import errors
from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment import own_code
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.options import typed_fields
from perturbax.experiment.precision import environment
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import load
from perturbax.experiment.watch import Watcher
from perturbax.fields import whole

ROOM = 1.5e9  # bytes of memory that must be there for each process
COMMAND = [sys.executable, "-m", "perturbax.experiment.worker"]


class Piece(NamedTuple):
    """Runs that one process trains together: seeds of one variant.

    Attributes:
        name: the label of the variant.
        experiment: its settings.
        folders: the run folder of each seed.
        fresh: whether the runs begin; otherwise they go on from their folders.
    """

    name: str
    experiment: Resolved
    folders: dict[int, Path]
    fresh: bool

    def to_json(self) -> str:
        """Return the line that a worker reads."""
        folders = [[seed, str(folder)] for seed, folder in self.folders.items()]
        told = {"name": self.name, "experiment": self.experiment.to_dict(), "folders": folders}
        return json.dumps({**told, "fresh": self.fresh}) + "\n"


class Lost(NamedTuple):
    """Runs whose process has died.

    Attributes:
        piece: the runs.
        reason: how the process ended, in words.
    """

    piece: Piece
    reason: str

    def __str__(self) -> str:
        """Return the folders of the runs, and why they were lost."""
        return f"{' and '.join(map(str, self.piece.folders.values()))}: {self.reason}"


def default_workers(pieces: Sequence[Piece]) -> int:
    """Return how many processes pieces are best shared among: 1 for this process alone.

    One for each core, but no more than there are pieces, and memory for. One where JAX computes on an
    accelerator or a device, which is for one process, and where a piece cannot be handed to another process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = min(cores, len(pieces), max(1, int(_memory() // ROOM)))
    there_is_one = any(piece.experiment.device is not None for piece in pieces)
    if most < 2 or there_is_one or jax.default_backend() != "cpu" or not portable(pieces):
        return 1
    return most


def workers_for(pieces: Sequence[Piece], asked: int | None = None) -> int:
    """Return how many processes share the work: as many as are asked for, else `default_workers`.

    Arguments:
        pieces: what is to be trained.
        asked: processes; None for as many as are best.

    Raises ArgumentError for a number that is no count, and where several are asked for but a piece cannot be
    handed to another process.
    """
    if asked is None:
        return default_workers(pieces)
    whole("workers", asked)
    if asked > 1 and not portable(pieces):
        raise ArgumentError("these runs cannot be handed to another process: workers must be 1")
    return min(asked, max(1, len(pieces)))


def portable(pieces: Sequence[Piece]) -> bool:
    """Whether another process understands pieces as they are meant: all of their settings are plain values,
    and classes of the user's own can be imported by their names.

    pieces: those of one name have one experiment.
    """
    return all(map(_plain, {piece.name: piece.experiment for piece in pieces}.values()))


def _plain(e: Resolved) -> bool:
    """Whether the settings of a run come back as they are from JSON."""
    if e.device is not None and not isinstance(e.device, str):
        return False
    names = own_code.names_of(vars(e)).values()
    if any(name.startswith("__main__:") or own_code.kept_object(name) for name in names):
        return False
    try:
        there = json.loads(json.dumps(e.to_dict()))
        return resolve(Experiment(**typed_fields(there))) == e
    except (TypeError, ValueError):
        return False


def work_off(pieces: Sequence[Piece], workers: int, watcher: Watcher) -> list[Lost]:
    """Train all pieces in that many processes.

    Arguments:
        pieces: what is to be trained.
        workers: processes.
        watcher: is told of everything, by several threads, one at a time.

    Returns what was lost because its process died. Raises the PerturbaxError of the first piece that cannot
    be trained, when the other processes have been stopped.
    """
    crew = _Crew(pieces, watcher)
    threads = [threading.Thread(target=crew.employ, daemon=True) for _ in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
    finally:
        crew.stop()
        for thread in threads:
            thread.join()
        crew.close()
    if crew.error is not None:
        raise crew.error
    return crew.lost


class _Crew:
    """The processes, what they work on, and what is left to do."""

    def __init__(self, pieces: Sequence[Piece], watcher: Watcher):
        self.lost: list[Lost] = []
        self.error: BaseException | None = None
        self._waiting = list(pieces)
        self._busy: list[str] = []  # the variants that are worked on
        self._watcher, self._lock = watcher, threading.RLock()
        self._processes: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []  # of what they print
        self._said: set[str] = set()
        self._stopped = False

    def employ(self) -> None:
        """Start a process and give it pieces until none is left; another one if it dies."""
        process, last = None, ""
        try:
            while (piece := self._next(last)) is not None:
                if process is None:
                    process = self._start()
                last = piece.name
                if not self._train(process, piece):
                    process = None
        except BaseException as error:
            with self._lock:
                self.error = self.error or error
            self.stop()

    def stop(self) -> None:
        """End all processes; nothing else is begun."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()

    def close(self) -> None:
        """Wait for processes that have been ended, and close what they were read from."""
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        for reader in self._readers:
            reader.join()

    def _next(self, last: str) -> Piece | None:
        """Return the next piece: of the variant that the process has compiled, or else of one that none works
        on, or else of the one with most pieces left.
        """
        with self._lock:
            if self._stopped or not self._waiting:
                return None
            names = [piece.name for piece in self._waiting]
            if last in names:
                name = last
            else:
                free = [name for name in names if name not in self._busy]
                name = free[0] if free else max(names, key=names.count)
            piece = self._waiting.pop(names.index(name))
            self._busy.append(name)
            return piece

    def _start(self) -> "subprocess.Popen[str]":
        """Start a process."""
        settings = {
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            **environment(),
        }
        pipe = subprocess.PIPE
        with self._lock:
            process = subprocess.Popen(  # noqa: S603 - this very program
                COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **settings}
            )
            self._processes.append(process)
            self._readers.append(threading.Thread(target=self._pass_on, args=(process,), daemon=True))
            self._readers[-1].start()
        return process

    def _pass_on(self, process: "subprocess.Popen[str]") -> None:
        """Print what a process prints, each line once."""
        if process.stderr is None:
            return
        with process.stderr as lines:
            for line in lines:
                with self._lock:
                    if line not in self._said:
                        self._said.add(line)
                        print(line, end="", file=sys.stderr)

    def _train(self, process: "subprocess.Popen[str]", piece: Piece) -> bool:
        """Let a process train a piece; -> whether it lives on."""
        with self._lock:
            self._watcher.compiling(piece.name, list(piece.folders))  # the process itself starts first
        try:
            if process.stdin is not None:
                process.stdin.write(piece.to_json())
                process.stdin.flush()
            for line in process.stdout or ():
                if self._hear(json.loads(line)):
                    return True
        except BrokenPipeError:
            pass
        finally:
            with self._lock:
                self._busy.remove(piece.name)
        reason = _reason(process.wait())
        with self._lock:
            if not self._stopped:
                self.lost.append(Lost(piece, reason))
                self._watcher.lost(piece.name, list(piece.folders))
        return False

    def _hear(self, told: dict[str, Any]) -> bool:
        """Hand on what a process has told; -> whether its piece has ended. Raises the error that it had."""
        event = told.pop("event")
        if event == "done":
            return True
        if event == "failed":
            kind = getattr(errors, told["kind"], PerturbaxError)
            raise kind(told["message"])
        with self._lock:
            if event == "ended":
                self._watcher.ended(told["name"], load(Path(told["folder"])))
            else:
                getattr(self._watcher, event)(**told)
        return False


def _reason(status: int) -> str:
    """Return how a process ended, in words."""
    if status == -signal.SIGKILL:
        return "its process was killed, perhaps for want of memory"
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    return f"its process ended with status {status}"


def _memory() -> float:
    """Return the bytes of memory that are free or can be freed; infinite where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        group = Path("/sys/fs/cgroup")  # the limit of a container, where there is one
        limit, used = (group / name for name in ("memory.max", "memory.current"))
        if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, StopIteration, ValueError):
        return float("inf")
    return float(free)
