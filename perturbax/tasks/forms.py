"""What a forecast is a change from, and how a series is read: simple forecasts that need no fit."""

from collections.abc import Sequence

import numpy as np

from perturbax.errors import ArgumentError

NAIVE = ("level", "difference", "seasonal", "seasonal-difference")
FORMS = (*NAIVE, "linear")
READINGS = ("levels", "differences")


def naive_forecast(
    form: str, values: np.ndarray, first_rows: np.ndarray, horizon: int, season: int
) -> np.ndarray:
    """Return what a form's forecast is a change from: the base b_t of the value v_{t + horizon}, `(N,)`.

        level                 b_t = 0
        difference            b_t = v_t
        seasonal              b_t = v_{t + horizon - k}
        seasonal-difference   b_t = v_t + v_{t + horizon - k} - v_{t - k}

    with k the least multiple of the season that is no less than the horizon, so that nothing after row t is
    read. NaN where that reaches in front of the first row of a series.

    Arguments:
        form: one of NAIVE.
        values: the column that is forecast, `(N,)`.
        first_rows: for each row the first row of its series, `(N,)`.
        horizon: rows from t to what is forecast.
        season: rows of a season, at least 1.
    """
    if form == "level":
        return np.zeros(len(values))
    if form == "difference":
        return np.array(values, np.float64)
    back = seasons_back(horizon, season)
    same_phase = earlier(values, first_rows, back - horizon)  # (N,)
    if form == "seasonal":
        return same_phase
    return values + same_phase - earlier(values, first_rows, back)


def reach(form: str, horizons: Sequence[int], season: int) -> int:
    """Return how many rows in front of row t the base of a naive form needs.

    Arguments:
        form: one of NAIVE.
        horizons: rows from t to what is forecast.
        season: rows of a season, at least 1.
    """
    if form in ("level", "difference"):
        return 0
    backs = [seasons_back(horizon, season) for horizon in horizons]
    if form == "seasonal":
        return max(back - horizon for back, horizon in zip(backs, horizons, strict=True))
    return max(backs)


def seasons_back(horizon: int, season: int) -> int:
    """Return the least multiple of the season that is no less than the horizon, in rows.

    Arguments:
        horizon: rows from t to what is forecast.
        season: rows of a season, at least 1.
    """
    return season * -(-horizon // season)


def earlier(values: np.ndarray, first_rows: np.ndarray, rows: int) -> np.ndarray:
    """Return the values so many rows earlier; NaN where that is another series or before the first row.

    Arguments:
        values: `(N,)` or `(N, n)`.
        first_rows: for each row the first row of its series, `(N,)`.
        rows: how many rows earlier, at least 0.
    """
    moved = np.full(np.shape(values), np.nan)  # (N,) or (N, n)
    moved[rows:] = values[: max(len(values) - rows, 0)]
    moved[np.arange(len(values)) - rows < first_rows] = np.nan
    return moved


def later(values: np.ndarray, ends: np.ndarray, rows: int) -> np.ndarray:
    """Return the values so many rows later; NaN where that is another series or after the last row.

    Arguments:
        values: `(N,)`, or longer: what lies behind the last of the N rows is read as well.
        ends: for each of the N rows the end of its series, the row behind its last, `(N,)`; -1 where the
            series goes on behind the last row.
        rows: how many rows later; below zero earlier.
    """
    n = len(ends)
    at = np.arange(n) + rows  # (N,)
    limits = np.where(ends < 0, len(values), ends)  # (N,)
    inside = (at >= 0) & (at < limits)
    moved = np.full(n, np.nan)
    moved[inside] = np.asarray(values, np.float64)[at[inside]]
    return moved


def read_as(reading: str, values: np.ndarray, first_rows: np.ndarray) -> np.ndarray:
    """Return columns as they are read: their levels, or their changes since the row before, `(N, n)`.

    The first row of a series has no row before: its change counts as 0.

    Arguments:
        reading: one of READINGS.
        values: the columns, `(N, n)`.
        first_rows: for each row the first row of its series, `(N,)`.
    """
    if reading == "levels":
        return np.asarray(values, np.float64)
    changes = earlier(values, first_rows, 1)  # (N, n)
    np.subtract(values, changes, out=changes)
    return np.nan_to_num(changes, copy=False, nan=0.0)


def parse_horizons(text: int | str, least: int = 1) -> tuple[int, ...]:
    """Return the horizons that a setting names: `3`, `1-24`, or `1,6,24`, in rising order.

    Arguments:
        text: the setting.
        least: the smallest horizon allowed.

    Raises ArgumentError for anything else, for a horizon below the least, and for one that is named twice.
    """
    found: list[int] = []
    for piece in str(text).split(","):
        first, dash, last = piece.partition("-")
        try:
            if isinstance(text, bool):
                raise ValueError
            start = int(first)
            found += range(start, int(last) + 1) if dash else [start]
        except ValueError:
            raise ArgumentError(_wrong_horizon(text, least)) from None
    if not found or min(found) < least:
        raise ArgumentError(_wrong_horizon(text, least))
    if len(set(found)) < len(found):
        raise ArgumentError(f"horizon names a number of rows twice: {text}")
    return tuple(sorted(found))


def _wrong_horizon(text: object, least: int) -> str:
    """Return what is wrong with a horizon; least: the smallest one allowed."""
    return (
        f"horizon must be a whole number of at least {least}, or several as in 1-24 or 1,6,24; not {text!r}"
    )
