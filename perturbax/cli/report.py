"""The command `report`: one page of pictures and tables from run folders."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from perturbax.cli.arguments import ClassSettings, Parser
from perturbax.errors import ArgumentError

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
    folders = run_folders([Path(name) for name in args.folders])

    from perturbax.report import write_report

    print(f"report: {write_report(folders, Path(args.out))}")
    return 0


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the run folders among some folders and directly inside them.

    Raises ArgumentError for a folder that is not there, and where no run folder is found.
    """
    found = []
    for folder in folders:
        if not folder.exists():
            raise ArgumentError(f"no such folder: {folder}")
        if _is_run(folder):
            found.append(folder)
        elif folder.is_dir():
            found += [inside for inside in sorted(folder.iterdir()) if _is_run(inside)]
    if not found:
        raise ArgumentError(f"no run folder in {', '.join(map(str, folders))}")
    return found


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run folder."""
    return (folder / "config.json").is_file()
