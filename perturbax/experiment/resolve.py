"""From what was typed to what is run: `Experiment` -> `Resolved`, once per run."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from perturbax.cells import CELLS
from perturbax.errors import ArgumentError
from perturbax.experiment.config import DEFAULTS, KINDS, Experiment, Options, Resolved
from perturbax.experiment.options import FIELDS, find, parse_units, provisional, settings_of, unmeasured
from perturbax.fields import of_kind, one_of, positive
from perturbax.learning.rule import Rule
from perturbax.network.layer import Layer, words_of
from perturbax.rules import RULES
from perturbax.tasks import TASKS
from perturbax.tasks.base import Task

KNOWN: dict[str, dict[str, type]] = {"task": TASKS, "rule": RULES, "cell": CELLS}
BASES: dict[str, type] = {"task": Task, "rule": Rule, "cell": Layer}
RUN_SETTINGS = ("steps", *DEFAULTS)  # the settings of a run that an Experiment may leave open


def resolve(given: Experiment | Resolved) -> Resolved:
    """Return the run with every setting named.

    A setting is what the user typed, else what the task ships for this rule, else the rule's, the task's, or
    the general default. Settings of the rule that are `auto` stay so until `build` measures them. A budget of
    passes becomes steps; where the rule's samples are `auto` these are provisional, and the budget is kept
    beside them (`Resolved.passes`). A Resolved is resolved anew, as its fields may have been changed since.

    Raises ArgumentError for names, settings and values that cannot be used. No data are read, but for the
    head of a file where it depends on that what a task ships.
    """
    if not isinstance(given, Experiment | Resolved):
        raise ArgumentError(
            f"a run is described by px.Experiment(task='copy', rule='node'), say; got {type(given).__name__}"
        )
    typed = given.to_experiment() if isinstance(given, Resolved) else given
    _check_types(typed)
    if typed.steps is not None and typed.passes is not None:
        raise ArgumentError("steps and passes say the same thing twice: name one of them")
    classes: dict[str, Any] = {kind: _class(kind, getattr(typed, kind)) for kind in KINDS}
    task, rule = classes["task"], classes["rule"]
    of_task = task.shipped(typed.task_options, typed.data)
    candidates = of_task.rule_settings.get(typed.rule, ())
    shipped = _shipped_settings(candidates, rule, typed.mode, typed.rule_options)
    named = {name: getattr(typed, name) for name in RUN_SETTINGS if getattr(typed, name) is not None}
    settings = _overlay(DEFAULTS, of_task.settings, rule.facts.run_settings, shipped, named)
    defaults = {
        "task": {},
        "rule": {name: value for name, value in shipped.items() if name not in FIELDS},
        "cell": task.cell_settings.get(typed.cell, {}),
    }
    options: dict[str, Options] = {}
    for kind, cls in classes.items():
        options[kind] = settings_of(kind, cls, {**defaults[kind], **getattr(typed, f"{kind}_options")})
    settings["units"] = parse_units(settings["units"])
    settings |= _steps(settings, rule, options["rule"])
    resolved = Resolved(
        task=typed.task,
        rule=typed.rule,
        cell=typed.cell,
        data=typed.data,
        seed=typed.seed,
        logs=typed.logs,
        task_options=options["task"],
        rule_options=options["rule"],
        cell_options=options["cell"],
        **settings,
    )
    _check_values(resolved)
    return resolved


def with_measured(e: Resolved, rule: Rule, rule_options: Options) -> Resolved:
    """Return the run with the settings of its rule that were `auto` measured: a budget is turned into steps.

    Arguments:
        e: the run, whose budget may wait for the samples.
        rule: the rule with its measured settings.
        rule_options: all settings of the rule.
    """
    steps = e.steps
    if e.passes:
        steps = affordable_steps(e.passes, passes_per_step(rule, e.decorrelate, e.mode))
    return dataclasses.replace(e, steps=steps, passes=0, rule_options=rule_options)


def passes_per_step(rule: Rule, decorrelate: str, mode: str) -> int:
    """Return forward passes per training step; decorrelating a sequence takes a clean pass of its own."""
    return rule.described().passes + (decorrelate != "off" and mode == "sequence")


def affordable_steps(budget: int, cost: int) -> int:
    """Return the training steps, at least one, that a budget of forward passes pays for."""
    return max(1, budget // cost)


def check_seed(seed: int) -> None:
    """Raise ArgumentError for a seed that JAX does not tell from another."""
    if not 0 <= seed < 2**31:
        raise ArgumentError(f"seed must be from 0 to 2^31 - 1, not {seed}")


def _class(kind: str, name: str) -> type:
    """Return the task, rule or cell of that name; refuse a class of another kind."""
    cls = find(kind, name, KNOWN[kind])
    if not issubclass(cls, BASES[kind]):
        raise ArgumentError(f"{cls.__name__} is not a {kind}: it must derive from {BASES[kind].__name__}")
    return cls


def _check_types(typed: Experiment) -> None:
    """Raise ArgumentError for a field of an experiment that holds no value of its type, nor is left open."""
    open_fields = {f.name for f in dataclasses.fields(Experiment) if f.default is None}
    for name, kind in FIELDS.items():
        value = getattr(typed, name)
        if value is None and name in open_fields:
            continue
        if name == "data":
            if not isinstance(value, str | os.PathLike):
                raise ArgumentError(f"data must be the path of a file or folder, not {value!r}")
        elif name in KINDS:
            if not isinstance(value, str):
                raise ArgumentError(
                    f"{name} must be a name, as text, or module:Class; its settings go into {name}_options; "
                    f"got {words_of(value)}"
                )
        elif kind is str and not isinstance(value, str):
            raise ArgumentError(f"{name} must be a name, not {value!r}")
        elif kind is not bool or value not in (0, 1):
            of_kind(name, value, kind)
    for name in (f"{kind}_options" for kind in KINDS):
        if not isinstance(getattr(typed, name), dict):
            raise ArgumentError(f"{name} must hold names and values, not {getattr(typed, name)!r}")


def _overlay(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay run settings over each other, the last on top; steps and passes take each other's place."""
    settings: dict[str, Any] = {}
    for layer in layers:
        if "steps" in layer:
            settings.pop("passes", None)
        if "passes" in layer:
            settings.pop("steps", None)
        settings |= {name: value for name, value in layer.items() if name in RUN_SETTINGS}
    return settings


def _shipped_settings(
    candidates: Sequence[dict[str, Any]], rule: type[Rule], mode: str | None, rule_options: Options
) -> dict[str, Any]:
    """Return what the task ships for the rule: the first settings that agree with all that the user named."""
    for settings in candidates:
        own_mode = settings.get("mode", DEFAULTS["mode"])
        own_options = {name: value for name, value in settings.items() if name not in FIELDS}
        if mode in (None, own_mode) and _can_learn(rule, own_options | rule_options, own_mode):
            return settings
    return {}


def _can_learn(rule: type[Rule], rule_options: Options, mode: str) -> bool:
    """Whether the rule exists with these settings, and learns in that mode."""
    try:
        made = rule(**provisional(rule, settings_of("rule", rule, rule_options)))
    except ArgumentError:
        return False
    return mode == "sequence" or not made.described().offline


def _steps(settings: dict[str, Any], rule: type[Rule], rule_options: Options) -> dict[str, int]:
    """Return steps and the budget that still waits for measured samples, from the one of both that is set."""
    if "steps" in settings:
        return {"steps": settings["steps"], "passes": 0}
    budget = settings["passes"]
    positive("passes", budget)
    made = rule(**provisional(rule, rule_options))
    steps = affordable_steps(budget, passes_per_step(made, settings["decorrelate"], settings["mode"]))
    waits = "samples" in unmeasured(rule_options)
    return {"steps": steps, "passes": budget if waits else 0}


def _check_values(e: Resolved) -> None:
    """Refuse values that no run can have."""
    for name in ("steps", "batch", "lr", "every", "decor_lr", "logs"):
        positive(name, getattr(e, name))
    if not e.units:
        raise ArgumentError("units needs at least one layer")
    for n in e.units:
        positive("units", n)
    if e.clip < 0:
        raise ArgumentError(f"clip must be 0 (off) or more, not {e.clip}")
    check_seed(e.seed)
    if e.batch >= 2**31:
        raise ArgumentError(f"batch {e.batch} is beyond any memory")
    one_of("mode", e.mode, ("sequence", "online"))
    one_of("decorrelate", e.decorrelate, ("off", "hidden", "hidden+input"))
    if e.residual and (len(e.units) < 2 or len(set(e.units)) > 1):
        raise ArgumentError("residual needs two recurrent layers or more, all of one width")
    if e.normalise and min(e.units) < 2:
        raise ArgumentError("normalise needs layers of two units or more: one unit alone would always read 0")
