"""Metrics of forecasts: errors in the network's scale, in own units, and over those of a naive forecast."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from perturbax.tasks.base import Metrics
from perturbax.tasks.opened_series import Source


def metrics_of_error(source: Source, error: Any) -> Metrics:
    """Return the metrics of form level with one output.

    Arguments:
        source: the opened series.
        error: mean squared error in training variances.
    """
    return {"loss": error, "mse": error * float(source.encoding.target_stds[0]) ** 2, "mse_scaled": error}


def metrics_of_outputs(source: Source, squares: Any) -> Metrics:
    """Return the metrics of several outputs, or of changes from a base.

    Arguments:
        source: the opened series.
        squares: mean squared errors of the outputs `(n_out,)`, as a network makes them.
    """
    stds, training_stds = source.encoding.target_stds, source.training_stds
    return {
        "loss": squares.mean(),
        "mse": (squares * np.asarray(stds**2, squares.dtype)).mean(),
        "mse_scaled": (squares * np.asarray((stds / training_stds) ** 2, squares.dtype)).mean(),
    }


def over_asked(values: Array, target: Array) -> Array:
    """Return the mean over all answers asked for, `(n_out,)`.

    Arguments:
        values: `(T, B, n_out)`.
        target: targets, likewise; NaN where none is asked for.
    """
    asked = ~jnp.isnan(target)
    return jnp.sum(jnp.where(asked, values, 0), (0, 1)) / jnp.maximum(jnp.sum(asked, (0, 1)), 1)


def measures_of_outputs(source: Source, y: Array, target: Array, base: Array) -> dict[str, Array]:
    """Return mse, mae, smape and mase of each output, `(n_out,)`.

    Arguments:
        source: the opened series.
        y: outputs `(T, B, n_out)`.
        target: targets, likewise.
        base: what they are changes from, own units.
    """
    encoding = source.encoding
    wrong = (y - target) * for_outputs(encoding.target_stds, y)  # (T, B, n_out), own units
    truth, forecast = in_units(encoding, target, base), in_units(encoding, y, base)
    size = jnp.abs(truth) + jnp.abs(forecast)
    relative = jnp.where(size > 0, 200 * jnp.abs(wrong) / jnp.where(size > 0, size, 1), 0)
    mae = over_asked(jnp.abs(wrong), target)
    return {
        "mse": over_asked(wrong**2, target),
        "mae": mae,
        "smape": over_asked(relative, target),
        "mase": mae / jnp.asarray(source.naive_scales, mae.dtype),
    }


def metrics_of_forecast(source: Source, forecasts: np.ndarray, rows: np.ndarray) -> Metrics:
    """Return the metrics of forecasts without a network, plain numbers of twelve digits.

    Arguments:
        source: the opened series.
        forecasts: at each row, `(N, n_out)`, own units.
        rows: numbers of the rows that are judged, `(rows,)`.
    """
    truth, forecast = source.truth[rows], forecasts[rows]  # (rows, n_out)
    wrong = forecast - truth
    size = np.abs(truth) + np.abs(forecast)
    relative = 200 * np.abs(wrong) / np.where(size > 0, size, 1)
    squares, mae = np.mean(wrong**2, 0), np.mean(np.abs(wrong), 0)  # (n_out,)
    found = metrics_of_outputs(source, squares / source.encoding.target_stds**2)
    found |= {
        "mae": mae.mean(),
        "rmse": np.sqrt(squares.mean()),
        "smape": relative.mean(),
        "mase": np.mean(mae / source.naive_scales),
    }
    return {name: float(f"{value:.12g}") for name, value in found.items()}


def in_units(encoding: Any, y: Array, base: Array | None = None) -> Array:
    """Return outputs or targets in the targets' own units, `(..., n_out)`.

    Arguments:
        encoding: how the series is read.
        y: outputs or targets.
        base: what they are changes from, own units; None for form level.
    """
    units = y * for_outputs(encoding.target_stds, y) + for_outputs(encoding.target_means, y)
    return units if base is None else units + base


def for_outputs(values: np.ndarray, y: Array) -> Array:
    """Return a number for each output with as many axes as y has, and its dtype.

    Arguments:
        values: the numbers, `(n_out,)`.
        y: outputs, `(..., n_out)`.
    """
    return jnp.asarray(values, y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
