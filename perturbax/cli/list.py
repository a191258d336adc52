"""The command `list`: the rules, cells or tasks there are, with equations and sources."""

import argparse

from perturbax.cli.arguments import ClassSettings, Parser
from perturbax.errors import unknown

HELP = "list rules, cells or tasks with their equations and sources"

FACTS = {
    "rules": {"equation": "", "target": "estimates", "uses": "uses", "cost": "costs", "memory": "memory"},
    "cells": {"equation": ""},
    "tasks": {"summary": ""},
}
"""What is listed -> facts shown of each, with the words in front of them."""


def add_arguments(parser: Parser) -> None:
    """Declare what is listed."""
    parser.add_argument("what", metavar="rules|cells|tasks", help="what to list")


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Print the list and the sources it cites; return the exit status."""
    if args.what not in FACTS:
        raise unknown("kind of list", args.what, FACTS)

    from rich.table import Table
    from rich.text import Text

    from perturbax.cli.output import console
    from perturbax.experiment.resolve import KNOWN
    from perturbax.papers import CITATIONS

    table = Table.grid(padding=(0, 2))
    cited: set[str] = set()
    for name, cls in KNOWN[args.what.removesuffix("s")].items():
        lines = [(label, fact(cls, attribute)) for attribute, label in FACTS[args.what].items()]
        papers = fact(cls, "papers")
        if papers:
            lines.append(("papers", papers))
            cited |= set(papers.split(", ")) & set(CITATIONS)
        for i, (label, text) in enumerate(lines):
            table.add_row(Text(name if i == 0 else "", style="bold"), Text(label, style="dim"), Text(text))
        table.add_row()
    references = Table.grid(padding=(0, 2))
    for key in sorted(cited):
        references.add_row(Text(key, style="dim"), Text(CITATIONS[key]))
    paper = console(120)
    paper.print(table)
    paper.print(references)
    return 0


def fact(cls: type, name: str) -> str:
    """Return what a class says about itself, such as its equation; several entries are joined by commas."""
    about = getattr(cls, "facts", None)
    source = cls if about is None or callable(about) else about  # of tasks `facts` is a method
    value = getattr(source, name, "")
    return ", ".join(value) if isinstance(value, tuple) else str(value)
