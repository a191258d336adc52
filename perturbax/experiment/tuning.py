"""Search for the best settings by short runs, judged on validation data: candidates, the best, the files."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment import own_code, run_folder
from perturbax.experiment.atomic import writing
from perturbax.experiment.build import Parts, build
from perturbax.experiment.config import KINDS, Experiment, Resolved
from perturbax.experiment.options import AUTO, coerce
from perturbax.experiment.result import describe
from perturbax.experiment.search import Trial, discounted
from perturbax.experiment.search import tune as search
from perturbax.experiment.shown import aligned, html_table
from perturbax.experiment.variants import with_settings
from perturbax.experiment.watch import Report, watcher_of
from perturbax.fields import positive

RATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # candidates, times the learning rate that is shipped or named
DISCOUNTS = (0.9, 0.95, 1.0)  # candidates beside the discount that is shipped
SHARE = 10  # short runs take one in so many steps of a whole run
IN_ONE_PROGRAM = {"lr": "lr", "decor_lr": "decor_lr", "rule.discount": "discount"}
"""Settings whose candidates one compiled program advances, and their names in a `Trial`."""

Values = Mapping[str, Any]  # of settings by name, such as rule.sigma


@dataclasses.dataclass(frozen=True, repr=False)
class Tuned:
    """What a search has found.

    Attributes:
        experiment: the whole run with the best settings, for `px.run`; None where every candidate diverged.
        candidates: what was tried, the best first: `lr`, `decor_lr`, `discount` (None for what the run has),
            `settings` (those of `over` by name), `loss` (the mean over seeds of the lowest validation loss;
            infinite if any seed diverged), `losses` and `diverged_at` of each seed.
        steps: training steps of the short runs.
        seeds: those of every candidate.
        tried: what was searched: setting -> its candidates.
        folder: where tune.json and the best config.json are; None for a search without a folder.
    """

    experiment: Resolved | None
    candidates: list[dict[str, Any]]
    steps: int
    seeds: list[int]
    tried: dict[str, list[Any]]
    folder: Path | None = None

    @property
    def best(self) -> dict[str, Any] | None:
        """The best candidate; None where every one diverged."""
        first = self.candidates[0]
        return first if math.isfinite(first["loss"]) else None

    def at_edge(self) -> dict[str, float]:
        """Return the best values that are the smallest or largest tried, rates and numbers above 0."""
        found = {}
        for name, values in self.tried.items():
            best = self.best and value_of(self.best, name)
            numbers = [value for value in values if isinstance(value, int | float) and value > 0]
            if name != "rule.discount" and len(numbers) > 1 and best in (min(numbers), max(numbers)):
                found[name] = best
        return found

    def __repr__(self) -> str:
        """Return the candidates as a table, the best first."""
        return f"{self._said()}\n{aligned(*self._table())}"

    def _repr_html_(self) -> str:
        """Return the candidates as a table in HTML."""
        return html_table(self._said(), *self._table())

    def _said(self) -> str:
        """Return what was searched."""
        return f"{len(self.candidates)} candidates, {self.steps} steps each, the best first"

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        """Return the heads and rows of the table of candidates."""
        rows = [[*(value_of(c, name) for name in self.tried), c["loss"]] for c in self.candidates]
        return [*self.tried, "validation loss"], rows


def value_of(candidate: Mapping[str, Any], name: str) -> Any:
    """Return the value of a setting of a candidate; None for what the run has."""
    if name in IN_ONE_PROGRAM:
        return candidate[IN_ONE_PROGRAM[name]]
    return candidate["settings"].get(name)


def tune(
    experiment: Experiment | Resolved | None = None,
    out: Path | str | None = None,
    *,
    over: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 1,
    steps: int | None = None,
    report: Report | None = None,
    **settings: Any,
) -> Tuned:
    """Try candidates by short runs and judge them on validation data; test data are not read.

        px.tune(task="copy", rule="node", over={"lr": [3e-4, 1e-3], "rule.sigma": [1e-3, 1e-2]})

    All combinations of the candidates are tried. One compiled program advances those of learning rates, rates
    of decorrelation and discounts side by side; each combination of other settings has a program of its own.

    Arguments:
        experiment: the run that is searched for; None for one that `settings` describe alone.
        out: a folder to write: tune.json, and config.json with the best settings, from which `px.run` and
            `perturbax run --config` start. None to write nothing.
        over: setting -> candidates: fields of an `Experiment` (`lr`, `decor_lr`, `batch`, ...) and settings
            of its task, rule and cell (`rule.sigma`, `cell.gain`). Unless it names any but rates and the
            discount, what it leaves out is searched as well: five learning rates around that of the run, and
            discounts, where the rule's credit has one and the run does not name it.
        seeds: number of seeds of each candidate, from that of the run on.
        steps: training steps of the short runs; None for a tenth of those of a whole run.
        report: as for `px.run`.
        settings: as for `px.run`.

    Raises what `px.run` raises, and ArgumentError for candidates that cannot be used.
    """
    folder = None if out is None else run_folder.as_path("out", out)
    if folder is not None:
        run_folder.refuse_occupied(folder)
    _check_count(seeds)
    base = with_settings(experiment, settings)
    whole = build(base)
    grid = {} if over is None else _checked(over)
    if all(name in IN_ONE_PROGRAM for name in grid):
        grid = _defaults(base, whole) | grid
    apart = {name: values for name, values in grid.items() if name not in IN_ONE_PROGRAM}
    together = {own: list(grid[name]) for name, own in IN_ONE_PROGRAM.items() if name in grid}
    numbers = list(range(whole.experiment.seed, whole.experiment.seed + seeds))
    found: list[tuple[dict[str, Any], Parts, Trial]] = []
    wholes: list[tuple[dict[str, Any], Parts]] = []
    length, watcher = 0, watcher_of(report)

    def told(done: int, total: int, loss: float) -> None:
        watcher.advanced(whole.experiment.rule, numbers, done, total, loss, math.nan)

    for combination in _combinations(apart):
        whole_one = build(_with(base, combination)) if combination else whole
        e = whole_one.experiment
        combination = {name: _used(e, name, value) for name, value in combination.items()}
        wholes.append((combination, whole_one))
        length = max(1, e.steps // SHARE) if steps is None else steps
        parts, trials = search(
            dataclasses.replace(e, steps=length),
            together.get("lr", [e.lr]),
            together.get("discount", (None,)),
            numbers,
            decor_lrs=together.get("decor_lr", (None,)),
            report=told,
        )
        found += [(combination, parts, trial) for trial in trials]
    found.sort(key=lambda one: one[2].loss)
    candidates = [
        {**trial._asdict(), "settings": combination, "loss": trial.loss} for combination, _, trial in found
    ]
    best_whole = next(parts for combination, parts in wholes if combination == found[0][0])
    tuned = Tuned(None, candidates, length, numbers, {name: list(v) for name, v in grid.items()}, folder)
    if tuned.best is not None:
        tuned = dataclasses.replace(tuned, experiment=_best_run(best_whole.experiment, tuned.best))
    if folder is not None:
        _write(folder, tuned, best_whole, found[0][1])
    return tuned


def _check_count(seeds: object) -> None:
    """Raise ArgumentError for a number of seeds that is no count."""
    if not isinstance(seeds, int) or isinstance(seeds, bool):
        raise ArgumentError(f"seeds must be a whole number, not {seeds!r}")
    positive("seeds", seeds)


def _defaults(base: Experiment, whole: Parts) -> dict[str, list[Any]]:
    """Return the candidates where none are named: learning rates, and discounts unless one is named."""
    e = whole.experiment
    grid: dict[str, list[Any]] = {"lr": [float(f"{e.lr * factor:.3g}") for factor in RATES]}
    if discounted(e) and "discount" not in base.rule_options:
        grid["rule.discount"] = sorted({*DISCOUNTS, e.rule_options["discount"]})
    return grid


def _checked(over: Any) -> dict[str, list[Any]]:
    """Return the candidates by setting; ArgumentError for what is none."""
    if not isinstance(over, Mapping) or not over:
        raise ArgumentError(
            'over must hold settings and their candidates, such as {"rule.sigma": [1e-3, 1e-2]}'
        )
    grid = {}
    for name, values in over.items():
        name = str(name).replace("-", "_")
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ArgumentError(f"over must hold a list of candidates for {name}, not {values!r}")
        if name in IN_ONE_PROGRAM:  # `search` refuses what it cannot use
            grid[name] = [coerce(name, value, float) for value in values]
            continue
        if not values or len({repr(value) for value in values}) < len(values):
            raise ArgumentError(f"{name} names {'a candidate twice' if values else 'no candidate'}")
        grid[name] = list(values)
    if "seed" in grid:
        raise ArgumentError("seeds are not searched: seeds says with how many each candidate is trained")
    return grid


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the candidates: one, without settings, for an empty grid."""
    names = list(grid)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*grid.values())]


def _with(base: Experiment, values: Values) -> Experiment:
    """Return an experiment with other values of settings, named as in `rule.sigma`."""
    given = {}
    for name, value in values.items():
        kind, dot, setting = name.partition(".")
        given[f"{kind}__{setting}" if dot and kind in KINDS else name] = value
    return with_settings(base, given)


def _used(e: Resolved, name: str, given: Any) -> Any:
    """Return the value of a setting as a run uses it; `auto` stays, as it is measured for each run."""
    kind, dot, setting = name.partition(".")
    if given == AUTO:
        return given
    return getattr(e, f"{kind}_options")[setting] if dot else getattr(e, name)


def _best_run(e: Resolved, best: Mapping[str, Any]) -> Resolved:
    """Return the whole run with the rates and the discount of a candidate."""
    own = dict(e.rule_options)
    if best["discount"] is not None:
        own["discount"] = best["discount"]
    return dataclasses.replace(e, lr=best["lr"], decor_lr=best["decor_lr"] or e.decor_lr, rule_options=own)


def _write(folder: Path, tuned: Tuned, whole: Parts, parts: Parts) -> None:
    """Write the folder. Its config.json lacks the facts of a run, so that `resume` refuses it.

    Arguments:
        folder: the folder.
        tuned: what was found.
        whole: parts of the whole run that the best settings are for.
        parts: parts of its short runs.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    names = ("lr", "decor_lr", "discount", "settings", "loss")
    found = {
        **describe(parts),
        "facts": {"auto": whole.auto, "data": parts.task.digest()},
        "seeds": tuned.seeds,
        "judged_by": "lowest validation loss, mean over seeds",
        "tried": tuned.tried,
        "candidates": tuned.candidates,
        "best": tuned.best and {name: tuned.best[name] for name in names},
    }
    run_folder.write_json(folder / "tune.json", found)
    if tuned.experiment is None:
        return
    config = describe(whole._replace(experiment=tuned.experiment))
    del config["facts"]
    run_folder.write_json(folder / "config.json", config)
    own_code.write_sources(folder, own_code.sources_of(config["experiment"]))


def require_best(tuned: Tuned) -> Resolved:
    """Return the whole run with the best settings; PerturbaxError where every candidate diverged."""
    if tuned.experiment is None:
        raise PerturbaxError("every candidate diverged: name lower --lrs")
    return tuned.experiment
