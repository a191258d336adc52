"""Times of the day in a column of their own, beside one of dates."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from perturbax.tasks.files.numerals import Column
from perturbax.tasks.files.times import Found

NAMES = ("time", "hour", "hours", "hr", "clock", "time of day", "timeofday")
_CLOCK = re.compile(r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?\s*([AaPp][Mm])?")
_MS_PER_HOUR = 3_600_000


def with_time_of_day(found: Found, columns: Mapping[str, Column], candidates: Sequence[str]) -> Found:
    """Return a column of dates joined with one of times of the day; as it is where that tells no rows apart.

    Arguments:
        found: the column of dates; it stays as it is unless all of them are midnights and some are there
            several times.
        columns: of the file, by name.
        candidates: names of the columns that may hold the time of the day: 13:45, 1:45 pm, 1345, or the
            hour as a number.
    """
    if not found.has_dates or (found.values != found.values.astype("datetime64[D]")).any():
        return found
    single = len(np.unique(found.values))
    if single == len(found.values):
        return found
    for name in candidates:
        if name in found.columns or " ".join(name.lower().replace("_", " ").split()) not in NAMES:
            continue
        since_midnight = _since_midnight(columns[name])
        if since_midnight is None:
            continue
        values = found.values + since_midnight.astype("timedelta64[ms]")  # (N,)
        if len(np.unique(values)) > single:
            pattern = "%H:%M:%S" if (since_midnight % 60_000).any() else "%H:%M"
            kind = f"{found.kind} and times of the day"
            return Found((*found.columns, name), kind, values, _writer(found.write, pattern))
    return found


def _since_midnight(column: Column) -> np.ndarray | None:
    """Return the times of the day in a column in milliseconds, `(N,)`; None where a cell is none."""
    if column.values is not None:
        hours = column.values
        is_whole = bool(np.isfinite(hours).all()) and bool((hours == np.floor(hours)).all())
        if not is_whole or hours.min() < 0 or hours.max() > 2400:
            return None
        if hours.max() > 24:  # as hours and minutes in one number, 1345
            whole, minutes = np.divmod(hours, 100)
            return None if minutes.max() > 59 else (whole * _MS_PER_HOUR + minutes * 60_000).astype(np.int64)
        return (hours * _MS_PER_HOUR).astype(np.int64)
    since = np.zeros(column.rows, np.int64)
    for row, cell in enumerate(column.cells()):
        match = _CLOCK.fullmatch(cell.strip())
        if match is None:
            return None
        hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
        if match[4]:
            hour = hour % 12 + 12 * (match[4].lower() == "pm")
        if hour > 24 or minute > 59 or second > 59:
            return None
        since[row] = hour * _MS_PER_HOUR + minute * 60_000 + second * 1000
    return since


def _writer(write_date: Callable[[np.ndarray], list[str]], pattern: str) -> Callable[[np.ndarray], list[str]]:
    """Return what writes a date as its column does, and behind it the time of the day."""

    def write(dates: np.ndarray) -> list[str]:
        times = [one.strftime(pattern) for one in np.asarray(dates).astype("datetime64[s]").astype(object)]
        days = write_date(np.asarray(dates).astype("datetime64[D]"))
        return [f"{day} {time}" for day, time in zip(days, times, strict=True)]

    return write
