"""Runs that other processes train, with the numbers that they have one after the other in this one.

A process has as many threads as this one, wherever it is, since the last digits of a sum may depend on how
many share it; the processes share the cores as the system has it.
"""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from perturbax.errors import ArgumentError
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.device_program import program_of
from perturbax.experiment.options import typed_fields
from perturbax.experiment.portable import is_portable
from perturbax.experiment.precision import computing
from perturbax.experiment.program import Program
from perturbax.experiment.resolve import resolve
from perturbax.experiment.run import resume, train
from perturbax.experiment.telling import Retold, Telling
from perturbax.experiment.watch import Watcher
from perturbax.fields import whole
from perturbax.jobs.choice import check_cluster, engine_for, is_address, is_elsewhere
from perturbax.jobs.job import BEGUN, Engine, Job, Lost, run_jobs
from perturbax.jobs.perform import Tell, command

ROOM = 1.5e9  # bytes of memory that must be there for each process


class Piece(NamedTuple):
    """Runs that one process trains together: seeds of one variant.

    Attributes:
        name: the label of the variant.
        experiment: its settings.
        folders: the run folder of each seed. What is there goes on; the rest begins.
    """

    name: str
    experiment: Resolved
    folders: dict[int, Path]

    def job(self) -> Job:
        """Return it as it is handed to another process; its name is that of its folders."""
        folders = [[seed, str(folder)] for seed, folder in self.folders.items()]
        settings = {"name": self.name, "experiment": self.experiment.to_dict(), "folders": folders}
        named = " and ".join(map(str, self.folders.values()))
        return Job(named, f"{__name__}:train_piece", settings, group=self.name)


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


def processes_for(
    pieces: Sequence[Piece], asked: int | None = None, cluster: str | None = None
) -> tuple[int, Engine | None]:
    """Return how many processes share the work, as far as is known, and what has them do it.

    Arguments:
        pieces: what is to be trained.
        asked: processes, or Slurm jobs; None for as many as are best.
        cluster: as for `perturbax.jobs.choice.engine_for`.

    Returns no engine where this process alone is best. Raises what `workers_for` and `engine_for` raise.
    """
    check_cluster(cluster)
    if is_elsewhere(cluster):
        if asked is not None and is_address(cluster):
            raise ArgumentError(f"the scheduler at {cluster} has workers of its own: leave workers out")
        if not portable(pieces):
            raise ArgumentError("these runs cannot be handed to another process: leave cluster out")
        workers = min(len(pieces), asked or len(pieces))
    else:
        workers = workers_for(pieces, asked)
        if workers < 2:
            return 1, None
    return workers, engine_for(cluster, workers, computing()) if pieces else None


def portable(pieces: Sequence[Piece]) -> bool:
    """Whether another process understands pieces as they are meant: all of their settings are plain values,
    and classes of the user's own can be imported by their names.

    pieces: those of one name have one experiment.
    """
    return all(map(is_portable, {piece.name: piece.experiment for piece in pieces}.values()))


def work_off(pieces: Sequence[Piece], engine: Engine, watcher: Watcher) -> list[Lost]:
    """Train all pieces in other processes.

    Arguments:
        pieces: what is to be trained.
        engine: what does it.
        watcher: is told of everything, in this thread.

    Returns what was lost because its process died. Raises the PerturbaxError of the first piece that cannot
    be trained, when the other processes have been stopped.
    """
    retold = Retold(watcher)
    of_job = {piece.job().name: piece for piece in pieces}

    def on_told(job: Job, event: str, values: dict[str, Any]) -> None:
        piece = of_job[job.name]
        if event == BEGUN:
            if all(map(run_folder.vacant, piece.folders.values())):
                watcher.compiling(piece.name, list(piece.folders))
        elif event == "done":
            for folder in piece.folders.values():
                retold.ended_once(piece.name, folder)
        elif event == "lost":
            ended = [seed for seed, folder in piece.folders.items() if (folder / "result.json").exists()]
            watcher.lost(piece.name, [seed for seed in piece.folders if seed not in ended])
        else:
            retold.hear(event, values)

    return run_jobs([piece.job() for piece in pieces], engine, on_told)


def train_piece(piece: dict[str, Any], tell: Tell) -> None:
    """Train some seeds of one experiment, or go on with them: what a process does with a `Piece`.

    Arguments:
        piece: its name, the fields of its experiment, and a list of seed and folder.
        tell: is told what a `Watcher` is.
    """
    telling = Telling(tell)
    folders = {int(seed): Path(folder) for seed, folder in piece["folders"]}
    fresh = {seed: folder for seed, folder in folders.items() if run_folder.vacant(folder)}
    # What the experiment names is imported here, as it was where the command was typed.
    e = resolve(Experiment(**typed_fields(piece["experiment"])))
    for seed, folder in folders.items():
        if seed not in fresh:
            resume(folder, report=telling)
    if fresh:
        compiled = _compiled(json.dumps(e.to_dict()), command())
        train(compiled, list(fresh), list(fresh.values()), piece["name"], telling)


@functools.lru_cache(maxsize=1)
def _compiled(text: str, by: str) -> Program:
    """Return the compiled program of an experiment, given as JSON; that of the piece before is kept, for the
    jobs of one command.
    """
    return program_of(build(Experiment(**typed_fields(json.loads(text)))))


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
