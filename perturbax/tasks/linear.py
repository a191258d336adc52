"""The linear baseline of forecasts: least squares on the last rows, in float64, without JAX."""

import math
from collections.abc import Sequence

import numpy as np

CHUNK = 1024  # rows in memory at once, however long the series; larger is slower on a busy machine
RIDGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
MORE_RIDGES = (*RIDGES, 1.0, 10.0)  # short series need the stronger ones
MOST_ROWS = 20_000  # rows of a fit of many lags; of longer series some are used


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
    return np.array_split(rows, math.ceil(len(rows) / CHUNK)) if len(rows) else []


def forecast(
    x: np.ndarray, n_lagged: int, rows: np.ndarray, lags: Sequence[int], coefficients: np.ndarray
) -> np.ndarray:
    """Return fitted forecasts made at the rows, `(rows, n_out)`.

    Arguments:
        x: the inputs, `(N, n_in)`.
        n_lagged: how many of these are read at past rows as well.
        rows: row numbers t, each at least the largest of the lags - 1.
        lags: for each of the first columns how many rows are read.
        coefficients: as `fit_all` returns them, `(features, n_out)`.
    """
    found = np.empty((len(rows), coefficients.shape[1]))
    done = 0
    for chunk in _chunks(rows):
        np.matmul(features(x, n_lagged, chunk, lags), coefficients, out=found[done : done + len(chunk)])
        done += len(chunk)
    return found


def thinned(rows: np.ndarray) -> np.ndarray:
    """Return rows as they are, of more than MOST_ROWS so many at equal spaces.

    Arguments:
        rows: row numbers, rising.
    """
    if len(rows) <= MOST_ROWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int)]


def features(x: np.ndarray, n_lagged: int, rows: np.ndarray, lags: Sequence[int]) -> np.ndarray:
    """Return what a fit reads at each row, `(rows, features)`: past rows of each column, the rest, and 1.

    Arguments:
        x: the inputs, `(N, n_in)`.
        n_lagged: how many of these, the first ones, are read at past rows as well.
        rows: row numbers t, each at least the largest of the lags - 1.
        lags: for each of the first columns how many rows are read, the current one included.
    """
    ahead = x.shape[1] - n_lagged
    found = np.ones((len(rows), sum(lags) + ahead + 1))
    found[:, sum(lags) : -1] = x[rows, n_lagged:]
    first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
    follow_each_other = last - first == len(rows) - 1 and bool(np.all(np.diff(rows) == 1))
    done = 0
    for i, count in enumerate(lags):
        if follow_each_other:
            window = x[first - count + 1 : last + 1, i]
            read = np.lib.stride_tricks.sliding_window_view(window, count)[:, ::-1] if count else 0
        else:
            read = x[:, i][rows[:, None] - np.arange(count)]
        found[:, done : done + count] = read  # (rows, count): the row itself first, then those before it
        done += count
    return found


def fit_all(
    x: np.ndarray, n_lagged: int, y: np.ndarray, rows: np.ndarray, lags: Sequence[int]
) -> list[np.ndarray]:
    """Return coefficients `(features, n_out)` of the columns of y on `features`, for each of MORE_RIDGES.

        minimise  mean_t |y_t - features_t c|^2 + ridge sum_i s_i^2 c_i^2,      the constant is free

    with s_i the standard deviation of feature i. Through the eigenvectors of the correlations of the
    features; directions below 1e-12 of the largest get no weight. Of more than MOST_ROWS rows some, equally
    spaced, are used.

    Arguments:
        x: the inputs, `(N, n_in)`.
        n_lagged: how many of these are read at past rows as well.
        y: what is fitted, at the rows, `(rows, n_out)`.
        rows: the row numbers t.
        lags: for each of the first columns how many rows are read.
    """
    kept = thinned(np.arange(len(rows)))
    rows, y = rows[kept], y[kept]
    mean_y = y.mean(0)  # (n_out,)
    width = sum(lags) + x.shape[1] - n_lagged
    totals, products, against_y = np.zeros(width), np.zeros((width, width)), np.zeros((width, y.shape[1]))
    pieces = _chunks(np.arange(len(rows)))
    for piece in pieces:
        totals += features(x, n_lagged, rows[piece], lags)[:, :-1].sum(0)
    mean = totals / len(rows)  # (width,)
    for piece in pieces:
        centred = features(x, n_lagged, rows[piece], lags)[:, :-1] - mean[None]
        products += centred.T @ centred
        against_y += centred.T @ (y[piece] - mean_y[None])
    std = np.sqrt(np.diag(products) / len(rows))  # (width,)
    std = np.where(std > 1e-9 * max(std.max(initial=0.0), 1e-300), std, np.inf)  # constant: no weight
    correlations = products / len(rows) / std[:, None] / std[None]
    eigenvalues, vectors = np.linalg.eigh(correlations)
    along = vectors.T @ (against_y / len(rows) / std[:, None])  # (width, n_out)
    used = eigenvalues > 1e-12 * max(eigenvalues.max(initial=0.0), 1e-300)
    fits = []
    for ridge in MORE_RIDGES:
        gains = np.where(used, 1 / np.where(used, eigenvalues + ridge, 1), 0)  # (width,)
        slopes = (vectors @ (gains[:, None] * along)) / std[:, None]
        constant = mean_y - mean @ slopes
        fits.append(np.concatenate([slopes, constant[None]]))
    return fits
