"""Search for the best settings by short runs, judged on validation data: what is found, and its files."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perturbax.atomic import writing
from perturbax.errors import PerturbaxError
from perturbax.experiment import own_code, run_folder
from perturbax.experiment.build import Parts
from perturbax.experiment.config import Resolved
from perturbax.experiment.grid import Combination, SearchPlan, value_of
from perturbax.experiment.result import describe
from perturbax.experiment.search import Trial
from perturbax.experiment.search import tune as try_rates
from perturbax.experiment.shown import aligned, html_table
from perturbax.experiment.watch import Report, watcher_of


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
    def page(self) -> Path | None:
        """The page of the search, tune.html; None for a search without a folder."""
        return None if self.folder is None else self.folder / "tune.html"

    @property
    def best(self) -> dict[str, Any] | None:
        """The best candidate; None where every one diverged."""
        first = self.candidates[0]
        return first if math.isfinite(first["loss"]) else None

    def at_edge(self) -> dict[str, float]:
        """Return the best values that are the smallest or largest tried, rates and numbers above 0."""
        found = {}
        for name in self.tried:
            best = self.best and value_of(self.best, name)
            values = {value_of(candidate, name) for candidate in self.candidates}  # as runs use them
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


def search(plan: SearchPlan, folder: Path | None = None, report: Report | None = None) -> Tuned:
    """Try all candidates of a plan by short runs and judge them on validation data; test data are not read.

    One compiled program advances those of learning rates, rates of decorrelation and discounts side by side;
    each combination of other settings has a program of its own.

    Arguments:
        plan: what is tried.
        folder: where tune.json and the best config.json go; None for none.
        report: as for `px.run`.
    """
    together, watcher = plan.together, watcher_of(report)
    found: list[tuple[Combination, Parts, Trial]] = []

    programs = len(plan.combinations)
    for place, combination in enumerate(plan.combinations):

        def told(done: int, total: int, loss: float, before: int = place) -> None:
            watcher.advanced(plan.rule, plan.seeds, before * total + done, programs * total, loss, math.nan)

        e = combination.whole.experiment
        parts, trials = try_rates(
            dataclasses.replace(e, steps=combination.steps),
            together.get("lr", [e.lr]),
            together.get("discount", (None,)),
            plan.seeds,
            decor_lrs=together.get("decor_lr", (None,)),
            report=told,
        )
        found += [(combination, parts, trial) for trial in trials]
    found.sort(key=lambda one: one[2].loss)
    candidates = [
        {**trial._asdict(), "settings": combination.values, "loss": trial.loss}
        for combination, _, trial in found
    ]
    best_of, parts, _ = found[0]
    tried = {name: list(values) for name, values in plan.grid.items()}
    tuned = Tuned(None, candidates, plan.combinations[-1].steps, plan.seeds, tried, folder)
    if tuned.best is not None:
        tuned = dataclasses.replace(tuned, experiment=_best_run(best_of.whole.experiment, tuned.best))
    if folder is not None:
        _write(folder, tuned, best_of.whole, parts)
    return tuned


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
