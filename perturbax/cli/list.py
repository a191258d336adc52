"""The command `list`: the rules, cells and tasks there are, one line each, or some of them in full.

Needs no JAX, but for classes of a user's own.
"""

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from perturbax.cli.arguments import ClassSettings, Parser
from perturbax.cli.catalogue import Entry, entry, names, shipped
from perturbax.cli.help import columns, rows, shortened, wrapped
from perturbax.errors import unknown
from perturbax.experiment.config import DEFAULTS
from perturbax.experiment.options import typed_form
from perturbax.papers import CITATIONS

HELP = "list rules, cells or tasks, or say all there is to say about one"

KINDS = {"rules": "rule", "cells": "cell", "tasks": "task"}
FACTS = {
    "equation": "equation",
    "target": "estimates",
    "uses": "uses",
    "cost": "costs",
    "memory": "memory",
    "keeps": "keeps",
}
"""What a class says of itself -> the word in front of it."""
AT = 14  # column at which facts begin


def add_arguments(parser: Parser) -> None:
    """Declare what is listed."""
    parser.add_argument(
        "what", metavar="rules|cells|tasks", nargs="?", help="what to list (default: all of them)"
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="say all there is to say about these: perturbax list rules node",
    )


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Print the list; return the exit status.

    Arguments:
        args: the arguments that were typed.
        settings: none: the command takes no settings of classes.
    """
    if args.what is None:
        for i, what in enumerate(KINDS):
            print(("\n" if i else "") + f"{what} (perturbax list {what} NAME says more)")
            print("\n".join(f"  {line}" for line in one_line_each(what, 2)))
        return 0
    if args.what not in KINDS:
        raise unknown("kind of list", args.what, KINDS)
    if not args.names:
        print("\n".join(one_line_each(args.what)))
        return 0
    entries = [entry(KINDS[args.what], name) for name in args.names]
    print("\n\n".join("\n".join(in_full(KINDS[args.what], found)) for found in entries))
    return 0


def one_line_each(what: str, indent: int = 0) -> list[str]:
    """Return a line for every rule, cell or task; on a terminal it ends where that ends.

    Arguments:
        what: rules, cells or tasks.
        indent: columns that are taken in front of each line.
    """
    kind = KINDS[what]
    wide = max(map(len, names(kind)))
    lines = []
    for name in names(kind):
        summary = entry(kind, name).summary.removesuffix(".")
        if sys.stdout.isatty():
            room = max(40, shutil.get_terminal_size().columns) - indent - wide - 2
            summary = textwrap.shorten(summary, room, placeholder=" ...")
        lines.append(f"{name:{wide}}  {summary}")
    return lines


def in_full(kind: str, found: Entry) -> list[str]:
    """Return all there is to say about a rule, cell or task: what it is, its facts, sources and settings.

    Arguments:
        kind: rule, cell or task.
        found: what the catalogue has.
    """
    lines = [*wrapped(f"{found.name}: {found.summary}"), ""]
    for paragraph in filter(None, found.text.split("\n\n")):
        written_as_it_is = paragraph.startswith(" ")  # an equation, or a table
        lines += _fitted(paragraph) if written_as_it_is else wrapped(" ".join(paragraph.split()))
        lines.append("")
    facts = [(FACTS[name], text) for name, text in found.facts.items()]
    lines += rows([*facts, ("in Python", found.path)], AT)
    if found.papers:
        lines += ["", "papers:"]
        for key in found.papers:
            lines += rows([(key, CITATIONS.get(key, ""))], AT + 4)
    if found.settings:
        lines += ["", f"settings (--{kind}.NAME VALUE, with their defaults):"]
        table = [
            (f"{s.name}={shortened(typed_form(s.default))}", s.help.removesuffix(".")) for s in found.settings
        ]
        lines += rows(table, AT + 12)
    if kind == "task":
        lines += _shipped(found)
    return lines


def _fitted(paragraph: str) -> list[str]:
    """Return the lines of an equation; one that is too long ends at its wide gaps."""
    lines = []
    for line in paragraph.splitlines():
        pieces = re.split(r"(?<=,) {2,}", line) if len(line) > columns() else [line]
        indent = " " * (len(line) - len(line.lstrip()))
        lines += [pieces[0], *(indent + piece for piece in pieces[1:])]
    return lines


def _shipped(task: Entry) -> list[str]:
    """Return what runs on a task have unless they are told otherwise, and with which rules and cells."""
    if ":" in task.name:
        return []
    usual = shipped(task.name, "one-step")
    own = {
        name: value for name, value in usual.items() if typed_form(DEFAULTS.get(name)) != typed_form(value)
    }
    own = {name: value for name, value in own.items() if name in DEFAULTS}
    lines = ["", *wrapped(f"shipped for runs on it: {_pairs(own)}")] if own else []
    same: dict[str, list[str]] = {}
    for rule in task.rules:
        for_rule = shipped(task.name, rule)
        differing = {n: v for n, v in for_rule.items() if n != "steps" and usual.get(n) != v}
        if differing:
            same.setdefault(_pairs(differing), []).append(rule)
    for pairs, rules in same.items():
        lines += wrapped(f"by rule {', '.join(rules)}: {pairs}", "  ")
    for cell, settings in task.cells.items():
        lines += wrapped(f"with cell {cell}: {_pairs(settings)}", "  ")
    return lines


def _pairs(settings: Mapping[str, Any]) -> str:
    """Return settings as NAME=VALUE."""
    return " ".join(f"{name}={typed_form(value)}" for name, value in settings.items())
