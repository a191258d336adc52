"""From a resolved run to its parts: task, rule, network, optimiser."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.tree_util import keystr, tree_flatten_with_path

from perturbax.cells.stack import below_and_all, stack
from perturbax.devices.checked import Checked
from perturbax.devices.choice import check_rule
from perturbax.devices.network import drawn, network_of, of_network
from perturbax.devices.opening import held_at_first, opened
from perturbax.errors import ArgumentError, LayerError, PerturbaxError
from perturbax.exchange.file import NirFile
from perturbax.experiment.asking import followed
from perturbax.experiment.attacks import attack_of, check_attack
from perturbax.experiment.auto import measure
from perturbax.experiment.config import ON_DEVICE, Experiment, Resolved, optimiser_text
from perturbax.experiment.integers import Integers
from perturbax.experiment.optimiser import OptimiserSettings
from perturbax.experiment.options import find, provisional, unmeasured
from perturbax.experiment.pruning import GROUPS, Pruning, PruningPlan, Single
from perturbax.experiment.resolve import KNOWN, nearest_divisor, passes_of_run, resolve, with_measured
from perturbax.experiment.smaller import Units, shapes_of
from perturbax.experiment.train_step import Hyperparameters, Setup, start
from perturbax.fields import one_of
from perturbax.learning.rule import Rule, check_derivatives
from perturbax.loop.in_world import InWorld, check_can_act
from perturbax.network.arrays import check_leaves
from perturbax.network.decorrelation import add_decorrelation
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.tasks.base import Task
from perturbax.tasks.contract import check_task
from perturbax.tasks.environment import Environment


class Parts(NamedTuple):
    """All that a run needs.

    Attributes:
        experiment: the run's settings, with all that was `auto` measured.
        setup: what its training steps are made of.
        auto: how the settings that were `auto` were settled, by name; empty where none was.
        device: the device that the network lives on; None in process.
        pruning: what is pruned; None for nothing.
    """

    experiment: Resolved
    setup: Setup
    auto: dict[str, Any]
    device: Checked | None = None
    pruning: Pruning | None = None

    @property
    def task(self) -> Task:
        """The task, its data read."""
        return self.setup.task

    @property
    def rule(self) -> Rule:
        """The learning rule."""
        return self.setup.rule

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """The optimiser at the experiment's own learning rate."""
        return self.setup.optimiser

    @property
    def updates(self) -> int:
        """Updates of the weights per training step."""
        return self.setup.updates

    @property
    def passes(self) -> int:
        """Forward passes per training step."""
        return self.setup.passes

    def network(self, key: jax.Array) -> Network:
        """Return a fresh network."""
        return self.setup.network(key)

    def with_rule(self, rule: Rule) -> "Parts":
        """Return the same parts with another rule object."""
        return self._replace(setup=self.setup._replace(rule=rule))


class Architecture(NamedTuple):
    """What a network is made from.

    Attributes:
        cell: class of the hidden layers.
        cell_options: its settings.
        sizes: (n_in, n_out) of the task.
        units: units of each hidden layer.
        residual: whether hidden layers above the first add to what they read.
        normalise: whether what a layer reads from a layer below is normalised over units.
        decorrelate: what is decorrelated: off, hidden or hidden+input.
        heads: none, or the kind of heads above every hidden layer.
    """

    cell: Any
    cell_options: dict[str, Any]
    sizes: Sequence[int]
    units: tuple[int, ...]
    residual: bool
    normalise: bool
    decorrelate: str
    heads: str = "none"

    @classmethod
    def of(cls, e: Resolved, sizes: Sequence[int], image: Sequence[int] = ()) -> "Architecture":
        """Return that of a run, for a task with these sizes, and images of this shape if it has any."""
        cell = find("cell", e.cell, KNOWN["cell"])
        options = e.cell_options
        if image and options.get("image") == "":
            options = options | {"image": tuple(image)}
        return cls(cell, options, sizes, e.units, e.residual, e.normalise, e.decorrelate, e.heads)

    def network(self, key: jax.Array) -> Network:
        """Return a fresh network: layers of the cell, a readout, and decorrelating matrices if asked for."""
        if self.cell is NirFile:
            net = NirFile.whole(self.sizes, self.cell_options)
        else:
            layers = stack(self.cell, self.sizes, self.units, key, heads=self.heads, **self.cell_options)
            reads = None if self.heads == "none" else below_and_all(len(layers))
            net = Network(layers, residual=self.residual, normalise=self.normalise, reads=reads)
        return add_decorrelation(net, self.decorrelate, self.sizes[0])


def build(experiment: Experiment | Resolved, task: Task | None = None) -> Parts:
    """Make the parts of a run: the task's data are read, and what is `auto` is measured, here.

    Arguments:
        experiment: what was typed, which is resolved first; or a run resolved already, taken as it is.
        task: its task with data in place; None to make it and read the data file.

    Raises ArgumentError for settings that cannot be used, DataError for data that cannot.
    """
    e = experiment if isinstance(experiment, Resolved) else resolve(experiment)
    rule_class: Any = find("rule", e.rule, KNOWN["rule"])
    rule_class(**provisional(rule_class, e.rule_options))  # settings it cannot have are refused before data
    task = task or open_task(e)
    check_task(task, e.batch, e.mode)
    check_attack(e, task)
    e, found = _with_followed(e, task)
    rule = rule_class(**provisional(rule_class, e.rule_options))
    device = None if e.device is None else opened(e.device, *task.sizes, task.steps)
    updates = _updates_per_step(e.mode, e.every, rule, task.steps)
    make_network: Callable[[jax.Array], Network]
    if device is not None:
        check_rule(rule, device.can, str(e.score))
        make_network = partial(_start_of_device, e, task, device, _held_at_first(e, device))
        starts_as_it_is = True
    else:
        architecture = Architecture.of(e, task.sizes, task.image)
        make_network, starts_as_it_is = architecture.network, architecture.cell is NirFile
    if isinstance(task, Environment):
        check_can_act(rule)
        make_network = partial(_acting, make_network, task)
    if unmeasured(e.rule_options):
        if device is not None:
            raise ArgumentError("auto settings of a rule are measured in process: on a device, name numbers")
        net_key, _, key = jr.split(jr.PRNGKey(e.seed), 3)  # the network that training starts from
        draw = partial(_draw, task, e.batch, e.mode)
        rule, options, measured = measure(rule, e.rule_options, task.loss, draw, make_network(net_key), key)
        found |= measured
        e = with_measured(e, rule, options)
    pruning = _pruning(e, rule, task, e.steps * updates)
    integers = _integers(e, rule)
    make_network = make_network if integers is None else partial(_rounded, make_network, integers)
    around = next((one.around for one in (pruning, integers) if one is not None), None)
    settings = OptimiserSettings(
        name=e.optimiser,
        schedule=e.schedule,
        clip=e.clip,
        updates=e.steps * updates,
        lr_scale=_lr_scale(rule, task, e.mode, e.optimiser),
        around=around,
    )
    setup = Setup(
        task=task,
        rule=rule,
        network=partial(_silent, make_network)
        if task.starts_at_zero and not starts_as_it_is
        else make_network,
        mode=e.mode,
        batch=e.batch,
        every=e.every,
        updates=updates,
        passes=passes_of_run(rule, vars(e)),
        attack=attack_of(e),
        settings=settings,
        hyperparameters=Hyperparameters(e.lr, e.decor_lr, _discount(e, rule)),
        optimiser=settings.optimiser(e.lr),
        decor_rate=settings.rate(e.decor_lr),
    )
    shapes = _network_shapes(e.cell, make_network)
    check_derivatives(rule, shapes)
    _check_optimiser(optimiser_text(e.optimiser), setup.optimiser, shapes)
    return Parts(e, setup, found, device, pruning)


def check_start(parts: Parts) -> None:
    """Raise what a run would raise at its first step for layers that its rule cannot serve.

    Nothing is computed.

    Arguments:
        parts: of the run.
    """
    if parts.device is None:
        jax.eval_shape(partial(start, parts.setup), 0)


def _integers(e: Resolved, rule: Rule) -> Integers | None:
    """Return the whole numbers that weights are, or None; ArgumentError where that cannot be."""
    if not e.bits:
        return None
    if e.device is not None:
        raise ArgumentError("a device has weights of its own precision: leave bits at 0")
    if e.prune:
        raise ArgumentError("pruning moves weights by less than a step of few bits: leave bits or prune at 0")
    integers = Integers(e.bits, e.bits_top)
    integers.check(rule)
    return integers


def _rounded(make_network: Callable[[jax.Array], Network], integers: Integers, key: jax.Array) -> Network:
    """Return a fresh network of the weights that there are."""
    return integers.rounded(make_network(key))


def _pruning(e: Resolved, rule: Rule, task: Task, updates: int) -> Pruning | None:
    """Return what a run prunes, or None; ArgumentError where that cannot be."""
    if not e.prune:
        return None
    if e.device is not None:
        raise ArgumentError("weights of a device are not pruned: leave prune at 0")
    one_of("prune_groups", e.prune_groups, GROUPS)
    plan = PruningPlan(e.prune, e.prune_by, e.prune_from * updates, e.prune_until * updates, e.prune_ceiling)
    plan.check()
    architecture = Architecture.of(e, task.sizes, task.image)
    held = _held_by(rule, architecture)
    if e.prune_groups == "weights":
        return Pruning(plan, Single(held))
    if architecture.cell is NirFile:
        raise ArgumentError("cell nir brings layers of fixed size: take prune_groups weights")
    if any(held):
        raise ArgumentError(f"rule {e.rule} leaves weights as they are, so that no whole unit can go")
    return Pruning(plan, units_of(architecture))


def units_of(architecture: Architecture) -> Units:
    """Return the units of the hidden layers of a network, as groups that are pruned.

    Arguments:
        architecture: what the network is made from.

    Raises ArgumentError for networks of which no smaller one can be made.
    """
    return Units(
        shapes_of(lambda units: architecture._replace(units=tuple(units)).network), architecture.units
    )


def _held_by(rule: Rule, architecture: Architecture) -> list[bool]:
    """Return for each array of weights whether a rule leaves it as it is, whatever its update."""
    shapes: Any = jax.eval_shape(lambda key: weights(architecture.network(key)), jr.PRNGKey(0))
    ones, zeros = (jax.tree.map(lambda w, v=v: jnp.full(w.shape, v, w.dtype), shapes) for v in (1, 0))
    after = jax.tree.leaves(rule.modify_updates(ones, zeros))
    return [not bool(jnp.any(u)) for u in after]


def settled_by(e: Resolved, task: Task) -> dict[str, Any]:
    """Return how the credit of a rule that was left open follows from its task, as `Parts.auto` has it.

    Arguments:
        e: the run.
        task: its opened task.
    """
    return _with_followed(e, task)[1]


def _with_followed(e: Resolved, task: Task) -> tuple[Resolved, dict[str, Any]]:
    """Return the run with the credit of its rule, and how that was found; nothing where it was not open."""
    rule_class: Any = find("rule", e.rule, KNOWN["rule"])
    choice = followed(task, rule_class, e.rule_options, e.mode, e.batch)
    if choice is None:
        return e, {}
    settled = dataclasses.replace(e, rule_options={**e.rule_options, **choice.settings})
    return settled, {"credit": choice.facts()}


def _held_at_first(e: Resolved, device: Checked) -> dict[str, Any] | None:
    """Return the weights that a device holds, where a run starts with these; None where it does not."""
    if e.start != "held":
        return None
    held = held_at_first(device)
    if held is None:
        raise ArgumentError(f"{device.can.name} cannot tell which weights it holds: take --start drawn")
    return held


def _start_of_device(
    e: Resolved, task: Task, device: Checked, held: dict[str, Any] | None, key: jax.Array
) -> Network:
    """Return the weights that a run on a device starts with.

    Arguments:
        e: the run.
        task: its task, for its sizes.
        device: the device.
        held: the weights that it held at first, where the run starts with these.
        key: of the drawn ones.
    """
    if held is not None:
        return network_of(device.can, held)
    if e.cell == ON_DEVICE:
        return drawn(device.can, key)
    return of_network(device.can, Architecture.of(e, task.sizes, task.image).network(key))


def discounted(e: Resolved) -> bool:
    """Whether the discount of the rule matters: it accepts one, and credit reaches beyond the same step."""
    own = e.rule_options
    if "discount" not in own or own.get("credit") == "same-step" or own.get("tangents") == "weights":
        return False
    rule = find("rule", e.rule, KNOWN["rule"])
    try:
        rule(**{**provisional(rule, own), "discount": 0.5})
    except ArgumentError:
        return False
    return True


def _discount(e: Resolved, rule: Rule) -> float | None:
    """Return the discount that programs take as a number, so that runs with another one share them.

    None where it is a constant of the program: where it weights nothing, or all alike, and in rules that are
    not ours, which may read it while they are traced.
    """
    own = e.rule_options.get("discount")
    ours = type(rule).__module__.split(".")[0] == "perturbax"
    return own if ours and isinstance(own, float) and 0 < own < 1 and discounted(e) else None


def open_task(e: Resolved) -> Task:
    """Return the task of a run, its data read."""
    task_class: Any = find("task", e.task, KNOWN["task"])
    return task_class(**e.task_options).open(None if e.data is None else Path(e.data))


def _silent(make_network: Callable[[jax.Array], Network], key: jax.Array) -> Network:
    """Return a fresh network whose outputs are 0: all weights of its readout are."""
    net = make_network(key)
    readout = net.layers[-1]
    zeros = jax.tree.map(jnp.zeros_like, weights(readout))
    return net.like((*net.layers[:-1], eqx.combine(zeros, readout)), net.decor)


def _acting(
    make_network: Callable[[jax.Array], Network], environment: Environment, key: jax.Array
) -> Network:
    """Return a fresh network in its world."""
    return InWorld(make_network(key), environment)


def _draw(task: Task, batch: int, mode: str, key: jax.Array) -> tuple[Any, Any]:
    """Return training data (xs, ys): a batch of sequences, or the first stretch of a stream."""
    return task.stream(key, 0, batch) if mode == "online" else task.sample(key, batch)


def _lr_scale(rule: Rule, task: Task, mode: str, optimiser: Any) -> int:
    """Return what the learning rate is multiplied with, which is 1 but in plain SGD.

    It is T for rules whose source sums estimates over time, where this package averages them.
    """
    return task.steps if rule.facts.summed and mode == "sequence" and optimiser == "sgd" else 1


def _updates_per_step(mode: str, every: int, rule: Rule, steps: int) -> int:
    """Return the updates per training step: one per batch, or online one per `every` steps of a sequence."""
    if mode == "sequence":
        return 1
    if reason := rule.described().offline:
        raise ArgumentError(reason)
    if steps % every:
        nearest = nearest_divisor(steps, every)
        raise ArgumentError(
            f"every must divide the {steps} steps of a sequence: {every} does not, {nearest} does"
        )
    return steps // every


def _network_shapes(cell: str, make_network: Callable[[jax.Array], Network]) -> Network:
    """Return a network of shapes; refuse one that a compiled program or a file cannot hold as it is."""
    shapes = eqx.filter_eval_shape(make_network, jr.PRNGKey(0))
    static = "make the field static (px.setting, or eqx.field(static=True))"
    try:
        check_leaves(shapes)
    except PerturbaxError as error:
        raise LayerError(f"cell {cell}: {error}; {static}") from None
    for path, leaf in tree_flatten_with_path(shapes)[0]:
        if isinstance(leaf, float | complex):
            name = keystr(path).lstrip(".")
            raise LayerError(f"cell {cell}: {name} is a number that would become a weight; {static}")
    return shapes


def _check_optimiser(name: str, optimiser: optax.GradientTransformation, shapes: Network) -> None:
    """Refuse an optimiser that wants more than gradients, before any work is done; shapes: of the network."""

    def update_once(net: Network) -> Any:
        some: Any = weights(net)
        return optimiser.update(some, optimiser.init(some), some)

    try:
        eqx.filter_eval_shape(update_once, shapes)
    except (TypeError, ValueError, AttributeError) as error:
        first = str(error).splitlines()[0]
        raise ArgumentError(f"optimiser {name} cannot be used here: {first}") from error
