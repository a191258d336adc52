"""The pieces of a study: each knows whether it is done, what it waits for, and how it is done."""

import abc
import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from perturbax.atomic import writing
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.options import typed_fields
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import describe
from perturbax.experiment.search import Trial, tune
from perturbax.experiment.seeds import complete, missing
from perturbax.experiment.variants import of_variant, parse_variant, slug
from perturbax.experiment.watch import StepReport

TUNING_SEED = 1000  # takes part in no result
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # what is tried for every rule
DECOR_RATES = (1e-4, 1e-3, 1e-2)
SEARCH = 5  # a search at one learning rate takes one in so many steps of a run


@dataclasses.dataclass(frozen=True)
class Job(abc.ABC):
    """A piece of work whose results lie below the study's folder.

    Attributes:
        group: the part of the study it belongs to, a folder: `fair/copy`.
        label: its name within the group.
    """

    group: str
    label: str

    @property
    def name(self) -> str:
        """Kind, group and label, as the name of a file."""
        return f"{type(self).__name__.lower()}-{self.group.replace('/', '-')}-{slug(self.label)}"

    @abc.abstractmethod
    def done(self, root: Path) -> bool:
        """Whether its results are there.

        Arguments:
            root: the study's folder.
        """

    @property
    def needs(self) -> "tuple[Job, ...]":
        """The jobs whose results it needs."""
        return ()

    @abc.abstractmethod
    def run(self, root: Path, report: StepReport) -> None:
        """Do what is missing of it.

        Arguments:
            root: the study's folder, below which results are written.
            report: called as report(steps done, steps in all, training loss) while it trains.

        Raises StoreError where the file system refuses.
        """

    @abc.abstractmethod
    def plan(self) -> dict[str, Any]:
        """Return what it does as plain values."""


@dataclasses.dataclass(frozen=True)
class Tune(Job):
    """Short runs at several learning rates, all else equal, judged on validation data.

    Attributes:
        experiment: the run that is searched for.
        rates: the candidates; each is run for one in `SEARCH` of its steps, or some more.
        seed: the only one of the search; none that is judged later.
        width: runs side by side, as many as the seeds of the runs it is for: they share its program.
        decor_rates: the candidates for the decorrelating matrices, with each of the rates; None alone for
            what the experiment has.
    """

    experiment: Resolved
    rates: tuple[float, ...]
    seed: int
    width: int
    decor_rates: tuple[float | None, ...] = (None,)

    def path(self, root: Path) -> Path:
        """Return the file of its results."""
        return root / self.group / "tuned" / f"{slug(self.label)}.json"

    def done(self, root: Path) -> bool:
        """Whether the file is there."""
        return self.path(root).exists()

    def run(self, root: Path, report: StepReport) -> None:
        """Search, and write what was found and what it cost."""
        began = time.perf_counter()
        compiled = _compiled(self.experiment)
        # Whole chunks, so that the runs' own program does for the search.
        steps = compiled.length * -(-compiled.parts.experiment.steps // (SEARCH * compiled.length))
        parts, trials = tune(
            self.experiment,
            self.rates,
            seeds=(self.seed,),
            decor_lrs=self.decor_rates,
            steps=steps,
            width=self.width,
            report=report,
            compiled=compiled,
        )
        best = best_of(trials)
        _keep(
            self.path(root),
            {
                **describe(parts, self.label),
                "seed": self.seed,
                "steps": steps,
                "candidates": [_tried(t) for t in trials],
                "best": _tried(best),
                "seconds": time.perf_counter() - began,
                "forward_passes": len(trials) * steps * parts.passes,
            },
        )

    def plan(self) -> dict[str, Any]:
        """Experiment and candidates."""
        return {
            "tune": _plan(self.experiment),
            "rates": list(self.rates),
            "seed": self.seed,
            "decor_rates": list(self.decor_rates),
        }


def _tried(t: Trial) -> dict[str, Any]:
    """Return a candidate of a search as plain values."""
    return {"lr": t.lr, **({"decor_lr": t.decor_lr} if t.decor_lr else {}), "loss": t.loss}


def _compiled(e: Resolved) -> Compiled:
    """Return the compiled program of an experiment; a search and the runs it is for share it."""
    return _lately(json.dumps(e.to_dict()))


@lru_cache(maxsize=2)
def _lately(text: str) -> Compiled:
    """Return the compiled program of an experiment, given as JSON; the last two are kept."""
    return Compiled(build(Experiment(**typed_fields(json.loads(text)))))


def _keep(path: Path, found: dict[str, Any]) -> None:
    """Write a result, in a folder that may not be there yet."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    run_folder.write_json(path, found)


def _plan(e: Resolved) -> dict[str, Any]:
    """Return an experiment as plain values; where its data lie does not matter."""
    return e.to_dict() | {"data": e.data and Path(e.data).name}


def best_of(trials: list[Trial]) -> Trial:
    """Return the candidate with the lowest loss; the lowest rates where all diverged.

    Arguments:
        trials: the candidates, lowest loss first.
    """
    return (
        trials[0] if math.isfinite(trials[0].loss) else min(trials, key=lambda t: (t.lr, t.decor_lr or 0.0))
    )


@dataclasses.dataclass(frozen=True)
class Train(Job):
    """Runs of one setting, a run folder for every seed.

    Attributes:
        experiment: the run; its learning rates are those of the search, if there was one.
        seeds: the seeds.
        tuned: the search.
    """

    experiment: Resolved
    seeds: tuple[int, ...]
    tuned: Tune | None = None

    def folders(self, root: Path) -> dict[int, Path]:
        """Return the run folder of every seed.

        Arguments:
            root: the study's folder.
        """
        return {seed: root / self.group / f"{slug(self.label)}-s{seed}" for seed in self.seeds}

    def done(self, root: Path) -> bool:
        """Whether all runs have ended."""
        return all((folder / "result.json").exists() for folder in self.folders(root).values())

    @property
    def needs(self) -> tuple[Job, ...]:
        """The search."""
        return () if self.tuned is None else (self.tuned,)

    def run(self, root: Path, report: StepReport) -> None:
        """Train what is missing, go on with what was stopped."""
        e = self.experiment
        if self.tuned:
            best = run_folder.read_json(self.tuned.path(root))["best"]
            e = dataclasses.replace(e, **{k: float(v) for k, v in best.items() if k != "loss"})
        folders = self.folders(root)
        compiled = _compiled(self.experiment)
        fresh = missing(e, folders, compiled.parts.task.digest())
        complete(e, folders, fresh, name=self.label, report=report, compiled=compiled)
        for folder in folders.values():
            for kept in (folder / "checkpoint").glob("*.npz"):
                kept.unlink()  # nothing goes on from a run that has ended

    def plan(self) -> dict[str, Any]:
        """Experiment and seeds."""
        return {"train": _plan(self.experiment), "seeds": list(self.seeds)}


def searched(
    group: str,
    base: Experiment,
    labels: Sequence[str],
    seeds: Sequence[int],
    rates: Sequence[float] = RATES,
    decor_rates: Sequence[float] = DECOR_RATES,
    **changes: Any,
) -> list[Job]:
    """Return for every label a search over learning rates, and runs at the best of them.

    Arguments:
        group: the part of the study they belong to, `fair/copy` say.
        base: the run, but for what a label says.
        labels: of the variants, written as for `perturbax compare`: `node:credit=to-go`, `bptt+decor`.
        seeds: of the runs; the search has one of its own.
        rates: learning rates that are tried.
        decor_rates: rates of the decorrelating matrices that are tried with each of these, for labels with
            decorrelation.
        changes: fields of the experiment that take the place of what a label says.
    """
    jobs: list[Job] = []
    for label in labels:
        e = dataclasses.replace(of_variant(base, parse_variant(label), {}), **changes)
        own = tuple(decor_rates) if "+decor" in label else (None,)
        search = Tune(group, label, e, tuple(rates), TUNING_SEED, len(seeds), own)
        jobs += [search, Train(group, label, e, tuple(seeds), search)]
    return jobs


@dataclasses.dataclass(frozen=True)
class Measure(Job):
    """Something measured without a training run of its own; its result is one JSON file.

    Attributes:
        measure: the function; it gets the settings.
        settings: plain values.
    """

    measure: Callable[..., dict[str, Any]]
    settings: dict[str, Any]

    def path(self, root: Path) -> Path:
        """Return the file of its result."""
        return root / self.group / f"{slug(self.label)}.json"

    def done(self, root: Path) -> bool:
        """Whether the file is there."""
        return self.path(root).exists()

    def run(self, root: Path, report: StepReport) -> None:
        """Measure and write."""
        found = self.measure(**self.settings)
        _keep(self.path(root), {"measured": self.measure.__name__, "settings": self.settings, **found})

    def plan(self) -> dict[str, Any]:
        """Function and settings."""
        return {"measure": self.measure.__name__, "settings": self.settings}


@dataclasses.dataclass(frozen=True)
class Study:
    """All jobs of one command.

    Attributes:
        title: what it is called.
        command: what does it, but for the folder.
        jobs: in the order in which they are best done.
        notes: what was left out, and why.
        source: the function that returns this study, as module:function, and its arguments, plain values:
            other processes make it anew.
    """

    title: str
    command: str
    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()
    source: tuple[str, tuple[Any, ...]] = ("", ())

    @cached_property
    def plan(self) -> dict[str, Any]:
        """All that the study does, as plain values: two studies of one folder must not differ in it."""
        jobs = [{"group": j.group, "label": j.label, **j.plan()} for j in self.jobs]
        return json.loads(
            json.dumps({"title": self.title, "command": self.command, "notes": self.notes, "jobs": jobs})
        )
