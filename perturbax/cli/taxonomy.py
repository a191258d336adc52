"""The command `taxonomy`: the family of rules as a table, and measured on a chosen network and task."""

import argparse
from pathlib import Path
from typing import Any

from perturbax.cli.arguments import (
    ClassSettings,
    Parser,
    add_dry_run,
    add_experiment,
    experiment_fields,
    typed_names,
    variants,
)
from perturbax.errors import ArgumentError
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce

HELP = "place the rules on a map, and measure them on one network"

WIDE = 110  # columns of a terminal that all columns of the family fit into
DEFAULTS = {"task": "copy", "cell": "tanh", "units": "32", "batch": "8", "steps": "200"}
MEASURED = (
    "bptt",
    "truncated",
    "rtrl",
    "kf-rtrl",
    "uoro",
    "m-order",
    "snap",
    "snap:n=2",
    "d-rtrl",
    "e-prop",
    "e-prop:feedback=random",
    "rflo",
    "one-step",
    "dsf",
    "lra",
    "predictive-coding",
    "activation-relaxation",
    "sltt",
    "ottt",
    "frozen",
    "mirror",
    "feedback",
    "guided",
    "pepita",
    "forward",
    "node",
    "node:credit=same-step",
    "innovation",
    "activity",
    "weight",
    "evolution",
    "pes",
    "reward",
)
"""The rules that are measured unless --rules names others: one of each kind."""


def add_arguments(parser: Parser) -> None:
    """Declare --rules, --draws, --out, and the experiment."""
    parser.epilog = """\
Without arguments: the family as a table. With --out: its members are measured on
one network."""
    parser.add_argument(
        "--rules",
        metavar="RULE,RULE,...",
        help="rules to measure, with suffixes as in compare (default: one of each kind)",
    )
    parser.add_argument("--draws", metavar="N", help="independent draws of the noise (default: 32)")
    parser.add_argument(
        "--out", metavar="FOLDER", help="measure, and write taxonomy.json, .svg and .html there"
    )
    add_dry_run(parser)
    add_experiment(parser, ["rule", "mode", "every", "logs"], DEFAULTS)


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Print the family; with --out, measure its members and write taxonomy.json, .svg and .html there.

    Arguments:
        args: the arguments that were typed.
        settings: those of task, rule and cell, as typed.
    """
    given = experiment_fields(args)
    draws = coerce("draws", args.draws or "32", int)
    if args.out is None and not args.dry_run:
        if given or any(settings.values()) or args.rules or args.draws:
            raise ArgumentError(
                "what is measured goes to a folder: name --out, or leave the other arguments away"
            )
        _print_family()
        return 0

    from perturbax.analysis.family import measure_family
    from perturbax.cli.dry_run import print_comparison
    from perturbax.cli.progress import progress
    from perturbax.experiment.run_folder import refuse_occupied
    from perturbax.experiment.variants import experiment_from
    from perturbax.report.taxonomy import write_taxonomy

    folder = Path(args.out or "")
    if args.out is not None:
        refuse_occupied(folder)
    if settings["rule"]:
        raise ArgumentError("settings of a rule belong in --rules, as in snap:n=2")
    shared = {**DEFAULTS, **given}
    if "passes" in given and "steps" not in given:
        del shared["steps"]
    leading = experiment_from(Experiment(), shared | {"rule": "bptt"}, settings)
    entries = {entry.label: entry for entry in variants(args.rules or ",".join(MEASURED))}
    members = {}
    for label, entry in entries.items():
        own = settings | {"rule": entry.options}
        members[label] = experiment_from(Experiment(), shared | entry.fields, own)
    with progress("taxonomy") as bar:
        if args.dry_run:
            print_comparison(entries, members, typed_names(given, settings), "command taxonomy")
            return 0
        data = measure_family(leading, list(members.items()), draws, bar, skip=not args.rules)
    _print_measured(data)
    print(f"taxonomy: {write_taxonomy(data, folder)}")
    return 0


def _print_family() -> None:
    """Print where every rule stands, from what a synapse must know least to most."""
    from rich.table import Table
    from rich.text import Text

    from perturbax.analysis.taxonomy import CAUSALITY, LOCALITY, taxonomy_of
    from perturbax.cli.output import console
    from perturbax.rules import RULES

    paper = console(160)
    wide = paper.width >= WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for head in ("rule", "a synapse knows", "speaks", "estimates", *("cost", "memory") * wide):
        table.add_column(head, no_wrap=head in ("rule", "speaks"))
    places = {name: taxonomy_of(cls()) for name, cls in RULES.items()}
    for locality in LOCALITY:
        for name, at in places.items():
            if at.locality == locality:
                costs = (at.cost, at.memory) if wide else ()
                table.add_row(*map(Text, (name, locality, at.causality, at.target, *costs)))
        table.add_section()
    paper.print(table)
    paper.print()
    if not wide:
        paper.print(Text(f"cost and memory: in {WIDE} columns, or by perturbax list rules NAME", style="dim"))
    for title, words in (("a synapse knows", LOCALITY), ("speaks", CAUSALITY)):
        for word, meaning in words.items():
            paper.print(Text(f"{title} - {word}: {meaning}", style="dim"))


def _print_measured(data: dict[str, Any]) -> None:
    """Print what was measured, and what was left out for which reason."""
    from rich.table import Table
    from rich.text import Text

    from perturbax.cli.output import console
    from perturbax.report.taxonomy import measured_rows

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    heads, lines = measured_rows(data)
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < 3 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*map(Text, line))
    paper = console(120)
    paper.print(table)
    for item in data["refused"]:
        paper.print(Text(f"left out: {item['name']}: {item['reason']}", style="dim"))
