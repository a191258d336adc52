"""Runs of one experiment over several seeds, a folder each: what is missing is trained, the rest is kept."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment import own_code, run_folder
from perturbax.experiment.config import Experiment, Resolved, device_text
from perturbax.experiment.differences import another_run
from perturbax.experiment.layout import layout_of
from perturbax.experiment.options import left_open
from perturbax.experiment.precision import require_same
from perturbax.experiment.program import Program
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import Result, read_config, read_experiment
from perturbax.experiment.run import resume, run_seeds
from perturbax.experiment.watch import Report


def missing(e: Resolved, folders: Mapping[int, Path], data: str) -> list[int]:
    """Return the seeds whose folders hold nothing yet.

    Arguments:
        e: the run.
        folders: the folder of each seed.
        data: digest of the task's data.

    Raises ArgumentError for a folder that holds any other run, or this one in another precision.
    """
    return [seed for seed, folder in folders.items() if not _holds(folder, e, data)]


def complete(
    e: Resolved,
    folders: Mapping[int, Path],
    fresh: list[int],
    *,
    name: str,
    report: Report | None = None,
    compiled: Program | None = None,
) -> list[Result]:
    """Train the fresh seeds, go on with those that were stopped, read those that are finished.

    Arguments:
        e: the run.
        folders: the folder of each seed.
        fresh: the seeds whose folders hold nothing yet.
        name: what reports call the runs.
        report: as for `run`.
        compiled: for the fresh seeds, as for `run_seeds`.
    """
    done = [resume(folder, report=report) for seed, folder in folders.items() if seed not in fresh]
    if not fresh:
        return done
    fresh_folders = [folders[seed] for seed in fresh]
    return done + run_seeds(e, fresh, fresh_folders, name=name, report=report, compiled=compiled)


def _holds(folder: Path, e: Resolved, data: str) -> bool:
    """Whether a folder holds this very run on these very data; refuse one that holds anything else."""
    if run_folder.vacant(folder):
        return False
    if (folder / "config.json").is_file():
        found = read_experiment(folder)
        device = None if e.device is None else device_text(e.device)
        if not _same_names(found, e) or found.device != device:
            raise another_run(folder, dataclasses.replace(e, seed=found.seed), data)
        found = dataclasses.replace(found, device=e.device)  # the user's own, not a name in a file
        settled = {
            name: found.rule_options[name] for name in left_open(e.rule_options) if name in found.rule_options
        }
        if settled:
            e = resolve(dataclasses.replace(e, rule_options={**e.rule_options, **settled}))
        # A setting that is younger than the run was at its default then; where the data lie does not matter.
        same = _without_place(resolve(found)) == _without_place(e)
        config = read_config(folder)
        if same and not own_code.same_code(vars(e), config):
            raise ArgumentError(
                f"{folder} holds a run of other code: that of its own classes has changed since; "
                "name another --out"
            )
        if same and config["facts"]["data"] == data:
            require_same(folder, layout_of(folder / "config.json", config))
            return True
    raise another_run(folder, dataclasses.replace(e, seed=_seed_of(folder, e)), data)


def _seed_of(folder: Path, e: Resolved) -> int:
    """Return the seed of the run in a folder; that of e where it holds none."""
    try:
        return read_experiment(folder).seed
    except PerturbaxError:
        return e.seed


def _same_names(found: Experiment, e: Resolved) -> bool:
    """Whether a folder names the task, rule, cell and noise of this run: nothing else is imported for it."""
    named = own_code.names_of(vars(found))
    asked = own_code.names_of(vars(e))
    return all(asked.get(place) == name for place, name in named.items())


def _without_place(e: Resolved) -> Resolved:
    """Return a run without its seed and the place of its data."""
    return dataclasses.replace(e, seed=0, data=None)
