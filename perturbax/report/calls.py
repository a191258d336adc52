"""`px.compare`, `px.tune` and `px.report`: what the commands of these names do, in Python."""

import dataclasses
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment.comparison import Comparison, plan_comparison
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.grid import plan_search
from perturbax.experiment.pieces import processes_for
from perturbax.experiment.result import Result
from perturbax.experiment.run_folder import as_path
from perturbax.experiment.shown import aligned, html_table
from perturbax.experiment.tuning import Tuned, pieces_of, refuse_other_search, search
from perturbax.experiment.variants import parse_variant, with_settings
from perturbax.experiment.watch import Report, watcher_of
from perturbax.fields import whole
from perturbax.report import write_report
from perturbax.report.read import run_folders
from perturbax.report.tuning import write_tuning

Folders = str | os.PathLike | Result
"""What names a run: its folder, or its result."""


@dataclasses.dataclass(frozen=True, repr=False)
class Compared:
    """The runs of a comparison.

    Attributes:
        results: the results of each variant, one per seed, by its label, such as `node:samples=8`.
        page: the report of all runs; None for runs without folders.
    """

    results: dict[str, list[Result]]
    page: Path | None = None

    def __getitem__(self, label: str) -> list[Result]:
        """Return the results of a variant, one per seed."""
        return self.results[label]

    def __repr__(self) -> str:
        """Return a line per variant: the test metrics, as means over seeds."""
        return aligned(*self._table())

    def _repr_html_(self) -> str:
        """Return the same as a table in HTML."""
        return html_table("Test data, mean over seeds", *self._table())

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        """Return the heads and rows of the table: variants, then the baselines of the first run."""
        every = [result for results in self.results.values() for result in results]
        names = list(every[0].summary["test"])
        rows: list[list[Any]] = []
        for label, results in self.results.items():
            seen = [result.summary["test"] for result in results if result.summary["status"] != "diverged"]
            means = [float(np.mean([test[name] for test in seen])) if seen else None for name in names]
            rows.append([label, len(results), *means])
        for baseline, metrics in every[0].summary["baselines"].items():
            rows.append([baseline, "", *(metrics.get(name) for name in names)])
        return ["", "seeds", *names], rows


def compare(
    rules: str | Sequence[str],
    out: Path | str | None = None,
    *,
    seeds: int = 3,
    experiment: Experiment | Resolved | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    report: Report | None = None,
    **settings: Any,
) -> Compared:
    """Train several rules over several seeds, and write the report of all runs.

        px.compare("node,node:samples=8,bptt", task="copy", seeds=3, out="runs/copy")

    Arguments:
        rules: the rules with their suffixes, as for `perturbax compare --rules`, or a list of them.
        out: folder for the runs and report.html; what is finished there is kept, what was stopped goes on.
            None to keep the results in memory alone.
        seeds: number of seeds, from that of the experiment on.
        experiment: what the runs have in common; None for what `settings` describe alone.
        workers: processes that train side by side, with the same numbers as one; None for one for each core,
            if memory allows. Runs without folders, and those of classes that another process cannot import,
            are trained in this process, one after the other.
        cluster: where these processes are: `local`, or None, for this machine; `slurm`; or the address of a
            scheduler of dask, tcp://HOST:PORT, which must be trusted.
        report: as for `px.run`; of runs side by side it is told by turns.
        settings: as for `px.run`; those of rules (`rule__sigma`) are for every rule that has them.

    Raises what `px.run` raises, ArgumentError for a folder that holds another run, and PerturbaxError, when
    all else is done, for runs whose process has died.
    """
    entries = [rule.strip() for rule in rules.split(",")] if isinstance(rules, str) else rules
    if (
        not isinstance(entries, list | tuple)
        or not entries
        or not all(isinstance(entry, str) and entry for entry in entries)
    ):
        raise ArgumentError(f'rules must be names of rules, such as "node,bptt" or ["node"]; got {rules!r}')
    whole("seeds", seeds)
    if "rule" in settings:
        raise ArgumentError("compare takes rules, the first argument, not rule")
    folder = None if out is None else as_path("out", out)
    if folder is None and cluster is not None:
        raise ArgumentError("processes of a cluster leave their runs in a folder: name out")
    if folder is not None and (folder / "report.html").is_dir():
        raise ArgumentError(f"{folder / 'report.html'} is a folder: name another out")
    shared = dict(settings.pop("rule_options", {}))
    for name in [name for name in settings if name.startswith("rule__")]:
        shared[name.removeprefix("rule__")] = settings.pop(name)
    base = with_settings(experiment, settings)
    variants = [parse_variant(entry) for entry in entries]
    comparison = plan_comparison(variants, base, shared, seeds, folder)
    _, engine = processes_for(comparison.pieces, workers, cluster)
    if folder is None or engine is None:
        results = {label: comparison.train(label, report) for label in comparison.experiments}
        return Compared(results, None if folder is None else _page(comparison, folder))
    lost = comparison.train_all(engine, watcher_of(report))
    if lost:
        said = [f"{job.name}: {reason}" for job, reason in lost]
        raise PerturbaxError(f"{'; '.join(said)}: the same call goes on with what is missing")
    return Compared(comparison.results(), _page(comparison, folder))


def _page(comparison: Comparison, folder: Path) -> Path:
    """Write the report of all runs and return its path."""
    return write_report(comparison.every_folder, folder / "report.html")


def tune(
    experiment: Experiment | Resolved | None = None,
    out: Path | str | None = None,
    *,
    over: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 1,
    steps: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    report: Report | None = None,
    **settings: Any,
) -> Tuned:
    """Try candidates by short runs and judge them on validation data; test data are not read.

        px.tune(task="copy", rule="node", over={"lr": [3e-4, 1e-3], "rule.sigma": [1e-3, 1e-2]})

    All combinations of the candidates are tried. One compiled program advances those of learning rates, rates
    of decorrelation and discounts side by side; each combination of other settings has a program of its own.

    Arguments:
        experiment: the run that is searched for; None for one that `settings` describe alone.
        out: a folder to write: tune.json, tune.html, the page of the search, and config.json with the best
            settings, from which `px.run` and `perturbax run --config` start. None to write nothing.
        over: setting -> candidates: fields of an `Experiment` (`lr`, `decor_lr`, `batch`, ...) and settings
            of its task, rule and cell (`rule.sigma`, `cell.gain`). Unless it names any but rates and the
            discount, what it leaves out is searched as well: five learning rates around that of the run, and
            discounts, where the rule's credit has one and the run does not name it.
        seeds: number of seeds of each candidate, from that of the run on.
        steps: training steps of the short runs; None for a tenth of those of a whole run.
        workers: processes that share the work of a search with a folder, as for `compare`.
        cluster: where they are, as for `compare`.
        report: as for `px.run`.
        settings: as for `px.run`.

    Raises what `px.run` raises, ArgumentError for candidates that cannot be used, and PerturbaxError, when
    all else is done, for candidates whose process has died: the same call goes on with what is missing.
    """
    folder = None if out is None else as_path("out", out)
    if folder is None and cluster is not None:
        raise ArgumentError("processes of a cluster leave what they find in a folder: name out")
    if folder is not None:
        refuse_other_search(folder)
    plan = plan_search(experiment, over, seeds, steps, **settings)
    engine = None if folder is None else processes_for(pieces_of(plan), workers, cluster)[1]
    tuned = search(plan, folder, report, engine)
    if folder is not None:
        write_tuning(folder)
    return tuned


def report(folders: Folders | Sequence[Folders], out: Path | str = "report.html") -> Path:
    """Write the report of some runs, one self-contained HTML page, and return its path.

        px.report("runs/copy")    px.report([one, other], "page.html")

    Arguments:
        folders: run folders, folders that hold run folders, or results of runs that have folders.
        out: the page to write.

    Raises ArgumentError where there is no run, StoreError for a file that cannot be read or written.
    """
    several = isinstance(folders, list | tuple | Generator)
    named = list(folders) if several else [folders]
    places = []
    for one in named:
        if isinstance(one, Result) and one.folder is None:
            raise ArgumentError("a run without a folder has no report: give it one, px.run(..., out=FOLDER)")
        places.append(one.folder if isinstance(one, Result) else as_path("folders", one))
    return write_report(run_folders(places), as_path("out", out))
