"""Features of dates: where in the day, the week and the year a row lies, as points on a circle."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perturbax.errors import ArgumentError, DataError

# Where a feature starts to repeat, and the longest step of time, in days, at which it says anything.
_CYCLES = {"hour": 0.5, "weekday": 1.5, "day-of-year": 8.0, "month": 100.0}
_DAYS = {
    "s": 1 / 86400,
    "min": 1 / 1440,
    "h": 1 / 24,
    "D": 1.0,
    "B": 1.0,
    "W": 7.0,
    "M": 30.4,
    "Q": 91.3,
    "Y": 365.2,
}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}


def calendar_names(step: Any) -> tuple[str, ...]:
    """Return the features that dates of this step have: sine and cosine of hour, weekday, day of year, month.

    The hour for steps below half a day, the weekday for steps of up to a day, the day of the year for steps
    of up to a week, the month for steps of up to a quarter.

    Arguments:
        step: `Step` of a time axis, with `count` and `unit`; None for irregular dates, which get all.

    Raises ArgumentError for steps of a year or more, whose dates say nothing.
    """
    days = 0.0 if step is None else step.count * days_of(step.unit)
    cycles = [name for name, longest in _CYCLES.items() if days <= longest]
    if not cycles:
        raise ArgumentError("calendar: yearly dates have no hour, weekday, day or month to read")
    return tuple(f"{wave} {name}" for name in cycles for wave in ("sin", "cos"))


def calendar_features(
    names: Sequence[str], time: Any, horizon: int, first_rows: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Return features of the dates `horizon` rows ahead of each row, `(N, features)`.

        sin(2 pi phase),  cos(2 pi phase),      phase: the share of the day, week or year that has gone by

    Behind the last row of a series its dates go on in its step.

    Arguments:
        names: of the features, as `calendar_names` returns them.
        time: the `TimeAxis` of the rows.
        horizon: how many rows ahead.
        first_rows: for each row the first row of its series, `(N,)`.
        ends: for each row the end of its series, `(N,)`.

    Raises DataError where there are no dates, or none behind the last row because their step is unknown.
    """
    if time is None:
        raise DataError("the model reads features of the dates: the data need a column of dates")
    dates = dates_ahead(np.asarray(time.values), time.step, horizon, first_rows, ends)  # (N,)
    phases = {cycle: _phase(cycle, dates) for cycle in {name.split(" ", 1)[1] for name in names}}
    waves = {"sin": np.sin, "cos": np.cos}
    features = []
    for name in names:
        wave, cycle = name.split(" ", 1)
        features.append(waves[wave](2 * np.pi * phases[cycle]))
    return np.stack(features, 1)


def dates_ahead(
    dates: np.ndarray, step: Any, rows: int, first_rows: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Return the dates so many rows ahead, `(N,)`, to the thousandth of a second.

    Behind the end of a series, and in front of its first row, dates go on in its step.

    Arguments:
        dates: datetime64 of the rows, `(N,)`.
        step: `Step` of the time axis, with `count` and `unit`; None for irregular dates.
        rows: how many rows ahead; below zero for earlier ones.
        first_rows: for each row the first row of its series, `(N,)`.
        ends: for each row the end of its series, `(N,)`.

    Raises DataError where dates must go on and their step is not known.
    """
    n = len(dates)
    at = np.arange(n) + rows  # (N,)
    inside = (at < ends) & (at >= first_rows)
    found = dates[np.clip(at, 0, n - 1)].astype("datetime64[ms]")
    beyond = np.flatnonzero(~inside)
    if len(beyond) == 0:
        return found
    if step is None:
        raise DataError("the dates do not go on in equal steps: what lies behind the last row has no date")
    border = np.where(at >= ends, ends - 1, first_rows)[beyond]  # the row they are counted from
    found[beyond] = moved(dates[border], step, at[beyond] - border)
    return found


def moved(dates: np.ndarray, step: Any, steps: np.ndarray) -> np.ndarray:
    """Return dates moved by whole numbers of steps, to the thousandth of a second, `(n,)`.

    Months, quarters and years keep the day of the month, or its last day where the month is shorter; a last
    day of a month stays one. Business days skip Saturdays and Sundays.

    Arguments:
        dates: datetime64, `(n,)`.
        step: with `count` and `unit`: s, min, h, D, B (business days), W, M, Q or Y.
        steps: how many steps each, `(n,)`.
    """
    seconds = dates.astype("datetime64[s]")
    unit, counts = _short(step.unit), np.asarray(steps) * step.count
    if unit == "B":
        days = seconds.astype("datetime64[D]")
        return np.busday_offset(days, counts, roll="forward") + (seconds - days)
    if unit not in _MONTHS:
        milliseconds = np.round(counts * _DAYS[unit] * 86_400_000).astype("timedelta64[ms]")
        return dates.astype("datetime64[ms]") + milliseconds
    months = seconds.astype("datetime64[M]")
    day = (seconds.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(int)  # from 0
    was_last = day == _days_in(months) - 1
    after = months + (counts * _MONTHS[unit]).astype("timedelta64[M]")
    last = _days_in(after) - 1
    ends_months = was_last.all() and len(np.unique(day)) > 1
    day = np.where(was_last & ends_months, last, np.minimum(day, last))
    time_of_day = seconds - seconds.astype("datetime64[D]")
    return after.astype("datetime64[D]") + day.astype("timedelta64[D]") + time_of_day


def days_of(unit: str) -> float:
    """Return how many days a unit of time has, on average."""
    return _DAYS[_short(unit)]


def _short(unit: str) -> str:
    """Return the letter of a unit; business days have several names."""
    return "B" if unit.startswith(("b", "B")) else unit


def _days_in(months: np.ndarray) -> np.ndarray:
    """Return the number of days in each month."""
    following = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
    return (following - months.astype("datetime64[D]")).astype(int)


def _phase(cycle: str, dates: np.ndarray) -> np.ndarray:
    """Return the share of a cycle that has gone by at each date, `(N,)`, from 0 to below 1."""
    days, years = dates.astype("datetime64[D]"), dates.astype("datetime64[Y]")
    day_of_year = (days - years.astype("datetime64[D]")).astype(float)  # from 0
    if cycle == "hour":
        return (dates - days).astype("timedelta64[s]").astype(float) / 86400
    if cycle == "weekday":
        return ((days.astype(int) + 3) % 7) / 7  # 1970-01-01 was a Thursday; Monday is 0
    if cycle == "day-of-year":
        return day_of_year / 365.25
    return (dates.astype("datetime64[M]").astype(int) % 12) / 12
