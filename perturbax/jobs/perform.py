"""How a process does a job that another one has handed to it, as a line of JSON."""

import contextlib
import functools
import io
import json
import os
import sys
import sysconfig
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from perturbax import __version__
from perturbax.errors import ArgumentError, PerturbaxError, first_line
from perturbax.jobs.job import BEGUN, PRINTED, Job
from perturbax.plugins import import_attribute

Send = Callable[[str], None]
"""A function that takes what a job tells, as JSON."""
Tell = Callable[..., None]
"""A function of (event, name=value, ...) by which a job tells how it goes on."""
THREADS = "NPROC"  # the variable from which JAX takes the number of its threads on a CPU
NUMPYS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables from which NumPy and SciPy, whose decompositions JAX uses on a CPU, take theirs when loaded."""
PACKAGES = ("jax", "jaxlib", "numpy")
_LAST: dict[str, Any] = {}  # threads of this process, and the command whose job it did last


class Stopped(BaseException):
    """Nobody waits for this job any more."""


class Surroundings:
    """What all jobs that are handed out together find, wherever they are done.

    Arguments:
        threads: of JAX in each process; the last digits of a sum may depend on it.
        computing: settings of JAX, by the names that `jax.config.update` knows.
        numpys: threads of NumPy and SciPy in each process, on which the last digits of the weights that a run
            starts from depend; None for as many as in this one.
    """

    def __init__(self, threads: int, computing: Mapping[str, Any] | None = None, numpys: int | None = None):
        self.numpys = numpys_threads() if numpys is None else numpys
        self._given = {
            "command": uuid.uuid4().hex,
            "threads": threads,
            "numpys": self.numpys,
            "computing": dict(computing or {}),
            "folder": os.getcwd(),
            "path": [os.path.abspath(entry) for entry in sys.path],
            "versions": _versions(),
        }

    def text(self, job: Job) -> str:
        """Return a job and its surroundings as JSON."""
        return json.dumps({**self._given, "function": job.function, "settings": job.settings})


def own_threads() -> int:
    """Return how many threads JAX has for sums and products in this process, on a CPU."""
    return _number(THREADS) or own_cores()


def numpys_threads() -> int:
    """Return how many threads NumPy and SciPy have in this process."""
    return next((number for name in NUMPYS_THREADS if (number := _number(name))), own_cores())


def own_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(name: str) -> int | None:
    """Return the number above 0 in an environment variable; None for anything else."""
    text = os.environ.get(name, "").split(",")[0]
    return int(text) if text.isdecimal() and int(text) > 0 else None


def command() -> str:
    """Return a name of the command that has handed out the job of this process; "" where none has.

    What is kept in memory for the next job belongs to one command: files may have changed before the next.
    """
    return _LAST.get("command", "")


def perform(text: str, send: Send) -> str:
    """Do a job.

    Arguments:
        text: what `Surroundings.text` returns.
        send: takes what the job tells: JSON of the event and its values.

    Returns how it ended, as JSON: `event` is `done`, `failed` or `broke`, as in `Heard`.
    """
    given = json.loads(text)

    def tell(event: str, **values: Any) -> None:
        send(json.dumps({"event": event, **values}))

    lines = _Lines(tell)
    tell(BEGUN)
    try:
        with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(lines):
            _settle(given)
            with _inside(given["folder"]):
                import_attribute("work", given["function"])(given["settings"], tell)
    except PerturbaxError as error:
        return json.dumps({"event": "failed", "kind": type(error).__name__, "message": str(error)})
    except Stopped:
        return json.dumps({"event": "done"})
    except Exception as error:
        tell(PRINTED, line=traceback.format_exc())
        return json.dumps({"event": "broke", "message": f"{type(error).__name__}: {first_line(error)}"})
    return json.dumps({"event": "done"})


class _Lines(io.TextIOBase):
    """A file that tells every line which is written into it."""

    def __init__(self, tell: Tell):
        self._tell, self._begun = tell, ""

    def write(self, text: str) -> int:
        """Tell the lines that are whole now."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._tell(PRINTED, line=line)
        return len(text)


@functools.cache
def _versions() -> dict[str, str]:
    """Return the versions of what the numbers of a run depend on."""
    return {"perturbax": __version__, **{name: version(name) for name in PACKAGES}}


def _settle(given: dict[str, Any]) -> None:
    """Make this process one that computes as the one that has handed out the job; raise what hinders that."""
    other = [
        f"{name} {own} instead of {given['versions'][name]}"
        for name, own in _versions().items()
        if own != given["versions"][name]
    ]
    if other:
        raise PerturbaxError(f"a worker has {', '.join(other)}: install the same versions on every machine")
    _settle_threads(given["threads"], given["numpys"])
    sys.path += [entry for entry in given["path"] if entry not in sys.path]
    if given["computing"]:
        import jax

        for name, value in given["computing"].items():
            jax.config.update(name, value)
    if _LAST.setdefault("command", given["command"]) != given["command"]:
        _forget(Path(given["folder"]))
        _LAST["command"] = given["command"]


def _settle_threads(threads: int, numpys: int) -> None:
    """Have so many threads in JAX, and in NumPy and SciPy: all read that once."""
    if "numpy" in sys.modules and numpys_threads() != numpys:
        raise ArgumentError(
            f"a worker has loaded NumPy with {numpys_threads()} threads, where this process has {numpys}: "
            f"start workers with OPENBLAS_NUM_THREADS={numpys} (dask sets 1)"
        )
    if _LAST.setdefault("threads", threads) != threads:
        raise ArgumentError(
            f"a worker computes with {_LAST['threads']} threads since an earlier command, not {threads}: "
            "start it again"
        )
    os.environ[THREADS] = str(threads)
    for name in NUMPYS_THREADS:
        os.environ[name] = str(numpys)


@contextlib.contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Work in a folder, that of the process which has handed out the job: paths may be relative to it."""
    before = os.getcwd()
    try:
        os.chdir(folder)
    except OSError as error:
        raise PerturbaxError(
            f"a worker cannot reach {folder} ({error.strerror}): the folder must be the same on every machine"
        ) from error
    try:
        yield
    finally:
        os.chdir(before)


def _forget(folder: Path) -> None:
    """Forget the user's own modules in a folder: they may have been written anew since an earlier command."""
    kept = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    kept.append(Path(__file__).parents[1])
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "/")
        if file.is_relative_to(folder) and not any(file.is_relative_to(place) for place in kept):
            del sys.modules[name]
