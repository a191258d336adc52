"""A benchmark run through the comparisons that there are: what is trained, and the rows that come out."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perturbax.bench.base import Benchmark, Measure, in_words
from perturbax.errors import ArgumentError, unknown
from perturbax.experiment import run_folder
from perturbax.experiment.comparison import Comparison, plan_comparison
from perturbax.experiment.pieces import Piece, work_off
from perturbax.experiment.result import load
from perturbax.experiment.variants import Variant, parse_variant
from perturbax.experiment.watch import Watcher
from perturbax.jobs.job import Engine, Lost

SURE = 2.0  # standard errors by which the best and the worst rule must differ to be told apart


class Row(NamedTuple):
    """What came out for one rule.

    Attributes:
        rule: with its suffixes, as it was typed.
        settings: what the benchmark adds to these.
        values: of each measure by name, a number per seed; NaN where a run diverged. Measures of parts that
            were not run are not there.
        passes: forward passes of training, all parts together, mean over seeds.
        seconds: of training, likewise, without compiling.
        device: what it ran on.
        derivatives: whether the rule uses derivatives of the neurons.
        own_budget: whether a suffix sets another budget than that of the benchmark.
    """

    rule: str
    settings: str
    values: dict[str, list[float]]
    passes: float
    seconds: float
    device: str
    derivatives: bool
    own_budget: bool

    def mean(self, measure: Measure) -> float:
        """Return the mean over seeds; NaN where one of them diverged, or the measure is not there."""
        return statistics.fmean(self.values.get(measure.name, [math.nan]))

    def spread(self, measure: Measure) -> float:
        """Return the standard deviation over seeds; NaN for a single one."""
        values = self.values.get(measure.name, [])
        return statistics.stdev(values) if len(values) > 1 else math.nan


class Planned(NamedTuple):
    """A benchmark whose runs are checked: nothing has been trained yet.

    Attributes:
        benchmark: what is run.
        variants: the rules, with what the benchmark adds to them.
        comparisons: one for each part, by its name.
        budget: what each run may spend, in words.
        steps: the number of steps that shortens all runs; None for the budget of the benchmark.
        left_out: the parts that are not run.
    """

    benchmark: Benchmark
    variants: dict[str, Variant]
    comparisons: dict[str, Comparison]
    budget: str
    steps: int | None
    left_out: tuple[str, ...] = ()

    @property
    def comparable(self) -> bool:
        """Whether the runs have the budget of the benchmark, and every mean is over all of its parts."""
        one_each = len(self.benchmark.measures) == len(self.benchmark.parts)  # a measure for each part
        return self.steps is None and (one_each or not self.left_out)

    @property
    def folders(self) -> list[Path]:
        """The folders of all runs."""
        return [folder for one in self.comparisons.values() for folder in one.every_folder]

    @property
    def pieces(self) -> list[Piece]:
        """What is left to train."""
        return [piece for one in self.comparisons.values() for piece in one.pieces]

    def train_all(self, engine: Engine | None, watcher: Watcher) -> list[Lost]:
        """Train or go on with all runs.

        Arguments:
            engine: the processes that share the work; None for this one alone.
            watcher: is told how the runs go on.

        Returns the runs that were lost because their process died.
        """
        if engine is not None:
            return work_off(self.pieces, engine, watcher)
        for one in self.comparisons.values():
            one.train_all(None, watcher)
        return []

    def rows(self) -> list[Row]:
        """Return a row for each rule of which all runs have ended."""
        found = []
        for label in self.variants:
            folders = [(one.folders or {})[label] for one in self.comparisons.values()]
            if all((path / "result.json").exists() for of_seed in folders for path in of_seed.values()):
                found.append(self._row(label))
        return found

    def _row(self, label: str) -> Row:
        """Return the row of a rule: the mean over parts for each seed."""
        by_seed: dict[int, list[dict[str, float]]] = {}
        passes = seconds = 0.0
        config: dict[str, Any] = {}
        for one in self.comparisons.values():
            folders = (one.folders or {})[label]
            for seed, folder in folders.items():
                result = load(folder)
                finished = result.summary["status"] == "finished"
                judged = self.benchmark.judge(result, one.tasks[label]) if finished else {}
                by_seed.setdefault(seed, []).append(judged)
                passes += result.summary["forward_passes"] / len(folders)
                seconds += result.summary["seconds"] / len(folders)
                config = run_folder.read_json(folder / "config.json")
        every = [judged for parts in by_seed.values() for judged in parts]
        names = [measure.name for measure in self.benchmark.measures]
        measured = [name for name in names if not all(every) or any(name in judged for judged in every)]
        return Row(
            rule=label,
            settings=_added(self.benchmark, label),
            values={name: [_mean_of(name, parts) for parts in by_seed.values()] for name in measured},
            passes=passes,
            seconds=seconds,
            device=config["machine"]["devices"],
            derivatives="derivatives" in config["facts"]["rule"]["uses"],
            own_budget=bool({"steps", "passes"} & set(parse_variant(label).fields)),
        )


def plan(
    benchmark: Benchmark,
    rules: Sequence[str],
    seeds: int,
    data: str | None,
    out: Path,
    steps: int | None = None,
    parts: Sequence[str] = (),
) -> Planned:
    """Return the runs of a benchmark; what cannot run is refused here, before anything is trained.

    Arguments:
        benchmark: what is run.
        rules: each with its suffixes, as for `compare --rules`.
        seeds: number of seeds, from 0 on.
        data: the file that the benchmark needs.
        out: the folder for the run folders, one folder for each part where there are several.
        steps: training steps instead of the budget of the benchmark.
        parts: the parts to run; none for all of them.

    Raises what `plan_comparison` raises, and ArgumentError for a file that is missing or not asked for.
    """
    if benchmark.needs and data is None:
        raise ArgumentError(f"benchmark {benchmark.name} needs --data FILE: {benchmark.needs}")
    base = dataclasses.replace(benchmark.experiment, data=data)
    if steps is not None:
        base = dataclasses.replace(base, steps=steps, passes=None)
    variants = {label: with_settings(benchmark, label) for label in rules}
    comparisons = {}
    for part in parts:
        if part not in benchmark.parts:
            raise unknown(f"part of {benchmark.name}", part, benchmark.parts)
    left_out = tuple(part for part in benchmark.parts if parts and part not in parts)
    for part, settings in benchmark.parts.items():
        if part in left_out:
            continue
        of_part = dataclasses.replace(base, task_options={**base.task_options, **settings})
        folder = out / part if part else out
        comparisons[part] = plan_comparison(list(variants.values()), of_part, {}, seeds, folder)
    return Planned(benchmark, variants, comparisons, in_words(base), steps, left_out)


def with_settings(benchmark: Benchmark, label: str) -> Variant:
    """Return a rule as it was typed, above what the benchmark adds to it.

    Arguments:
        benchmark: the benchmark.
        label: the rule with its suffixes.
    """
    typed, added = parse_variant(label), _added(benchmark, label)
    fields, options = dict(typed.fields), dict(typed.options)
    if added:
        below = parse_variant(f"{fields['rule']}:{added}")
        fields, options = {**below.fields, **fields}, {**below.options, **options}
    for name, other in (("steps", "passes"), ("passes", "steps")):
        if name in fields:  # a budget of its own takes the place of the benchmark's
            fields.setdefault(other, None)
    return Variant(label, fields, options)


def alike(rows: Sequence[Row], measure: Measure) -> bool:
    """Return whether a benchmark does not tell rules apart: the best and the worst differ by no more than
    `SURE` standard errors of their difference. With a single seed, whether they are equal.

    Arguments:
        rows: of the rules; a rule of which a seed diverged is told apart.
        measure: the one that decides.
    """
    means = [row.mean(measure) for row in rows]
    if len(rows) < 2 or not all(map(math.isfinite, means)):
        return False
    ends = [rows[means.index(min(means))], rows[means.index(max(means))]]
    errors = [row.spread(measure) / math.sqrt(len(row.values[measure.name])) for row in ends]
    error = math.hypot(*errors) if all(map(math.isfinite, errors)) else 0.0
    return max(means) - min(means) <= SURE * error


def _added(benchmark: Benchmark, label: str) -> str:
    """Return what a benchmark adds to a rule, as its suffixes, without what was typed; empty for nothing."""
    typed = parse_variant(label)
    suffixes = benchmark.settings.get(typed.fields["rule"], "").split(":")
    return ":".join(one for one in suffixes if one.split("=")[0] not in {**typed.fields, **typed.options})


def _mean_of(name: str, parts: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean of a measure over the parts that have it; NaN where a part diverged or none has it."""
    values = [float(part[name]) for part in parts if name in part]
    return statistics.fmean(values) if values and all(parts) else math.nan
