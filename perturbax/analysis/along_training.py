"""Diagnosis of a rule at several points of a training run, or at the network that a finished run has kept."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.analysis.diagnosis import InProcess, Source, compile_diagnosis
from perturbax.analysis.group import TARGET, Cost
from perturbax.analysis.on_device import REPEATS, OnDevice
from perturbax.devices.gradient import weight_count
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.experiment import run_folder
from perturbax.experiment.build import Parts, build
from perturbax.experiment.config import Experiment
from perturbax.experiment.device_program import program_of
from perturbax.experiment.layout import layout_of
from perturbax.experiment.precision import require_same
from perturbax.experiment.result import describe, read_config, read_experiment
from perturbax.experiment.watch import StepReport
from perturbax.learning.autodiff import bptt
from perturbax.learning.estimator import learner
from perturbax.learning.facts import USES, Facts
from perturbax.learning.products import difference_error, in_full
from perturbax.learning.rule import Rule, SequenceRule, StepRule
from perturbax.network.network import Network
from perturbax.tasks.environment import Environment

DIAGNOSED_STEP = 2**31 - 2  # training step whose batch is diagnosed: none that a run would reach
DETECTION_DRAWS = 2  # further draws of every point, which tell rules without noise


class Point(NamedTuple):
    """A network on which a rule is diagnosed.

    Attributes:
        name: `start`, `middle`, `end` or `kept network`.
        step: training steps so far.
        net: the network.
        kept: what the rule has learnt by then; None for a rule that is new there.
    """

    name: str
    step: int
    net: Network
    kept: PyTree


class DiagnosisPlan(NamedTuple):
    """What is diagnosed, and where.

    Attributes:
        parts: the experiment whose rule is diagnosed.
        path: in words, which training the points lie on.
        points: how many there are.
        walk: one batch of inputs `(T, B, n_in)` -> the points, one after the other.
    """

    parts: Parts
    path: str
    points: int
    walk: Callable[[Array], Iterator[Point]]


class Beside(SequenceRule):
    """The exact gradient (BPTT) trains the network while a rule watches: it learns what it keeps between
    updates, such as feedback weights, but changes no weight.

    Attributes:
        rule: the rule that watches.
    """

    rule: Rule

    facts: ClassVar[Facts] = Facts(target="full gradient, exact", uses=USES)

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return what the rule that watches knows at first."""
        return self.rule.init_state(net, x, key)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Return the new state of the rule that watches; loss and gradient of BPTT."""
        state, _, _ = learner(self.rule, loss).update(state, net, xs, ys, key)
        return state, *bptt(loss)(net, xs, ys)


def along_training(experiment: Experiment, leading: Experiment | None = None) -> DiagnosisPlan:
    """Plan a diagnosis at the start, the middle and the end of a training run.

    Arguments:
        experiment: the run; its rule is diagnosed.
        leading: the same run by BPTT, where that trains the network while the rule watches; None where the
            rule trains the network itself.
    """
    parts = build(experiment)
    _check_has_gradient(parts)
    if leading is not None and parts.device is not None:
        raise ArgumentError(
            "a network on a device cannot be trained by the exact gradient: leave --train at rule"
        )
    if leading is None:
        trained, path = parts, f"training by {parts.experiment.rule}"
    else:
        trained, path = build(leading).with_rule(Beside(parts.rule)), "training by the exact gradient"
    steps = trained.experiment.steps
    stops = sorted({0, steps // 2, steps})
    names = ("start", "middle", "end") if len(stops) == 3 else ("start", "end")

    def walk(xs: Array) -> Iterator[Point]:
        compiled = program_of(trained)
        state, done = compiled.start(trained.experiment.seed), 0
        for name, stop in zip(names, stops, strict=True):
            if stop > done:
                (state,), losses, _, _ = compiled.advance([state], stop - done)
                if not jnp.isfinite(losses).all():
                    raise PerturbaxError(
                        f"the loss was no longer finite before step {stop} (try a lower --lr)"
                    )
                done = stop
            yield Point(name, stop, state.learner.net, _kept(trained, state.learner))

    return DiagnosisPlan(parts, f"{path}, {steps} steps", len(stops), walk)


def of_run(folder: Path, asked: Experiment) -> DiagnosisPlan:
    """Plan a diagnosis at the network that a run has kept.

    Arguments:
        folder: the run folder.
        asked: the run's experiment, perhaps with another rule or seed, or its device named again. The run's
            own rule is diagnosed with what it had learnt, any other rule as new.

    What the folder names is imported: the caller asks whether it is trusted (`own_code.code_of`).

    Raises ArgumentError where the data have changed since the run, and where it computed in another precision
    than this process; StoreError where no weights are kept.
    """
    config = read_config(folder)
    layout = layout_of(folder / "config.json", config)
    require_same(folder, layout)
    trained = read_experiment(folder)
    if trained.device is None and asked.device is not None:
        raise ArgumentError(f"{folder} was run in process: it takes no device")
    parts = build(dataclasses.replace(trained, device=asked.device))
    own = parts.experiment
    if parts.task.digest() != config["facts"]["data"]:
        raise ArgumentError(f"{own.data} has changed since {folder} was started")
    found = run_folder.last_checkpoint(folder)
    if found is None:
        raise StoreError(f"{folder} has kept no weights yet")
    arrays = run_folder.read_arrays(found[1], layout)
    for name in ("seconds", "compile_seconds"):  # of the run, not of its state
        arrays.pop(name, None)
    compiled = program_of(parts)
    state = compiled.restored(compiled.start(own.seed), arrays, found[1])
    asked_parts = build(asked)
    _check_has_gradient(asked_parts)
    e = asked_parts.experiment
    own_rule = (e.rule, e.rule_options) == (own.rule, own.rule_options)

    def walk(xs: Array) -> Iterator[Point]:
        kept = _kept(parts, state.learner) if own_rule else None
        yield Point("kept network", int(state.best_step), state.best, kept)

    return DiagnosisPlan(asked_parts, f"the run {folder.name}, by {own.rule}", 1, walk)


def _check_has_gradient(parts: Parts) -> None:
    """Raise ArgumentError for a world: what actions do to it has no gradient to compare estimates with."""
    if isinstance(parts.task, Environment):
        name = parts.experiment.task
        raise ArgumentError(
            f"what actions do to {name} has no derivative, so that there is no exact gradient to compare "
            f"estimates with: compare what rules reach, by perturbax compare --task {name} --rules ..."
        )


def diagnose_points(
    plan: DiagnosisPlan,
    samples: Sequence[int],
    draws: int,
    report: StepReport,
    *,
    reference: str | None = None,
    repeats: int | None = None,
) -> dict[str, Any]:
    """Diagnose a rule at every point of a plan; all points share one batch, which no training step draws.

    Arguments:
        plan: the rule and the points.
        samples: numbers of samples that estimates are averaged over.
        draws: independent draws of every average.
        report: called as report(done, total, NaN) after every draw.
        reference: on a device, how its gradient is measured there, `differences` or `perturbations`; None for
            what suits the device.
        repeats: on a device, independent measurements of it; None for 4.

    Returns the content of diagnosis.json: plain values. Raises ArgumentError for a reference or repeats of a
    network in this process, whose gradient is exact.
    """
    rule, task, e = plan.parts.rule, plan.parts.task, plan.parts.experiment
    done = total = 0

    def tick() -> None:
        nonlocal done
        done += 1
        report(min(done, total), total, math.nan)

    source = _source(plan.parts, reference, repeats, tick)
    told = source.told()
    per_point = draws + DETECTION_DRAWS + told.get("repeats", 0)
    total = plan.points * per_point
    measure = compile_diagnosis(rule, task.loss, samples, draws, tick, source)
    data_key, key = jr.split(jr.fold_in(jr.PRNGKey(e.seed), DIAGNOSED_STEP))
    batch = task.sample(data_key, e.batch)
    found = []
    for i, point in enumerate(plan.walk(batch[0])):
        found.append(_at_point(source, measure, point, rule, batch, jr.fold_in(key, i)))
        done = (i + 1) * per_point
    return run_folder.to_json(
        {
            **describe(plan.parts),
            "path": plan.path,
            "samples": sorted(set(samples)),
            "draws": draws,
            "target": TARGET,
            "cost": Cost.of(rule)._asdict(),
            **({"reference": told} if told else {}),
            "points": found,
        }
    )


def trials_on_device(
    plan: DiagnosisPlan, samples: Sequence[int], draws: int, repeats: int | None = None
) -> int:
    """Return how many trials a diagnosis asks of a device, beside those of training; 0 in process.

    Arguments:
        plan: the rule and the points.
        samples: as for `diagnose_points`.
        draws: likewise.
        repeats: likewise.
    """
    device, e = plan.parts.device, plan.parts.experiment
    if device is None:
        return 0
    of_reference = (REPEATS if repeats is None else repeats) * 2 * weight_count(device.can)
    estimates = DETECTION_DRAWS + draws * max(samples)
    return plan.points * e.batch * (of_reference + estimates * Cost.of(plan.parts.rule).first)


def _source(parts: Parts, reference: str | None, repeats: int | None, tick: Callable[[], None]) -> Source:
    """Return where estimates and reference come from; arguments as in `diagnose_points`."""
    device, loss = parts.device, parts.task.loss
    if device is not None:
        return OnDevice(parts.rule, loss, device, str(parts.experiment.score), reference, repeats, tick)
    if reference is not None or repeats is not None:
        raise ArgumentError("--reference and --repeats are of a gradient that is measured on a --device")
    return InProcess(parts.rule, loss)


def _at_point(
    source: Source, measure: Callable, point: Point, rule: Rule, batch: tuple[Array, Any], key: Array
) -> dict[str, Any]:
    """Return what is found at one point; measure: of `compile_diagnosis`, batch: (xs, ys)."""
    before = source.spent()
    compared_with = source.reference(point.net, *batch, key)
    between = source.spent()
    kept = source.known(point.kept, point.net, *batch, key)
    groups = measure(kept, point.net, *batch, key, compared_with)
    costs = {"reference": _difference(before, between), "estimates": _difference(between, source.spent())}
    here = not before  # a device rounds in its own way
    error = difference_error(rule, point.net) if here else None
    return {
        "name": point.name,
        "step": point.step,
        "loss": compared_with.loss,
        "rounding": {"error": error, "in_full": here and in_full(rule, point.net)},
        "groups": [dataclasses.asdict(group) for group in groups],
        **({} if here else costs),
    }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked of a device between two moments."""
    return {name: after[name] - before[name] for name in after}


def _kept(parts: Parts, training: Any) -> PyTree:
    """Return what the rule has learnt: carried from sequence to sequence, or along the stream."""
    rule = parts.rule
    if parts.experiment.mode == "online" and isinstance(rule, StepRule):
        return rule.final_state(training.carry)
    return training.kept
