"""The command `compare`: several rules on one task over several seeds, and the report of all runs."""

import argparse
from pathlib import Path
from typing import Any

from perturbax.cli.arguments import (
    CLASS_SETTINGS,
    SUFFIXES,
    ClassSettings,
    Parser,
    add_experiment,
    experiment_fields,
    variants,
)
from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce, find, options

HELP = "train several rules over several seeds, then write the report"
INTERRUPTED = "what is done is kept, the same command goes on"


def add_arguments(parser: Parser) -> None:
    """Declare --rules, --seeds, --out, and the experiment that all rules share."""
    parser.epilog = f"{CLASS_SETTINGS}\n\n{SUFFIXES}"
    parser.add_argument(
        "--rules", metavar="RULE,RULE,...", required=True, help="rules to compare, comma separated"
    )
    parser.add_argument(
        "--seeds", metavar="N", default="3", help="number of seeds, counted from --seed (default: 3)"
    )
    parser.add_argument("--out", metavar="FOLDER", required=True, help="folder for the runs and report.html")
    add_experiment(parser, ["rule"])


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Train rules x seeds, keeping what is finished already, write the report, and return the exit status."""
    from perturbax.cli.output import print_notes, print_result
    from perturbax.cli.progress import progress
    from perturbax.experiment.build import build
    from perturbax.experiment.resolve import check_seed
    from perturbax.experiment.seeds import complete, missing
    from perturbax.experiment.variants import experiment_from, of_variant, slug
    from perturbax.report import write_report

    entries, out = variants(args.rules), Path(args.out)
    count = coerce("seeds", args.seeds, int)
    if count < 1:
        raise ArgumentError(f"seeds must be above 0, not {count}")
    _check_rule_settings(entries, settings["rule"])
    if (out / "report.html").is_dir():
        raise ArgumentError(f"{out / 'report.html'} is a folder: name another --out")

    base = experiment_from(Experiment(), experiment_fields(args), {**settings, "rule": {}})
    seeds = range(base.seed, base.seed + count)
    experiments = {entry.label: of_variant(base, entry, settings["rule"]) for entry in entries}
    folders = {label: {seed: out / f"{slug(label)}-s{seed}" for seed in seeds} for label in experiments}
    every = [folder for of_seed in folders.values() for folder in of_seed.values()]
    if len(experiments) < len(entries) or len(set(every)) < len(every):
        raise ArgumentError("two entries of --rules are the same")

    # Refuse what cannot run before anything does.
    check_seed(seeds[-1])
    tasks = {label: build(e).task for label, e in experiments.items()}
    digests = {label: task.digest() for label, task in tasks.items()}
    fresh = {label: missing(e, folders[label], digests[label]) for label, e in experiments.items()}
    print_notes(*tasks.values())
    status = 0
    for label, e in experiments.items():
        with progress(label) as bar:
            results = complete(e, folders[label], fresh[label], name=label, report=bar)
        for result in results:
            status = max(status, print_result(str(result.folder), result.summary))
    print(f"report: {write_report(every, out / 'report.html')}")
    return status


def _check_rule_settings(entries: list[Any], settings: dict[str, str]) -> None:
    """Raise ArgumentError for a --rule.NAME that none of the rules has."""
    from perturbax.experiment.resolve import KNOWN

    rules = [find("rule", entry.fields["rule"], KNOWN["rule"]) for entry in entries]
    known = {name for rule in rules for name in options(rule)}
    for name in settings:
        if name not in known:
            raise unknown("rule setting", name, known)
