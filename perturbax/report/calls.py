"""`px.compare` and `px.report`: what the commands of these names do, in Python."""

import dataclasses
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perturbax.errors import ArgumentError
from perturbax.experiment.comparison import plan_comparison
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.result import Result
from perturbax.experiment.run_folder import as_path
from perturbax.experiment.shown import aligned, html_table
from perturbax.experiment.variants import parse_variant, with_settings
from perturbax.experiment.watch import Report
from perturbax.fields import whole
from perturbax.report import write_report
from perturbax.report.read import run_folders

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
        report: as for `px.run`.
        settings: as for `px.run`; those of rules (`rule__sigma`) are for every rule that has them.

    Raises what `px.run` raises, and ArgumentError for a folder that holds another run.
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
    if folder is not None and (folder / "report.html").is_dir():
        raise ArgumentError(f"{folder / 'report.html'} is a folder: name another out")
    shared = dict(settings.pop("rule_options", {}))
    for name in [name for name in settings if name.startswith("rule__")]:
        shared[name.removeprefix("rule__")] = settings.pop(name)
    base = with_settings(experiment, settings)
    variants = [parse_variant(entry) for entry in entries]
    comparison = plan_comparison(variants, base, shared, seeds, folder)
    results = {label: comparison.train(label, report) for label in comparison.experiments}
    page = None if folder is None else write_report(comparison.every_folder, folder / "report.html")
    return Compared(results, page)


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
