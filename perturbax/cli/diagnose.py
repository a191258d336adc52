"""The command `diagnose`: a rule's estimates against the exact gradient, or that of a device as it was
measured there, along a training run or at the network of a finished one.
"""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from perturbax.cli.arguments import (
    ClassSettings,
    Parser,
    add_dry_run,
    add_experiment,
    add_trust,
    experiment_fields,
    numbers,
    typed_names,
)
from perturbax.errors import ArgumentError
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce

HELP = "measure a rule's estimates against the exact gradient"

STEPS = 300  # of the training run, unless named
BESIDE_RUN = ("rule", "seed", "device")  # what may be changed beside --run


def add_arguments(parser: Parser) -> None:
    """Declare --samples, --draws, --train, --reference, --repeats, --run, --out, and the experiment."""
    parser.add_argument(
        "--samples",
        metavar="K,K,...",
        default="1,8,64",
        help="numbers of samples to average over (default: 1,8,64)",
    )
    parser.add_argument(
        "--draws", metavar="N", default="32", help="independent draws of each average (default: 32)"
    )
    parser.add_argument(
        "--train",
        metavar="rule|bptt",
        default="rule",
        help="what trains the network meanwhile: the rule itself, or the exact gradient (default: rule; "
        f"{STEPS} steps unless --steps or --passes is given)",
    )
    parser.add_argument(
        "--reference",
        metavar="KIND",
        help="how a device's own gradient is measured: differences (every weight is shifted by itself) or "
        "perturbations (all are, in random directions) (default: what suits the device)",
    )
    parser.add_argument(
        "--repeats", metavar="N", help="independent measurements of that gradient (default: 4)"
    )
    parser.add_argument("--run", metavar="FOLDER", help="diagnose the kept network of a run instead")
    parser.add_argument("--out", metavar="FOLDER", help="also write diagnosis.json and diagnosis.html")
    add_dry_run(parser)
    add_trust(parser)
    add_experiment(parser, own_defaults={"steps": STEPS})


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Print the diagnosis; with --out, write diagnosis.json and diagnosis.html there.

    Arguments:
        args: the arguments that were typed.
        settings: those of task, rule and cell, as typed.
    """
    from perturbax.devices.gradient import KINDS
    from perturbax.experiment.own_code import code_of
    from perturbax.experiment.result import read_config
    from perturbax.experiment.run_folder import refuse_occupied
    from perturbax.fields import one_of
    from perturbax.report.diagnosis import write_diagnosis

    given = experiment_fields(args)
    samples = numbers("samples", args.samples, int)
    draws = coerce("draws", args.draws, int)
    one_of("--train", args.train, ("rule", "bptt"))
    if args.reference is not None:
        one_of("--reference", args.reference, KINDS)
    if args.out is not None:
        refuse_occupied(Path(args.out))
    trusted = contextlib.nullcontext()
    if args.run is not None:
        _refuse_beside_run(given, settings)
        folder = Path(args.run)
        trusted = code_of(folder, read_config(folder), args.trust)
    with trusted:
        data = _diagnosed(args, given, settings, samples, draws)
    if data is None:
        return 0
    _print(data)
    if args.out is not None:
        print(f"diagnosis: {write_diagnosis(data, Path(args.out))}")
    return 0


def _diagnosed(
    args: argparse.Namespace, given: dict[str, str], settings: ClassSettings, samples: list[int], draws: int
) -> dict[str, Any] | None:
    """Return the diagnosis along a training run, or of a finished run's network; None after a dry run."""
    from perturbax.analysis.along_training import along_training, diagnose_points, of_run, trials_on_device
    from perturbax.analysis.diagnosis import check_counts
    from perturbax.cli.dry_run import print_run
    from perturbax.cli.output import print_followed
    from perturbax.cli.progress import progress
    from perturbax.experiment.result import read_experiment
    from perturbax.experiment.variants import experiment_from

    check_counts(samples, draws)
    typed = typed_names(given, settings)
    with progress("diagnose") as bar:
        if args.run is not None:
            folder = Path(args.run)
            experiment = experiment_from(read_experiment(folder), given, settings)
            plan, elsewhere = of_run(folder, experiment), str(folder / "config.json")
        else:
            if not {"steps", "passes"} & set(given):
                given["steps"] = str(STEPS)
            experiment = experiment_from(Experiment(), given, settings)
            leading = None
            if args.train == "bptt":
                leading = experiment_from(Experiment(), given | {"rule": "bptt"}, settings | {"rule": {}})
            plan, elsewhere = along_training(experiment, leading), "command diagnose"
        repeats = None if args.repeats is None else coerce("repeats", args.repeats, int)
        if trials := trials_on_device(plan, samples, draws, repeats):
            print(f"perturbax: the device is asked for {trials:,} trials, beside training", file=sys.stderr)
        print_followed({experiment.rule: plan.parts.auto})
        if args.dry_run:
            title = f"settings of what is diagnosed, {plan.path}:"
            print_run(experiment, typed, elsewhere, title, plan.parts.task)
            return None
        return diagnose_points(plan, samples, draws, bar, reference=args.reference, repeats=repeats)


def _refuse_beside_run(given: dict[str, str], settings: ClassSettings) -> None:
    """Raise ArgumentError for what cannot be changed about a finished run."""
    other = [name for name in given if name not in BESIDE_RUN]
    other += [kind for kind in ("task", "cell") if settings[kind]]
    if other:
        raise ArgumentError(
            f"--run brings its own task and network: it takes --rule, --seed and --device, not --{other[0]}"
        )


def _print(data: dict[str, Any]) -> None:
    """Print a table for every point."""
    from rich.table import Table
    from rich.text import Text

    from perturbax.cli.output import console
    from perturbax.report.diagnosis import (
        heads,
        meaning,
        point_label,
        reference_phrase,
        rounding_text,
        subject,
        table_lines,
    )

    paper = console(100)
    facts = data["facts"]["rule"]
    paper.print(f"{subject(data)}; {data['path']}", markup=False)
    paper.print(
        f"uses: {', '.join(facts['uses'])}; estimates: {facts['target'] or 'not stated'}", markup=False
    )
    if said := rounding_text(data):
        paper.print(said, markup=False, highlight=False)
    if reference := reference_phrase(data):
        paper.print(reference, markup=False)
    for point in data["points"]:
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.title, table.title_justify, table.title_style = point_label(point), "left", "bold"
        for head in heads(data):
            table.add_column(head, justify="left" if head == "weights" else "right", no_wrap=True)
        for group in point["groups"]:
            for row in table_lines(group, "reference" in data):
                table.add_row(*map(Text, row))
        paper.print()
        paper.print(table)
    paper.print()
    paper.print(Text(meaning(data), style="dim"))
