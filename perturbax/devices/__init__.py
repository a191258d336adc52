"""Devices: networks that live outside this library, and are trained from forward passes and a score alone.

A device has four methods: `hello`, `write`, `run` and `bye`. docs/devices.md has their contract, and the
frames in which they travel between two processes.
"""

import importlib
from typing import Any

from perturbax.devices.abilities import Abilities, Weight
from perturbax.devices.checked import Checked, Costs
from perturbax.devices.driver import serve
from perturbax.devices.remote import Remote

_LAZY = {
    "device_learner": "perturbax.devices.estimates",
    "Faults": "perturbax.devices.faults",
    "Simulated": "perturbax.devices.simulated",
    "judge": "perturbax.experiment.on_device",
    "judge_run": "perturbax.experiment.on_device",
    "train": "perturbax.experiment.on_device",
}
"""Names that need JAX, or a room above this one, and are imported when they are first asked for."""

__all__ = ["Abilities", "Checked", "Costs", "Remote", "Weight", "serve", *_LAZY]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a name of `_LAZY` when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
