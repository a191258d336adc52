"""The command `robustness`: accuracy of trained networks on images that were changed on purpose."""

import argparse
from pathlib import Path

from perturbax.cli.arguments import ClassSettings, Parser, add_folders, add_trust, numbers
from perturbax.experiment.options import coerce

HELP = "accuracy on images that are changed on purpose"


def add_arguments(parser: Parser) -> None:
    """Declare the run folders, --eps, --attack-steps, --images and --out."""
    add_folders(parser)
    parser.add_argument(
        "--eps",
        metavar="EPS,EPS,...",
        default="0.05,0.1,0.2",
        help="largest changes of a pixel, of pixels in [0, 1] (default: 0.05,0.1,0.2)",
    )
    parser.add_argument(
        "--attack-steps", metavar="N", default="40", help="steps of attacks by descent (default: 40)"
    )
    parser.add_argument(
        "--images", metavar="N", default="1000", help="test images to attack, at most (default: 1000)"
    )
    parser.add_argument("--out", metavar="FOLDER", help="also write robustness.json, .svg and .html")
    add_trust(parser)


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Print the accuracies; with --out, write robustness.json, .svg and .html there.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    from perturbax.analysis.robustness import robustness_of_runs
    from perturbax.experiment.run_folder import refuse_occupied
    from perturbax.report.read import read_runs, run_folders
    from perturbax.report.robustness import write_robustness

    eps = numbers("eps", args.eps, float)
    steps, images = coerce("attack-steps", args.attack_steps, int), coerce("images", args.images, int)
    if args.out is not None:
        refuse_occupied(Path(args.out))
    runs = read_runs(run_folders([Path(name) for name in args.folders]))
    data = robustness_of_runs([run.folder for run in runs], eps, steps, images, trust=args.trust)
    _print(data)
    if args.out is not None:
        print(f"robustness: {write_robustness(data, Path(args.out))}")
    return 0


def _print(data: dict) -> None:
    """Print one line per network and eps, and what is to be said of each network."""
    from rich.table import Table
    from rich.text import Text

    from perturbax.cli.output import console
    from perturbax.report.robustness import HEADS, MEANING, lines, warnings

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for i, head in enumerate(HEADS):
        table.add_column(head, justify="right" if i else "left", no_wrap=i > 0)
    for line in lines(data):
        table.add_row(*map(Text, line))
    paper = console(100)
    paper.print(table)
    for said in warnings(data):
        paper.print(Text(said, style="bold"))
    paper.print(Text(MEANING.format(**data), style="dim"))
