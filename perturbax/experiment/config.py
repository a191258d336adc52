"""The description of one run: plain values, so that it can be typed, saved, and started again. Needs no JAX.

`Experiment` is what was typed, with nearly everything left open; `Resolved` is what is run, every field set.
`perturbax.experiment.resolve` makes the one into the other, once, where a run begins.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from perturbax.errors import unknown
from perturbax.experiment.shown import named_values

Options = dict[str, Any]
KINDS = ("task", "rule", "cell")  # the classes of an experiment, each with settings of its own


OF_DEVICES = ("device", "score", "rounding", "start")
"""Settings of runs on a device alone."""
OF_ATTACKS = ("attack_eps", "attack_steps")
"""Settings of runs that train on attacked images alone."""
OF_PRUNING = ("prune_groups", "prune_by", "prune_from", "prune_until", "prune_ceiling")
"""Settings of runs that prune alone."""
OF_BITS = ("bits_top",)
"""Settings of runs whose weights are whole numbers alone."""
ON_DEVICE = "device"
"""Stands for the cell of a network that lives on a device, whose neurons are not known here."""
AUTO_RULE = "auto"
"""Stands for the strongest rule that a device allows."""


def is_optimiser(value: Any) -> bool:
    """Whether a value is an optimiser as an object: an optax gradient transformation."""
    return callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))


def optimiser_text(optimiser: Any) -> str:
    """Return the name of an optimiser; of one that is an object what Python prints, without addresses."""
    return optimiser if isinstance(optimiser, str) else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(optimiser))


def device_text(device: Any) -> str:
    """Return the command or address of a device; of one that is an object its class."""
    return device if isinstance(device, str) else f"{type(device).__module__}.{type(device).__qualname__}()"


@dataclass(frozen=True, repr=False)
class Experiment:
    """One run as it was typed. What is None takes the rule's, then the task's, then the general default.

    Attributes:
        task: name of a task (`perturbax list tasks`), or module:Class of your own.
        rule: name of a learning rule (`perturbax list rules`), or module:Class of your own.
        cell: name of a recurrent cell (`perturbax list cells`), or module:Class of your own.
        data: data file (or folder of files) of the task, where it needs one.
        units: units of each recurrent layer, comma separated (64 or 128,64); a linear readout follows.
        steps: training steps; a step is one batch of sequences (or as many steps of the stream, online).
        passes: forward passes over a batch, instead of steps: rules get as many steps as it pays
            for.
        batch: sequences per batch, or parallel streams online.
        lr: learning rate.
        optimiser: any optax optimiser by name (adam, sgd, muon, ...); in Python also the optimiser itself,
            which then brings its own learning rate.
        schedule: learning rate over the run: constant, cosine, linear, exponential, or an optax schedule by
            name; or adas, a rate for every array of weights that follows what the array has learnt.
        clip: largest global norm of a gradient estimate; 0 for no clipping.
        decorrelate: decorrelate nothing (off), hidden outputs (hidden), or also the input (hidden+input).
        decor_lr: learning rate of the decorrelating matrices, on the same schedule.
        residual: whether recurrent layers above the first add to what they read (true or false).
        normalise: whether what a layer reads from a layer below is normalised over units (true or false).
        heads: none (a readout above the last layer), or a head above every hidden layer, whose answers are
            averaged: linear, softmax or sparsemax, or auto (softmax where a task asks for classes, else
            linear).
        mode: sequence (an update per batch of sequences) or online (updates while the stream runs).
        every: steps of the stream between updates, online.
        plateau: by how much the training loss must fall; a run whose loss has not fallen by so much for 10
            logs ends there. 0 for all steps.
        attack: train on images and on copies that are changed to be answered wrongly: off, fgsm (by one step
            along the sign of the gradient) or pgd (by several).
        attack_eps: largest change of a pixel.
        attack_steps: steps of pgd.
        prune: share of the weights, or units, that goes during the run; 0 for none.
        prune_groups: what goes as one: weights (single ones; biases stay), or units, whole (the network that
            is left is smaller).
        prune_by: greg-1 (penalties grow on the smallest), greg-2 (on all first, which tells them apart), or
            magnitude (the smallest are removed at once).
        prune_from: share of the updates after which penalties begin to grow.
        prune_until: share of the updates after which what was chosen is removed; the rest of the run learns
            on without it. Of the time between, penalties grow in 5 parts of 9 and are held in 4.
        prune_ceiling: the largest penalty, in units of the loss's curvature, which it must pass.
        bits: bits of a weight, which is a whole number times one step for all, rounded at random by each
            update; 0 for floats.
        bits_top: the largest weight of so many bits.
        seed: seed of weights, data order and noise.
        logs: how often to log, validate and checkpoint during the run.
        device: the device that the network lives on: a command that serves one (docs/devices.md), or the
            address unix:PATH or tcp:HOST:PORT; in Python also an object with its four methods.
        score: what is learnt from on a device: task (the task's loss on the outputs) or device (the score
            that it returns).
        rounding: what happens to updates below the grid of a device: float (a copy in floats keeps them) or
            stochastic (weights stay on the grid, rounded at random so that the mean is right).
        start: weights that a device starts with: drawn (as our own cells draw theirs) or held (those that it
            holds).
        task_options: settings of the task (--task.NAME VALUE).
        rule_options: settings of the rule (--rule.NAME VALUE).
        cell_options: settings of the cell (--cell.NAME VALUE).
    """

    task: str = "mackey-glass"
    rule: str = "node"
    cell: str = "tanh"
    data: str | None = None
    units: tuple[int, ...] | int | None = None
    steps: int | None = None
    passes: int | None = None
    batch: int | None = None
    lr: float | None = None
    optimiser: Any = None
    schedule: str | None = None
    clip: float | None = None
    decorrelate: str | None = None
    decor_lr: float | None = None
    residual: bool | None = None
    normalise: bool | None = None
    heads: str | None = None
    mode: str | None = None
    every: int | None = None
    plateau: float | None = None
    attack: str | None = None
    attack_eps: float | None = None
    attack_steps: int | None = None
    prune: float | None = None
    prune_groups: str | None = None
    prune_by: str | None = None
    prune_from: float | None = None
    prune_until: float | None = None
    prune_ceiling: float | None = None
    bits: int | None = None
    bits_top: float | None = None
    seed: int = 0
    logs: int = 50
    task_options: Options = field(default_factory=dict)
    rule_options: Options = field(default_factory=dict)
    cell_options: Options = field(default_factory=dict)
    device: Any = None
    score: str | None = None
    rounding: str | None = None
    start: str | None = None

    def __new__(cls, *given: Any, **fields: Any) -> "Experiment":
        """Refuse settings that no run has with ArgumentError, which names the nearest."""
        known = list(cls.__dataclass_fields__)
        for name in fields:
            if name not in known:
                raise unknown("setting of Experiment", name, known)
        return super().__new__(cls)

    def __repr__(self) -> str:
        """Return the call that makes this experiment: what is left open is left out."""
        given: Options = {"task": self.task, "rule": self.rule, "cell": self.cell}
        for of in dataclasses.fields(self):
            value = getattr(self, of.name)
            left_open = value == {} if of.name.endswith("_options") else value is None or value == of.default
            if of.name not in given and not left_open:
                given[of.name] = value
        return f"Experiment({named_values(given)})"

    def changed(self, **fields: Any) -> "Experiment":
        """Return a copy with some fields changed.

        The options of a task, rule or cell that is replaced are dropped, and the data file with its task.
        """
        for kind in KINDS:
            if kind in fields and fields[kind] != getattr(self, kind):
                fields.setdefault(f"{kind}_options", {})
                if kind == "task":
                    fields.setdefault("data", None)
        return dataclasses.replace(self, **fields)


@dataclass(frozen=True, repr=False)
class Resolved:
    """One run with every field set, as it is trained and saved; `experiment.resolve.resolve` makes it.

    The fields mean what they mean in `Experiment`, and options hold every setting of their class. A copy with
    other values (`dataclasses.replace`) can be given to `perturbax.run`, which resolves it anew.

    Attributes:
        data: data file (or folder of files) of the task; None for tasks that need none.
        steps: training steps. While `passes` is above 0 they are provisional: those that the budget pays for
            with the rule's default number of samples.
        passes: budget of forward passes that still waits for the rule's `samples` to be measured (`auto`);
            0 once the steps stand.
    """

    task: str
    rule: str
    cell: str
    data: str | None
    units: tuple[int, ...]
    steps: int
    passes: int
    batch: int
    lr: float
    optimiser: Any
    schedule: str
    clip: float
    decorrelate: str
    decor_lr: float
    residual: bool
    normalise: bool
    heads: str
    mode: str
    every: int
    plateau: float
    attack: str
    attack_eps: float
    attack_steps: int
    prune: float
    prune_groups: str
    prune_by: str
    prune_from: float
    prune_until: float
    prune_ceiling: float
    bits: int
    bits_top: float
    seed: int
    logs: int
    task_options: Options
    rule_options: Options
    cell_options: Options
    device: Any = None
    score: str | None = None
    rounding: str | None = None
    start: str | None = None

    def __repr__(self) -> str:
        """Return the settings that matter most; `to_dict` has all of them."""
        names = ("task", "rule", "cell", "units", "steps", "batch", "lr", "seed")
        return f"Resolved({named_values({name: getattr(self, name) for name in names})}, ...)"

    def to_dict(self) -> Options:
        """Return the fields as config.json holds them: steps or passes is None, whichever does not count."""
        fields = {of.name: getattr(self, of.name) for of in dataclasses.fields(self)}
        fields |= {f"{kind}_options": dict(fields[f"{kind}_options"]) for kind in KINDS}
        fields["optimiser"] = optimiser_text(self.optimiser)
        idle = ("plateau", "prune", "bits")  # nor of what it does not do
        unsaid = [name for name in idle if not fields[name]]
        unsaid += [] if self.prune else OF_PRUNING
        unsaid += [] if self.bits else OF_BITS
        unsaid += ["attack", *OF_ATTACKS] if self.attack == "off" else []
        unsaid += ["heads"] if self.heads == "none" else []
        fields = {name: value for name, value in fields.items() if name not in unsaid}
        if self.device is None:  # a run in process says nothing of devices
            fields = {name: value for name, value in fields.items() if name not in OF_DEVICES}
        else:
            fields["device"] = device_text(self.device)
        fields["steps" if self.passes else "passes"] = None
        return fields

    def to_experiment(self) -> Experiment:
        """Return the experiment that would be typed for this run."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["steps" if self.passes else "passes"] = None
        return Experiment(**fields)

    def changed(self, **fields: Any) -> Experiment:
        """Return an experiment with some fields changed, as `Experiment.changed` does."""
        return self.to_experiment().changed(**fields)


DEFAULTS: Options = {
    "units": (64,),
    "passes": 6000,
    "batch": 32,
    "lr": 1e-3,
    "optimiser": "adam",
    "schedule": "cosine",
    "clip": 1.0,
    "decorrelate": "off",
    "decor_lr": 1e-3,
    "residual": False,
    "normalise": False,
    "heads": "none",
    "mode": "sequence",
    "every": 1,
    "plateau": 0.0,
    "attack": "off",
    "attack_eps": 0.1,
    "attack_steps": 10,
    "prune": 0.0,
    "prune_groups": "weights",
    "prune_by": "greg-1",
    "prune_from": 0.2,
    "prune_until": 0.6,
    "prune_ceiling": 1.0,
    "bits": 0,
    "bits_top": 1.0,
}
