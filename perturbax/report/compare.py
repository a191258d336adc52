"""Runs as a comparison: grouped into tasks and variants, with means and intervals over seeds."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from perturbax.learning.facts import USES
from perturbax.moved import old_names
from perturbax.report.read import Run, as_dict, as_number, as_strings
from perturbax.report.settings import flatten_settings, telling

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

HIGHER_IS_BETTER = ("recall", "accuracy", "return")
FORECAST_MEASURES = ("mae", "rmse", "smape", "mase")  # in a table of their own
_NETWORK = ("cell", "cell_options", "units", "layers")
_NOT_SETTINGS = ("seed", "logs")
DECADE = 10.0  # how much the seeds of a variant must differ for geometric means
LONGEST_LABEL = 56  # characters of the name of a variant that the settings in it must fit
RESERVOIR = (
    "reservoir"  # the baseline that belongs to a network: its own recurrence, untrained, readout solved
)


def t_quantile(freedom: int) -> float:
    """Return the two-sided 95% quantile of Student's t, from its closed form for whole degrees of freedom."""

    def inside(angle: float) -> float:
        odd = freedom % 2
        term, total = (math.cos(angle), math.cos(angle)) if odd else (1.0, 1.0)
        for i in range(2 + odd, freedom - 1, 2):
            term *= math.cos(angle) ** 2 * (i - 1) / i
            total += term
        if odd:
            return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0))
        return math.sin(angle) * total

    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < 0.95 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


@dataclass(frozen=True)
class Stat:
    """A mean over seeds and the half width of its 95% t interval; nan where there are too few values.

    Attributes:
        values: those of the seeds.
        mean: their mean, or geometric mean.
        half: half the width of the interval, of logarithms for a geometric mean.
        geometric: whether mean and interval are those of logarithms.
    """

    values: tuple[float, ...]
    mean: float
    half: float
    geometric: bool = False

    @classmethod
    def of(cls, values: Iterable[float], geometric: bool = False) -> "Stat":
        """Summarise the finite ones of some values.

        Arguments:
            values: those of the seeds.
            geometric: whether to take the geometric mean, where all are above 0.
        """
        finite = tuple(v for v in values if math.isfinite(v))
        n = len(finite)
        if n < 2:
            return cls(finite, finite[0] if n else math.nan, math.nan)
        if len(set(finite)) == 1:
            return cls(finite, finite[0], 0.0)
        if geometric and min(finite) > 0:
            logarithms = cls.of(map(math.log, finite))
            return cls(finite, math.exp(logarithms.mean), logarithms.half, geometric=True)
        mean = math.fsum(finite) / n
        variance = math.fsum((v - mean) ** 2 for v in finite) / (n - 1)
        return cls(finite, mean, t_quantile(n - 1) * math.sqrt(variance / n))

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean / _factor(self.half) if self.geometric else self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean * _factor(self.half) if self.geometric else self.mean + self.half

    def __bool__(self) -> bool:
        """Whether there is any value."""
        return bool(self.values)


def _factor(half: float) -> float:
    """Return the exponential of half an interval; a googol for more than that."""
    return math.exp(half) if half < 230 else 1e100


@dataclass(frozen=True)
class VariantRuns:
    """The runs of one variant: the same settings, one run for every seed.

    Attributes:
        label: name of the variant, different from those of all others in its section.
        runs: lowest seed first.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run with the lowest seed."""
        return self.runs[0]

    @property
    def rule(self) -> str:
        """The name of the learning rule."""
        return str(self.first.experiment["rule"])

    @property
    def uses(self) -> tuple[str, ...]:
        """What the rule uses, in order of how much that asks for."""
        return tuple(sorted(as_strings(self.first.fact("rule", "uses", [])), key=_demand))

    @property
    def network(self) -> str:
        """What must be equal for two variants to train the same network."""
        return canonical({key: self.first.experiment.get(key) for key in _NETWORK})

    def stat(self, *path: str, geometric: bool = False) -> Stat:
        """Summarise one number of the results over seeds, by its geometric mean if that is asked for."""
        return Stat.of((run.number(*path) for run in self.runs), geometric)


@dataclass(frozen=True)
class Section:
    """All variants of one task, and what needs no recurrent training at all.

    Attributes:
        task: its name.
        options: its settings.
        variants: what is compared.
        geometric: whether values that span decades have geometric means.
    """

    task: str
    options: dict[str, Any]
    variants: tuple[VariantRuns, ...]
    geometric: bool = True

    @cached_property
    def metric(self) -> str:
        """The metric that decides: mse where the task has it, else loss; lower is better for both."""
        return "mse" if any(v.stat("test", "mse") for v in self.variants) else "loss"

    @cached_property
    def in_decades(self) -> frozenset[str]:
        """The test metrics whose values, all above 0, differ tenfold between seeds of a variant, or a
        hundredfold in all: they are summarised by geometric means.
        """
        found = set()
        if not self.geometric:
            return frozenset()
        for key in {key for v in self.variants for run in v.runs for key in run.test}:
            seeds = [v.stat("test", key).values for v in self.variants]
            positive = all(value > 0 for values in seeds for value in values)
            wide = any(values and max(values) >= DECADE * min(values) for values in seeds)
            every = [value for values in seeds for value in values]
            far = bool(every) and max(every) >= DECADE**2 * min(every)
            if positive and (wide or far) and key not in HIGHER_IS_BETTER:
                found.add(key)
        return frozenset(found)

    def test(self, variant: VariantRuns, key: str) -> Stat:
        """Summarise a test metric of a variant.

        Arguments:
            variant: one of the section's.
            key: of the metric.
        """
        return variant.stat("test", key, geometric=key in self.in_decades)

    @cached_property
    def others(self) -> dict[str, list[str]]:
        """The further test metrics, in the order of the runs; each with those that are equal to it
        everywhere.
        """
        keys = [key for v in self.variants for run in v.runs for key in run.test]
        same: dict[tuple[tuple[float, ...], ...], list[str]] = {}
        for key in dict.fromkeys(keys):
            stats = tuple(v.stat("test", key) for v in self.variants)
            if key != self.metric and key not in FORECAST_MEASURES and any(stats):
                lines = tuple(metrics.get(key, Stat.of(())) for metrics in self.baselines.values())
                same.setdefault(_comparable(stats + lines), []).append(key)
        return {keys[0]: keys for keys in same.values()}

    @cached_property
    def baselines(self) -> dict[str, dict[str, Stat]]:
        """Every baseline's test metrics; a seed counts once however many variants ran it."""
        return self._baselines("baselines")

    @cached_property
    def valid_baselines(self) -> dict[str, dict[str, Stat]]:
        """The metrics of baselines on validation data, where runs have measured them."""
        return self._baselines("valid_baselines")

    def _baselines(self, kept_as: str) -> dict[str, dict[str, Stat]]:
        """Summarise what results hold of baselines under a name."""
        several = len({v.network for v in self.variants}) > 1
        seen: dict[str, dict[str, dict[int, list[float]]]] = {}
        for run in (run for v in self.variants for run in v.runs):
            for name, metrics in as_dict(as_dict(run.result).get(kept_as)).items():
                label = f"{name}, {_network(run)}" if name == RESERVOIR and several else name
                for key, value in as_dict(metrics).items():
                    seen.setdefault(label, {}).setdefault(key, {}).setdefault(run.seed, []).append(
                        as_number(value)
                    )
        return {
            name: {k: _over_seeds(v, k in self.in_decades) for k, v in metrics.items()}
            for name, metrics in sorted(seen.items())
        }

    @property
    def unit(self) -> str:
        """The unit of what is predicted; empty when it has none."""
        return next(
            (str(u) for v in self.variants if (u := as_dict(v.first.config.get("facts")).get("unit"))), ""
        )

    @cached_property
    def acts(self) -> bool:
        """Whether the task is a world, which pays for what a network does: no output is known to be right."""
        runs = [run for v in self.variants for run in v.runs]
        return any("return" in run.test or any("valid_return" in m for m in run.metrics) for run in runs)

    def main(self, variant: VariantRuns) -> Stat:
        """Summarise the metric that decides."""
        return self.test(variant, self.metric)

    def reference(self, rule: str, like: VariantRuns) -> VariantRuns | None:
        """Return the best variant of a rule on the same network, decorrelated alike where there is one."""
        found = [v for v in self.variants if v.rule == rule and v.network == like.network and self.main(v)]
        alike = [v for v in found if v.first.decorrelated == like.first.decorrelated]
        plain = [v for v in found if not v.first.decorrelated]
        return min(alike or plain or found, key=lambda v: self.main(v).mean, default=None)


def better(metric: str, a: float, b: float) -> bool:
    """Whether the first value is strictly better; a value that is not a number never is.

    Arguments:
        metric: the metric that decides.
        a: the value that may be better.
        b: the other one.
    """
    return a > b if metric in HIGHER_IS_BETTER else a < b


def canonical(value: Any) -> str:
    """Return a value as text that is equal exactly when the values are."""
    return json.dumps(value, sort_keys=True, default=str)


def variant_settings(run: Run) -> dict[str, Any]:
    """Return what makes a run the variant that it is: all but its seed and its place."""
    return flatten_settings({key: value for key, value in run.experiment.items() if key not in _NOT_SETTINGS})


def sections(runs: Sequence[Run]) -> list[Section]:
    """Group runs into tasks and variants."""
    tasks: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        tasks.setdefault((str(run.experiment["task"]), canonical(_task_options(run))), []).append(run)
    return [
        Section(key[0], _task_options(group[0]), _variants(group)) for key, group in sorted(tasks.items())
    ]


def _task_options(run: Run) -> dict[str, Any]:
    """Return the options that make two tasks different; where a data file lies does not."""
    options = {"data": run.experiment.get("data")} | as_dict(run.experiment.get("task_options"))
    named = {k: PurePath(v).name if k == "data" and isinstance(v, str) else v for k, v in options.items()}
    return {key: value for key, value in named.items() if key != "seed" and value is not None}


def _network(run: Run) -> str:
    """Return cell and units of a run in words: `tanh 64-64`."""
    units = run.experiment.get("units")
    sizes = "-".join(map(str, units)) if isinstance(units, list) else str(units or "")
    return f"{run.experiment.get('cell', '')} {sizes}".strip()


def _variants(runs: list[Run]) -> tuple[VariantRuns, ...]:
    """Group the runs of one task into variants, in the order of how much information their rules use."""
    named: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        alike = named.setdefault(run.name, {})
        alike.setdefault(canonical(_own_settings(run)), []).append(run)
    made = []
    for name, alike in sorted(named.items()):
        groups = [group for _, same in sorted(alike.items()) for group in _each_seed_once(same)]
        for label, group in zip(_labels(name, groups), groups, strict=True):
            made.append(VariantRuns(label, tuple(sorted(group, key=lambda run: run.seed))))
    return tuple(sorted(made, key=_order))


def _own_settings(run: Run) -> dict[str, Any]:
    """Return the settings of a run's variant, without those of the task, which it shares with its rivals."""
    return {key: value for key, value in variant_settings(run).items() if not _of_task(key)}


def _each_seed_once(runs: list[Run]) -> list[list[Run]]:
    """Return runs of the same settings in one group, by the folder they lie in, or one by one: as few groups
    as can be in which no seed comes twice.
    """
    by_folder: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: str(run.folder)):
        by_folder.setdefault(str(run.folder.parent), []).append(run)
    for groups in ([runs], list(by_folder.values())):
        if all(len({run.seed for run in group}) == len(group) for group in groups):
            return groups
    return [[run] for run in sorted(runs, key=lambda run: str(run.folder))]


def _labels(name: str, groups: list[list[Run]]) -> list[str]:
    """Return a name for each of some groups: with what tells it from others of that name, or its folder."""
    if len(groups) == 1:
        return [name]
    texts = telling([_own_settings(group[0]) for group in groups], LONGEST_LABEL - len(name))
    return [f"{name} ({text})" for text in texts or _places(groups)]


def _places(groups: list[list[Run]]) -> list[str]:
    """Return the folder of each group, as short as it tells them apart."""
    places = [os.path.commonpath([run.folder.resolve().parent for run in group]) for group in groups]
    if len(set(places)) < len(places):
        places = [str(group[0].folder.resolve()) for group in groups]
    shared = os.path.commonpath([os.path.dirname(place) for place in places])
    return [os.path.relpath(place, shared) for place in places]


def _of_task(key: str) -> bool:
    """Whether a setting belongs to the task, not to the variant."""
    return key == "data" or key.startswith("task_options.")


def _demand(use: str) -> int:
    """Return the place of a piece of information in `USES`; behind all of them if it is not there."""
    return USES.index(use) if use in USES else len(USES)


def _order(variant: VariantRuns) -> tuple[list[int], str, bool, str]:
    """Return what variants are sorted by: what their rules use, most demanding first; then names."""
    family = variant.rule.removeprefix("published-")
    return [_demand(u) for u in reversed(variant.uses)], family, variant.rule != family, variant.label


def _comparable(stats: tuple[Stat, ...]) -> tuple[tuple[float, ...], ...]:
    """Return the values of several statistics, equal exactly when the statistics are."""
    return tuple(s.values for s in stats)


def _over_seeds(values: dict[int, list[float]], geometric: bool) -> Stat:
    """Summarise the mean of each seed; values by seed."""
    return Stat.of((Stat.of(group).mean for _, group in sorted(values.items())), geometric)
