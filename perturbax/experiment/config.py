"""The description of one run: plain values only, so that it can be typed, saved, and started again. Needs no
JAX.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

Options = dict[str, Any]
KINDS = ("task", "rule", "cell")  # the classes of an experiment, each with settings of its own


@dataclass(frozen=True)
class Experiment:
    """One run. What is left at None takes the rule's, then the task's, then the general default.

    Attributes:
        task: name of a task (`perturbax list tasks`), or module:Class of your own.
        rule: name of a learning rule (`perturbax list rules`), or module:Class of your own.
        cell: name of a recurrent cell (`perturbax list cells`), or module:Class of your own.
        data: data file (or folder of files) of the task, where it needs one.
        units: units of each recurrent layer, comma separated (64 or 128,64); a linear readout follows.
        steps: training steps; a step is one batch of sequences (or as many steps of the stream, online).
        passes: budget in forward passes over a batch, instead of steps: rules get as many steps as it pays
            for.
        batch: sequences per batch, or parallel streams online.
        lr: learning rate.
        optimiser: any optax optimiser by name (adam, sgd, rmsprop, ...).
        schedule: learning rate over the run: constant, cosine, linear, exponential, or an optax schedule by
            name.
        clip: largest global norm of a gradient estimate; 0 for no clipping.
        decorrelate: decorrelate nothing (off), hidden outputs (hidden), or also the input (hidden+input).
        decor_lr: learning rate of the decorrelating matrices, on the same schedule.
        residual: whether recurrent layers above the first add to what they read (true or false).
        normalise: whether what a layer reads from a layer below is normalised over units (true or false).
        mode: sequence (an update per batch of sequences) or online (updates while the stream runs).
        every: steps of the stream between updates, online.
        seed: seed of weights, data order and noise.
        logs: how often to log, validate and checkpoint during the run.
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
    optimiser: str | None = None
    schedule: str | None = None
    clip: float | None = None
    decorrelate: str | None = None
    decor_lr: float | None = None
    residual: bool | None = None
    normalise: bool | None = None
    mode: str | None = None
    every: int | None = None
    seed: int = 0
    logs: int = 50
    task_options: Options = field(default_factory=dict)
    rule_options: Options = field(default_factory=dict)
    cell_options: Options = field(default_factory=dict)

    def changed(self, **fields: Any) -> "Experiment":
        """Return a copy with some fields changed; options of a task, rule or cell that is replaced are
        dropped.
        """
        for kind in ("task", "rule", "cell"):
            if kind in fields and fields[kind] != getattr(self, kind):
                fields.setdefault(f"{kind}_options", {})
                if kind == "task":
                    fields.setdefault("data", None)
        return dataclasses.replace(self, **fields)


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
    "mode": "sequence",
    "every": 1,
}
