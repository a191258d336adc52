"""What a run on a series notes about its own forecasts when it ends: how far off they are, and on what
inputs they rest.
"""

from typing import Any

import numpy as np
from jaxtyping import Array

from perturbax.experiment import intervals
from perturbax.tasks.base import HeldOut, Task
from perturbax.tasks.forecast import Forecast


def calibrate(
    task: Task, answers: Any, valid: HeldOut, test: HeldOut, prediction: Array
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what is kept beside the weights, and what result.json says about intervals.

    Arguments:
        task: the task; both are empty unless it forecasts a series.
        answers: outputs of the kept network for the steps of the validation data that are scored,
            `(T, B, n_out)`; None of other tasks.
        valid: validation data, whose residuals make the intervals.
        test: test data, on which their coverage is measured.
        prediction: outputs for the steps of the test data that are scored, `(T, B, n_out)`.

    Returns (arrays, summary). Arrays: `intervals.n`, `intervals.ranks` and `intervals.widths` of `Intervals`;
    `ranges`, smallest and largest value of each input in training as the network reads it, `(2, n_in)`;
    `warmup`, the rows in front of the test part that let the state settle. The summary is what
    `intervals.measured` returns.
    """
    if not isinstance(task, Forecast):
        return {}, {}
    found = intervals.of_residuals(residuals(task, answers, valid.ys[valid.warmup :]))
    coverage = intervals.measured(found, residuals(task, prediction, test.ys[test.warmup :]))
    rows = np.concatenate([np.arange(first, end) for first, end in task.ranges("train")])  # (N,)
    read = np.asarray(task.opened.x, np.float64)[rows]  # (N, n_in)
    arrays = {f"intervals.{name}": array for name, array in found.to_arrays().items()}
    arrays |= {"ranges": np.stack([np.nanmin(read, 0), np.nanmax(read, 0)]), "warmup": np.array(test.warmup)}
    return arrays, coverage


def residuals(task: Forecast, y: Any, target: Any) -> np.ndarray:
    """Return forecast minus truth in the targets' own units, float64 `(T B, n_out)`; NaN where none is asked.

    Arguments:
        task: the task.
        y: outputs of one stream or several, `(T, B, n_out)`.
        target: targets, likewise.
    """
    difference = np.asarray(y, np.float64) - np.asarray(target, np.float64)  # (T, B, n_out)
    return difference.reshape(-1, difference.shape[-1]) * task.encoding.target_stds
