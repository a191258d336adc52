"""The command `reproduce`: a study worked through, by this process, by several, or by those of a cluster."""

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from perturbax.cli.arguments import ClassSettings, Parser, add_cluster, workers_of
from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.options import coerce

MOST = 4  # processes, unless more are asked for: each compiles, and holds, a network of its own
HELP = "repeat a published comparison, as published and fairly"


def add_arguments(parser: Parser) -> None:
    """Declare the study, how much of it is done, and by whom."""
    parser.epilog = """\
What is finished is kept: the same command goes on where it was stopped."""
    parser.add_argument("what", metavar="paper", help="what to reproduce")
    parser.add_argument(
        "--protocol",
        metavar="published|fair",
        help="as in the public code, or one protocol for all rules (default: both)",
    )
    parser.add_argument(
        "--budget",
        metavar="quick|full",
        default="quick",
        help="how much to spend: on two cores, less than 20 minutes, or hours (default: quick)",
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="the weather file WTH.csv, images as an NPZ file, or a folder with WTH.csv and an NPZ file or "
        "the IDX files of MNIST",
    )
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder for the results")
    parser.add_argument("--draw-only", action="store_true", help="train nothing: draw what the folder has")
    add_cluster(parser, f"one for each core, at most {MOST}")
    parser.add_argument(
        "--slurm", metavar="N", help="former name of --cluster slurm --workers N, for one release"
    )


def interrupted(args: argparse.Namespace, began: float) -> str:
    """Return how to go on after Ctrl-C; "" where nothing has been begun.

    Arguments:
        args: the arguments that were typed.
        began: the `time.time()` at which the command began.
    """
    return f"what is done is kept in {args.out}: the same command goes on" if Path(args.out).exists() else ""


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Do what is missing of a study, then write its page; with --draw-only, write the page alone.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    from perturbax.study.page import write_page
    from perturbax.study.paper import paper
    from perturbax.study.work import prepare

    studies = {"paper": paper}
    if args.what not in studies:
        raise unknown("study", args.what, studies)
    out, lost = Path(args.out), []
    if not args.draw_only:
        _of_slurm(args)
        workers, threads = shares(workers_of(args), args.cluster)
        data = None if args.data is None else Path(args.data)
        study = studies[args.what](args.protocol, args.budget, data)
        _read_data(study)
        prepare(study, out)
        for note in study.notes:
            print(note)
        lost = work_through(study, out, engine(args.cluster, workers, threads))
    print(f"results: {write_page(out)}")
    for job, reason in lost:
        print(f"perturbax: {job.name}: {reason}; the same command goes on with it", file=sys.stderr)
    return int(bool(lost))


def _of_slurm(args: argparse.Namespace) -> None:
    """Give --slurm, which version 0.1.0 had, the meaning that it has now."""
    if args.slurm is None:
        return
    from perturbax.fields import positive

    jobs = coerce("slurm", args.slurm, int)
    positive("slurm", jobs)
    said = f"--slurm {jobs} is now --cluster slurm --workers {jobs}, and goes with the next release"
    warnings.warn(said, DeprecationWarning, stacklevel=2)
    print(f"perturbax: {said}", file=sys.stderr)
    args.cluster, args.workers = "slurm", str(jobs)


def shares(asked: int | None, cluster: str | None) -> tuple[int, int | None]:
    """Return how many processes share the work, and the threads of each; None for what is best.

    On this machine each has an equal share of the cores, unless JAX is told otherwise (NPROC): the last
    digits of a run, and its times, are then those of one share.

    Arguments:
        asked: processes; None for one for each core up to `MOST`.
        cluster: where they are.

    Raises ArgumentError for fewer than one, or more than there are cores.
    """
    from perturbax.fields import positive
    from perturbax.jobs.choice import is_address, is_elsewhere
    from perturbax.jobs.perform import THREADS, own_threads

    if asked is not None:
        positive("workers", asked)
    if is_elsewhere(cluster):
        if asked is not None and is_address(cluster):
            raise ArgumentError(f"the scheduler at {cluster} has workers of its own: leave --workers out")
        return asked or MOST, None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(MOST, cores) if asked is None else asked
    if workers > cores:
        raise ArgumentError(f"{workers} workers are more than the {cores} cores of this machine")
    return workers, own_threads() if THREADS in os.environ else cores // workers


def engine(cluster: str | None, workers: int, threads: int | None) -> Any:
    """Return what does the jobs; None for this process alone.

    Arguments:
        cluster: where the processes are.
        workers: how many.
        threads: of each; None for what is best.
    """
    from perturbax.experiment.precision import computing
    from perturbax.jobs.choice import engine_for, is_elsewhere

    if workers == 1 and not is_elsewhere(cluster):
        return None
    return engine_for(cluster, workers, computing(), threads)


def _read_data(study: Any) -> None:
    """Read every task's data once, so that what is missing or wrong is told before any work is done."""
    from perturbax.experiment.build import build
    from perturbax.report.compare import canonical
    from perturbax.study.jobs import Train

    experiments = [job.experiment for job in study.jobs if isinstance(job, Train)]
    for e in {canonical([e.task, e.data, e.task_options]): e for e in experiments}.values():
        build(e)


def work_through(study: Any, out: Path, engine: Any = None) -> Any:
    """Work on a study until all of it is done, with a bar, and a line for every job that is begun.

    Arguments:
        study: what is to be done.
        out: the folder of the study.
        engine: the processes that do it; None for this process alone.

    Returns the jobs that were lost.
    """
    from perturbax.cli.progress import progress
    from perturbax.study.work import complete_study

    begun: set[str] = set()
    with progress("reproduce") as bar:

        def note(job: Any, done: int, total: int, loss: float, step: int, steps: int) -> None:
            if job.name not in begun:
                begun.add(job.name)
                kind = type(job).__name__.lower()
                print(f"[{len(begun) + kept}/{total}] {job.group}: {kind} {job.label}", flush=True)
            bar(done, total, loss)

        kept = sum(job.done(out) for job in study.jobs)
        return complete_study(study, out, note, engine)
