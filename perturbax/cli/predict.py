"""The command `predict`: what comes after the last row of a file, by a trained network."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perturbax.atomic import write
from perturbax.cli.arguments import ClassSettings, Parser, add_trust
from perturbax.errors import ArgumentError

HELP = "forecast new data with a trained network"
STDOUT = "-"
Columns = Sequence[tuple[str, Sequence[Any]]]  # of a table: name and values of each


def add_arguments(parser: Parser) -> None:
    """Declare the run, the file, where forecasts go, and what is forecast."""
    parser.add_argument(
        "run",
        metavar="FOLDER",
        help="folder of a trained run on a series task, or of compare: the run with the best validation",
    )
    parser.add_argument(
        "--data", metavar="FILE", required=True, help="CSV file with the input columns of the run"
    )
    parser.add_argument(
        "--out", metavar="FILE", default=STDOUT, help="CSV file to write (default: -, the terminal)"
    )
    add_trust(parser)
    parser.add_argument(
        "--device",
        metavar="COMMAND",
        help="command or address of the device that the network of the run lives on, named again",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    parser.add_argument(
        "--interval",
        metavar="PERCENT,...",
        help="add intervals that hold such a share of values, such as 80,95; from validation residuals",
    )
    parser.add_argument(
        "--all", action="store_true", help="one forecast per row of the file, not only after the last one"
    )
    parser.add_argument(
        "--backtest",
        metavar="N",
        help="forecast from the last N rows whose truth is in the file, and print the errors",
    )


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Write forecasts in the data's own units and return the exit status; notes go to standard error.

    Replaces no file unless told so.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    from perturbax.experiment.intervals import levels
    from perturbax.experiment.options import coerce

    if args.all and (args.backtest or args.interval):
        raise ArgumentError("--all is one forecast per row: it takes neither --backtest nor --interval")
    count = 0 if args.backtest is None else coerce("backtest", args.backtest, int)
    if args.backtest is not None and count < 1:
        raise ArgumentError(f"backtest must be above 0, not {count}")
    asked = levels(args.interval) if args.interval else ()
    _check_out(args.out, Path(args.data), args.overwrite)

    from perturbax.experiment.predict import backtest, every_row, future, held_on_test, open_for_forecasts

    opened = open_for_forecasts(Path(args.run), Path(args.data), trust=args.trust, device=args.device)
    found: Columns = []
    if count:
        found, columns = backtest(opened, count, asked)
    else:
        columns = every_row(opened) if args.all else future(opened, asked)
    for sentence in (*opened.said, *held_on_test(opened, asked)):
        print(f"perturbax: {sentence}", file=sys.stderr)
    if found:
        print(_aligned(found))
    if args.out != STDOUT or not found:
        _save(args.out, columns)
    return 0


def _check_out(out: str, data: Path, overwrite: bool) -> None:
    """Raise ArgumentError for a file that is there already, unless it may be replaced, or has no folder.

    Neither the data nor part of a run are ever replaced.
    """
    if out == STDOUT:
        return
    path = Path(out)
    if not path.name or path.is_dir() or (path.exists() and not overwrite):
        raise ArgumentError(f"{path} exists already: name another --out, or add --overwrite")
    if not path.parent.is_dir():
        raise ArgumentError(f"no such folder: {path.parent}")
    if path.exists() and data.exists() and path.samefile(data):
        raise ArgumentError(f"{path} holds the data: name another --out")
    if path.exists() and (path.parent / "config.json").is_file():
        raise ArgumentError(f"{path} is part of a run: name another --out")


def _save(out: str, columns: Columns) -> None:
    """Write a table as CSV to a file, or to standard output."""
    text = _as_csv(columns)
    if out == STDOUT:
        print(text, end="")
        return
    write(Path(out), text.encode())
    print(f"{len(columns[0][1])} forecasts: {out}")


def _aligned(columns: Columns) -> str:
    """Return a table as lines of text whose columns are aligned to the right."""
    padded = []
    for name, values in columns:
        cells = [name, *map(str, values)]
        width = max(map(len, cells))
        padded.append([cell.rjust(width) for cell in cells])
    return "\n".join("  ".join(line) for line in zip(*padded, strict=True))


def _as_csv(columns: Columns) -> str:
    """Return a table as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(values for _, values in columns), strict=True))
    return text.getvalue()
