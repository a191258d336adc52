"""Compiled programs that later runs of the same process find again: runs that differ in seed, learning
rates or discount alone share one.
"""

import dataclasses
from collections import OrderedDict
from typing import Any

import jax

from perturbax.experiment.build import Parts
from perturbax.experiment.device_program import program_of
from perturbax.experiment.options import find
from perturbax.experiment.program import Compiled, Program
from perturbax.experiment.resolve import KNOWN
from perturbax.tasks.contract import is_own

MOST = 4  # experiments whose programs are kept, the ones used last
MOST_BYTES = 64 * 2**20  # of the data of a task; more is not kept in memory after its run
OPEN = ("seed", "lr", "decor_lr", "data")  # settings that a program takes as numbers, or that name a place
CONFIGURATION = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_device",
    "jax_default_prng_impl",
    "jax_numpy_rank_promotion",
    "jax_debug_nans",
    "jax_disable_jit",
)
"""What a program follows from beside the run."""

_KEPT: OrderedDict[Any, Compiled] = OrderedDict()


def compiled_for(parts: Parts) -> Program:
    """Return the program of a run: that of an earlier run where only numbers differ.

    Programs of tasks that are not ours, of settings that are objects, and of large data are not kept.

    parts: the parts of the run.
    """
    key = _key(parts) if parts.device is None else None
    if key is None:
        return program_of(parts)
    if key in _KEPT:
        _KEPT.move_to_end(key)
        return _KEPT[key].with_parts(parts)
    compiled = _KEPT[key] = Compiled(parts)
    while len(_KEPT) > MOST:
        _KEPT.popitem(last=False)
    return compiled


def forget() -> None:
    """Drop all programs that are kept."""
    _KEPT.clear()


def _key(parts: Parts) -> Any:
    """Return all that a program follows from; None where that cannot be told."""
    e, task = parts.experiment, parts.task
    size = sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(task))
    if is_own(task) or size > MOST_BYTES or not isinstance(e.optimiser, str):
        return None
    settings = {f.name: getattr(e, f.name) for f in dataclasses.fields(e) if f.name not in OPEN}
    own = dict(settings["rule_options"])
    if parts.setup.hyperparameters.discount is not None:
        own.pop("discount")
    settings["rule_options"] = own
    for kind in ("task", "rule", "cell"):
        options = settings.pop(f"{kind}_options")
        if not all(isinstance(value, bool | int | float | str | None) for value in options.values()):
            return None
        settings[f"{kind}_options"] = tuple(sorted(options.items()))
    configuration = tuple(str(getattr(jax.config, name, None)) for name in CONFIGURATION)
    classes = (type(task), type(parts.rule), find("cell", e.cell, KNOWN["cell"]))
    named = tuple((name, repr(value)) for name, value in sorted(settings.items()))
    place = parts.setup.placement
    settings_of_task = jax.tree.structure(task)  # a task given as an object has settings that no field names
    return named, classes, task.digest(), settings_of_task, configuration, jax.default_backend(), place
