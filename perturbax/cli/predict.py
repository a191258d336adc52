"""The command `predict`: forecasts for a new file, by a trained network."""

import argparse
import csv
import io
from pathlib import Path

from perturbax.cli.arguments import ClassSettings, Parser
from perturbax.errors import ArgumentError
from perturbax.experiment.atomic import write

HELP = "forecast new data with a trained network"


def add_arguments(parser: Parser) -> None:
    """Declare the run, --data and --out."""
    parser.add_argument("run", metavar="FOLDER", help="folder of a trained run on a series task")
    parser.add_argument(
        "--data", metavar="FILE", required=True, help="CSV file with the input columns of the run"
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="CSV file to write")


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Write one forecast per row of the new file, in the data's own units, and return the exit status.

    Never replaces a file.
    """
    out = Path(args.out)
    if not out.name or out.exists():
        raise ArgumentError(f"{out} exists already: name another --out")
    if not out.parent.is_dir():
        raise ArgumentError(f"no such folder: {out.parent}")

    from perturbax.experiment.predict import forecasts

    columns = forecasts(Path(args.run), Path(args.data))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    rows = list(zip(*(values for _, values in columns), strict=True))
    writer.writerows(rows)
    write(out, text.getvalue().encode())
    print(f"{len(rows)} forecasts: {out}")
    return 0
