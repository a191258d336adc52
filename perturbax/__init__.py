"""perturbax: train recurrent networks with noise instead of gradients.

The public names are loaded on first use, so that `perturbax --help` does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perturbax import cells as cells
    from perturbax import noise as noise
    from perturbax import rules as rules
    from perturbax import tasks as tasks
    from perturbax.backprop import bptt as bptt
    from perturbax.backprop import truncated_bptt as truncated_bptt
    from perturbax.cells import CELLS as CELLS
    from perturbax.credit import Credit as Credit
    from perturbax.credit import Direct as Direct
    from perturbax.credit import Estimate as Estimate
    from perturbax.credit import Outer as Outer
    from perturbax.diagnosis import diagnose as diagnose
    from perturbax.errors import PerturbaxError as PerturbaxError
    from perturbax.estimator import Learner as Learner
    from perturbax.estimator import learner as learner
    from perturbax.estimator import value_and_estimate as value_and_estimate
    from perturbax.experiment import Experiment as Experiment
    from perturbax.gradient import decorrelate as decorrelate
    from perturbax.gradient import forward as forward
    from perturbax.layer import Fixed as Fixed
    from perturbax.layer import Layer as Layer
    from perturbax.layer import apply_updates as apply_updates
    from perturbax.layer import join as join
    from perturbax.layer import setting as setting
    from perturbax.layer import split as split
    from perturbax.layer import weights as weights
    from perturbax.network import Network as Network
    from perturbax.network import Site as Site
    from perturbax.noise import Noise as Noise
    from perturbax.rule import Rule as Rule
    from perturbax.rules import RULES as RULES
    from perturbax.rules.node import Node as NodePerturbation  # noqa: F401
    from perturbax.saved import Result as Result
    from perturbax.saved import load as load
    from perturbax.streaming import online as online
    from perturbax.task import Task as Task
    from perturbax.tasks import TASKS as TASKS
    from perturbax.train import resume as resume
    from perturbax.train import run as run

__version__ = "0.1.0"

_HOME = {
    "backprop": ("bptt", "truncated_bptt"),
    "cells": ("CELLS",),
    "credit": ("Credit", "Direct", "Estimate", "Outer"),
    "diagnosis": ("diagnose",),
    "errors": ("PerturbaxError",),
    "estimator": ("Learner", "learner", "value_and_estimate"),
    "gradient": ("decorrelate", "forward"),
    "layer": ("Fixed", "Layer", "apply_updates", "join", "setting", "split", "weights"),
    "network": ("Network", "Site"),
    "noise": ("Noise",),
    "rule": ("Rule",),
    "rules": ("RULES",),
    "streaming": ("online",),
    "task": ("Task",),
    "tasks": ("TASKS",),
    "experiment": ("Experiment",),
    "saved": ("Result", "load"),
    "train": ("resume", "run"),
}
_RENAMED = {"NodePerturbation": ("rules.node", "Node")}  # public names that stand for a class of another name
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_MODULES = ("cells", "noise", "rules", "tasks")

__all__ = [*_MODULE_OF, *_RENAMED, *_MODULES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name, or one of the public modules, when it is first asked for."""
    if name in _RENAMED:
        module, own = _RENAMED[name]
        return getattr(importlib.import_module(f"perturbax.{module}"), own)
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"perturbax.{_MODULE_OF[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"perturbax.{name}")
    raise AttributeError(f"module 'perturbax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
