"""The command `judge`: how trained networks do on a device that they are moved to as they are."""

import argparse
import sys
from pathlib import Path

from perturbax.cli.arguments import ClassSettings, Parser, add_folders, add_trust
from perturbax.errors import PerturbaxError

HELP = "measure trained networks on a device, moved there as they are"


def add_arguments(parser: Parser) -> None:
    """Declare the run folders and the device."""
    add_folders(parser)
    parser.add_argument(
        "--device",
        metavar="COMMAND",
        required=True,
        help="command that serves the device, or the address of one (unix:PATH, tcp:PORT, tcp:HOST:PORT)",
    )
    add_trust(parser)


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Judge the networks one after the other, and note in each folder what `report` shows.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    from perturbax.experiment.on_device import judge_run
    from perturbax.report.numbers import rounded
    from perturbax.report.read import read_runs, run_folders

    folders = run_folders([Path(name) for name in args.folders])
    status = 0
    for run in read_runs(folders):
        try:
            judgement = judge_run(args.device, run.folder, trust=args.trust)
        except PerturbaxError as error:
            if len(folders) == 1:
                raise
            print(f"perturbax: error: {run.folder} is not judged: {error}", file=sys.stderr)
            status = status or error.exit_code
            continue
        metric = "mse" if "mse" in judgement["test"] else "loss"
        off = judgement["held_off"]
        held = "" if off is None else f"; weights held off by {rounded(100 * off, 2)} %"
        where = "on its own device" if run.device else "in process"
        print(
            f"{run.folder}: test {metric} {rounded(judgement['test'][metric])} on {judgement['device']}, "
            f"{rounded(run.number('test', metric))} {where}{held}"
        )
    return status
