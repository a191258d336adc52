"""Settings of a run on a device that follow from what the device is: its rule, its cell and its score."""

import dataclasses
from pathlib import Path
from typing import Any

from perturbax.devices.abilities import Abilities
from perturbax.devices.checked import Checked
from perturbax.devices.choice import defaults, strongest
from perturbax.devices.estimates import SCORES
from perturbax.devices.network import hidden_units, read_by
from perturbax.devices.opening import holds_what_is_asked, opened
from perturbax.errors import ArgumentError
from perturbax.experiment.config import AUTO_RULE, OF_DEVICES, ON_DEVICE, Experiment
from perturbax.experiment.options import settings_of
from perturbax.fields import one_of
from perturbax.rules import RULES
from perturbax.rules.perturbation.weight_base import WeightRule
from perturbax.tasks.environment import Environment

ROUNDINGS = ("float", "stochastic")
STARTS = ("drawn", "held")
COARSE = 0.5  # steps of a grid above this share of 1 / sqrt(presynaptic) leave nothing of drawn weights


def refuse_without_device(typed: Experiment) -> None:
    """Raise ArgumentError for settings of devices in a run that has none."""
    named = [name for name in OF_DEVICES if getattr(typed, name) is not None]
    if named:
        raise ArgumentError(f"{named[0]} is a setting of runs on a device: name one with --device")
    if typed.rule == AUTO_RULE:
        raise ArgumentError("rule auto takes what a device allows: name a device with --device, or a rule")


def fitted(typed: Experiment, task_class: Any) -> Experiment:
    """Return a run on a device with what follows from the device filled in, below what was typed.

    The device is asked what it is. Without units the cell is the device's own; with them, its weights start
    as those of a network of ours with that cell and these units.

    Arguments:
        typed: the run, with a device.
        task_class: the class of its task, whose data are opened for their sizes.

    Raises ArgumentError for settings that no run on a device has, DeviceError for a device of other sizes.
    """
    _check(typed)
    device = device_of(typed, task_class)
    abilities = device.can
    rule, options = typed.rule, dict(typed.rule_options)
    rule = strongest(abilities).rule if rule == AUTO_RULE else rule
    exact = "difference" in options or not _shifts_weights(rule) or holds_what_is_asked(device)
    own: dict[str, Any] = {"rule": rule, "rule_options": defaults(rule, abilities, exact) | options}
    if typed.units is None or typed.cell == ON_DEVICE:
        own |= {"cell": ON_DEVICE, "units": hidden_units(abilities), "cell_options": {}}
    own["score"] = typed.score or ("task" if abilities.outputs else "device")
    own |= {"mode": "sequence", "decorrelate": "off", "residual": False, "normalise": False, "heads": "none"}
    own["rounding"] = typed.rounding or "float"
    if own["rounding"] == "stochastic" and all(about.step is None for about in abilities.weights.values()):
        raise ArgumentError(
            f"rounding stochastic rounds to the grid of a device, and {abilities.name} names no step of any "
            "weights: take rounding float, or let its hello say the step"
        )
    own["start"] = typed.start or ("held" if _is_coarse(abilities) else "drawn")
    return dataclasses.replace(typed, **own)


def device_of(typed: Any, task_class: Any) -> Checked:
    """Return the device of a run, opened for the sizes of its task.

    Arguments:
        typed: the run.
        task_class: the class of its task.
    """
    task = task_class(**settings_of("task", task_class, typed.task_options))
    if isinstance(task, Environment):
        raise ArgumentError(
            f"task {typed.task} is a world in this process, which a network on a device does not see: leave "
            "out the device, or let a px.Agent act from here"
        )
    task = task.open(None if typed.data is None else Path(typed.data))
    inputs, outputs = task.sizes
    return opened(typed.device, inputs, outputs, task.steps)


def _check(typed: Experiment) -> None:
    """Raise ArgumentError for settings that no run on a device has."""
    for name, choices in (("score", SCORES), ("rounding", ROUNDINGS), ("start", STARTS)):
        if getattr(typed, name) is not None:
            one_of(name, getattr(typed, name), choices)
    if typed.mode not in (None, "sequence"):
        raise ArgumentError(
            "a device runs whole trials from rest: it cannot learn online (use mode sequence)"
        )
    if typed.decorrelate not in (None, "off"):
        raise ArgumentError(
            "what the layers of a device read cannot be decorrelated: leave decorrelate at off"
        )
    if typed.residual or typed.normalise or typed.heads not in (None, "none"):
        raise ArgumentError("how a device is wired is its own matter: leave residual, normalise and heads")


def _shifts_weights(rule: str) -> bool:
    """Whether a rule, by its name, writes shifted weights."""
    cls: Any = RULES.get(rule)
    return cls is not None and issubclass(cls, WeightRule)


def _is_coarse(abilities: Abilities) -> bool:
    """Whether the grid of some weights is too coarse for weights as our cells draw them."""
    return any(
        about.step is not None and about.step > COARSE * read_by(about) ** -0.5
        for about in abilities.weights.values()
        if len(about.shape) > 1
    )
