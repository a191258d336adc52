"""Which code a run names as module:name, and how to go on with a run that names some. Needs no JAX."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perturbax.errors import printable
from perturbax.experiment.config import KINDS

IMPORTED = {"rule": ("noise",), "task": ("env",)}
"""Settings whose text may name code as well: noise as module:name, environments as module:Name."""


def names_of(experiment: Mapping[str, Any]) -> dict[str, str]:
    """Return what the settings of a run name as module:name, by its place: `task`, `rule`, `rule.noise`.

    experiment: the fields of an Experiment, by name.
    """
    found = {kind: experiment.get(kind) for kind in KINDS}
    for kind, names in IMPORTED.items():
        own = experiment.get(f"{kind}_options")
        for name in names:
            found[f"{kind}.{name}"] = own.get(name) if isinstance(own, Mapping) else None
    return {place: name for place, name in found.items() if isinstance(name, str) and ":" in name}


def resume_words(folder: Path, device: str | None = None) -> str:
    """Return the arguments that go on with a run: `--resume FOLDER`, and what has to be vouched for.

    That is `--trust` where it names code that is no part of this package, and else `--device COMMAND` where
    it is on a device.

    Arguments:
        folder: the run folder.
        device: the command or address of the device, where it was named; None for what the folder names.
    """
    words = f"--resume {shlex.quote(str(folder))}"
    try:
        experiment = json.loads((folder / "config.json").read_text(encoding="utf-8"))["experiment"]
        names = names_of(experiment).values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return words
    if any(not name.startswith("perturbax.") for name in names):
        return f"{words} --trust"
    device = device or experiment.get("device")
    return f"{words} --device {shlex.quote(printable(device))}" if isinstance(device, str) else words
