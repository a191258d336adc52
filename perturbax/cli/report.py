"""The command `report`: one page of pictures and tables from run folders."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from perturbax.cli.arguments import ClassSettings, Parser, add_folders
from perturbax.errors import ArgumentError

HELP = "draw a page of pictures and tables from run folders"


def add_arguments(parser: Parser) -> None:
    """Declare the run folders and --out."""
    add_folders(parser)
    parser.add_argument(
        "--out", metavar="FILE", default="report.html", help="page to write (default: report.html)"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show the page in a browser on this machine while runs go on, until Ctrl-C; no file is written",
    )


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Write the page, or show it until Ctrl-C, and return the exit status.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    if args.watch:
        return _watch([Path(name) for name in args.folders])

    from perturbax.report import write_report
    from perturbax.report.read import run_folders

    folders = run_folders([Path(name) for name in args.folders])
    print(f"report: {write_report(folders, Path(args.out))}")
    return 0


def _watch(places: Sequence[Path]) -> int:
    """Serve the page on this machine until Ctrl-C, and return the exit status."""
    import time

    from perturbax.report.watch import watched

    for place in places:
        if not place.exists():
            raise ArgumentError(f"no such folder: {place}")
    with watched(places) as address:
        print(f"watched at {address} (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)
