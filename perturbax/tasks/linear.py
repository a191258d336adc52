"""The linear baseline of forecasts: least squares on the last rows, in float64, without JAX."""

import math

import numpy as np

CHUNK = 1024  # rows in memory at once, however long the series; larger is slower on a busy machine
RIDGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)


def lagged(x: np.ndarray, rows: np.ndarray, lags: int) -> np.ndarray:
    """Return [x_t, x_{t-1}, ..., x_{t-lags+1}, 1] for each row t: `(rows, lags n_in + 1)`.

    Arguments:
        x: the series, `(N, n_in)`.
        rows: row numbers t, each at least lags - 1.
        lags: how many rows are read.
    """
    read = [x[rows - k] for k in range(lags)]  # (rows, n_in) each
    return np.concatenate([*read, np.ones((len(rows), 1))], axis=1)


def fit(x: np.ndarray, y: np.ndarray, rows: np.ndarray, shift: int, lags: int) -> list[np.ndarray]:
    """Return coefficients c `(lags n_in + 1,)` of y_{t+shift} on `lagged(x)_t`, for each ridge of RIDGES.

        minimise  mean_t (y_{t+shift} - lagged(x)_t c)^2 + ridge ||c||^2,      the intercept is free

    Through a QR decomposition that is updated chunk by chunk: the normal equations, which lose half of the
    digits, are never formed. Directions below 1e-12 of the largest get no weight.

    Arguments:
        x: the series that is read, `(N, n_in)`.
        y: the series that is predicted, `(N,)`.
        rows: the row numbers t.
        shift: rows from what is read to what is predicted.
        lags: how many rows are read.
    """
    n = lags * x.shape[1]
    triangle = np.zeros((0, n + 2))
    for chunk in _chunks(rows):
        block = np.column_stack([lagged(x, chunk, lags), y[chunk + shift]])
        triangle = np.linalg.qr(np.concatenate([triangle, block]), mode="r")
    penalties = [np.sqrt(ridge * len(rows)) * np.eye(n, n + 2) for ridge in RIDGES]
    systems = [np.concatenate([triangle, penalty]) for penalty in penalties]
    return [np.linalg.lstsq(system[:, :-1], system[:, -1], rcond=1e-12)[0] for system in systems]


def predict(x: np.ndarray, rows: np.ndarray, coefficients: np.ndarray, lags: int) -> np.ndarray:
    """Return the forecasts made at the rows, `(rows,)`; arguments as in `fit`, which returns coefficients."""
    return np.concatenate([lagged(x, chunk, lags) @ coefficients for chunk in _chunks(rows)])


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    """Return the rows in pieces of at most CHUNK, about equally long."""
    return np.array_split(rows, math.ceil(len(rows) / CHUNK))
