"""Several rules on one task over several seeds: what is to be trained, and where each run goes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.random as jr

from perturbax.devices.held import check_first_shift
from perturbax.errors import ArgumentError, unknown
from perturbax.experiment.build import build, check_start
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.options import find, options
from perturbax.experiment.pieces import Piece, work_off
from perturbax.experiment.program import in_one_program
from perturbax.experiment.resolve import KNOWN, check_seed
from perturbax.experiment.result import Result, load
from perturbax.experiment.run import run_seeds
from perturbax.experiment.seeds import complete, missing
from perturbax.experiment.variants import Variant, of_variant, slug
from perturbax.experiment.watch import Report, Watcher
from perturbax.jobs.job import Engine, Lost
from perturbax.rules.perturbation.weight_base import WeightRule
from perturbax.tasks.base import Task


class Comparison(NamedTuple):
    """The runs of a comparison, checked: nothing has been trained yet.

    Attributes:
        experiments: the run of each variant, by its label, such as `node:samples=8`.
        folders: the run folder of each of its seeds; None for runs without folders.
        fresh: the seeds whose folders hold nothing yet.
        tasks: its task, the data read.
        auto: how its settings that were open were settled.
    """

    experiments: dict[str, Resolved]
    folders: dict[str, dict[int, Path]] | None
    fresh: dict[str, list[int]]
    tasks: dict[str, Task]
    auto: dict[str, dict[str, Any]]

    @property
    def every_folder(self) -> list[Path]:
        """The folders of all runs, variant by variant."""
        return [folder for of_seed in (self.folders or {}).values() for folder in of_seed.values()]

    def train(self, label: str, report: Report | None = None) -> list[Result]:
        """Train, go on with, or read the runs of one variant; report: as for `run`.

        Arguments:
            label: of the variant.
            report: as for `run`.

        Returns a result per seed, in the order of the seeds.
        """
        e, fresh = self.experiments[label], self.fresh[label]
        if self.folders is None:
            return run_seeds(e, fresh, name=label, report=report)
        results = complete(e, self.folders[label], fresh, name=label, report=report)
        return sorted(results, key=lambda result: result.experiment.seed)

    def results(self) -> dict[str, list[Result]]:
        """Return the results of runs that have ended, read back from their folders, one per seed by label."""
        return {
            label: [load(folder) for folder in folders.values()]
            for label, folders in (self.folders or {}).items()
        }

    @property
    def pieces(self) -> list[Piece]:
        """What is left to train, in pieces that have the same numbers wherever they are trained.

        There are none where the runs have no folders to leave their results in.
        """
        pieces = []
        for label, folders in (self.folders or {}).items():
            e, fresh = self.experiments[label], self.fresh[label]
            stopped = [seed for seed in folders if seed not in fresh]
            going_on = [seed for seed in stopped if not (folders[seed] / "result.json").exists()]
            pieces += [Piece(label, e, {seed: folders[seed]}) for seed in going_on]
            # Seeds that advance in one program stay together: alone their last digits differ.
            groups = [fresh] if in_one_program(e) and fresh else [[seed] for seed in fresh]
            together = [{seed: folders[seed] for seed in group} for group in groups]
            pieces += [Piece(label, e, of_seed) for of_seed in together]
        return pieces

    def train_all(self, engine: Engine | None = None, watcher: Watcher | None = None) -> list[Lost]:
        """Train or go on with all runs; their results are in their folders.

        Arguments:
            engine: the processes that share the work; None for this process alone, one run after the other.
            watcher: is told how the runs go on.

        Returns the runs that were lost because their process died. Raises what `run` raises.
        """
        watcher = watcher or Watcher()
        if engine is not None and self.folders is not None:
            return work_off(self.pieces, engine, watcher)
        for label in self.experiments:
            self.train(label, watcher)
        return []


def plan_comparison(
    variants: Sequence[Variant], base: Experiment, shared: dict[str, Any], count: int, out: Path | None
) -> Comparison:
    """Return the runs of a comparison; what cannot run is refused here, before anything is trained.

    Arguments:
        variants: the rules with their suffixes, as `parse_variant` returns them.
        base: the experiment that they share.
        shared: settings meant for every rule that has them.
        count: number of seeds, from that of the base on.
        out: the folder that holds the run folders; None to write none.

    Raises ArgumentError for settings that cannot be used, two variants that are the same, and a folder that
    holds another run; DataError for data that cannot be used.
    """
    if count < 1:
        raise ArgumentError(f"seeds must be above 0, not {count}")
    _check_shared(variants, shared)
    seeds = range(base.seed, base.seed + count)
    experiments = {variant.label: of_variant(base, variant, shared) for variant in variants}
    if len({slug(label) for label in experiments}) < len(variants):
        raise ArgumentError("two entries of --rules are the same")
    check_seed(seeds[-1])
    parts = {label: build(e) for label, e in experiments.items()}
    for one in parts.values():
        if len(parts) > 1:  # of several, all are looked at before the first is trained
            check_start(one)
        if one.device is not None and isinstance(one.rule, WeightRule):
            first: Any = partial(one.network, jr.PRNGKey(one.experiment.seed))
            check_first_shift(one.rule, one.device, first)
    tasks = {label: one.task for label, one in parts.items()}
    auto = {label: one.auto for label, one in parts.items()}
    digests = {label: task.digest() for label, task in tasks.items()}
    if out is None:
        return Comparison(experiments, None, {label: list(seeds) for label in experiments}, tasks, auto)
    folders = {label: {seed: out / f"{slug(label)}-s{seed}" for seed in seeds} for label in experiments}
    fresh = {label: missing(e, folders[label], digests[label]) for label, e in experiments.items()}
    return Comparison(experiments, folders, fresh, tasks, auto)


def _check_shared(variants: Sequence[Variant], shared: dict[str, Any]) -> None:
    """Raise ArgumentError for a setting that none of the rules has."""
    rules = [find("rule", variant.fields["rule"], KNOWN["rule"]) for variant in variants]
    known = {name for rule in rules for name in options(rule)}
    for name in shared:
        if name not in known:
            raise unknown("rule setting", name, known)
