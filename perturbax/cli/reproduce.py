"""The command `reproduce`: a study worked through, by this process, by several, or by jobs of a cluster."""

import argparse
import sys
from pathlib import Path
from typing import Any

from perturbax.cli.arguments import ClassSettings, Parser
from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.options import coerce

HELP = "repeat a published comparison, as published and fairly"


def add_arguments(parser: Parser) -> None:
    """Declare the study, how much of it is done, and by whom."""
    parser.epilog = """\
What is finished is kept: the same command goes on where it was stopped, and
several on one folder share the work."""
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
    parser.add_argument(
        "--workers",
        metavar="N",
        default="auto",
        help="processes on this machine that share the work, each on cores of its own (default: auto, one "
        "for each core, at most 4)",
    )
    parser.add_argument(
        "--slurm", metavar="N", help="hand the work to an array of N Slurm jobs (extra: slurm)"
    )


def interrupted(args: argparse.Namespace, began: float) -> str:
    """Stop the other workers, and return how to go on after Ctrl-C; "" where nothing has been begun.

    Arguments:
        args: the arguments that were typed.
        began: the `time.time()` at which the command began.
    """
    from perturbax.study.workers import stop_others

    stop_others()
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
    from perturbax.study.workers import beside, bind, shares

    studies = {"paper": paper}
    if args.what not in studies:
        raise unknown("study", args.what, studies)
    out = Path(args.out)
    if not args.draw_only:
        own, *others = shares(args.workers if args.slurm is None else "1")
        bind(own)  # before JAX counts the cores
        data = None if args.data is None else Path(args.data)
        study = studies[args.what](args.protocol, args.budget, data)
        jobs = None if args.slurm is None else coerce("slurm", args.slurm, int)
        _read_data(study)
        prepare(study, out)
        for note in study.notes:
            print(note)
        if jobs is not None:
            return _submit(study, out, jobs)
        with beside(same_command(args), own, others):
            work_through(study, out)
    print(f"results: {write_page(out)}")
    return 0


def same_command(args: argparse.Namespace) -> list[str]:
    """Return the command by which one more process shares the work."""
    flags = {"protocol": args.protocol, "budget": args.budget, "data": args.data, "out": args.out}
    words = [sys.executable, "-m", "perturbax", "reproduce", args.what]
    for name, value in flags.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    return [*words, "--workers", "1"]


def _read_data(study: Any) -> None:
    """Read every task's data once, so that what is missing or wrong is told before any work is done."""
    from perturbax.experiment.build import build
    from perturbax.report.compare import canonical
    from perturbax.study.jobs import Train

    experiments = [job.experiment for job in study.jobs if isinstance(job, Train)]
    for e in {canonical([e.task, e.data, e.task_options]): e for e in experiments}.values():
        build(e)


def work_through(study: Any, out: Path) -> None:
    """Work on a study until all of it is done, with a bar, and a line for every job that is begun.

    Arguments:
        study: what is to be done.
        out: the folder of the study.
    """
    from perturbax.cli.progress import progress
    from perturbax.study.work import complete_study

    begun: set[str] = set()
    with progress("reproduce") as bar:

        def note(job: Any, done: int, total: int, loss: float, step: int, steps: int) -> None:
            if job.name not in begun:
                begun.add(job.name)
                kind = type(job).__name__.lower()
                print(f"[{done + 1}/{total}] {job.group}: {kind} {job.label}", flush=True)
            bar(done, total, loss)

        complete_study(study, out, note)


def _submit(study: Any, out: Path, jobs: int) -> int:
    """Hand a study to that many jobs of a Slurm array, and return the exit status."""
    from perturbax.fields import positive
    from perturbax.plugins import import_optional

    positive("slurm", jobs)
    submitit = import_optional("reproduce with slurm", "submitit", "submitit")
    try:
        executor = submitit.AutoExecutor(
            folder=str(out / "slurm"), cluster="slurm"
        )  # never this machine instead
        executor.update_parameters(name="perturbax", slurm_array_parallelism=jobs, timeout_min=24 * 60)
        submitted = executor.map_array(work_through, [study] * jobs, [out] * jobs)
    except RuntimeError as error:
        raise ArgumentError(f"no job was submitted: {str(error).splitlines()[0]}") from error
    afterwards = f"perturbax reproduce ... --out {out} --draw-only"
    print(f"submitted {len(submitted)} jobs; when they have ended: {afterwards}")
    return 0
