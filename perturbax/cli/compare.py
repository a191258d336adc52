"""The command `compare`: several rules on one task over several seeds, and the report of all runs."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perturbax.cli.arguments import (
    SUFFIXES,
    ClassSettings,
    Parser,
    add_cluster,
    add_dry_run,
    add_experiment,
    experiment_fields,
    typed_names,
    variants,
    workers_of,
)
from perturbax.cli.watching import add_watch, watching
from perturbax.errors import ArgumentError
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce

if TYPE_CHECKING:
    from perturbax.experiment.variants import Variant
    from perturbax.tasks.base import Task

HELP = "train several rules over several seeds, then write the report"


def add_arguments(parser: Parser) -> None:
    """Declare --rules, --seeds, --out, and the experiment that all rules share."""
    parser.epilog = SUFFIXES
    parser.add_argument(
        "--rules", metavar="RULE,RULE,...", required=True, help="rules to compare, comma separated"
    )
    parser.add_argument(
        "--seeds", metavar="N", default="3", help="number of seeds, counted from --seed (default: 3)"
    )
    add_cluster(parser, "one for each core, if memory allows")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder for the runs and report.html")
    add_dry_run(parser)
    add_watch(parser)
    add_experiment(parser, ["rule"])


def interrupted(args: argparse.Namespace, began: float) -> str:
    """Return how to go on after Ctrl-C; "" where nothing has been begun.

    Arguments:
        args: the arguments that were typed.
        began: the `time.time()` at which the command began.
    """
    return f"what is done is kept in {args.out}: the same command goes on" if Path(args.out).exists() else ""


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Train rules x seeds, keeping what is finished already, write the report, and return the exit status.

    Arguments:
        args: the arguments that were typed.
        settings: those of task, rule and cell, as typed.
    """
    from perturbax.cli.board import Board
    from perturbax.cli.output import print_end, print_followed, print_notes, print_table
    from perturbax.cli.progress import shown

    entries, out = variants(args.rules), Path(args.out)
    count = coerce("seeds", args.seeds, int)
    asked = workers_of(args)
    board = Board(on_end=print_end)
    with shown(board), contextlib.ExitStack() as stack:
        from perturbax.experiment import run_folder
        from perturbax.experiment.comparison import plan_comparison
        from perturbax.experiment.pieces import processes_for
        from perturbax.experiment.variants import experiment_from
        from perturbax.report import write_report

        base = experiment_from(Experiment(), experiment_fields(args), {**settings, "rule": {}})
        if (out / "report.html").is_dir():
            raise ArgumentError(f"{out / 'report.html'} is a folder: name another --out")
        comparison = plan_comparison(entries, base, settings["rule"], count, out)
        print_notes(*comparison.tasks.values())
        print_followed(comparison.auto)
        every = comparison.every_folder
        finished = sum((folder / "result.json").exists() for folder in every)
        if finished:
            print(f"{finished} of {len(every)} runs were finished before and are kept")
        if args.dry_run:
            _explain(entries, base, args, settings, comparison.tasks)
            return 0
        workers, engine = processes_for(comparison.pieces, asked, args.cluster)
        stack.enter_context(watching(args.watch, args.out))
        board.expect(len(every), finished, workers)
        lost = comparison.train_all(engine, board)
    begun = [folder for folder in every if (folder / "config.json").exists()]
    if begun:
        print_table(begun)
        print(f"report: {write_report(begun, out / 'report.html')}")
    for job, reason in lost:
        print(f"perturbax: {job.name}: {reason}; the same command goes on with it", file=sys.stderr)
    ended = [folder / "result.json" for folder in every if (folder / "result.json").exists()]
    return int(bool(lost) or "diverged" in [run_folder.read_json(path)["status"] for path in ended])


def _explain(
    entries: Sequence["Variant"],
    base: Experiment,
    args: argparse.Namespace,
    settings: ClassSettings,
    tasks: "dict[str, Task]",
) -> None:
    """Print the settings of the runs."""
    from perturbax.cli.dry_run import print_comparison
    from perturbax.experiment.variants import typed_of_variant

    by_label = {entry.label: entry for entry in entries}
    asked = {label: typed_of_variant(base, entry, settings["rule"]) for label, entry in by_label.items()}
    print_comparison(by_label, asked, typed_names(experiment_fields(args), settings), tasks=tasks)
