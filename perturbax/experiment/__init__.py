"""One run: from its description to a folder with a trained network."""

from perturbax.experiment.config import DEFAULTS, Experiment, Options, Resolved

__all__ = ["DEFAULTS", "Experiment", "Options", "Resolved"]
