"""When the rows of a file are, and those that come after its last one: as dates, or as numbers of rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perturbax.tasks.calendar import moved

CONTEXT = 12  # rows before the last one that show whether months are counted by their last days


def row_times(
    segments: Sequence[tuple[str, int, int]],
    time: Any,
    segment: np.ndarray,
    origin: np.ndarray,
    ahead: np.ndarray,
) -> tuple[str, list[str], list[str]]:
    """Return what tells rows apart, and as text which rows are forecast, and at which rows that was done.

    That is the time column, as the file writes it; without one, or where its steps are not equal, so that
    what lies ahead has no date, the number of the row in its series.

    Arguments:
        segments: (name, first, end) of each series in the file.
        time: the `TimeAxis` of its rows; None where there are no dates.
        segment: number of the series of each forecast, `(M,)`.
        origin: row at which each was made, `(M,)`, counted from the first row of the file.
        ahead: rows from there to the row that is forecast, `(M,)`.
    """
    firsts = np.array([first for _, first, _ in segments])[segment]  # (M,)
    lasts = np.array([end - 1 for _, _, end in segments])[segment]  # (M,)
    rows = origin + ahead  # (M,)
    if time is None or (time.step is None and (rows > lasts).any()):
        return "row", _numbered(rows - firsts), _numbered(origin - firsts)
    dates = np.asarray(time.values).astype("datetime64[s]")
    forecast = dates[np.minimum(rows, lasts)]  # (M,)
    behind = np.flatnonzero(rows > lasts)
    if len(behind):
        before = np.concatenate(
            [dates[max(first, end - 1 - CONTEXT) : end - 1] for _, first, end in segments]
        )
        steps = np.concatenate([np.zeros(len(before), int), (rows - lasts)[behind]])
        moved_on = moved(np.concatenate([before, forecast[behind]]), time.step, steps)
        forecast[behind] = moved_on[len(before) :]
    return time.name or "time", list(map(str, time.text(forecast))), list(map(str, time.text(dates[origin])))


def _numbered(rows: np.ndarray) -> list[str]:
    """Return the numbers of rows, from 1, as text."""
    return [str(row + 1) for row in rows.tolist()]
