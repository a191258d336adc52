"""The command `report`: one page of pictures and tables from run folders."""

import argparse
from pathlib import Path

from perturbax.cli.arguments import ClassSettings, Parser

HELP = "draw a page of pictures and tables from run folders"


def add_arguments(parser: Parser) -> None:
    """Declare the run folders and --out."""
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="run folders, or folders that hold run folders"
    )
    parser.add_argument(
        "--out", metavar="FILE", default="report.html", help="page to write (default: report.html)"
    )


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Write the page and return the exit status."""
    from perturbax.report import write_report
    from perturbax.report.read import run_folders

    folders = run_folders([Path(name) for name in args.folders])
    print(f"report: {write_report(folders, Path(args.out))}")
    return 0
