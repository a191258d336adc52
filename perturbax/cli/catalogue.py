"""What rules, cells and tasks say of themselves, kept in a file, so that help, lists and completion need no
JAX.

    python -m perturbax.cli.catalogue        writes catalogue.json anew, from the classes

The file holds the classes that have names. One of a user's own, `module:Class`, is imported and described
when it is asked for.
"""

import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.config import KINDS, Experiment
from perturbax.experiment.options import options

FILE = Path(__file__).with_name("catalogue.json")
METAVARS_OF_TYPES = {bool: "true|false", int: "N", float: "NUMBER", str: "TEXT"}
FACTS = ("equation", "target", "uses", "cost", "memory", "keeps")
MODES = (None, "sequence", "online")


class Setting(NamedTuple):
    """A setting of a task, rule or cell, as help and lists show it.

    Attributes:
        name: its name, as in --rule.NAME.
        metavar: what stands for its value.
        default: the value where neither the user nor the task names one; None where there is nothing to say.
        help: what it means.
    """

    name: str
    metavar: str
    default: Any
    help: str


class Entry(NamedTuple):
    """A task, rule or cell, as help and lists show it.

    Attributes:
        name: its name.
        path: the class, as it is reached in Python.
        summary: one sentence.
        text: its docstring behind that, without what it says of settings.
        facts: what it says of itself by name, of `FACTS`; what is empty is left out.
        papers: keys of `perturbax.papers.CITATIONS`.
        settings: its settings.
        cells: of a task, the settings it ships for a cell: cell -> name -> value.
        rules: of a task, the rules that it ships settings for.
    """

    name: str
    path: str
    summary: str
    text: str
    facts: dict[str, str]
    papers: tuple[str, ...]
    settings: tuple[Setting, ...]
    cells: dict[str, dict[str, Any]]
    rules: tuple[str, ...]


@functools.cache
def _content() -> dict[str, Any]:
    """Return the content of the file."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def names(kind: str) -> list[str]:
    """Return the names of all tasks, rules or cells."""
    return list(_content()[kind])


def entry(kind: str, name: str) -> Entry:
    """Return a task, rule or cell by its name, or by module:Class.

    Arguments:
        kind: task, rule or cell.
        name: its name.

    Raises ArgumentError for an unknown name, and for a class that cannot be imported.
    """
    found = _content()[kind].get(name)
    if found is None:
        if ":" not in name:
            raise unknown(kind, name, names(kind))
        from perturbax.experiment.options import find

        found = _described(kind, find(kind, name, {}), name.replace(":", "."))
    settings = tuple(Setting(*row) for row in found["settings"])
    papers, rules = tuple(found["papers"]), tuple(found["rules"])
    return Entry(name, **{**found, "settings": settings, "papers": papers, "rules": rules})


def shipped(task: str, rule: str, mode: str | None = None) -> dict[str, Any]:
    """Return the settings of a run, and those of the rule (`rule.NAME`), that it has unless others are named.

    Arguments:
        task: name of the task, or module:Class.
        rule: name of the rule, or module:Class.
        mode: sequence or online, where it is named; None where it is not.

    Of the settings of the rule only those are returned that the task ships. Raises ArgumentError for what
    cannot be imported.
    """
    if mode not in MODES:
        mode = None
    of_task = _content()["shipped"].get(task)
    if of_task is None or rule not in names("rule"):
        return _really_shipped(task, rule, mode)
    laid = {**of_task[""], **of_task.get(rule, {}), **of_task.get(f"{rule} {mode}", {})}
    return {name: value for name, value in laid.items() if value is not None}


def catalogue() -> dict[str, Any]:
    """Return what the file holds, from the classes themselves. Imports JAX."""
    from perturbax.experiment.resolve import KNOWN

    content: dict[str, Any] = {}
    for kind in KINDS:
        content[kind] = {}
        for name, cls in KNOWN[kind].items():
            ours = cls.__module__.startswith(f"perturbax.{kind}s.")
            path = f"px.{kind}s.{cls.__name__}" if ours else f"{cls.__module__}.{cls.__name__}"
            content[kind][name] = _described(kind, cls, path)
    content["shipped"] = {task: _shipped_for_every_rule(task) for task in KNOWN["task"]}
    return json.loads(json.dumps(content))


def text_of(content: Mapping[str, Any]) -> str:
    """Return the text of the file: a line for every setting, and for every rule of a task."""
    lines = ["{"]
    for kind in KINDS:
        lines.append(f"{json.dumps(kind)}: {{")
        for name, found in content[kind].items():
            rows = ",\n".join(_json(row) for row in found["settings"])
            about = _json({key: value for key, value in found.items() if key != "settings"})
            lines.append(f'{_json(name)}: {about[:-1]}, "settings": [\n{rows}]}},')
        lines[-1] = lines[-1].removesuffix(",")
        lines.append("},")
    lines.append('"shipped": {')
    for task, by_rule in content["shipped"].items():
        rows = ",\n".join(f"{_json(rule)}: {_json(found)}" for rule, found in by_rule.items())
        lines.append(f"{_json(task)}: {{\n{rows}}},")
    lines[-1] = lines[-1].removesuffix(",")
    return "\n".join([*lines, "}}"]) + "\n"


def _json(value: Any) -> str:
    """Return a value as JSON in one line."""
    return json.dumps(value, ensure_ascii=False)


def _described(kind: str, cls: type, path: str) -> dict[str, Any]:
    """Return a class as the file has it, under the names of an `Entry`."""
    about = getattr(cls, "facts", None)
    source = cls if about is None or callable(about) else about  # of tasks `facts` is a method
    facts = {}
    for name in FACTS:
        value = getattr(source, name, "")
        value = ", ".join(value) if isinstance(value, tuple) else value
        if isinstance(value, str) and value:
            facts[name] = value
    said = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    for heading in ("Attributes:", "Arguments:", "Args:"):
        said = said.partition(f"\n{heading}\n")[0]
    first, _, rest = said.partition("\n\n")
    settings = []
    for option in options(cls).values():
        plain = isinstance(option.default, bool | int | float | str)
        default = option.default if plain and option.default != option.name else None
        settings.append([option.name, METAVARS_OF_TYPES.get(option.kind, "VALUE"), default, option.help])
    return {
        "path": path,
        "summary": getattr(cls, "summary", "") or " ".join(first.split()),
        "text": rest.lstrip("\n") if kind != "task" else said,
        "facts": facts,
        "papers": list(getattr(source, "papers", ())),
        "settings": settings,
        "cells": dict(getattr(cls, "cell_settings", {})),
        "rules": list(getattr(cls, "rule_settings", ())),
    }


def _shipped_for_every_rule(task: str) -> dict[str, dict[str, Any]]:
    """Return what a task ships: under "" for most rules, under a rule's name what differs for it, and under
    its name and a mode what differs in that mode.
    """
    from perturbax.experiment.resolve import KNOWN

    ships_for = KNOWN["task"][task].rule_settings  # pyright: ignore[reportAttributeAccessIssue]
    found = {rule: _really_shipped(task, rule, None) for rule in KNOWN["rule"]}
    common = _most_common(list(found.values()))
    made = {"": common}
    for rule, settings in found.items():
        made[rule] = _differing(common, settings)
        for mode in MODES[1:] if rule in ships_for else ():
            made[f"{rule} {mode}"] = _differing(settings, _really_shipped(task, rule, mode))
    return {key: settings for key, settings in made.items() if settings}


def _most_common(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields that all have, each with the value that most have."""
    common = {}
    for name in found[0]:
        values = [own[name] for own in found if name in own]
        if len(values) == len(found):
            common[name] = max(values, key=values.count)
    return common


def _differing(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what settings change of a base; None for what they lack."""
    missing = {name: None for name in base if name not in settings}
    return {name: value for name, value in settings.items() if base.get(name) != value} | missing


def _really_shipped(task: str, rule: str, mode: str | None) -> dict[str, Any]:
    """Return what `shipped` returns, from the classes."""
    from perturbax.experiment.resolve import explain

    found = {}
    try:
        explained = explain(Experiment(task=task, rule=rule, mode=mode))
    except ArgumentError:
        return {}
    for name, (value, origin) in explained.items():
        kind, dot, _ = name.partition(".")
        if kind in ("rule", "cell", "task") and (not dot or kind != "rule" or origin == "default"):
            continue
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def main() -> None:
    """Write the file."""
    FILE.write_text(text_of(catalogue()), encoding="utf-8")
    print(f"written: {FILE}")


if __name__ == "__main__":
    main()
