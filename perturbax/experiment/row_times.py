"""When the rows of a file are, and those that come after its last one: as dates, or as numbers of rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np


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
    forecast = time.values[np.minimum(rows, lasts)].astype("datetime64[ms]")  # (M,)
    for number, (_, first, end) in enumerate(segments):
        behind = np.flatnonzero((segment == number) & (rows > lasts))
        if len(behind):
            forecast[behind] = time.ahead_of(first, end, (rows - lasts)[behind])
    return time.name or "time", time.text(forecast), time.text(time.values[origin])


def _numbered(rows: np.ndarray) -> list[str]:
    """Return the numbers of rows, from 1, as text."""
    return [str(row + 1) for row in rows.tolist()]
