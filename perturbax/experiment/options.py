"""Settings of tasks, rules and cells: names, types, defaults and help, read off their classes.

What was typed, or read from JSON, is converted to these types here.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from docstring_parser import parse

from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.config import OF_DEVICES, is_optimiser
from perturbax.plugins import import_object, parameters_of

OF_CELLS = ("n_in", "n", "key")  # what a cell is built with beside its settings
AUTO = "auto"
MEASURED = ("sigma", "samples")  # settings of a rule that may be `auto`: measured at the first network
FOLLOWING = ("credit", "window")  # those that then follow from when the task asks for answers


class Option(NamedTuple):
    """A setting of a task, rule or cell.

    Attributes:
        name: its name, as in --rule.NAME.
        kind: bool, int, float or str, after its default; `int | str` where the field is declared so.
        default: its default.
        help: what the docstring of its class says about it.
    """

    name: str
    kind: Any
    default: Any
    help: str


def find(kind: str, name: str, known: dict[str, type]) -> type:
    """Return a class by its name, or the user's own by its import path.

    Arguments:
        kind: what errors call it: task, rule or cell.
        name: its name, or module:Class, where the module may lie in the working folder.
        known: the classes that have names.

    Raises ArgumentError for an unknown name, and for what cannot be imported or is no class to be used.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        raise unknown(kind, name, known)
    found = import_object(kind, name)
    if not isinstance(found, type):
        raise ArgumentError(f"{kind} {name!r} is not a class")
    open_ones = {*getattr(found, "__abstractmethods__", ()), *getattr(found, "__abstractvars__", ())}
    if open_ones:
        missing = " and ".join(sorted(open_ones))
        raise ArgumentError(f"{kind} {name!r} is a base class, it has no {missing}: derive your own from it")
    return found


def options(cls: type) -> dict[str, Option]:
    """Return the settings of a class by name, in the order of its constructor.

    Arguments of every cell (n_in, n, key) and fields that hold data are no settings.
    """
    docs = documented(cls)
    parameters = parameters_of(cls)
    declared = {f.name: f.type for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    hidden = set(OF_CELLS) if "key" in parameters else set()
    if dataclasses.is_dataclass(cls):
        hidden |= {field.name for field in dataclasses.fields(cls) if field.metadata.get("data")}
    found = {}
    for name, parameter in parameters.items():
        if name in hidden or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = parameter.default
        kind: Any = type(default) if isinstance(default, bool | int | float | str) else str
        if declared.get(name) == int | str:
            kind = int | str
        found[name] = Option(name, kind, default, docs.get(name, ""))
    return found


@cache
def documented(cls: type) -> Mapping[str, str]:
    """Return what the docstrings of a class and its bases say about each of its attributes."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for entry in parse(base.__dict__.get("__doc__") or "").params:
            docs[entry.arg_name] = " ".join((entry.description or "").split())
    return docs


def coerce(name: str, value: Any, kind: Any) -> Any:
    """Return a value typed on the command line, or read from JSON, as the type of its setting.

    Arguments:
        name: the setting, as errors call it.
        value: text or a value; `auto` passes for the settings of a rule that can be measured.
        kind: bool, int, float or str; or `int | str`, a whole number where it is one.

    Raises ArgumentError for a value that is none of that type.
    """
    if isinstance(value, str) and value == AUTO and name in [f"rule.{n}" for n in (*MEASURED, *FOLLOWING)]:
        return value
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if kind is int:
            if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
                raise ValueError
            return int(value)
        if kind is float:
            if isinstance(value, bool) or not math.isfinite(float(value)):
                raise ValueError
            return float(value)
        if kind == int | str and str(value).strip().lstrip("+-").isdigit():
            return int(value)
    except (KeyError, ValueError, TypeError, OverflowError):
        words = {bool: "true or false", int: "a whole number", float: "a finite number"}
        raise ArgumentError(f"{name} must be {words[kind]}, not {value!r}") from None
    return value if value is None else str(value)


def settings_of(kind: str, cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """Return every setting of a class, the given ones converted, the rest at their defaults.

    Arguments:
        kind: what errors call the class: task, rule or cell.
        cls: the class.
        given: settings by name, as text or as values; objects, such as noise, are taken as they are.

    Raises ArgumentError for a setting that the class does not have, and for a value of another type.
    """
    known = options(cls)
    for name in given:
        if name not in known:
            raise unknown(f"{kind} setting", name, known)
    settings = {}
    for name, option in known.items():
        value = given.get(name, option.default)
        is_plain = isinstance(value, bool | int | float | str | None)
        settings[name] = coerce(f"{kind}.{name}", value, option.kind) if name in given and is_plain else value
    return settings


def provisional(cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a class with its defaults in place of `auto`, until that is settled."""
    known = options(cls)
    defaults = {name: known[name].default for name in left_open(given)}
    return given | defaults


def unmeasured(given: dict[str, Any]) -> list[str]:
    """Return the settings that are still to be measured."""
    return [name for name in left_open(given) if name in MEASURED]


def left_open(given: dict[str, Any]) -> list[str]:
    """Return the settings that are still `auto`."""
    names = (*MEASURED, *FOLLOWING)
    return [name for name in names if isinstance(given.get(name), str) and given[name] == AUTO]


FIELDS: dict[str, type] = {
    "task": str,
    "rule": str,
    "cell": str,
    "data": str,
    "steps": int,
    "passes": int,
    "batch": int,
    "lr": float,
    "optimiser": str,
    "schedule": str,
    "clip": float,
    "decorrelate": str,
    "decor_lr": float,
    "residual": bool,
    "normalise": bool,
    "heads": str,
    "mode": str,
    "every": int,
    "plateau": float,
    "attack": str,
    "attack_eps": float,
    "attack_steps": int,
    "prune": float,
    "prune_groups": str,
    "prune_by": str,
    "prune_from": float,
    "prune_until": float,
    "prune_ceiling": float,
    "bits": int,
    "bits_top": float,
    "seed": int,
    "logs": int,
    **dict.fromkeys(OF_DEVICES, str),
}


def typed_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields of an Experiment, typed on a command line or read from a file, as values of their types.

    Where the data lie becomes an absolute path, so that a run can be resumed from any folder. Raises
    ArgumentError for an unknown field or a value of another type.
    """
    made = {}
    for name, value in fields.items():
        if name == "units":
            made[name] = parse_units(value)
        elif name.endswith("_options"):
            if not isinstance(value, dict):
                raise ArgumentError(f"{name} must hold names and values, not {value!r}")
            made[name] = value
        elif name not in FIELDS:
            raise unknown("setting", name, FIELDS)
        elif name == "optimiser" and is_optimiser(value):
            made[name] = value
        elif value is None and name in ("data", "passes", *OF_DEVICES):
            made[name] = None
        elif name == "device":  # a command, an address or an object: `check_device` sees to it
            made[name] = value
        elif FIELDS[name] is str and not (isinstance(value, str) and value):
            raise ArgumentError(f"{name} must be a name, not {value!r}")
        else:
            made[name] = coerce(name, value, FIELDS[name])
    if made.get("data"):
        made["data"] = os.path.abspath(made["data"])
    return made


def parse_units(text: Any) -> tuple[int, ...]:
    """Return layer sizes from `128,64`, a number, or a list of numbers."""
    pieces = text if isinstance(text, list | tuple) else str(text).split(",")
    return tuple(coerce("units", p, int) for p in pieces)


NOTHING = "-"


def typed_form(value: Any) -> str:
    """Return a value as it is typed; "-" where there is none."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
