"""What a search for settings tries: candidates, and the runs that they are candidates of, checked."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perturbax.errors import ArgumentError
from perturbax.experiment.build import Parts, build, discounted
from perturbax.experiment.config import KINDS, Experiment, Resolved
from perturbax.experiment.options import AUTO, coerce
from perturbax.experiment.search import check_candidates
from perturbax.experiment.variants import with_settings
from perturbax.fields import positive

RATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # candidates, times the learning rate that is shipped or named
DISCOUNTS = (0.9, 0.95, 1.0)  # candidates beside the discount that is shipped
SHARE = 10  # short runs take one in so many steps of a whole run
IN_ONE_PROGRAM = {"lr": "lr", "decor_lr": "decor_lr", "rule.discount": "discount"}
"""Settings whose candidates one compiled program advances, and their names in a `Trial`."""

Values = Mapping[str, Any]  # of settings by name, such as rule.sigma


class Combination(NamedTuple):
    """Values of the settings that have a compiled program of their own, and the run that has them.

    Attributes:
        values: setting -> value, as a run uses it.
        experiment: the whole run, as it is typed.
        whole: its parts.
        steps: training steps of its short runs.
    """

    values: dict[str, Any]
    experiment: Experiment
    whole: Parts
    steps: int


class SearchPlan(NamedTuple):
    """A search that can be made: nothing has been trained yet.

    Attributes:
        rule: the rule of the run that is searched for.
        grid: setting -> its candidates.
        combinations: every combination of settings that have a compiled program of their own; one where
            there are none of these.
        seeds: those of every candidate.
    """

    rule: str
    grid: dict[str, list[Any]]
    combinations: list[Combination]
    seeds: list[int]

    @property
    def together(self) -> dict[str, list[float]]:
        """The candidates that one compiled program advances, by their names in a `Trial`."""
        return {own: list(self.grid[name]) for name, own in IN_ONE_PROGRAM.items() if name in self.grid}

    @property
    def candidates(self) -> int:
        """The number of candidates."""
        return math.prod(len(values) for values in self.grid.values())


def plan_search(
    experiment: Experiment | Resolved | None,
    over: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 1,
    steps: int | None = None,
    **settings: Any,
) -> SearchPlan:
    """Return what a search tries; what cannot run is refused here, before anything is trained.

    Arguments:
        experiment: the run that is searched for, and so are settings.
        over: setting -> candidates; None for learning rates and discounts.
        seeds: number of seeds of each candidate.
        steps: training steps of the short runs; None for a tenth of those of a whole run.
        settings: as for `px.run`.

    Raises what `px.run` raises, and ArgumentError for candidates that cannot be used.
    """
    _check_count(seeds)
    if steps is not None:
        positive("steps", steps)
    base = with_settings(experiment, settings)
    whole = build(base)
    grid = {} if over is None else _checked(over)
    if all(name in IN_ONE_PROGRAM for name in grid):
        grid = _defaults(base, whole) | grid
    apart = {name: values for name, values in grid.items() if name not in IN_ONE_PROGRAM}
    combinations = []
    for values in _products(apart):
        typed = _with(base, values)
        parts = build(typed) if values else whole
        e = parts.experiment
        used = {name: _used(e, name, value) for name, value in values.items()}
        combinations.append(
            Combination(used, typed, parts, max(1, e.steps // SHARE) if steps is None else steps)
        )
    first = whole.experiment.seed
    plan = SearchPlan(whole.experiment.rule, grid, combinations, list(range(first, first + seeds)))
    together = plan.together
    for combination in combinations:
        lrs = together.get("lr", [combination.whole.experiment.lr])
        decor_lrs, discounts = (together.get(name, (None,)) for name in ("decor_lr", "discount"))
        check_candidates(combination.whole, lrs, decor_lrs, discounts)
    return plan


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


def _products(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
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


def value_of(candidate: Mapping[str, Any], name: str) -> Any:
    """Return the value of a setting of a candidate; None for what the run has.

    Arguments:
        candidate: an entry of `Tuned.candidates`.
        name: of the setting, such as `rule.sigma`.
    """
    if name in IN_ONE_PROGRAM:
        return candidate[IN_ONE_PROGRAM[name]]
    return candidate["settings"].get(name)
