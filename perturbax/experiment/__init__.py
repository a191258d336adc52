"""One run: from its description to a folder with a trained network."""

from perturbax.experiment.config import Experiment, Resolved

__all__ = ["Experiment", "Resolved"]
