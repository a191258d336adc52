"""Whether training lowered the validation error of a forecast by more than chance.

    d_t = loss of the start at row t - loss of the trained network,      z = mean(d) / (std(d) / sqrt(n))

A forecast of a series starts from a simple one, its base. The trained network with the lowest validation
error is the best of many by choice, on rows that may be few, and whatever it gained there can be luck. n
is the number of forecasts that do not overlap, rows over the horizon (after Diebold and Mariano 1995,
"Comparing predictive accuracy").
"""

from typing import Any

import numpy as np

ONE_SIDED_5_PERCENT = 1.645  # of the normal distribution


def gain_over_chance(before: Any, after: Any, target: Any, horizon: int) -> float:
    """Return z: how many standard errors the validation loss of a trained network lies below its start's.

    Arguments:
        before: outputs of the network before training, `(T, B, n_out)`.
        after: those of the trained network.
        target: targets, likewise; NaN where none is asked for.
        horizon: rows that a forecast reaches ahead, the farthest.
    """
    first, last, truth = (np.asarray(values, np.float64) for values in (before, after, target))
    gain = np.mean((first - truth) ** 2 - (last - truth) ** 2, -1)  # (T, B)
    return standard_errors(gain[~np.isnan(gain)], horizon)


def standard_errors(gain: np.ndarray, horizon: int) -> float:
    """Return mean over standard error of gains `(rows,)`, each of which overlaps with so many rows.

    Arguments:
        gain: by how much each forecast is better, `(rows,)`.
        horizon: rows that a forecast reaches ahead: as many overlap.
    """
    spread = float(np.std(gain))
    if spread == 0:
        return 0.0 if np.mean(gain) <= 0 else float("inf")
    return float(np.mean(gain)) / spread * (len(gain) / horizon) ** 0.5
