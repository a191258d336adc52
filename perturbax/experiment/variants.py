"""Experiments as they are typed: settings laid over a base, and rules with suffixes such as
`node+decor:samples=8`.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.config import AUTO_RULE, KINDS, Experiment, Resolved
from perturbax.experiment.options import find, options, typed_fields
from perturbax.experiment.resolve import KNOWN, resolve

RUN_FIELDS = (
    "lr",
    "clip",
    "decor_lr",
    "optimiser",
    "schedule",
    "decorrelate",
    "mode",
    "every",
    "steps",
    "passes",
)
"""Fields of an Experiment that a suffix of a rule may set, beside the rule's own settings."""


class Variant(NamedTuple):
    """A rule with suffixes, as one entry of `compare --rules`.

    Attributes:
        label: the text itself, such as `node:samples=8:lr=1e-3`.
        fields: the fields of an Experiment that it sets, `rule` among them.
        options: the settings of the rule that it sets, as typed.
    """

    label: str
    fields: dict[str, Any]
    options: dict[str, str]


def parse_variant(text: str) -> Variant:
    """Parse a rule with suffixes: `RULE[+decor][:NAME=VALUE]...`, such as `node:credit=to-go:lr=1e-3`.

    RULE is a name or module:Class of your own; `+decor` decorrelates hidden outputs; NAME is a setting of the
    rule or one of `RUN_FIELDS`. Raises ArgumentError for an unknown rule or setting, or a suffix that is no
    NAME=VALUE.
    """
    head, *suffixes = text.split(":")
    if suffixes and "=" not in suffixes[0] and head not in KNOWN["rule"]:
        head = f"{head}:{suffixes.pop(0)}"  # module:Class
    rule = head.removesuffix("+decor")
    fields: dict[str, Any] = {"rule": rule}
    if rule != head:
        fields["decorrelate"] = "hidden"
    known = options(find("rule", rule, KNOWN["rule"]))
    own: dict[str, str] = {}
    for suffix in _with_paths(suffixes):
        name, equals, value = suffix.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise ArgumentError(f"{suffix!r} in {text!r} is not NAME=VALUE")
        if name in known:
            own[name] = value
        elif name in RUN_FIELDS:
            fields |= typed_fields({name: value})
        else:
            raise unknown(f"setting of rule {rule}", name, [*known, *RUN_FIELDS])
    return Variant(text, fields, own)


def _with_paths(suffixes: list[str]) -> list[str]:
    """Return suffixes with a value such as module:name in one piece, as of `noise=module:name`."""
    whole: list[str] = []
    for suffix in suffixes:
        before = whole[-1].partition("=")[2] if whole else ""
        if "=" not in suffix and re.fullmatch(r"[A-Za-z_][\w.]*", before) and suffix.isidentifier():
            whole[-1] = f"{whole[-1]}:{suffix}"
        else:
            whole.append(suffix)
    return whole


def of_variant(base: Experiment, variant: Variant, shared: dict[str, str]) -> Resolved:
    """Return the base experiment with a variant's rule and settings, resolved; see `typed_of_variant`.

    Arguments:
        base: the experiment that all variants have in common.
        variant: what this one changes.
        shared: settings meant for every rule that has them.
    """
    return resolve(typed_of_variant(base, variant, shared))


def typed_of_variant(base: Experiment, variant: Variant, shared: dict[str, str]) -> Experiment:
    """Return the base experiment with a variant's rule and settings.

    Arguments:
        base: the experiment that all variants have in common.
        variant: what this one changes.
        shared: settings meant for every rule that has them; the variant's own come first.
    """
    known = options(find("rule", variant.fields["rule"], KNOWN["rule"]))
    own = {k: v for k, v in shared.items() if k in known} | variant.options
    return dataclasses.replace(base.changed(**variant.fields), rule_options=own)


def slug(label: str) -> str:
    """Return a label as part of a file name: `node:samples=8` becomes `node-samples=8`."""
    return re.sub(r"[^A-Za-z0-9.+=-]+", "-", label)


def with_settings(base: Experiment | Resolved | None, settings: Mapping[str, Any]) -> Experiment:
    """Return an experiment with settings laid over it, as they are given to `px.run` and its like.

    Arguments:
        base: the experiment to start from; None for the defaults.
        settings: fields of an Experiment by name, and settings of the task, rule and cell with a prefix:
            `task__length`, `rule__samples`, `cell__gain`. What is None is left open.

    Raises ArgumentError for a name that is none of these, and for a value of another type.
    """
    if base is not None and not isinstance(base, Experiment | Resolved):
        raise ArgumentError(
            f"a run is described by px.Experiment(task='copy', rule='node'), say; got {type(base).__name__}"
        )
    typed = base.to_experiment() if isinstance(base, Resolved) else base or Experiment()
    if not settings:
        return typed
    fields: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for name, value in settings.items():
        kind, of_class, setting = name.partition("__")
        if of_class and kind in KINDS:
            own[kind][setting] = value
        elif name.removesuffix("_options") in KINDS and name.endswith("_options"):
            own[name.removesuffix("_options")].update(value)
        elif value is not None:
            fields[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return experiment_from(typed, fields, own)


def experiment_from(
    base: Experiment, given: dict[str, Any], settings: dict[str, dict[str, Any]]
) -> Experiment:
    """Return the base experiment with what was typed laid over it.

    Arguments:
        base: the experiment to start from.
        given: fields of an Experiment by name, as text or as values.
        settings: settings of the task, the rule and the cell: kind -> name -> value.
    """
    if "passes" in given and "steps" not in given:
        base = dataclasses.replace(base, steps=None)  # a budget takes the place of another run's steps
    if given.get("device") is not None and base.device is None and "rule" not in given:
        base = base.changed(rule=AUTO_RULE)
    e = base.changed(**typed_fields(given))
    laid = {f"{kind}_options": {**getattr(e, f"{kind}_options"), **settings[kind]} for kind in KINDS}
    return dataclasses.replace(e, **laid)
