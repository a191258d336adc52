"""Settings that the parts of a study have in common."""

from typing import Any

FAIR_RUN: dict[str, Any] = {
    "mode": "sequence",
    "optimiser": "adam",
    "schedule": "cosine",
    "clip": 1.0,
    "decorrelate": "off",
}
"""Fields of `Experiment` that all runs of the fair protocol share."""

PUBLIC_RUN: dict[str, Any] = {"schedule": "constant", "clip": 0.0, "decorrelate": "off", "every": 1}
"""Fields of `Experiment` that all runs of the published protocol share."""

PUBLIC_CELL: dict[str, Any] = {"bias": False, "init": "xavier"}
"""Settings of the cells of the public code (Garcia Fernandez et al. 2024)."""
