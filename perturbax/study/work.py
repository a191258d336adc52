"""Working through a study: what is done stays, the rest is done by this process or by others."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perturbax.atomic import alone_in, writing
from perturbax.errors import ArgumentError
from perturbax.experiment import run_folder
from perturbax.experiment.telling import Retold
from perturbax.experiment.watch import Watcher
from perturbax.jobs import job as handed
from perturbax.jobs.perform import Tell, command
from perturbax.moved import old_names
from perturbax.plugins import import_attribute
from perturbax.study.jobs import Job, Study

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

Note = Callable[[Job, int, int, float, int, int], None]  # job, jobs done, jobs, loss, steps done, steps


def prepare(study: Study, root: Path) -> None:
    """Write the plan into the study's folder, which is made where it is not there.

    Arguments:
        study: the study.
        root: the folder.

    Raises ArgumentError for a folder that holds another study, or anything else; StoreError where the file
    system refuses.
    """
    path = root / "plan.json"
    if path.exists():
        if run_folder.read_json(path) != study.plan:
            raise ArgumentError(
                f"{root} holds another study (other protocol, budget or data): name another --out"
            )
        return
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        others = [
            f for f in root.iterdir() if f.name != path.name and not f.name.startswith(f".{path.name}.")
        ]
    if others and not path.exists():
        raise ArgumentError(f"{root} is not an empty folder: name another --out")
    run_folder.write_json(path, study.plan)


def complete_study(
    study: Study, root: Path, note: Note, engine: handed.Engine | None = None
) -> list[handed.Lost]:
    """Do all jobs that are not done, each after those whose results it needs.

    Arguments:
        study: the study.
        root: its folder.
        note: called while jobs are done, as note(job, jobs done, jobs, loss, steps done, steps).
        engine: the processes that do them; None for this process alone.

    Returns the jobs that were lost, as their process died. Raises what `prepare` raises, what a job raises,
    and ArgumentError where another command works in the folder.
    """
    prepare(study, root)
    with alone_in(root):
        left = {job.name: job for job in study.jobs if not job.done(root)}
        done = len(study.jobs) - len(left)
        retold = Retold(Watcher())

        def on_told(one: handed.Job, event: str, values: dict[str, Any]) -> None:
            nonlocal done
            if event == handed.PRINTED:
                retold.say(values["line"])
            elif event == handed.BEGUN:
                note(left[one.name], done, len(study.jobs), float("nan"), 0, 1)
            elif event == "advanced":
                note(left[one.name], done, len(study.jobs), values["loss"], values["done"], values["total"])
            elif event == "done":
                done += 1

        jobs = [_handed(job, study, root) for job in left.values()]
        if engine is not None:
            return handed.run_jobs(jobs, engine, on_told)
        own = {job.name: functools.partial(_do, job, root) for job in left.values()}
        handed.run_here(jobs, on_told, own)
        return []


def _handed(job: Job, study: Study, root: Path) -> handed.Job:
    """Return a job as it is handed to another process: the study's source, and the name of the job in it."""
    settings = {"source": study.source, "root": str(root), "job": job.name}
    after = tuple(other.name for other in job.needs)
    return handed.Job(job.name, f"{__name__}:do_job", settings, f"{job.group}/{job.label}", after)


def do_job(settings: dict[str, Any], tell: Tell) -> None:
    """Do a job of a study: what a process does that it was handed to.

    Arguments:
        settings: the source of the study, its folder, and the name of the job.
        tell: is told of steps.
    """
    study = _study(json.dumps(settings["source"]), command())
    _do(next(job for job in study.jobs if job.name == settings["job"]), Path(settings["root"]), tell)


def _do(job: Job, root: Path, tell: Tell) -> None:
    """Do a job unless it is done."""

    def report(done: int, total: int, loss: float) -> None:
        tell("advanced", done=done, total=total, loss=loss)

    if not job.done(root):
        job.run(root, report)


@functools.lru_cache(maxsize=1)
def _study(source: str, by: str) -> Study:
    """Return a study that is made of plain values, those of one command."""
    function, arguments = json.loads(source)
    return import_attribute("study", function)(*arguments)
