"""The command `bench`: other people's benchmarks, our rules in a table beside what is published."""

import argparse
import sys
from pathlib import Path

from perturbax.cli.arguments import SUFFIXES, ClassSettings, Parser, add_cluster, variants, workers_of
from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.options import coerce

HELP = "run a published benchmark, with rows beside public numbers"


def add_arguments(parser: Parser) -> None:
    """Declare the benchmark, the rules, the data and the folder."""
    parser.epilog = f"""\
perturbax bench              lists the benchmarks
perturbax bench NAME         says what one is, and what is published

{SUFFIXES}"""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the benchmark (default: list them)")
    parser.add_argument(
        "--rules", metavar="RULE,RULE,...", help="rules to run, comma separated (default: the benchmark's)"
    )
    parser.add_argument("--seeds", metavar="N", help="number of seeds, from 0 on (default: the benchmark's)")
    parser.add_argument("--data", metavar="FILE", help="the benchmark's data, where it needs a file")
    parser.add_argument("--out", metavar="FOLDER", help="folder for the runs, bench.json and bench.md")
    parser.add_argument(
        "--steps", metavar="N", help="shorten every run to so many steps: the rows are not comparable then"
    )
    parser.add_argument(
        "--parts",
        metavar="PART,PART,...",
        help="run some parts of a benchmark that has several (default: all)",
    )
    add_cluster(parser, "one for each core, if memory allows")


def interrupted(args: argparse.Namespace, began: float) -> str:
    """Return how to go on after Ctrl-C; "" where nothing has been begun.

    Arguments:
        args: the arguments that were typed.
        began: the `time.time()` at which the command began.
    """
    begun = args.out is not None and Path(args.out).exists()
    return f"what is done is kept in {args.out}: the same command goes on" if begun else ""


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """List or describe benchmarks, or run one; return the exit status.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    from perturbax.bench import BENCHMARKS

    if args.name is None:
        wide = max(map(len, BENCHMARKS))
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:{wide}}  {benchmark.summary}")
        return 0
    if args.name not in BENCHMARKS:
        raise unknown("benchmark", args.name, BENCHMARKS)
    if args.out is None:
        if args.rules or args.data or args.steps or args.seeds:
            raise ArgumentError("name the folder for the runs: --out FOLDER")
        from perturbax.bench.page import describe

        print("\n".join(describe(BENCHMARKS[args.name])))
        return 0
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    """Train what is missing, and print the table."""
    from perturbax.bench import BENCHMARKS
    from perturbax.bench.page import said, table, write_files
    from perturbax.bench.running import plan
    from perturbax.cli.board import Board
    from perturbax.cli.lines import broken
    from perturbax.cli.output import print_end, print_followed
    from perturbax.cli.progress import shown

    benchmark, out = BENCHMARKS[args.name], Path(args.out)
    rules = [variant.label for variant in variants(args.rules or ",".join(benchmark.rules))]
    seeds = coerce("seeds", args.seeds, int) if args.seeds else benchmark.seeds
    steps = None if args.steps is None else coerce("steps", args.steps, int)
    asked = workers_of(args)
    board = Board(on_end=print_end)
    with shown(board):
        from perturbax.experiment.pieces import processes_for

        parts = args.parts.split(",") if args.parts else ()
        planned = plan(benchmark, rules, seeds, args.data, out, steps, parts)
        print_followed(next(iter(planned.comparisons.values())).auto)
        every = planned.folders
        finished = sum((folder / "result.json").exists() for folder in every)
        if finished:
            print(f"{finished} of {len(every)} runs were finished before and are kept")
        workers, engine = processes_for(planned.pieces, asked, args.cluster)
        board.expect(len(every), finished, workers)
        lost = planned.train_all(engine, board)
    rows = planned.rows()
    print(f"\n{table(benchmark, rows)}\n")
    for sentence in said(planned, rows):
        print(broken(sentence))
    print(f"written: {' and '.join(map(str, write_files(planned, rows, out)))}")
    for job, reason in lost:
        print(f"perturbax: {job.name}: {reason}; the same command goes on with it", file=sys.stderr)
    return int(bool(lost) or len(rows) < len(planned.variants))
