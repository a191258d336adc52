"""The command `run`: train one network, or go on with a run that was stopped."""

import argparse
import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perturbax.cli.arguments import (
    ClassSettings,
    Parser,
    add_dry_run,
    add_experiment,
    add_trust,
    experiment_fields,
    typed_names,
)
from perturbax.cli.spread import add_devices, devices_of
from perturbax.cli.watching import add_watch, watching
from perturbax.errors import ArgumentError
from perturbax.experiment.config import AUTO_RULE, Experiment
from perturbax.experiment.named import resume_words

if TYPE_CHECKING:
    from perturbax.experiment.result import Result
    from perturbax.tasks.base import Task

HELP = "train one network and write a run folder"


def add_arguments(parser: Parser) -> None:
    """Declare --out, --config, --resume, and the experiment."""
    parser.add_argument("--out", metavar="FOLDER", help="run folder to write")
    parser.add_argument("--config", metavar="FILE", help="start from the config.json of another run")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with a run that was stopped")
    add_dry_run(parser)
    add_trust(parser)
    add_watch(parser)
    add_devices(parser)
    add_experiment(parser)


def interrupted(args: argparse.Namespace, began: float) -> str:
    """Return how to go on after Ctrl-C; "" where the folder holds nothing of this run yet, or all of it.

    Arguments:
        args: the arguments that were typed.
        began: the `time.time()` at which the command began.
    """
    if args.dry_run:
        return ""
    folder = Path(args.resume or args.out)
    config = folder / "config.json"
    own = config.exists() and (args.resume or config.stat().st_mtime >= began)
    if not own or (folder / "result.json").exists():
        return ""
    hosts = f" --scalars {shlex.quote(args.scalars)}" if args.scalars else ""
    return f"go on with: perturbax run {resume_words(folder, getattr(args, 'device', None))}{hosts}"


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Train, print the result, and return the exit status.

    Arguments:
        args: the arguments that were typed.
        settings: those of task, rule and cell, as typed.
    """
    if args.out is None and args.resume is None and not args.dry_run:
        raise ArgumentError("--out FOLDER is needed: the run writes its results there")
    with devices_of(args) as devices:
        return _execute(args, settings, devices)


def _execute(args: argparse.Namespace, settings: ClassSettings, devices: int | None) -> int:
    """Train on so many devices, print the result, and return the exit status."""
    given = experiment_fields(args)
    if args.resume is not None:
        device = given.pop("device", None)
        if given or any(settings.values()) or args.out or args.config or args.dry_run:
            raise ArgumentError(
                "--resume goes on with a run as it was started: it takes no other argument but --device "
                "and those of several devices or hosts"
            )
        return _resume(args, device, devices)
    if args.config is not None and not Path(args.config).exists():
        raise ArgumentError(f"no such file: {args.config}")

    from perturbax.cli.board import Board
    from perturbax.cli.progress import shown

    with shown(Board()) as board, contextlib.ExitStack() as stack:
        from perturbax.cli.output import print_followed, print_notes
        from perturbax.devices.choice import strongest
        from perturbax.experiment.build import open_task, settled_by
        from perturbax.experiment.device_settings import device_of
        from perturbax.experiment.many import placement_of
        from perturbax.experiment.resolve import resolve
        from perturbax.experiment.result import code_for_new_run, read_experiment
        from perturbax.experiment.run import run
        from perturbax.experiment.variants import experiment_from

        base = Experiment() if args.config is None else read_experiment(Path(args.config))
        experiment = experiment_from(base, given, settings)
        mesh = placement_of(experiment, devices, args.shard)
        typed = typed_names(given, settings)
        if args.config is not None:
            stack.enter_context(code_for_new_run(Path(args.config), experiment, typed, args.trust))
        task = open_task(resolve(experiment))
        print_notes(task)
        if experiment.rule == AUTO_RULE:
            print(f"{strongest(device_of(experiment, type(task)).can).why} (--rule names another)")
        print_followed({experiment.rule: settled_by(resolve(experiment), task)})
        if args.dry_run:
            _explain(args, experiment, typed, task)
            return 0
        stack.enter_context(watching(args.watch, args.out))
        result = run(experiment, args.out, report=board, mesh=mesh, scalars=args.scalars)
    return _print_end(result)


def _explain(args: argparse.Namespace, experiment: Experiment, typed: set[str], task: "Task") -> None:
    """Print the settings of the run; refuse a folder in which it could not start, and what it would refuse.

    A device is not started, and what is `auto` is not measured.
    """
    from perturbax.cli.dry_run import print_run
    from perturbax.experiment.build import build, check_start
    from perturbax.experiment.differences import refuse_other
    from perturbax.experiment.options import unmeasured
    from perturbax.experiment.resolve import resolve

    resolved = resolve(experiment)
    if args.out is not None:
        refuse_other(Path(args.out), resolved, task.digest())
    if experiment.device is None and not unmeasured(resolved.rule_options):
        check_start(build(resolved, task))
    print_run(experiment, typed, args.config or "typed", task=task)


def _print_end(result: "Result") -> int:
    """Print what came out of a run and how it stands against the baselines; return the exit status."""
    from perturbax.cli.output import print_result, print_verdict

    status = print_result(str(result.folder), result.summary)
    if not status and result.folder is not None:
        print_verdict(result.folder)
    return status


def _resume(args: argparse.Namespace, device: str | None, devices: int | None) -> int:
    """Go on with a run, print the result, and return the exit status."""
    from perturbax.cli.board import Board
    from perturbax.cli.progress import shown

    with shown(Board()) as board, watching(args.watch, args.resume):
        from perturbax.experiment.run import resume

        given: dict[str, Any] = {"device": device, "mesh": devices, "shard": args.shard}
        given["scalars"] = args.scalars
        result = resume(args.resume, report=board, trust=args.trust, **given)
    return _print_end(result)
