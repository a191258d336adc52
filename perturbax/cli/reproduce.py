"""The command `reproduce`: a study worked through, by this process, by several, or by jobs of a cluster."""

import sys
from pathlib import Path

from perturbax.cli.commands import progress
from perturbax.errors import ArgumentError
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce
from perturbax.fields import one_of, positive
from perturbax.plugins import import_optional
from perturbax.report.compare import canonical
from perturbax.study.jobs import Job, Study, Train
from perturbax.study.page import write_page
from perturbax.study.paper import paper
from perturbax.study.work import prepare, work
from perturbax.study.workers import beside, bind, shares

STUDIES = {"paper": paper}


def reproduce_command(
    what: str,
    protocol: str | None,
    budget: str,
    data: str | None,
    out: Path,
    draw: bool,
    workers: str,
    slurm: str | None,
) -> int:
    """Do what is missing of a study, then write its page; with draw, write the page alone."""
    one_of("study", what, STUDIES)
    file = None if data is None else Path(data)
    if not draw:
        own, *others = shares(workers if slurm is None else "1")
        bind(own)  # before JAX counts the cores
        study = STUDIES[what](protocol, budget, file)
        array = None if slurm is None else coerce("slurm", slurm, int)
        _try(study)
        prepare(study, out)
        for note in study.notes:
            print(note)
        if array is not None:
            return _submit(study, out, array)
        with beside(_command(what, protocol, budget, data, out), own, others):
            run(study, out)
    print(f"results: {write_page(out)}")
    return 0


def _command(what: str, protocol: str | None, budget: str, data: str | None, out: Path) -> list[str]:
    """Return what another process runs to share the work."""
    given = {"protocol": protocol, "budget": budget, "data": data, "out": str(out)}
    named = [word for key, value in given.items() if value is not None for word in (f"--{key}", value)]
    return [sys.executable, "-m", "perturbax", "reproduce", what, *named, "--workers", "1"]


def _try(study: Study) -> None:
    """Read every task's data once, so that what is missing or wrong is told before any work is done."""
    for e in {_data(job.experiment): job.experiment for job in study.jobs if isinstance(job, Train)}.values():
        build(e)


def _data(e: Experiment) -> str:
    return canonical([e.task, e.data, e.task_options])


def run(study: Study, out: Path) -> None:
    """Work on a study until all of it is done, showing a bar."""
    shown: list[str] = []
    with progress("reproduce") as bar:

        def note(job: Job, done: int, total: int, loss: float, step: int, steps: int) -> None:
            if job.name not in shown:
                shown.append(job.name)
                print(
                    f"[{done + 1}/{total}] {job.group}: {type(job).__name__.lower()} {job.label}", flush=True
                )
            bar(done, total, loss)

        work(study, out, note)


def _submit(study: Study, out: Path, workers: int) -> int:
    """Hand a study to that many jobs of a Slurm array."""
    positive("slurm", workers)
    submitit = import_optional("reproduce with slurm", "submitit", "submitit")
    try:
        executor = submitit.AutoExecutor(
            folder=str(out / "slurm"), cluster="slurm"
        )  # never this machine instead
        executor.update_parameters(name="perturbax", slurm_array_parallelism=workers, timeout_min=24 * 60)
        jobs = executor.map_array(run, [study] * workers, [out] * workers)
    except RuntimeError as error:
        raise ArgumentError(f"no job was submitted: {str(error).splitlines()[0]}") from error
    print(
        f"submitted {len(jobs)} jobs; when they have ended: perturbax reproduce ... --out {out} --draw-only"
    )
    return 0
