"""Runs of one experiment over several seeds, a folder each: what is missing is trained, what is finished is
kept.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from perturbax.errors import ArgumentError
from perturbax.experiment import run_folder
from perturbax.experiment.build import fill_in
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import unmeasured
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import Result, read_config, read_experiment
from perturbax.experiment.run import Report, resume, run_seeds


def missing(e: Experiment, folders: Mapping[int, Path], data: str) -> list[int]:
    """Return the seeds whose folders hold nothing yet; refuse a folder that holds any other run.

    e has its settings filled in; data is the digest of the task's data.
    """
    return [seed for seed, folder in folders.items() if not _holds(folder, e, data)]


def complete(
    e: Experiment,
    folders: Mapping[int, Path],
    fresh: list[int],
    *,
    name: str,
    report: Report | None = None,
    compiled: Compiled | None = None,
) -> list[Result]:
    """Train the fresh seeds, go on with those that were stopped, read those that are finished."""
    done = [resume(folder, report=report) for seed, folder in folders.items() if seed not in fresh]
    if not fresh:
        return done
    return done + run_seeds(
        e, fresh, [folders[s] for s in fresh], name=name, report=report, compiled=compiled
    )


def _holds(folder: Path, e: Experiment, data: str) -> bool:
    """Whether a folder holds this very run on these very data; refuse one that holds anything else."""
    if run_folder.vacant(folder):
        return False
    if (folder / "config.json").is_file():
        found = read_experiment(folder)
        if wanted := [k for k in unmeasured(e.rule_options) if k in found.rule_options]:
            own = {**e.rule_options, **{k: found.rule_options[k] for k in wanted}}
            e = fill_in(dataclasses.replace(e, rule_options=own))
        # A setting that is younger than the run was at its default then; where the data lie does not matter.
        same = fill_in(dataclasses.replace(found, seed=0, data=None)) == dataclasses.replace(
            e, seed=0, data=None
        )
        if same and read_config(folder)["facts"]["data"] == data:
            return True
    raise ArgumentError(f"{folder} holds another run (other settings or data): name another --out")
