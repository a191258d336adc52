"""What differs between the run that a folder holds and the one that is asked for."""

import dataclasses
from pathlib import Path

from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment import run_folder
from perturbax.experiment.config import KINDS, Resolved
from perturbax.experiment.named import resume_words
from perturbax.experiment.options import left_open, typed_form
from perturbax.experiment.result import read_config, read_resolved

MOST = 5  # settings that an error names


def differences(stored: Resolved, asked: Resolved) -> list[str]:
    """Return the settings in which two runs differ, such as `lr 0.002 asked, 0.001 stored`.

    Where the data lie does not count, nor does a setting of one side alone (it is younger than the run), nor
    one that is still open. Settings of a class are compared where both runs have that class.

    Arguments:
        stored: the run of the folder.
        asked: the run that is to be started.
    """
    found = []
    for field in dataclasses.fields(Resolved):
        name = field.name
        if name in ("data", "passes") or name.endswith("_options"):
            continue
        if getattr(stored, name) != getattr(asked, name):
            found.append(_said(name, getattr(asked, name), getattr(stored, name)))
    for kind in KINDS:
        if getattr(stored, kind) != getattr(asked, kind):
            continue
        before, now = (getattr(e, f"{kind}_options") for e in (stored, asked))
        settled = [name for name in now if name in before and name not in left_open(now)]
        if getattr(asked, kind) == "nir":
            settled.remove("file")  # where it lies does not count: its digest does
        differing = [name for name in settled if before[name] != now[name]]
        found += [_said(f"{kind}.{name}", now[name], before[name]) for name in differing]
    return found


def another_run(folder: Path, asked: Resolved, data: str, *, can_go_on: bool = False) -> ArgumentError:
    """Return the error for a folder in which a run cannot start, as it holds one: it says what differs.

    Arguments:
        folder: the run folder.
        asked: the run that is to be started.
        data: digest of its data.
        can_go_on: whether the user may go on with what the folder holds.
    """
    hint = f" (or go on with it: {resume_words(folder)})" if can_go_on else ""
    try:
        found = differences(read_resolved(folder), asked)
        same_data = read_config(folder)["facts"]["data"] == data
    except PerturbaxError:
        return ArgumentError(f"{folder} holds another run: name another --out{hint}")
    if not same_data and not any(difference.startswith("task") for difference in found):
        found.append("other data")
    if not found:
        return ArgumentError(f"{folder} holds this run already: name another --out{hint}")
    more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
    return ArgumentError(
        f"{folder} holds another run ({'; '.join(found[:MOST])}{more}): name another --out{hint}"
    )


def refuse_other(folder: Path, asked: Resolved, data: str) -> None:
    """Raise ArgumentError for a folder that holds anything; where that is a run, it says what differs.

    Arguments:
        folder: the folder that a run is to be started in.
        asked: the run.
        data: digest of its data.
    """
    if not run_folder.vacant(folder) and (folder / "config.json").is_file():
        raise another_run(folder, asked, data, can_go_on=True)
    run_folder.refuse_occupied(folder)


def _said(name: str, asked: object, stored: object) -> str:
    """Return a difference in words."""
    return f"{name} {typed_form(asked)} asked, {typed_form(stored)} stored"
