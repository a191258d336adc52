"""The command `tune`: a search for learning rates, a discount, or any other settings by short runs."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perturbax.cli.arguments import (
    ClassSettings,
    Parser,
    add_cluster,
    add_dry_run,
    add_experiment,
    experiment_fields,
    numbers,
    typed_names,
    workers_of,
)
from perturbax.errors import ArgumentError
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce

HELP = "search learning rates or other settings on validation data"

if TYPE_CHECKING:
    from perturbax.experiment.grid import SearchPlan
    from perturbax.experiment.tuning import Tuned


def add_arguments(parser: Parser) -> None:
    """Declare the candidates, --seeds, --steps, --out, and the experiment."""
    parser.add_argument(
        "--lrs", metavar="RATE,RATE,...", help="learning rates to try (default: five around --lr)"
    )
    parser.add_argument(
        "--decor-lrs",
        metavar="RATE,RATE,...",
        help="rates of decorrelation to try with each of these (default: --decor-lr alone)",
    )
    parser.add_argument(
        "--discounts",
        metavar="D,D,...",
        help="discounts to try (default: 0.9, 0.95, 1 and the one shipped, where the rule's credit has one "
        "and --rule.discount does not name it)",
    )
    parser.add_argument(
        "--over",
        metavar="SETTING=V,V,...",
        action="append",
        help="values of any setting: batch=8,16 or units='64;64,32' (several make a grid; semicolons stand "
        "between values that have commas of their own)",
    )
    parser.add_argument(
        "--seeds", metavar="N", default="1", help="seeds of each candidate, from --seed (default: 1)"
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        default=argparse.SUPPRESS,
        help="training steps of the short runs (default: a tenth of a whole run, which --passes sets)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        required=True,
        help="folder for the page and the best config.json",
    )
    add_cluster(parser, "one for each core, where there is more than one part, if memory allows")
    add_dry_run(parser)
    add_experiment(parser, ["steps"])


def interrupted(args: argparse.Namespace, began: float) -> str:
    """Return how to go on after Ctrl-C; "" where nothing has been begun.

    Arguments:
        args: the arguments that were typed.
        began: the `time.time()` at which the command began.
    """
    return f"what is done is kept in {args.out}: the same command goes on" if Path(args.out).exists() else ""


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Search, print what was found, write tune.json, tune.html and, with the best settings, config.json.

    Arguments:
        args: the arguments that were typed.
        settings: those of task, rule and cell, as typed.
    """
    from perturbax.cli.lines import broken
    from perturbax.cli.output import print_followed
    from perturbax.cli.progress import progress
    from perturbax.experiment import own_code
    from perturbax.experiment.grid import plan_search
    from perturbax.experiment.pieces import processes_for
    from perturbax.experiment.tuning import pieces_of, refuse_other_search, require_best, search
    from perturbax.experiment.variants import experiment_from
    from perturbax.report.tuning import write_tuning

    given, folder = experiment_fields(args), Path(args.out)
    count = coerce("seeds", args.seeds, int)
    steps = given.pop("steps", None)
    base = experiment_from(Experiment(), given, settings)
    asked = workers_of(args)
    refuse_other_search(folder)
    with progress(base.rule) as bar:
        plan = plan_search(
            base, _candidates(args), count, None if steps is None else coerce("steps", steps, int)
        )
        print_followed({plan.rule: plan.combinations[0].whole.auto})
        if args.dry_run:
            return _explain(plan, typed_names(given, settings), steps is not None)
        _, engine = processes_for(pieces_of(plan), asked, args.cluster)
        tuned = search(plan, folder, bar, engine)
    _print_candidates(tuned, count)
    print(f"page: {write_tuning(folder)}")
    e = require_best(tuned)
    for name, value in tuned.at_edge().items():
        print(
            broken(f"the best {name} is at the edge of the list ({value:g}): the best of all may lie beyond")
        )
    trust = " --trust" if own_code.names_of(vars(e)) else ""
    print(broken(f"tuned on {tuned.steps} steps; train the best on {e.steps}:"))
    print(f"perturbax run --config {shlex.quote(f'{args.out}/config.json')} --out RUN{trust}")
    return 0


def _explain(plan: "SearchPlan", typed: set[str], steps_typed: bool) -> int:
    """Print the settings of the short runs and return the exit status."""
    from perturbax.cli.dry_run import print_search

    print_search(plan, typed, steps_typed)
    return 0


def _candidates(args: argparse.Namespace) -> dict[str, list[Any]] | None:
    """Return the candidates that were typed, by setting; None for those that `tune` takes by itself."""
    over: dict[str, list[Any]] = {}
    typed = {"lr": args.lrs, "decor_lr": args.decor_lrs, "rule.discount": args.discounts}
    for name, text in typed.items():
        if text is not None:
            over[name] = numbers(f"{name.removeprefix('rule.')}s", text, float)
    for text in args.over or ():
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not (name and equals):
            raise ArgumentError(
                f"--over takes SETTING=VALUE,VALUE,..., such as rule.sigma=1e-3,1e-2; not {text!r}"
            )
        if name in over:
            raise ArgumentError(f"{name} is to be searched twice")
        over[name] = [value.strip() for value in values.split(";" if ";" in values else ",") if value.strip()]
    return over or None


def _print_candidates(tuned: "Tuned", seeds: int) -> None:
    """Print the candidates, the best first and in bold."""
    from rich.table import Table
    from rich.text import Text

    from perturbax.cli.output import console
    from perturbax.experiment.grid import value_of
    from perturbax.experiment.shown import short

    loss_head = f"validation loss (mean of {seeds} seeds)" if seeds > 1 else "validation loss"
    names = {"lr": "lr", "rule.discount": "discount"}
    shown = list(tuned.tried)
    table = Table(*(names.get(name, name) for name in shown), loss_head, "")
    for candidate in tuned.candidates:
        diverged_at = next((step for step in candidate["diverged_at"] if step), None)
        is_best = candidate is tuned.best
        row = [short(value_of(candidate, name)) for name in shown]
        row.append(f"{candidate['loss']:.4g}" if diverged_at is None else f"diverged at step {diverged_at}")
        row.append("best" if is_best else "")
        table.add_row(*(Text(cell, style="bold" if is_best else "") for cell in row))
    console(120).print(table)
