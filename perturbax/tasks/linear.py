"""The linear baseline of forecasts: least squares on the last rows, in float64, without JAX."""

import numpy as np

CHUNK = 1024  # rows in memory at once, however long the series; larger is slower on a busy machine
RIDGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)


def lagged(x: np.ndarray, rows: np.ndarray, lags: int) -> np.ndarray:
    """Return [x_t, x_{t-1}, ..., x_{t-lags+1}, 1] for each row t: `(rows, lags n_in + 1)`. x: `(N, n_in)`."""
    ones = np.ones((len(rows), 1))
    return np.concatenate([*(x[rows - k] for k in range(lags)), ones], axis=1)


def fit(x: np.ndarray, y: np.ndarray, rows: np.ndarray, shift: int, lags: int) -> list[np.ndarray]:
    """Return coefficients `(lags n_in + 1,)` of y_{t+shift} on `lagged(x)_t` over the rows t, for each of
    RIDGES.

        minimise  mean_t (y_{t+shift} - lagged(x)_t c)^2 + ridge ||c||^2,      the intercept is free

    Through a QR decomposition that is updated chunk by chunk: the normal equations, which lose half of the
    digits, are never formed. Directions below 1e-12 of the largest get no weight.
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
    """Return the forecasts made at the rows, `(rows,)`."""
    return np.concatenate([lagged(x, chunk, lags) @ coefficients for chunk in _chunks(rows)])


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // CHUNK))
