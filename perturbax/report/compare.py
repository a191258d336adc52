"""Runs as a comparison: grouped into tasks and variants, with means and intervals over seeds."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from perturbax.errors import ArgumentError
from perturbax.learning.facts import USES
from perturbax.moved import old_names
from perturbax.report.read import Run, as_dict, as_number, as_strings

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

HIGHER_IS_BETTER = ("recall", "accuracy")
FORECAST_MEASURES = ("mae", "rmse", "smape", "mase")  # in a table of their own
_NETWORK = ("cell", "cell_options", "units", "layers")
_NOT_SETTINGS = ("seed", "logs")
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
    """A mean over seeds and the half width of its 95% t interval; nan where there are too few values."""

    values: tuple[float, ...]
    mean: float
    half: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Stat":
        """Summarise the finite ones of some values."""
        finite = tuple(v for v in values if math.isfinite(v))
        n = len(finite)
        if n < 2:
            return cls(finite, finite[0] if n else math.nan, math.nan)
        if len(set(finite)) == 1:
            return cls(finite, finite[0], 0.0)
        mean = math.fsum(finite) / n
        variance = math.fsum((v - mean) ** 2 for v in finite) / (n - 1)
        return cls(finite, mean, t_quantile(n - 1) * math.sqrt(variance / n))

    def __bool__(self) -> bool:
        """Whether there is any value."""
        return bool(self.values)


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

    def stat(self, *path: str) -> Stat:
        """Summarise one number of the results over seeds."""
        return Stat.of(run.number(*path) for run in self.runs)


@dataclass(frozen=True)
class Section:
    """All variants of one task, and what needs no recurrent training at all."""

    task: str
    options: dict[str, Any]
    variants: tuple[VariantRuns, ...]

    @cached_property
    def metric(self) -> str:
        """The metric that decides: mse where the task has it, else loss; lower is better for both."""
        return "mse" if any(v.stat("test", "mse") for v in self.variants) else "loss"

    @cached_property
    def others(self) -> dict[str, list[str]]:
        """The further test metrics, in the order of the runs; each with those that are equal to it
        everywhere.
        """
        keys = [
            key for v in self.variants for run in v.runs for key in as_dict(as_dict(run.result).get("test"))
        ]
        same: dict[tuple[tuple[float, ...], ...], list[str]] = {}
        for key in dict.fromkeys(keys):
            stats = tuple(v.stat("test", key) for v in self.variants)
            if key != self.metric and key not in FORECAST_MEASURES and any(stats):
                lines = tuple(metrics.get(key, Stat.of(())) for metrics in self.baselines.values())
                same.setdefault(_comparable(stats + lines), []).append(key)
        return {keys[0]: keys for keys in same.values()}

    @cached_property
    def baselines(self) -> dict[str, dict[str, Stat]]:
        """Every baseline's metrics; a seed counts once however many variants ran it."""
        several = len({v.network for v in self.variants}) > 1
        seen: dict[str, dict[str, dict[int, list[float]]]] = {}
        for run in (run for v in self.variants for run in v.runs):
            for name, metrics in as_dict(as_dict(run.result).get("baselines")).items():
                label = f"{name}, {_network(run)}" if name == RESERVOIR and several else name
                for key, value in as_dict(metrics).items():
                    seen.setdefault(label, {}).setdefault(key, {}).setdefault(run.seed, []).append(
                        as_number(value)
                    )
        return {
            name: {k: _over_seeds(v) for k, v in metrics.items()} for name, metrics in sorted(seen.items())
        }

    @property
    def unit(self) -> str:
        """The unit of what is predicted; empty when it has none."""
        return next(
            (str(u) for v in self.variants if (u := as_dict(v.first.config.get("facts")).get("unit"))), ""
        )

    def main(self, variant: VariantRuns) -> Stat:
        """Summarise the metric that decides."""
        return variant.stat("test", self.metric)

    def reference(self, rule: str, like: VariantRuns) -> VariantRuns | None:
        """Return the best variant of a rule on the same network, decorrelated alike where there is one."""
        found = [v for v in self.variants if v.rule == rule and v.network == like.network and self.main(v)]
        alike = [v for v in found if v.first.decorrelated == like.first.decorrelated]
        plain = [v for v in found if not v.first.decorrelated]
        return min(alike or plain or found, key=lambda v: self.main(v).mean, default=None)


def better(metric: str, a: float, b: float) -> bool:
    """Whether the first value is strictly better; a value that is not a number never is."""
    return a > b if metric in HIGHER_IS_BETTER else a < b


def canonical(value: Any) -> str:
    """Return a value as text that is equal exactly when the values are."""
    return json.dumps(value, sort_keys=True, default=str)


def flatten_settings(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= (
            flatten_settings(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return out


def variant_settings(run: Run) -> dict[str, Any]:
    """Return what makes a run the variant that it is: all but its seed and its place."""
    return flatten_settings({key: value for key, value in run.experiment.items() if key not in _NOT_SETTINGS})


def sections(runs: Sequence[Run]) -> list[Section]:
    """Group runs into tasks and variants. Raises ArgumentError when a variant has one seed twice."""
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
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        same = {k: v for k, v in variant_settings(run).items() if not _of_task(k)}
        groups.setdefault((run.name, canonical(same)), []).append(run)
    made = []
    for (name, _), group in sorted(groups.items()):
        rivals = [other[0] for (n, _), other in groups.items() if n == name]
        made.append(VariantRuns(_label(name, group[0], rivals), _by_seed(group)))
    return tuple(sorted(made, key=_order))


def _by_seed(runs: list[Run]) -> tuple[Run, ...]:
    """Return the runs of one variant, lowest seed first. Raises ArgumentError where a seed comes twice."""
    ordered = sorted(runs, key=lambda run: run.seed)
    for one, two in pairwise(ordered):
        if one.seed == two.seed:
            raise ArgumentError(
                f"{one.folder} and {two.folder} are the same variant and seed; give one of them"
            )
    return tuple(ordered)


def _label(name: str, run: Run, rivals: list[Run]) -> str:
    """Return the name, with the settings that tell it from others of that name."""
    if len(rivals) == 1:
        return name
    own, others = variant_settings(run), [variant_settings(r) for r in rivals]
    keys = [k for k in own if not _of_task(k) and any(o.get(k) != own[k] for o in others)]
    return f"{name} ({', '.join(f'{key}={own[key]}' for key in keys)})" if keys else name


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


def _over_seeds(values: dict[int, list[float]]) -> Stat:
    """Summarise the mean of each seed; values by seed."""
    return Stat.of(Stat.of(group).mean for _, group in sorted(values.items()))
