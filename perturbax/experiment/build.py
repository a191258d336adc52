"""From the description of a run to its parts: task, rule, network, optimiser."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr
import optax

from perturbax.cells import CELLS, Readout
from perturbax.errors import ArgumentError
from perturbax.experiment import auto
from perturbax.experiment.config import DEFAULTS, Experiment
from perturbax.experiment.optimiser import make_optimiser, make_rate
from perturbax.experiment.options import FIELDS, find, parse_units, provisional, settings_of, unmeasured
from perturbax.fields import one_of, positive
from perturbax.learning.rule import Rule, check
from perturbax.network.decorrelation import add_decorrelation
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules import RULES
from perturbax.tasks import TASKS
from perturbax.tasks.base import Task

KNOWN: dict[str, dict[str, type]] = {"task": TASKS, "rule": RULES, "cell": CELLS}


class Parts(NamedTuple):
    """All that a run needs, made from an experiment whose settings are all filled in."""

    experiment: Experiment
    task: Task
    rule: Rule
    optimiser: optax.GradientTransformation
    decor_rate: Callable[[Any], Any]  # update -> learning rate of the decorrelating matrices
    updates: int  # per training step
    auto: dict[str, Any]  # how the settings that were `auto` were measured

    def network(self, key: jax.Array) -> Network:
        """Return a fresh network."""
        return make_network(self.experiment, self.task.sizes, key)

    @property
    def passes(self) -> int:
        """Forward passes per training step."""
        return passes_per_step(self.experiment, self.rule)

    def tuned(self, pace: "Pace") -> "Parts":
        """Return the parts at another pace, whose numbers may be traced."""
        e, (lr, decor_lr, discount, haste) = self.experiment, pace
        rule = self.rule if discount is None else eqx.tree_at(lambda r: r.discount, self.rule, discount)
        optimiser = make_optimiser(e, self.updates, lr * _lr_scale(e, self.rule, self.task), haste)
        return self._replace(
            rule=rule, optimiser=optimiser, decor_rate=make_rate(e, self.updates, decor_lr, haste)
        )


class Pace(NamedTuple):
    """What a compiled program leaves open.

    Attributes:
        lr: the learning rate.
        decor_lr: that of the decorrelating matrices.
        discount: of the rule; None for the rule's own.
        haste: schedules end so many times sooner: for a run over a share of the steps.
    """

    lr: Any
    decor_lr: Any
    discount: Any = None
    haste: Any = 1.0

    @classmethod
    def of(cls, e: Experiment) -> "Pace":
        """Return that of an experiment whose settings are filled in."""
        return cls(e.lr, e.decor_lr)


def make_network(e: Experiment, sizes: Sequence[int], key: jax.Array) -> Network:
    """Return a fresh stack of cells and a readout; e has its settings filled in."""
    cell: Any = find("cell", e.cell, CELLS)
    units = parse_units(e.units)
    if e.residual and (len(units) < 2 or len(set(units)) > 1):
        raise ArgumentError("residual needs two recurrent layers or more, all of one width")
    if e.normalise and min(units) < 2:
        raise ArgumentError("normalise needs layers of two units or more: one unit alone would always read 0")
    layers = stacked(cell, sizes, units, key, **e.cell_options)
    net = Network(layers, residual=bool(e.residual), normalise=bool(e.normalise))
    return add_decorrelation(net, e.decorrelate or "off", sizes[0])


def stacked(
    cell: Any, sizes: Sequence[int], units: Sequence[int], key: jax.Array, **options: Any
) -> list[Any]:
    """Return a layer of the cell for every number of units, and the readout that belongs above; sizes (n_in,
    n_out).
    """
    *keys, last = jr.split(key, len(units) + 1)
    layers: list[Any] = []
    width = sizes[0]
    for n, k in zip(units, keys, strict=True):
        layers.append(cell(width, n, key=k, **options))
        width = layers[-1].width
    own = getattr(layers[-1], "readout", None)  # some cells have a readout of their own
    shared = {k: options[k] for k in ("bias", "init") if k in options}  # a network has biases, or none
    return [
        *layers,
        own(sizes[1], key=last, **shared) if own else Readout(width, sizes[1], key=last, **shared),
    ]


def fill_in(given: Experiment) -> Experiment:
    """Return the experiment with every setting named: what the user said, else the rule's, the task's, the
    default.

    Settings of the rule that are `auto` stay so until `build` measures them; with samples, so does a budget
    of passes.
    """
    if given.steps is not None and given.passes is not None:
        raise ArgumentError("steps and passes say the same thing twice: name one of them")
    classes: dict[str, Any] = {kind: find(kind, getattr(given, kind), KNOWN[kind]) for kind in KNOWN}
    _check_types(classes)
    task, rule = classes["task"], classes["rule"]
    shipped = _shipped(task, given)
    filled = _layered(DEFAULTS, task.settings, rule.settings, shipped)
    fields = {k: v for k, v in filled.items() if getattr(given, k) is None}
    own = {
        "rule": {k: v for k, v in shipped.items() if k not in FIELDS},
        "cell": task.cell_settings.get(given.cell, {}),
    }
    for kind, cls in classes.items():
        asked = {**own.get(kind, {}), **getattr(given, f"{kind}_options")}
        fields[f"{kind}_options"] = settings_of(kind, cls, asked)
    fields["units"] = parse_units(fields.get("units", given.units))
    e = dataclasses.replace(given, **fields)
    return _afford(e, rule, given.passes is None and e.steps is not None)


def _layered(*layers: dict[str, Any]) -> dict[str, Any]:
    """Lay run settings over each other; steps and a budget of passes take each other's place."""
    filled: dict[str, Any] = {}
    for layer in layers:
        for one, other in (("steps", "passes"), ("passes", "steps")):
            if one in layer:
                filled.pop(other, None)
        filled |= {k: v for k, v in layer.items() if k in FIELDS or k == "units"}
    return filled


def _shipped(task: Any, given: Experiment) -> dict[str, Any]:
    """Return what the task ships for the rule: the first settings that agree with all that the user named."""
    rule: Any = find("rule", given.rule, RULES)
    for settings in task.rule_settings.get(given.rule, ()):
        mode = settings.get("mode", DEFAULTS["mode"])
        options = {k: v for k, v in settings.items() if k not in FIELDS} | given.rule_options
        if given.mode in (None, mode) and _runs(rule, options, mode):
            return settings
    return {}


def _runs(rule: Any, options: dict[str, Any], mode: str) -> bool:
    """Whether the rule exists with these settings, and learns in that mode."""
    try:
        made = rule(**provisional(rule, settings_of("rule", rule, options)))
    except ArgumentError:
        return False
    return mode == "sequence" or not made.needs_sequence()


def _afford(e: Experiment, rule: Any, named: bool) -> Experiment:
    """Turn a budget of passes into steps, unless steps were named."""
    if not named:
        positive("passes", e.passes)
        if "samples" in unmeasured(e.rule_options):
            return dataclasses.replace(e, steps=None)
        made = rule(**provisional(rule, e.rule_options))
        e = dataclasses.replace(e, steps=max(1, (e.passes or 0) // passes_per_step(e, made)))
    return dataclasses.replace(e, passes=None)


def passes_per_step(e: Experiment, rule: Rule) -> int:
    """Return forward passes per training step; decorrelating a sequence takes a clean pass of its own."""
    return rule.passes() + (e.decorrelate != "off" and e.mode == "sequence")


def _check_types(classes: dict[str, type]) -> None:
    from perturbax.network.layer import Layer

    for kind, base in (("task", Task), ("rule", Rule), ("cell", Layer)):
        if not issubclass(classes[kind], base):
            raise ArgumentError(
                f"{classes[kind].__name__} is not a {kind}: it must derive from {base.__name__}"
            )


def build(given: Experiment) -> Parts:
    """Check an experiment and make its parts; the task's data is read and what is `auto` is measured here."""
    e = fill_in(given)
    for name in ("steps", "batch", "lr", "every", "decor_lr", "logs"):
        positive(name, getattr(e, name))
    if not e.units:
        raise ArgumentError("units needs at least one layer")
    for n in parse_units(e.units):
        positive("units", n)
    if e.clip is None or e.clip < 0:
        raise ArgumentError(f"clip must be 0 (off) or more, not {e.clip}")
    check_seed(e.seed)
    if (e.batch or 0) >= 2**31:
        raise ArgumentError(f"batch {e.batch} is beyond any memory")
    one_of("mode", str(e.mode), ("sequence", "online"))
    one_of("decorrelate", str(e.decorrelate), ("off", "hidden", "hidden+input"))
    rule_class: Any = find("rule", e.rule, RULES)
    task_class: Any = find("task", e.task, TASKS)
    rule = rule_class(**provisional(rule_class, e.rule_options))
    task = task_class(**e.task_options).open(None if e.data is None else Path(e.data))
    updates = _updates(e, rule, task)
    found: dict[str, Any] = {}
    if unmeasured(e.rule_options):
        net_key, _, key = jr.split(jr.PRNGKey(e.seed), 3)  # the network that training starts from
        rule, options, found = auto.measure(e, rule, task, make_network(e, task.sizes, net_key), key)
        e = _afford(dataclasses.replace(e, rule_options=options), rule_class, e.steps is not None)
    optimiser = make_optimiser(e, updates, (e.lr or 0.0) * _lr_scale(e, rule, task))
    # D must come to rest with the weights that read through it: both follow the schedule.
    parts = Parts(e, task, rule, optimiser, make_rate(e, updates, e.decor_lr), updates, found)
    check(rule, jax.eval_shape(parts.network, jr.PRNGKey(0)))
    _check_optimiser(parts)
    return parts


def check_seed(seed: int) -> None:
    """Raise ArgumentError for a seed that JAX does not tell from another."""
    if not 0 <= seed < 2**31:
        raise ArgumentError(f"seed must be from 0 to 2^31 - 1, not {seed}")


def _lr_scale(e: Experiment, rule: Rule, task: Task) -> int:
    """What the learning rate is multiplied with: T where the source of a rule sums over time, in plain
    SGD.
    """
    return task.steps if rule.summed and e.mode == "sequence" and e.optimiser == "sgd" else 1


def _updates(e: Experiment, rule: Rule, task: Task) -> int:
    """Updates per training step."""
    if e.mode == "sequence":
        return 1
    if reason := rule.needs_sequence():
        raise ArgumentError(reason)
    every = e.every or 1
    if task.steps % every:
        fits = [k for k in range(1, task.steps + 1) if task.steps % k == 0]
        near = min(fits, key=lambda k: abs(k - every))
        raise ArgumentError(
            f"every must divide the {task.steps} steps of a sequence: {every} does not, {near} does"
        )
    return task.steps // every


def _check_optimiser(parts: Parts) -> None:
    """Refuse optimisers that want more than gradients, before any work is done."""

    def once(key: jax.Array) -> Any:
        some: Any = weights(parts.network(key))
        return parts.optimiser.update(some, parts.optimiser.init(some), some)

    try:
        jax.eval_shape(once, jr.PRNGKey(0))
    except (TypeError, ValueError, AttributeError) as error:
        jax.eval_shape(parts.network, jr.PRNGKey(0))  # a fault of the network speaks for itself
        first = str(error).splitlines()[0]
        raise ArgumentError(f"optimiser {parts.experiment.optimiser} cannot be used here: {first}") from error
