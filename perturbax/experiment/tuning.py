"""Search for the best settings by short runs, judged on validation data: what is found, and its files."""

import dataclasses
import functools
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perturbax.atomic import alone_in, writing
from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment import own_code, run_folder
from perturbax.experiment.build import Parts
from perturbax.experiment.config import Resolved
from perturbax.experiment.grid import SearchPlan, value_of
from perturbax.experiment.pieces import Piece
from perturbax.experiment.result import describe
from perturbax.experiment.search import Trial
from perturbax.experiment.shown import aligned, html_table
from perturbax.experiment.telling import Retold
from perturbax.experiment.trials import Attempt, attempts
from perturbax.experiment.watch import Report, Watcher, watcher_of
from perturbax.jobs.job import PRINTED, Engine, Job, run_here, run_jobs
from perturbax.jobs.perform import Tell

UNFINISHED = "unfinished"  # the folder within that of a search, until it has ended


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


def search(
    plan: SearchPlan, folder: Path | None = None, report: Report | None = None, engine: Engine | None = None
) -> Tuned:
    """Try all candidates of a plan by short runs and judge them on validation data; test data are not read.

    One compiled program advances those of learning rates, rates of decorrelation and discounts side by side;
    each combination of other settings has a program of its own. A search that is stopped leaves in its folder
    what it has found so far, and the same search goes on with that.

    Arguments:
        plan: what is tried.
        folder: where tune.json and the best config.json go; None for none.
        report: as for `px.run`.
        engine: the processes that share the work, of a search with a folder; None for this process alone.

    Raises ArgumentError for a folder that holds another search, or in which another command works, and
    PerturbaxError, when all else is done, for candidates whose process has died.
    """
    shares, told = attempts_of(plan), _Told(plan, watcher_of(report))
    found: list[tuple[Attempt, Any, Trial]] = []
    if folder is None:
        for attempt in shares:
            parts, trials = attempt.run(functools.partial(told.advanced, attempt.name))
            found += [(attempt, parts, trial) for trial in trials]
    else:
        _begin(folder, plan)
        with alone_in(folder):
            _find(folder / UNFINISHED, shares, told, engine)
        for attempt in shares:
            described, trials = attempt.found(folder / UNFINISHED)
            found += [(attempt, described, trial) for trial in trials]
    found.sort(key=lambda one: one[2].loss)
    candidates = [
        {**trial._asdict(), "settings": plan.combinations[attempt.place].values, "loss": trial.loss}
        for attempt, _, trial in found
    ]
    best_of, described, _ = found[0]
    whole = plan.combinations[best_of.place].whole
    tried = {name: list(values) for name, values in plan.grid.items()}
    tuned = Tuned(None, candidates, plan.combinations[-1].steps, plan.seeds, tried, folder)
    if tuned.best is not None:
        tuned = dataclasses.replace(tuned, experiment=_best_run(whole.experiment, tuned.best))
    if folder is not None:
        _write(folder, tuned, whole, described)
        shutil.rmtree(folder / UNFINISHED)
    return tuned


def attempts_of(plan: SearchPlan) -> list[Attempt]:
    """Return what processes may share of a search.

    Arguments:
        plan: what is tried.
    """
    found = []
    for place, combination in enumerate(plan.combinations):
        short = dataclasses.replace(combination.whole.experiment, steps=combination.steps)
        found += attempts(place, short, plan.together, plan.seeds)
    return found


def pieces_of(plan: SearchPlan) -> list[Piece]:
    """Return what processes may share of a search, as `processes_for` takes it.

    Arguments:
        plan: what is tried.
    """
    return [Piece(str(attempt.place), attempt.experiment, {}) for attempt in attempts_of(plan)]


def refuse_other_search(folder: Path) -> None:
    """Raise ArgumentError for a folder that holds anything but a search that was stopped.

    Arguments:
        folder: the folder, which need not be there.
    """
    if not (folder / UNFINISHED / "plan.json").is_file() or (folder / "tune.json").exists():
        run_folder.refuse_occupied(folder)


def _begin(folder: Path, plan: SearchPlan) -> None:
    """Write what is searched into the folder; ArgumentError where another search was stopped there."""
    wholes = [combination.whole for combination in plan.combinations]
    described = [describe(parts) for parts in wholes]
    asked = {
        "experiments": [one["experiment"] for one in described],
        "code": [one.get("code") for one in described],
        "data": [parts.task.digest() for parts in wholes],
        "steps": [combination.steps for combination in plan.combinations],
        "seeds": plan.seeds,
        "tried": plan.grid,
    }
    path = folder / UNFINISHED / "plan.json"
    if not path.exists():
        with writing(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
        run_folder.write_json(path, asked)
    elif run_folder.read_json(path) != run_folder.to_json(asked):
        raise ArgumentError(f"{folder} holds another search, which was stopped: name another --out")


def _find(folder: Path, shares: list[Attempt], told: "_Told", engine: Engine | None) -> None:
    """Have all candidates tried whose results are not in the folder."""
    left = [attempt for attempt in shares if not (folder / f"{attempt.name}.json").exists()]
    told.skip(len(shares) - len(left))
    retold = Retold(Watcher())

    def on_told(job: Job, event: str, values: dict[str, Any]) -> None:
        if event == PRINTED:
            retold.say(values["line"])
        elif event == "advanced":
            told.advanced(job.name, **values)

    jobs = [attempt.job(folder) for attempt in left]
    if engine is None:
        run_here(
            jobs, on_told, {attempt.name: functools.partial(_leave, attempt, folder) for attempt in left}
        )
    elif lost := run_jobs(jobs, engine, on_told):
        raise PerturbaxError(
            f"{len(lost)} of {len(shares)} parts of the search were lost ({lost[0].reason}): the same call "
            "goes on with them"
        )


def _leave(attempt: Attempt, folder: Path, tell: Tell) -> None:
    """Try candidates in this process."""

    def report(done: int, total: int, loss: float) -> None:
        tell("advanced", done=done, total=total, loss=loss)

    attempt.leave(folder, report)


class _Told:
    """Tells a watcher how far a search is, whose parts may go on side by side."""

    def __init__(self, plan: SearchPlan, watcher: Watcher):
        self._plan, self._watcher = plan, watcher
        self._parts, self._skipped = len(attempts_of(plan)), 0
        self._done: dict[str, float] = {}  # the share of each part that is done

    def skip(self, count: int) -> None:
        """Count parts that were done before."""
        self._skipped = count

    def advanced(self, name: str, done: int, total: int, loss: float) -> None:
        """Tell of steps of a part."""
        self._done[name] = done / total
        steps = round(total * (self._skipped + sum(self._done.values())))
        plan = self._plan
        self._watcher.advanced(plan.rule, plan.seeds, steps, self._parts * total, loss, math.nan)


def _best_run(e: Resolved, best: Mapping[str, Any]) -> Resolved:
    """Return the whole run with the rates and the discount of a candidate."""
    own = dict(e.rule_options)
    if best["discount"] is not None:
        own["discount"] = best["discount"]
    return dataclasses.replace(e, lr=best["lr"], decor_lr=best["decor_lr"] or e.decor_lr, rule_options=own)


def _write(folder: Path, tuned: Tuned, whole: Parts, described: dict[str, Any]) -> None:
    """Write the folder. Its config.json lacks the facts of a run, so that `resume` refuses it.

    Arguments:
        folder: the folder.
        tuned: what was found.
        whole: parts of the whole run that the best settings are for.
        described: its short runs, as in config.json.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    names = ("lr", "decor_lr", "discount", "settings", "loss")
    found = {
        **described,
        "facts": {"auto": whole.auto, "data": described["facts"]["data"]},
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
