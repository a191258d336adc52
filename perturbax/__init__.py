"""perturbax: train recurrent networks with noise instead of gradients.

The public names are loaded on first use, so that `perturbax --help` does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from perturbax.moved import install, old_names

if TYPE_CHECKING:
    from perturbax import cells as cells
    from perturbax import devices as devices
    from perturbax import rules as rules
    from perturbax import tasks as tasks
    from perturbax.analysis.diagnosis import diagnose as diagnose
    from perturbax.cells import CELLS as CELLS
    from perturbax.errors import PerturbaxError as PerturbaxError
    from perturbax.exchange.measuring import differing_spikes as differing_spikes
    from perturbax.exchange.reading import from_nir as from_nir
    from perturbax.exchange.writing import to_nir as to_nir
    from perturbax.experiment.adas import by_knowledge_gain as by_knowledge_gain
    from perturbax.experiment.config import Experiment as Experiment
    from perturbax.experiment.forecaster import Forecaster as Forecaster
    from perturbax.experiment.integers import rounded_at_random as rounded_at_random
    from perturbax.experiment.predict import predict as predict
    from perturbax.experiment.pruning import PruningPlan as PruningPlan
    from perturbax.experiment.pruning import growing_regularisation as growing_regularisation
    from perturbax.experiment.result import Result as Result
    from perturbax.experiment.result import load as load
    from perturbax.experiment.run import resume as resume
    from perturbax.experiment.run import run as run
    from perturbax.fields import setting as setting
    from perturbax.learning import noise as noise
    from perturbax.learning.autodiff import bptt as bptt
    from perturbax.learning.autodiff import truncated_bptt as truncated_bptt
    from perturbax.learning.credit import Credit as Credit
    from perturbax.learning.estimate import Direct as Direct
    from perturbax.learning.estimate import Estimate as Estimate
    from perturbax.learning.estimate import Outer as Outer
    from perturbax.learning.estimator import Learner as Learner
    from perturbax.learning.estimator import learner as learner
    from perturbax.learning.estimator import value_and_estimate as value_and_estimate
    from perturbax.learning.facts import Facts as Facts
    from perturbax.learning.noise import Noise as Noise
    from perturbax.learning.online import online as online
    from perturbax.learning.rule import Rule as Rule
    from perturbax.learning.rule import SequenceRule as SequenceRule
    from perturbax.learning.rule import StepRule as StepRule
    from perturbax.loop.agent import Agent as Agent
    from perturbax.loop.closed_loop import closed_loop as closed_loop
    from perturbax.network.decorrelation import add_decorrelation as add_decorrelation
    from perturbax.network.decorrelation import decorrelate as decorrelate
    from perturbax.network.layer import Fixed as Fixed
    from perturbax.network.layer import Layer as Layer
    from perturbax.network.layer import apply_updates as apply_updates
    from perturbax.network.layer import join as join
    from perturbax.network.layer import split as split
    from perturbax.network.layer import weights as weights
    from perturbax.network.network import Network as Network
    from perturbax.network.network import Site as Site
    from perturbax.network.passes import forward as forward
    from perturbax.network.sources import Source as Source
    from perturbax.report.calls import compare as compare
    from perturbax.report.calls import report as report
    from perturbax.report.calls import tune as tune
    from perturbax.rules import RULES as RULES
    from perturbax.rules.perturbation.node import Node as NodePerturbation  # noqa: F401
    from perturbax.rules.perturbation.node_base import NodeRule as NodeRule
    from perturbax.tasks import TASKS as TASKS
    from perturbax.tasks.base import Task as Task
    from perturbax.tasks.environment import Environment as Environment

__version__ = "0.1.0"

_HOME = {
    "analysis.diagnosis": ("diagnose",),
    "cells": ("CELLS",),
    "errors": ("PerturbaxError",),
    "exchange.measuring": ("differing_spikes",),
    "exchange.reading": ("from_nir",),
    "exchange.writing": ("to_nir",),
    "experiment.adas": ("by_knowledge_gain",),
    "experiment.config": ("Experiment",),
    "experiment.forecaster": ("Forecaster",),
    "experiment.integers": ("rounded_at_random",),
    "experiment.predict": ("predict",),
    "experiment.pruning": ("PruningPlan", "growing_regularisation"),
    "experiment.result": ("Result", "load"),
    "experiment.run": ("resume", "run"),
    "fields": ("setting",),
    "learning.autodiff": ("bptt", "truncated_bptt"),
    "learning.credit": ("Credit",),
    "learning.estimate": ("Direct", "Estimate", "Outer"),
    "learning.estimator": ("Learner", "learner", "value_and_estimate"),
    "learning.facts": ("Facts",),
    "learning.noise": ("Noise",),
    "learning.online": ("online",),
    "learning.rule": ("Rule", "SequenceRule", "StepRule"),
    "loop.agent": ("Agent",),
    "loop.closed_loop": ("closed_loop",),
    "network.decorrelation": ("add_decorrelation", "decorrelate"),
    "network.layer": ("Fixed", "Layer", "apply_updates", "join", "split", "weights"),
    "network.network": ("Network", "Site"),
    "network.sources": ("Source",),
    "network.passes": ("forward",),
    "report.calls": ("compare", "tune"),
    "rules": ("RULES",),
    "rules.perturbation.node": ("Node as NodePerturbation",),
    "rules.perturbation.node_base": ("NodeRule",),
    "tasks": ("TASKS",),
    "tasks.base": ("Task",),
    "tasks.environment": ("Environment",),
}
_MODULES = (
    "cells",
    "devices",
    "learning.noise",
    "report",
    "rules",
    "tasks",
)  # public as modules, under the last part of the name


def _places() -> dict[str, tuple[str, str | None]]:
    """Return the module of every public name and its name there; None for the module itself."""
    places: dict[str, tuple[str, str | None]] = {module.split(".")[-1]: (module, None) for module in _MODULES}
    for module, names in _HOME.items():
        for name in names:
            own, _, public = name.partition(" as ")
            places[public or own] = module, own
    return places


_PLACES = _places()
__all__ = [*_PLACES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]
install()


def __getattr__(name: str) -> Any:
    """Import a public name, or one of the public modules, when it is first asked for."""
    if name not in _PLACES:
        return old_names(__name__)(name)
    module, own = _PLACES[name]
    found = importlib.import_module(f"perturbax.{module}")
    return found if own is None else getattr(found, own)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
