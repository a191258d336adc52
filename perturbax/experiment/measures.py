"""Measures of forecasts beside their mean squared error, as competitions of forecasts use them. Plain numpy.

Source: Hyndman and Koehler 2006, Another look at measures of forecast accuracy; sMAPE as in the competition
M4 (Makridakis, Spiliotis and Assimakopoulos 2020).
"""

from collections.abc import Sequence

import numpy as np


def of_forecasts(truth: np.ndarray, forecast: np.ndarray, naive: float) -> dict[str, float]:
    """Return the measures of some forecasts, by name, in own units where they have one.

        mse = mean e^2,   rmse = sqrt(mse),   mae = mean |e|,          e = truth - forecast
        smape = 200 mean |e| / (|truth| + |forecast|)       per cent; 0 where both are 0
        mase = mae / naive                                  below 1: better than the naive forecast

    Arguments:
        truth: the values, `(n,)`.
        forecast: of each, `(n,)`.
        naive: mean absolute error of the naive forecast on the data before, see `naive_error`.
    """
    error = np.abs(truth - forecast)  # (n,)
    sizes = np.abs(truth) + np.abs(forecast)  # (n,)
    relative = np.where(sizes > 0, error / np.where(sizes > 0, sizes, 1), 0)  # (n,)
    mse, mae = float(np.mean(error**2)), float(np.mean(error))
    return {
        "mse": mse,
        "rmse": float(np.sqrt(mse)),
        "mae": mae,
        "smape": 200 * float(np.mean(relative)),
        "mase": mae / naive if naive > 0 else float("nan"),
    }


def naive_error(parts: Sequence[np.ndarray], season: int = 1) -> float:
    """Return the mean absolute change from one season to the next, mean |y_t - y_{t - season}|, own units.

    Arguments:
        parts: one or several series, `(N,)` each; no change reaches from one into another.
        season: rows of a season; 1 for the change from row to row.

    NaN where no series is longer than a season.
    """
    changes = np.concatenate([np.abs(part[season:] - part[:-season]) for part in parts])
    return float(np.mean(changes)) if len(changes) else float("nan")
