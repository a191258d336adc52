"""The help of commands that take an experiment: the settings people change most, with the values that this
task and rule have, or with `--help all` every setting explained. Needs no JAX.
"""

import argparse
import contextlib
import os
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perturbax.cli.arguments import Parser, last_value
from perturbax.cli.catalogue import Entry, entry, shipped
from perturbax.experiment.config import OF_ATTACKS, OF_BITS, OF_PRUNING, Experiment
from perturbax.experiment.options import NOTHING, typed_form

MOST_CHANGED = (
    "task",
    "rule",
    "cell",
    "data",
    "units",
    "steps",
    "passes",
    "batch",
    "lr",
    "optimiser",
    "mode",
    "seed",
)
"""Fields of an Experiment that the short help explains, in its order."""
TWO_SCREENS = 47  # lines of two terminals, with one for what was typed
WIDEST_FLAG = 28  # characters of a flag and its value that stand in the same line as their explanation
LONGEST_VALUE = 30  # characters of a value where several stand in a line
WIDEST = 110  # columns of a terminal that the help fills at most
EXPLAINED_AT = 24  # column at which explanations begin
BY_RULE = "by rule"


def help_of(parser: Parser, words: Sequence[str], topic: str) -> str:
    """Return the help of a command.

    Arguments:
        parser: the parser of the command, which takes an experiment.
        words: what was typed; `--task`, `--rule` or `--rules`, `--cell` and `--mode` choose what is shown.
        topic: "" for the short help; else one of `TOPICS`: all, experiment, task, rule or cell.

    Raises ArgumentError for a task, rule or cell that is not known.
    """
    chosen = _Chosen(parser, words)
    if not topic:
        return "\n".join([*_head(parser), *_short(parser, chosen)])
    parts = {
        "experiment": lambda: _experiment(parser, chosen),
        "task": lambda: _explained(chosen.task, "task", {}),
        "rule": lambda: _rules(chosen),
        "cell": lambda: _explained(chosen.cell, "cell", chosen.task.cells.get(chosen.cell.name, {})),
    }
    if topic != "all":
        return "\n".join(parts[topic]()).strip("\n")
    lines = _head(parser)
    lines += rows(((_flag(action), _said(action)) for action in _own(parser)), EXPLAINED_AT)
    for part in parts.values():
        lines += part()
    if parser.epilog:
        lines += ["", parser.epilog]
    return "\n".join(lines)


class _Chosen:
    """What a command line has chosen so far: its classes, and the settings that they bring."""

    def __init__(self, parser: Parser, words: Sequence[str]):
        self.words = words

        def typed(name: str) -> str:
            default = parser.own_defaults.get(name) or getattr(Experiment(), name)
            return last_value(words, f"--{name}") or default

        self.task = entry("task", typed("task"))
        self.cell = entry("cell", typed("cell"))
        listed = last_value(words, "--rules") if "rule" not in parser.experiment else None
        labels = [label for label in (listed or "").split(",") if label.strip()] or [typed("rule")]
        mode = last_value(words, "--mode")
        self.rules: dict[str, Entry] = {}
        self.of_rule: dict[str, dict[str, Any]] = {}
        for name in map(_rule_of, labels):
            self.rules[name] = entry("rule", name)
            self.of_rule[name] = {**shipped(self.task.name, name, mode), **parser.own_defaults}

    @property
    def who(self) -> str:
        """The task and the rules, in words."""
        names = list(self.rules)
        rules = f"rule {names[0]}" if len(names) == 1 else f"rules {', '.join(names)}"
        return f"task {self.task.name} and {rules}"

    def value(self, name: str) -> str:
        """Return the value of a field of the experiment, as it is typed; `BY_RULE` where rules differ."""
        if name in ("task", "cell"):
            return getattr(self, name).name
        if name == "rule":
            return ",".join(self.rules)
        values = [typed_form(settings.get(name)) for settings in self.of_rule.values()]
        return values[0] if len(set(values)) == 1 else BY_RULE


def _rule_of(label: str) -> str:
    """Return the rule that an entry of --rules names, without its suffixes."""
    head, *suffixes = label.strip().split(":")
    if suffixes and "=" not in suffixes[0] and head.removesuffix("+decor") == head:
        head = f"{head}:{suffixes[0]}"  # module:Class
    return head.removesuffix("+decor")


def _head(parser: Parser) -> list[str]:
    """Return usage and description."""
    usage = parser.format_usage().rstrip("\n")
    return [usage, "", *wrapped(parser.description or ""), ""]


def _short(parser: Parser, chosen: _Chosen) -> list[str]:
    """Return the lines of the short help, behind usage and description."""
    listed = [action for action in _own(parser) if action not in parser.further]
    own_arguments = [(_flag(action), first_clause(_said(action))) for action in listed]
    values = {name: chosen.value(name) for name in parser.experiment}
    wide = max((len(flag) for flag, _ in own_arguments), default=0)
    lines = [*rows(own_arguments, min(wide, WIDEST_FLAG) + 4), *_most_changed(parser, chosen, values)]
    told_by_prune = OF_PRUNING if "--prune" not in chosen.words else ()
    rare = ("heads", "plateau", "attack", *OF_ATTACKS, *told_by_prune, "bits", *OF_BITS)
    left_out = (*MOST_CHANGED, *rare)  # the long help has the rare ones
    further = {name: value for name, value in values.items() if name not in left_out}
    lines += _in_brief("further settings of the run (--NAME VALUE)", further)
    lines += _in_brief(f"settings of task {chosen.task.name} (--task.NAME VALUE)", _values(chosen.task, {}))
    of_cell = _values(chosen.cell, chosen.task.cells.get(chosen.cell.name, {}))
    end = [
        *_in_brief(f"settings of cell {chosen.cell.name} (--cell.NAME VALUE)", of_cell),
        "",
        *wrapped(
            "--help all explains every setting; --help experiment, task, rule or cell some of them. "
            "perturbax list names all tasks, rules and cells."
        ),
    ]
    room = TWO_SCREENS - len(_head(parser)) - len(lines) - len(end)
    return [*lines, *_rules_in_brief(chosen, values, room), *end]


def _most_changed(parser: Parser, chosen: _Chosen, values: Mapping[str, str]) -> list[str]:
    """Return the lines about the settings that people change most."""
    flags = {name: f"--{name.replace('_', '-')}" for name in MOST_CHANGED if name in parser.experiment}
    wide = max(map(len, flags.values()))
    table = []
    for name, flag in flags.items():
        table.append((f"{flag:{wide}} {values[name]}", first_clause(_said(parser.experiment[name]))))
    longest = max(len(left) for left, _ in table)
    title = f"most changed, with the values of {chosen.who}:"
    return ["", *wrapped(title), *rows(table, min(longest, WIDEST_FLAG) + 4)]


def _rules_in_brief(chosen: _Chosen, values: Mapping[str, str], room: int) -> list[str]:
    """Return the lines about the settings of the rules: always of the first, and while there is room."""
    differing = [name for name, value in values.items() if value == BY_RULE]
    lines: list[str] = []
    for i, (name, rule) in enumerate(chosen.rules.items()):
        of_run = {field: typed_form(chosen.of_rule[name].get(field)) for field in differing}
        own = _values(rule, _of_rule(chosen.of_rule[name]))
        added = _in_brief(f"settings of rule {name} (--rule.NAME VALUE)", of_run | own)
        left = len(chosen.rules) - i
        if i and len(lines) + len(added) + (left > 1) > room:
            return [*lines, f"  ({left} more: --help rule explains those of all)"]
        lines += added
    return lines


def _experiment(parser: Parser, chosen: _Chosen) -> list[str]:
    """Return the part of the long help about the fields of an experiment."""
    table = []
    for name, action in parser.experiment.items():
        table.append((_flag(action), _with_default(_said(action), chosen.value(name))))
    return ["", *wrapped(f"the experiment, with the values of {chosen.who}:"), *rows(table, EXPLAINED_AT)]


def _rules(chosen: _Chosen) -> list[str]:
    """Return the part of the long help about the settings of the rules."""
    lines = []
    for label, rule in chosen.rules.items():
        lines += _explained(rule, "rule", _of_rule(chosen.of_rule[label]))
    return lines


def _explained(about: Entry, kind: str, of_task: Mapping[str, Any]) -> list[str]:
    """Return the part of the long help about the settings of a class.

    Arguments:
        about: the class.
        kind: task, rule or cell.
        of_task: the values that the task ships for it.
    """
    table = []
    for setting in about.settings:
        value = typed_form(of_task.get(setting.name, setting.default))
        table.append((f"--{kind}.{setting.name} {setting.metavar}", _with_default(setting.help, value)))
    if not table:
        return ["", f"{kind} {about.name} has no settings"]
    return ["", f"settings of {kind} {about.name}:", *rows(table, EXPLAINED_AT)]


def _of_rule(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a rule among what a task ships."""
    return {name.removeprefix("rule."): v for name, v in settings.items() if name.startswith("rule.")}


def _values(about: Entry, of_task: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a class by name, with what the task ships laid over the defaults."""
    return {s.name: typed_form(of_task.get(s.name, s.default)) for s in about.settings}


def _in_brief(title: str, values: Mapping[str, str]) -> list[str]:
    """Return settings as lines of NAME=VALUE below a title; nothing where there are none."""
    if not values:
        return []
    pairs = " ".join(f"{name}={shortened(value)}" for name, value in values.items())
    return ["", *wrapped(f"{title}:"), *wrapped(pairs, "  ")]


def _own(parser: Parser) -> list[argparse.Action]:
    """Return the arguments that the command declares itself."""
    of_experiment = list(parser.experiment.values())
    return [a for a in parser._actions if a not in of_experiment and "-h" not in a.option_strings]


def _flag(action: argparse.Action) -> str:
    """Return an argument as it is typed."""
    if not action.option_strings:
        return str(action.metavar)
    return " ".join([action.option_strings[-1], *([str(action.metavar)] if action.nargs != 0 else [])])


def _said(action: argparse.Action) -> str:
    """Return what an argument says of itself."""
    return (action.help or "").replace("%%", "%")


def _with_default(text: str, value: str) -> str:
    """Return an explanation with the value that holds unless another is typed."""
    text = text.removesuffix(".")
    return f"{text} (default: {value})" if value != NOTHING else text


def shortened(value: str) -> str:
    """Return a value that stands among others; a long one ends in dots."""
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 3] + "..."


def first_clause(text: str) -> str:
    """Return the first clause of an explanation, for where there is room for a line."""
    text = re.sub(r" \([^)]*\)", "", text)
    for stop in ("; ", ": ", ". ", ", or module:"):
        text = text.partition(stop)[0]
    return text.removesuffix(".")


def columns() -> int:
    """Return the columns of the terminal that a text fills; 80 where there is none.

    Behind a pipe it is that of the keyboard, as a pager writes there in the end.
    """
    of_terminal = 80
    for stream in (0, 2):
        with contextlib.suppress(OSError):
            of_terminal = os.get_terminal_size(stream).columns
            break
    return max(40, min(shutil.get_terminal_size((of_terminal, 24)).columns, WIDEST))


def rows(table: Iterable[tuple[str, str]], at: int) -> list[str]:
    """Return lines in two columns: what is typed, and what it means, wrapped.

    Arguments:
        table: (what is typed, what it means).
        at: column at which the meaning begins; below what is typed where that is longer.
    """
    lines = []
    for left, text in table:
        wrapped = textwrap.wrap(text, columns() - at - 1, break_long_words=False, break_on_hyphens=False)
        if len(left) + 3 <= at and wrapped:
            lines.append(f"  {left:{at - 2}}{wrapped.pop(0)}")
        else:
            lines.append(f"  {left}")
        lines += [" " * at + line for line in wrapped]
    return lines


def wrapped(text: str, indent: str = "") -> list[str]:
    """Return a text in lines as wide as the terminal.

    Arguments:
        text: the text.
        indent: blanks in front of every line.
    """
    return textwrap.wrap(
        text,
        columns() - 1,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
