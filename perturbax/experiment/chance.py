"""Whether training lowered the validation error of a forecast by more than chance.

    d_t = loss of the start at row t - loss of the trained network,      z = mean(d) / (std(d) / sqrt(n))

A forecast of a series starts from a simple one, its base. The trained network with the lowest validation
error is the best of many by choice, on rows that may be few, and whatever it gained there can be luck. n
is the number of forecasts that do not overlap, rows over the horizon (after Diebold and Mariano 1995,
"Comparing predictive accuracy").
"""

import jax
import numpy as np

from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.base import HeldOut
from perturbax.tasks.forecast import Forecast

ONE_SIDED_5_PERCENT = 1.645  # of the normal distribution


def gain_over_chance(task: Forecast, start: Network, trained: Network, valid: HeldOut) -> float:
    """Return z: how many standard errors the validation loss of a trained network lies below its start's.

    Arguments:
        task: the task, for its horizons.
        start: the network before training.
        trained: the network after.
        valid: the validation data.
    """
    run = jax.jit(forward)
    target = np.asarray(valid.ys[valid.warmup :], np.float64)  # (T, B, n_out)
    before, after = (np.asarray(run(net, valid.xs)[valid.warmup :], np.float64) for net in (start, trained))
    gain = np.mean((before - target) ** 2 - (after - target) ** 2, -1)  # (T, B)
    return standard_errors(gain[~np.isnan(gain)], max(1, max(task.shifts)))


def standard_errors(gain: np.ndarray, horizon: int) -> float:
    """Return mean over standard error of gains `(rows,)`, each of which overlaps with so many rows."""
    spread = float(np.std(gain))
    if spread == 0:
        return 0.0 if np.mean(gain) <= 0 else float("inf")
    return float(np.mean(gain)) / spread * (len(gain) / horizon) ** 0.5
