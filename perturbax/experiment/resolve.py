"""From what was typed to what is run: `Experiment` -> `Resolved`, once per run."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perturbax.cells import CELLS
from perturbax.cells.heads import HEADS
from perturbax.devices.network import Unknown
from perturbax.devices.opening import check_device
from perturbax.errors import ArgumentError
from perturbax.exchange.file import NirFile
from perturbax.experiment.asking import followed
from perturbax.experiment.attacks import Attack
from perturbax.experiment.config import (
    DEFAULTS,
    KINDS,
    OF_BITS,
    OF_DEVICES,
    OF_PRUNING,
    ON_DEVICE,
    Experiment,
    Options,
    Resolved,
    is_optimiser,
)
from perturbax.experiment.device_settings import fitted, refuse_without_device
from perturbax.experiment.options import (
    AUTO,
    FIELDS,
    FOLLOWING,
    find,
    options,
    parse_units,
    provisional,
    settings_of,
    typed_form,
    unmeasured,
)
from perturbax.fields import of_kind, one_of, positive
from perturbax.learning.rule import Rule
from perturbax.network.layer import Layer, words_of
from perturbax.rules import RULES
from perturbax.rules.perturbation.base import CREDITS, Credited
from perturbax.tasks import TASKS
from perturbax.tasks.base import Task

KNOWN: dict[str, dict[str, type]] = {"task": TASKS, "rule": RULES, "cell": CELLS | {"nir": NirFile}}
ORIGINS = ("default", "task", "rule", "task for this rule", "typed")  # of settings, the last on top
SAME_STEP = CREDITS[0]
ASKING = "follows from when the task asks"  # where a setting comes from that is left open until then
BASES: dict[str, type] = {"task": Task, "rule": Rule, "cell": Layer}
RUN_SETTINGS = ("steps", *DEFAULTS)  # the settings of a run that an Experiment may leave open


def resolve(given: Experiment | Resolved) -> Resolved:
    """Return the run with every setting named.

    A setting is what the user typed, else what the task ships for this rule, else the rule's, the task's, or
    the general default. Settings of the rule that are `auto` stay so until `build` settles them. A budget of
    passes becomes steps; where the rule's samples are `auto` these are provisional, and the budget is kept
    beside them (`Resolved.passes`). A Resolved is resolved anew, as its fields may have been changed since.

    Raises ArgumentError for names, settings and values that cannot be used. No data are read, but for the
    head of a file where it depends on that what a task ships.
    """
    return _resolved(_layers(given))


def _resolved(layers: "Layers") -> Resolved:
    """Return the run that layers of settings amount to; raise ArgumentError for values no run can have."""
    typed = layers.typed
    rule, settings, options = layers.classes["rule"], _overlay(*layers.run.values()), layers.options()
    settings["units"] = parse_units(settings["units"])
    settings |= _steps(settings, rule, options["rule"])
    if settings["heads"] == "auto":
        settings["heads"] = "softmax" if layers.classes["task"].loss_in == "nats" else "linear"
    if layers.classes["cell"] is NirFile:
        options["cell"], settings["units"] = _of_file(typed, options["cell"])
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
        **{name: getattr(typed, name) for name in OF_DEVICES},
        **settings,
    )
    _check_values(resolved)
    return resolved


def _of_file(typed: Experiment, options: Options) -> tuple[Options, tuple[int, ...]]:
    """Return the settings of cell nir and the units of its layers; refuse what would change these."""
    found, units = NirFile.settled(options)
    if typed.units is not None and parse_units(typed.units) != units:
        raise ArgumentError(f"cell nir brings layers of {typed_form(units)} units: leave --units out")
    if typed.residual or typed.normalise or typed.heads not in (None, "none"):
        raise ArgumentError(
            "cell nir brings its own layers: it is neither residual nor normalised, nor has heads"
        )
    return found, units


class Layers(NamedTuple):
    """Where the settings of a run come from.

    Attributes:
        typed: the run as it was typed.
        classes: its task, rule and cell.
        run: settings of the run by where they come from (`ORIGINS`), the last on top.
        shipped: settings of task, rule and cell that the task ships: kind -> name -> value.
    """

    typed: Experiment
    classes: dict[str, Any]
    run: dict[str, Mapping[str, Any]]
    shipped: dict[str, Mapping[str, Any]]

    def options(self) -> dict[str, Options]:
        """Return every setting of task, rule and cell: kind -> name -> value."""
        found: dict[str, Options] = {}
        for kind, cls in self.classes.items():
            given = getattr(self.typed, f"{kind}_options")
            found[kind] = settings_of(kind, cls, {**self.shipped[kind], **given})
        found["rule"] |= self._left_open()
        return found

    def _left_open(self) -> Options:
        """Return the settings of the rule that follow from when answers are asked, as `auto`: its credit
        where that is same-step by default and nobody names one, and the window that it then may have.

        Tasks of ours that ask at every step leave nothing open.
        """
        rule, task = self.classes["rule"], self.classes["task"]
        named = {**self.shipped["rule"], **self.typed.rule_options}
        if not issubclass(rule, Credited) or not rule.follows_asking or "credit" in named:
            return {}
        if options(rule)["credit"].default != SAME_STEP:
            return {}
        ours = task.__module__.startswith("perturbax.")
        if ours and task.asked_steps is Task.asked_steps and task is not TASKS["series"]:
            return {}
        return {"credit": AUTO} if "window" in named else {"credit": AUTO, "window": AUTO}


class Explained(NamedTuple):
    """A setting of a run, and where it comes from.

    Attributes:
        value: its value.
        origin: one of `ORIGINS`, or `passes` for steps that a budget of forward passes pays for.
    """

    value: Any
    origin: str


def explain(given: Experiment | Resolved, task: Task | None = None) -> dict[str, Explained]:
    """Return every setting of a run with where it comes from: fields by name, and `task.NAME`, `rule.NAME`,
    `cell.NAME`. Where a budget of forward passes is what counts, it is there beside the steps it pays for.

    Arguments:
        given: the run.
        task: its opened task, from which open settings then follow; None leaves these `auto`.

    Raises what `resolve` raises.
    """
    layers = _layers(given)
    e = _resolved(layers)
    origins: dict[str, str] = {}
    for origin, layer in layers.run.items():
        for name, other in (("steps", "passes"), ("passes", "steps")):
            if name in layer:
                origins.pop(other, None)
        origins |= dict.fromkeys((name for name in layer if name in RUN_SETTINGS), origin)
    budget = _overlay(*layers.run.values()).get("passes")
    found: dict[str, Explained] = {}
    for field in dataclasses.fields(Resolved):
        name = field.name
        unsaid = (name in OF_DEVICES and e.device is None) or (name in OF_PRUNING and not e.prune)
        unsaid |= name in OF_BITS and not e.bits
        if name.endswith("_options") or unsaid:
            continue
        if name in origins:
            value = budget if name == "passes" else getattr(e, name)
            found[name] = Explained(value, origins[name])
        elif name == "steps":
            found[name] = Explained(e.steps, "passes")
        elif name != "passes":
            value = getattr(e, name)
            default = getattr(Experiment(), name)
            found[name] = Explained(value, "default" if value == default else "typed")
    choice = None
    if task is not None:
        choice = followed(task, layers.classes["rule"], e.rule_options, e.mode, e.batch)
    for kind in KINDS:
        for name, value in getattr(e, f"{kind}_options").items():
            origin = "task for this rule" if kind == "rule" else "task"
            if name in getattr(layers.typed, f"{kind}_options"):
                origin = "typed"
            elif name not in layers.shipped[kind]:
                origin = ASKING if kind == "rule" and value == AUTO and name in FOLLOWING else "default"
            if origin == ASKING and choice is not None:
                value = choice.settings[name]
            found[f"{kind}.{name}"] = Explained(value, origin)
    return found


def with_measured(e: Resolved, rule: Rule, rule_options: Options) -> Resolved:
    """Return the run with the settings of its rule that were `auto` measured: a budget is turned into steps.

    Arguments:
        e: the run, whose budget may wait for the samples.
        rule: the rule with its measured settings.
        rule_options: all settings of the rule.
    """
    steps = e.steps
    if e.passes:
        steps = affordable_steps(e.passes, passes_of_run(rule, vars(e)))
    return dataclasses.replace(e, steps=steps, passes=0, rule_options=rule_options)


def passes_per_step(rule: Rule, decorrelate: str, mode: str) -> int:
    """Return forward passes per training step; decorrelating a sequence takes a clean pass of its own.

    Arguments:
        rule: the rule.
        decorrelate: what is decorrelated: off, hidden or hidden+input.
        mode: sequence or online.
    """
    return rule.described().passes + (decorrelate != "off" and mode == "sequence")


def passes_of_run(rule: Rule, settings: Mapping[str, Any]) -> int:
    """Return forward passes per training step of a run, over batches as large as the setting says: where they
    are attacked, those of twice as many rows, and of the attack.

    Arguments:
        rule: its rule.
        settings: of the run, by name.
    """
    passes = passes_per_step(rule, settings["decorrelate"], settings["mode"])
    if settings["attack"] == "off":
        return passes
    return 2 * passes + Attack(settings["attack"], settings["attack_eps"], settings["attack_steps"]).passes


def affordable_steps(budget: int, cost: int) -> int:
    """Return the training steps, at least one, that a budget of forward passes pays for.

    Arguments:
        budget: forward passes in all.
        cost: forward passes per training step.
    """
    return max(1, budget // cost)


def check_seed(seed: int) -> None:
    """Raise ArgumentError for a seed that JAX does not tell from another."""
    if not 0 <= seed < 2**31:
        raise ArgumentError(f"seed must be from 0 to 2^31 - 1, not {seed}")


def _layers(given: Experiment | Resolved) -> Layers:
    """Return the settings of a run by where they come from; raise ArgumentError for what cannot be used."""
    if not isinstance(given, Experiment | Resolved):
        raise ArgumentError(
            f"a run is described by px.Experiment(task='copy', rule='node'), say; got {type(given).__name__}"
        )
    typed = given.to_experiment() if isinstance(given, Resolved) else given
    _check_types(typed)
    if typed.device is None:
        refuse_without_device(typed)
    else:
        typed = fitted(typed, _class("task", typed.task))
    if typed.steps is not None and typed.passes is not None:
        raise ArgumentError("steps and passes say the same thing twice: name one of them")
    classes: dict[str, Any] = {kind: _class(kind, getattr(typed, kind)) for kind in KINDS}
    task, rule = classes["task"], classes["rule"]
    of_task = task.shipped(typed.task_options, typed.data)
    candidates = of_task.rule_settings.get(typed.rule, ())
    of_both = _shipped_settings(candidates, rule, typed.mode, typed.rule_options)
    if "every" in of_both and typed.every is None:
        of_both = {**of_both, "every": _dividing(of_both["every"], task, typed.task_options)}
    named = {name: getattr(typed, name) for name in RUN_SETTINGS if getattr(typed, name) is not None}
    run = (DEFAULTS, of_task.settings, rule.facts.run_settings, of_both, named)
    shipped = {
        "task": {},
        "rule": {name: value for name, value in of_both.items() if name not in FIELDS},
        "cell": task.cell_settings.get(typed.cell, {}),
    }
    return Layers(typed, classes, dict(zip(ORIGINS, run, strict=True)), shipped)


def _class(kind: str, name: str) -> type:
    """Return the task, rule or cell of that name; refuse a class of another kind."""
    if kind == "cell" and name == ON_DEVICE:
        return Unknown
    cls = find(kind, name, KNOWN[kind])
    if cls is not NirFile and not issubclass(cls, BASES[kind]):
        raise ArgumentError(f"{cls.__name__} is not a {kind}: it must derive from {BASES[kind].__name__}")
    return cls


def _check_types(typed: Experiment) -> None:
    """Raise ArgumentError for a field of an experiment that holds no value of its type, nor is left open."""
    open_fields = {f.name for f in dataclasses.fields(Experiment) if f.default is None}
    for name, kind in FIELDS.items():
        value = getattr(typed, name)
        if value is None and name in open_fields:
            continue
        if name == "optimiser" and is_optimiser(value):
            continue
        if name == "device":
            check_device(value)
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


def nearest_divisor(steps: int, every: int) -> int:
    """Return the number that divides steps and is the nearest to another, the smaller of two.

    Arguments:
        steps: of a sequence, 1 or more.
        every: the other.
    """
    divisors = [k for k in range(1, steps + 1) if steps % k == 0]
    return min(divisors, key=lambda k: abs(k - every))


def _dividing(every: int, task: type[Task], task_options: Options) -> int:
    """Return the steps between updates that a task ships, or the nearest that divide its sequences."""
    try:
        steps = task(**settings_of("task", task, task_options)).steps
    except ArgumentError:  # the data say it, or the settings are refused in a moment
        return every
    return nearest_divisor(steps, every)


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
    steps = affordable_steps(budget, passes_of_run(made, settings))
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
    one_of("attack", e.attack, ("off", "fgsm", "pgd"))
    positive("attack_eps", e.attack_eps)
    positive("attack_steps", e.attack_steps)
    if e.plateau < 0:
        raise ArgumentError(f"plateau must be 0 (off) or more, not {e.plateau}")
    if e.clip < 0:
        raise ArgumentError(f"clip must be 0 (off) or more, not {e.clip}")
    check_seed(e.seed)
    if e.batch >= 2**31:
        raise ArgumentError(f"batch {e.batch} is beyond any memory")
    one_of("mode", e.mode, ("sequence", "online"))
    one_of("decorrelate", e.decorrelate, ("off", "hidden", "hidden+input"))
    one_of("heads", e.heads, ("none", "auto", *HEADS))
    if e.heads != "none" and (e.residual or e.normalise or e.decorrelate != "off"):
        raise ArgumentError("a network with heads is a plain stack: not residual, normalised or decorrelated")
    if e.residual and (len(e.units) < 2 or len(set(e.units)) > 1):
        raise ArgumentError("residual needs two recurrent layers or more, all of one width")
    if e.normalise and min(e.units) < 2:
        raise ArgumentError("normalise needs layers of two units or more: one unit alone would always read 0")
