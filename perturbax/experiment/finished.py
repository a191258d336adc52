"""Finished runs: what they kept, opened together with the data that they were judged on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from perturbax.errors import ArgumentError
from perturbax.experiment.build import open_task
from perturbax.experiment.layout import layout_of
from perturbax.experiment.own_code import code_of
from perturbax.experiment.precision import in_precision_of
from perturbax.experiment.result import Result, load, read_config
from perturbax.tasks.base import Task


@contextlib.contextmanager
def finished_run(folder: Path, trust: bool) -> Iterator[tuple[Result, Task]]:
    """Within the context, have the result of a run that has ended, and its task with data, in its precision.

    Arguments:
        folder: a run folder.
        trust: as for `px.load`.

    Raises ArgumentError for a run that has not ended, or whose data have changed.
    """
    config = read_config(folder)
    layout = layout_of(folder / "config.json", config)
    if not (folder / "result.json").exists():
        raise ArgumentError(f"{folder} has not ended yet: go on with it by perturbax run --resume")
    with code_of(folder, config, trust, kinds=("task", "cell")), in_precision_of(folder, layout):
        result = load(folder, trust=trust)
        task = open_task(result.experiment)
        if task.digest() != config["facts"]["data"]:
            raise ArgumentError(f"{result.experiment.data} has changed since {folder} was started")
        yield result, task
