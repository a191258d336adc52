"""The command `diagnose`: a rule's estimates against the exact gradient, along a training run or at a
finished one.
"""

import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perturbax.analysis.diagnosis import TARGET, Cost, meter
from perturbax.cli.commands import progress
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.experiment import run_folder
from perturbax.experiment.build import Parts, build
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import describe, read_config, read_experiment
from perturbax.experiment.variants import experiment_from
from perturbax.fields import one_of
from perturbax.learning.autodiff import bptt
from perturbax.learning.rule import Rule, WholeSequence
from perturbax.learning.sequence import Learner, Loss
from perturbax.network.network import Network
from perturbax.report.diagnosis import HEADS, MEANING, place, rows, subject, write_diagnosis

STEPS = 300  # of the training run, unless named
BATCH = 2**31 - 2  # the step whose data are diagnosed: none that a run would reach
OWN = ("rule", "seed")  # what may be changed beside --run


class Point(NamedTuple):
    """Where on the way a rule is diagnosed; kept is what it has learnt by then."""

    name: str
    step: int
    net: Network
    kept: PyTree


class Beside(WholeSequence):
    """The exact gradient, with a rule that watches: it learns what it keeps, but moves no weight.

    Attributes:
        rule: the rule that watches.
    """

    rule: Rule

    def begin(self, net: Network, x: Array) -> PyTree:
        """The rule's own."""
        return self.rule.begin(net, x)

    def learner(self, loss: Loss) -> Learner:
        """The rule's memory, BPTT's gradient."""
        watch, exact = self.rule.learner(loss), bptt(loss)

        def learn(kept: PyTree, net: Network, xs: Array, ys: Any, key: Array) -> tuple:
            return (watch(kept, net, xs, ys, key)[0], *exact(net, xs, ys))

        return learn


def diagnose_command(
    given: dict[str, Any],
    settings: dict[str, dict[str, str]],
    samples: str,
    draws: str,
    train: str,
    run: str | None,
    out: str | None,
) -> int:
    """Print the diagnosis of a rule; with out, write diagnosis.json and diagnosis.html there."""
    counts = [coerce("samples", text.strip(), int) for text in samples.split(",")]
    number = coerce("draws", draws, int)
    one_of("train", train, ("rule", "bptt"))
    if out is not None:
        run_folder.refuse_occupied(Path(out))
    plan = _of_run(Path(run), given, settings) if run is not None else _along(given, settings, train)
    parts = plan.parts
    with progress(f"diagnose {parts.experiment.rule}") as bar:
        done = [0]

        def tick() -> None:
            done[0] += 1
            bar(min(done[0], total), total, math.nan)

        total = plan.points * (number + 2)
        measure = meter(parts.rule, parts.task.loss, counts, number, tick)
        data_key, key = jr.split(jr.fold_in(jr.PRNGKey(parts.experiment.seed), BATCH))
        xs, ys = parts.task.sample(data_key, parts.experiment.batch or 1)
        exact = jax.jit(bptt(parts.task.loss))
        found = []
        for i, point in enumerate(plan.walk(xs)):
            loss = float(exact(point.net, xs, ys)[0])
            groups = measure(point.kept, point.net, xs, ys, jr.fold_in(key, i))
            done[0] = (i + 1) * (number + 2)
            plain = [dataclasses.asdict(g) for g in groups]
            found.append({"name": point.name, "step": point.step, "loss": loss, "groups": plain})
    numbers = {
        "samples": sorted(set(counts)),
        "draws": number,
        "target": TARGET,
        "cost": Cost.of(parts.rule)._asdict(),
    }
    data = run_folder.plain(describe(parts) | {"path": plan.path} | numbers | {"points": found})
    _show(data)
    if out is not None:
        print(f"diagnosis: {write_diagnosis(data, Path(out))}")
    return 0


class _Plan(NamedTuple):
    parts: Parts  # of the rule that is diagnosed
    path: str
    points: int
    walk: Callable  # batch -> the points, one after the other


def _along(given: dict[str, Any], settings: dict[str, dict[str, str]], train: str) -> _Plan:
    """Plan for start, middle and end of a short training run."""
    if not {"steps", "passes"} & set(given):
        given = given | {"steps": STEPS}
    parts = build(experiment_from(Experiment(), given, settings))
    path, leading = f"training by {parts.experiment.rule}", parts
    if train == "bptt":
        e = experiment_from(Experiment(), given | {"rule": "bptt"}, settings | {"rule": {}})
        leading = build(e)._replace(rule=Beside(parts.rule))
        path = "training by the exact gradient"
    steps = leading.experiment.steps or 0
    stops = sorted({0, steps // 2, steps})

    def walk(xs: Array) -> Any:
        compiled = Compiled(leading)
        state, at = compiled.start(leading.experiment.seed), 0
        for name, stop in zip(
            ("start", "middle", "end") if len(stops) == 3 else ("start", "end"), stops, strict=True
        ):
            if stop > at:
                (state,), losses, _, _ = compiled.advance([state], stop - at)
                if not jnp.isfinite(losses).all():
                    raise PerturbaxError(
                        f"the loss was no longer finite before step {stop} (try a lower --lr)"
                    )
                at = stop
            yield Point(name, stop, state.learner.net, _kept(leading, state.learner))

    return _Plan(parts, f"{path}, {steps} steps", len(stops), walk)


def _of_run(folder: Path, given: dict[str, Any], settings: dict[str, dict[str, str]]) -> _Plan:
    """Plan for the kept network of a run, by its own rule with what that has learnt, or by another rule."""
    if other := [*(k for k in given if k not in OWN), *(k for k in ("task", "cell") if settings[k])]:
        raise ArgumentError(
            f"--run brings its own task and network: it takes --rule and --seed, not --{other[0]}"
        )
    config, own = read_config(folder), read_experiment(folder)
    parts = build(own)
    if parts.task.digest() != config["facts"]["data"]:
        raise ArgumentError(f"{own.data} has changed since {folder} was started")
    found = run_folder.last_checkpoint(folder)
    if found is None:
        raise StoreError(f"{folder} has kept no weights yet")
    arrays = run_folder.read_arrays(found[1])
    times = ("seconds", "compile_seconds")
    arrays = {k: v for k, v in arrays.items() if k not in times}
    compiled = Compiled(parts)
    state = compiled.restored(compiled.start(own.seed), arrays, found[1])
    asked = build(experiment_from(own, given, settings))
    same = (asked.experiment.rule, asked.experiment.rule_options) == (own.rule, own.rule_options)

    def walk(xs: Array) -> Any:
        kept = _kept(parts, state.learner) if same else asked.rule.begin(state.best, xs[0])
        yield Point("kept network", int(state.best_step), state.best, kept)

    return _Plan(asked, f"the run {folder.name}, by {own.rule}", 1, walk)


def _kept(parts: Parts, learner: Any) -> PyTree:
    """Return what the rule has learnt: carried from sequence to sequence, or along the stream."""
    return parts.rule.keep(learner.carry) if parts.experiment.mode == "online" else learner.kept


def _show(data: dict[str, Any]) -> None:
    """Print a table for every point."""
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    facts = data["facts"]["rule"]
    console.print(f"{subject(data)}; {data['path']}", markup=False)
    console.print(
        f"told: {', '.join(facts['uses'])}; estimates: {facts['target'] or 'not stated'}", markup=False
    )
    for point in data["points"]:
        table = Table(
            title=place(point),
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
            padding=(0, 1),
        )
        for head in (*HEADS, f"passes to {TARGET:g}"):
            table.add_column(head, justify="left" if head == "weights" else "right", no_wrap=True)
        for group in point["groups"]:
            for row in rows(group):
                table.add_row(*map(Text, row))
        console.print()
        console.print(table)
    console.print()
    console.print(Text(MEANING.format(**data), style="dim"))
