"""Working through a study: what is done stays, what another worker has claimed is left to it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perturbax.atomic import writing
from perturbax.errors import ArgumentError
from perturbax.experiment import run_folder
from perturbax.moved import old_names
from perturbax.study.claims import claim
from perturbax.study.jobs import Job, Study

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

WAIT = 5.0  # seconds between looks at what others are doing

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
    if others and not path.exists():  # another worker may have begun since
        raise ArgumentError(f"{root} is not an empty folder: name another --out")
    run_folder.write_json(path, study.plan)  # the same by whomever


def complete_study(study: Study, root: Path, note: Note) -> None:
    """Do all jobs that are ready and unclaimed, until every one is done, by this worker or by others.

    Arguments:
        study: the study.
        root: its folder.
        note: called while jobs are done, as note(job, jobs done, jobs, loss, steps done, steps).

    Raises what `prepare` raises.
    """
    prepare(study, root)
    while left := [job for job in study.jobs if not job.done(root)]:
        worked = [_try(job, study, root, note) for job in left if job.ready(root)]
        if not any(worked):
            time.sleep(WAIT)


def _try(job: Job, study: Study, root: Path, note: Note) -> bool:
    """Do a job, unless somebody else does; -> whether anything was done."""
    with claim(root / "claims" / job.name) as mine:
        if not mine or job.done(root):
            return False
        count = sum(other.done(root) for other in study.jobs)

        def report(done: int, total: int, loss: float) -> None:
            note(job, count, len(study.jobs), loss, done, total)

        report(0, 1, float("nan"))
        job.run(root, report)
        return True
