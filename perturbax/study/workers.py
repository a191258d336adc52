"""Several processes on one machine that share the work of a study, each on cores of its own."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from perturbax.errors import ArgumentError
from perturbax.experiment.options import coerce
from perturbax.fields import positive

SILENT: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
MOST = 4  # workers, unless more are asked for: each compiles, and holds, a network of its own
Cores = set[int] | None  # None where a process cannot be bound to cores
_STARTED: list[subprocess.Popen] = []  # the other workers that this process waits for


def shares(text: str) -> list[Cores]:
    """Return the cores of each worker; the times of a run are then those of one share.

    Arguments:
        text: the number of workers; `auto` is one for each core up to `MOST`, and one where none can be bound
            to a core.

    Raises ArgumentError for fewer than one worker, or more than there are cores.
    """
    bound = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0)) if bound else []
    if text == "auto":
        workers = max(1, min(MOST, len(cores)))
    else:
        workers = coerce("workers", text, int)
        positive("workers", workers)
    if not bound:
        return [None] * workers
    if workers > len(cores):
        raise ArgumentError(f"{workers} workers are more than the {len(cores)} cores of this machine")
    own = len(cores) // workers  # as many for each: the last digits of a run depend on how many cores it had
    return [set(cores[i * own : (i + 1) * own]) for i in range(workers)]


def bind(cores: Cores) -> None:
    """Keep this thread, and all that it starts from now on, on these cores."""
    if cores is not None:
        os.sched_setaffinity(0, cores)


@contextmanager
def beside(command: Sequence[str], own: Cores, others: Sequence[Cores]) -> Iterator[None]:
    """Run a command in one more process for each of the others; wait for them at the end, stop them on an
    error.

    What one of them fails at is left to this process, which says so: they are silent.

    Arguments:
        command: program and arguments of the other processes.
        own: cores of this process.
        others: cores of each of the others; None where a process cannot be bound to cores.
    """
    try:
        for cores in others:
            bind(cores)
            _STARTED.append(subprocess.Popen(command, **SILENT))  # noqa: S603 - this very program
        bind(own)
        yield
    except BaseException:
        stop_others()
        raise
    finally:
        while _STARTED:
            _STARTED[-1].wait()
            _STARTED.pop()


def stop_others() -> None:
    """Stop the other workers that this process has started."""
    for process in _STARTED:
        process.terminate()
