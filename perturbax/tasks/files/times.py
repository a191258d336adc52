"""When rows were measured: the column of a file that says so, its dates, and the step from row to row."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from perturbax.errors import DataError
from perturbax.tasks.calendar import moved
from perturbax.tasks.files.dates import MONTHS, Dates, at_line, read_dates
from perturbax.tasks.files.numerals import Column, written

NAMES = (
    "date",
    "time",
    "datetime",
    "timestamp",
    "ds",
    "day",
    "month",
    "year",
    "quarter",
    "period",
    "week",
    "",
)
LEAST_ROWS = 5  # of a column without a name of time, before it counts as one that only rises
NEARLY = 0.01  # of a step: by how much equal steps may differ
_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "D": 86_400_000, "W": 604_800_000}
# What computers count since 1970: the least number that is taken for it (of 1973), and milliseconds of one.
_FINE_UNITS = (
    ("Unix milliseconds", 1e11, 1.0),
    ("Unix microseconds", 1e14, 1e-3),
    ("Unix nanoseconds", 1e17, 1e-6),
)
# Dates and times of the day in one number: its digits, and how it is written.
_PACKED_WORDS = "YYYYMMDDhhmmss"
_PACKED_CLOCKS = ((10, "%Y%m%d%H"), (12, "%Y%m%d%H%M"), (14, "%Y%m%d%H%M%S"))
_EPOCH = np.datetime64(0, "ms")
_NOUNS = {
    "s": "second",
    "min": "minute",
    "h": "hour",
    "D": "day",
    "B": "business day",
    "W": "week",
    "M": "month",
    "Q": "quarter",
    "Y": "year",
}


@dataclass(frozen=True)
class Step:
    """The time from one row to the next.

    Attributes:
        count: how many units.
        unit: s, min, h, D, B (business days), W, M, Q or Y.
    """

    count: int | float
    unit: str

    def __str__(self) -> str:
        """Return it in words."""
        noun = _NOUNS[self.unit]
        return f"1 {noun}" if self.count == 1 else f"{self.count:g} {noun}s"


class TimeAxis(NamedTuple):
    """When the rows of a file are.

    Attributes:
        name: of the column; several, with blanks between them, where a date is spread over columns.
        kind: how the file writes time, in words.
        values: the date of each row, datetime64[ms] `(N,)`.
        step: from row to row; None where steps are not equal.
        write: dates `(M,)` -> as text.
    """

    name: str
    kind: str
    values: np.ndarray
    step: Step | None
    write: Callable[[np.ndarray], list[str]]

    def after(self, n: int) -> np.ndarray:
        """Return the next dates after the last row, datetime64[ms] `(n,)`.

        Arguments:
            n: how many.

        Raises DataError where steps are not equal.
        """
        return self.ahead_of(0, len(self.values), np.arange(1, n + 1))

    def ahead_of(self, first: int, end: int, steps: np.ndarray) -> np.ndarray:
        """Return dates so many steps after the last row of a series, datetime64[ms] `(n,)`.

        Arguments:
            first: row of the series that is its first.
            end: its end, excluded.
            steps: how many steps each, `(n,)`.

        Raises DataError where steps are not equal.
        """
        if self.step is None:
            raise DataError("the dates do not go on in equal steps: the rows after the last one have none")
        last = self.values[end - 1]
        dates = moved(np.repeat(last, len(steps)), self.step, steps).astype("datetime64[ms]")
        if self._ends_months(first, end):
            months = dates.astype("datetime64[M]")
            since_month = (last - last.astype("datetime64[D]")) - np.timedelta64(1, "D")
            dates = (months + np.timedelta64(1, "M")).astype("datetime64[ms]") + since_month
        return dates

    def _ends_months(self, first: int, end: int) -> bool:
        """Whether the rows of a series lie on the last days of months that are not equally long."""
        if self.step is None or self.step.unit not in ("M", "Q", "Y"):
            return False
        days = self.values[first:end].astype("datetime64[D]")
        of_month = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(int)  # from 0
        next_days = days + np.timedelta64(1, "D")
        are_last = bool((next_days == next_days.astype("datetime64[M]").astype("datetime64[D]")).all())
        return are_last and len(np.unique(of_month)) > 1

    def text(self, values: np.ndarray) -> list[str]:
        """Return dates as the file would write them.

        Arguments:
            values: the dates, datetime64 `(M,)`.
        """
        return self.write(np.asarray(values))


class Found(NamedTuple):
    """A column of time.

    Attributes:
        columns: its name, or the names of the columns that a date is spread over.
        kind: how time is written, in words.
        values: dates, datetime64[ms] `(N,)`; for a mere counter its numbers, float64.
        write: dates -> as text.
    """

    columns: tuple[str, ...]
    kind: str
    values: np.ndarray
    write: Callable[[np.ndarray], list[str]]

    @property
    def has_dates(self) -> bool:
        """Whether the values are dates, not a mere counter."""
        return self.values.dtype.kind == "M"


def find_time(
    source: str,
    lines: np.ndarray,
    columns: Mapping[str, Column],
    candidates: Sequence[str],
    order: str,
    wanted: str = "",
) -> Found | None:
    """Return the column of a file that holds time; None where there is none.

    Columns of text that hold dates come first, then columns of numbers whose name speaks of time, a date that
    is spread over columns (year, month, day), a column without a name in front, and last a column that only
    rises in equal steps.

    Arguments:
        source: what errors call the file.
        lines: line of the file of each row, `(N,)`.
        columns: by name; one without a name is called "".
        candidates: names of the columns that may hold time, in the order of the file.
        order: of day and month, as `read_dates` takes it.
        wanted: name of the column that must hold it; empty for whichever does.

    Raises DataError for a column of dates with a cell that is none, and for one that is wanted and holds no
    dates.
    """
    by_name = sorted(candidates, key=lambda name: not _speaks_of_time(name))  # stable: in the file's order
    if wanted:
        by_name = [wanted]
    for name in by_name:
        if columns[name].values is None and (
            found := _dates_of_text(
                source, lines, name, columns[name], order, bool(wanted) or _speaks_of_time(name)
            )
        ):
            return found
    has_text = any(column.values is None for column in columns.values())
    spread = None if wanted else _spread(columns, candidates)
    if spread is not None:
        return spread
    for name in by_name:
        values = columns[name].values
        if values is not None:
            _refuse_missing_times(source, lines, name, columns[name])
        if values is not None and np.isfinite(values).all() and columns[name].wrong < 0:
            named = _speaks_of_time(name) or bool(wanted)
            found = _dates_of_numbers(name, values, named)
            repeats = len(np.unique(values)) < len(values)
            if found is None or (found.kind == "years" and repeats and not (wanted or has_text)):
                continue  # a year beside a day of the year, say, is no time by itself
            return found
    if wanted:
        raise DataError(
            f"{source}: column {wanted!r} holds no dates or times, such as {columns[wanted].cell(0)[:40]!r} "
            "(--task.time none takes rows as they follow each other)"
        )
    return None


def _refuse_missing_times(source: str, lines: np.ndarray, name: str, column: Column) -> None:
    """Raise DataError for a column that is named as time, and holds it but for a few empty cells."""
    values = column.values
    if values is None or column.wrong >= 0 or not name or not _speaks_of_time(name):
        return
    gaps = np.isnan(values)
    if not gaps.any() or gaps.mean() > 0.5 or np.isinf(values).any():
        return
    found = _dates_of_numbers(name, values[~gaps], True)
    if found is not None and found.has_dates and len(np.unique(values[~gaps])) == int((~gaps).sum()):
        row = int(np.argmax(gaps))
        raise DataError(f"{source}, line {lines[row]}, column {name}: the time is missing")


def only_rises(values: np.ndarray) -> bool:
    """Whether numbers rise in nearly equal steps, as those of rows do.

    Arguments:
        values: the numbers, `(N,)`.
    """
    if len(values) < LEAST_ROWS or not np.isfinite(values).all():
        return False
    steps = np.diff(values)
    return bool(steps[0] > 0) and bool(np.all(np.abs(steps - steps[0]) <= NEARLY * steps[0]))


def step_of(values: np.ndarray) -> tuple[Step | None, np.ndarray]:
    """Return the step of rising dates, and how many steps lie between neighbours, `(N - 1,)`.

    It is the usual distance of neighbours where all others are whole multiples of it; in months, quarters or
    years for dates that keep the day of the month, in business days for dates without weekends. None, and
    ones, where there is no such step.

    Arguments:
        values: the dates, datetime64 `(N,)`.
    """
    nothing = None, np.ones(max(len(values) - 1, 0), int)
    if len(values) < 3:
        return nothing
    apart = np.diff(values.astype("datetime64[ms]").astype(np.int64))  # (N - 1,)
    if (apart <= 0).any():
        return nothing
    return _in_months(values) or _in_business_days(values, apart) or _in_equal_steps(apart) or nothing


def _in_months(values: np.ndarray) -> tuple[Step, np.ndarray] | None:
    """Return the step of dates that keep the day of the month, or are all last days of months."""
    months = values.astype("datetime64[M]")
    days = values.astype("datetime64[D]")
    of_month = (days - months.astype("datetime64[D]")).astype(int)  # (N,), from 0
    following = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
    is_last = (following - days).astype(int) == 1
    if not (len(np.unique(of_month)) == 1 or is_last.all()) or np.ptp(values - days) != np.timedelta64(
        0, "ms"
    ):
        return None
    apart = np.diff(months.astype(int))  # (N - 1,)
    if (apart < 1).any():
        return None
    usual = _usual(apart)
    if (apart % usual).any():
        return None
    unit, count = next((u, usual / n) for u, n in (("Y", 12), ("Q", 3), ("M", 1)) if usual % n == 0)
    if unit == "Q" and count > 1:
        unit, count = "M", usual
    return Step(int(count), unit), apart // usual


def _in_business_days(values: np.ndarray, apart: np.ndarray) -> tuple[Step, np.ndarray] | None:
    """Return business days for daily dates that leave out weekends; days off count as nothing missing."""
    days = values.astype("datetime64[D]")
    is_daily = np.ptp(values - days) == np.timedelta64(0, "ms") and _usual(apart) == _MS["D"]
    weekdays = (days.astype(int) + 3) % 7  # Monday is 0
    if not is_daily or (weekdays > 4).any() or np.ptp(days).astype(int) < 7:
        return None
    between = np.busday_count(days[:-1], days[1:])  # (N - 1,)
    if np.mean(between == 1) < 0.9:
        return None
    return Step(1, "B"), np.ones(len(apart), int)


def _in_equal_steps(apart: np.ndarray) -> tuple[Step, np.ndarray] | None:
    """Return the step of dates that are whole multiples of it apart, `(N - 1,)` milliseconds."""
    usual = _usual(apart)
    multiples = apart / usual
    whole = np.maximum(np.round(multiples), 1)
    if (np.abs(multiples - whole) > NEARLY).any() or np.mean(whole == 1) < 0.5:
        return None
    unit = next((u for u in ("W", "D", "h", "min", "s") if usual % _MS[u] == 0), "s")
    if unit == "W" and usual != _MS["W"]:
        unit = "D"
    count = usual / _MS[unit]
    return Step(int(count) if count == int(count) else count, unit), whole.astype(int)


def _usual(apart: np.ndarray) -> int:
    """Return the most frequent distance."""
    values, counts = np.unique(apart, return_counts=True)
    return int(values[np.argmax(counts)])


def _speaks_of_time(name: str) -> bool:
    """Whether the name of a column is one of time, or has such a word in it."""
    words = name.lower().replace("_", " ").replace("-", " ").split() or [""]
    return any(word in NAMES or word.startswith(("date", "timestamp", "unix", "julian")) for word in words)


def _dates_of_text(
    source: str, lines: np.ndarray, name: str, column: Column, order: str, sure: bool
) -> Found | None:
    """Return a column of text as dates; None where it holds none; sure: as `read_dates` takes it."""
    cells = column.text or ()
    if not cells or not any(c.isdigit() for c in cells[0]):
        return None

    def missing(values: np.ndarray) -> float:
        """Return how many rows are missing between dates, in whatever order; infinite for unequal steps."""
        step, apart = step_of(np.unique(values))
        return math.inf if step is None else float(np.sum(apart - 1))

    try:
        found: Dates | None = read_dates(source, name, cells, order, missing, sure)
    except DataError as error:
        raise at_line(error, source, name, lines) from None
    return None if found is None else Found((name,), found.kind, found.values, found.write)


def _spread(columns: Mapping[str, Column], candidates: Sequence[str]) -> Found | None:
    """Return a date that is spread over columns named year and month or quarter, and day and hour."""
    numbers = {name: _numbers_of(columns[name]) for name in candidates}
    named = {name.lower(): name for name, values in numbers.items() if values is not None}
    if "year" not in named or not {"month", "quarter"} & set(named):
        return None
    part = {key: numbers[named[key]] for key in ("year", "month", "quarter", "day", "hour") if key in named}
    whole = [values for values in part.values() if values is not None]
    if not all(np.isfinite(values).all() and (values == np.floor(values)).all() for values in whole):
        return None
    year, zero = part["year"], np.zeros(len(whole[0]))
    month = part["month"] if "month" in part else 3 * part["quarter"] - 2  # type: ignore[operator]
    day = part.get("day", zero + 1)
    hour = part.get("hour", zero)
    if not (
        _within(year, 1000, 2999) and _within(month, 1, 12) and _within(day, 1, 31) and _within(hour, 0, 24)
    ):
        return None
    at = (year.astype(int) - 1970).astype("datetime64[Y]").astype("datetime64[M]")  # type: ignore[union-attr]
    at = at + (month.astype(int) - 1).astype("timedelta64[M]")  # type: ignore[union-attr]
    dates = at.astype("datetime64[D]") + (day.astype(int) - 1).astype("timedelta64[D]")  # type: ignore[union-attr]
    values = dates.astype("datetime64[ms]") + (hour * 3_600_000).astype("timedelta64[ms]")  # type: ignore[operator]
    used = tuple(named[key] for key in part if not (key == "quarter" and "month" in part))
    pattern = "%Y-%m-%d %H:%M" if "hour" in part else "%Y-%m-%d" if "day" in part else "%Y-%m"
    return Found(used, "columns of " + ", ".join(used), values, _writer(pattern))


def _numbers_of(column: Column) -> np.ndarray | None:
    """Return the numbers of a column, or those of the months that it names, `(N,)`; None for other text."""
    if column.values is not None:
        return column.values
    names = [cell.strip().lower()[:3] for cell in column.cells()]
    if not set(names) <= set(MONTHS):
        return None
    return np.array([MONTHS.index(name) + 1.0 for name in names])


def _dates_of_numbers(name: str, values: np.ndarray, named: bool) -> Found | None:
    """Return a column of numbers as dates, or as a mere counter; None where it is neither.

    Arguments:
        name: of the column.
        values: its numbers, `(N,)`.
        named: whether its name speaks of time; other columns must rise or fall in equal steps.
    """
    steps = np.diff(np.sort(values)) if named else np.diff(values)
    if len(values) < 2:
        return None
    steady = len(values) >= LEAST_ROWS and steps[0] != 0
    steady = steady and bool(np.all(np.abs(steps - steps[0]) <= NEARLY * abs(steps[0])))
    if not steady and not named:
        return None
    whole = bool((values == np.floor(values)).all())
    high = float(values.max())
    word = name.lower()
    for digits, pattern in _PACKED_CLOCKS:
        if whole and _within(values, 1900 * 10.0 ** (digits - 4), 3000 * 10.0 ** (digits - 4)):
            dates = _packed_clock(values, digits)
            if dates is not None:
                return Found((name,), "dates as " + _PACKED_WORDS[:digits], dates, _writer(pattern))
    if whole and _within(values, 1e8, 1e11) and (named or steady):
        return _scaled(name, "Unix seconds", values, 1e3)
    if not whole and named and _within(values, 5e8, 5e9):
        return _scaled(name, "Unix seconds", values, 1e3)
    for kind, least, per_ms in _FINE_UNITS:
        if whole and _within(values, least, least * 999):
            return _scaled(name, kind, values, per_ms)
    if whole and _within(values, 10000101, 29991231) and (dates := _packed(values, True)) is not None:
        return Found((name,), "dates as YYYYMMDD", dates, _writer("%Y%m%d"))
    if whole and _within(values, 100001, 299912) and named and (dates := _packed(values, False)) is not None:
        return Found((name,), "months as YYYYMM", dates, _writer("%Y%m"))
    if _within(values, 1000, 2999) and (named or high >= 1500):
        return _years(name, values, whole)
    is_julian = "julian" in word or word == "jd"
    if _within(values, 1.7e6, 2.6e6) and (is_julian or steady):
        return _scaled(name, "Julian days", values, 86_400_000, 2440587.5)
    if _within(values, 10_000, 80_000) and named and not word.startswith(("year", "month", "hour")):
        return _scaled(name, "spreadsheet days", values, 86_400_000, 25569.0)
    if steady and (steps[0] > 0 or named):
        kind = "a number that only rises" if steps[0] > 0 else "a number that only falls"
        return Found((name,), kind, values, lambda numbers: [written(float(v)) for v in numbers])
    return None


def _years(name: str, values: np.ndarray, whole: bool) -> Found | None:
    """Return years, or decimal years whose fractions are months, quarters or days."""
    if whole:
        dates = (values.astype(int) - 1970).astype("datetime64[Y]").astype("datetime64[ms]")
        return Found((name,), "years", dates, _writer("%Y"))
    distance = np.median(np.diff(np.unique(values)))
    year = np.floor(values + 1e-6)
    share = np.clip(values - year, 0, 1 - 1e-9)
    for parts in (4, 12):
        if abs(distance * parts - 1) < 0.1:
            month = np.floor(share * parts + 0.05).astype(int) * (12 // parts)
            at = (year.astype(int) - 1970).astype("datetime64[Y]").astype("datetime64[M]")
            dates = (at + month.astype("timedelta64[M]")).astype("datetime64[ms]")
            if len(np.unique(dates)) == len(np.unique(values)):
                return Found((name,), "decimal years", dates, _writer("%Y-%m"))
    starts = (year.astype(int) - 1970).astype("datetime64[Y]")
    length = (starts + np.timedelta64(1, "Y")).astype("datetime64[D]") - starts.astype("datetime64[D]")
    days = np.round(share * length.astype(int) * 24) / 24  # to the hour
    dates = starts.astype("datetime64[ms]") + (days * 86_400_000).astype("timedelta64[ms]")
    return Found((name,), "decimal years", dates, _writer("%Y-%m-%d"))


def _scaled(name: str, kind: str, values: np.ndarray, per_unit: int | float, zero: float = 0.0) -> Found:
    """Return dates that are counted: (value - zero) times per_unit milliseconds since 1970."""
    milliseconds = np.round((values - zero) * per_unit).astype(np.int64)
    digits = 3 if per_unit <= 1000 else 6

    def write(dates: np.ndarray) -> list[str]:
        since = dates.astype("datetime64[ms]").astype(np.int64)  # (M,), milliseconds
        if per_unit < 1:  # whole numbers of more digits than a float has
            return [str(value) for value in (since * round(1 / per_unit)).tolist()]
        return [written(round(float(value), digits)) for value in since / per_unit + zero]

    return Found((name,), kind, _EPOCH + milliseconds.astype("timedelta64[ms]"), write)


def _packed(values: np.ndarray, with_days: bool) -> np.ndarray | None:
    """Return dates written as one number, YYYYMMDD or YYYYMM; None where one is no date."""
    numbers = values.astype(int) if with_days else values.astype(int) * 100 + 1
    year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
    if not (_within(month, 1, 12) and _within(day, 1, 31)):
        return None
    at = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1).astype("timedelta64[M]")
    dates = at.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    return None if (dates.astype("datetime64[M]") != at).any() else dates.astype("datetime64[ms]")


def _packed_clock(values: np.ndarray, digits: int) -> np.ndarray | None:
    """Return dates and times of the day written as one number of so many digits; None where one is none."""
    numbers = values.astype(np.int64) * 10 ** (14 - digits)  # (N,): all of YYYYMMDDhhmmss
    days, clock = numbers // 1_000_000, numbers % 1_000_000
    dates = _packed(days, True)
    hours, minutes, seconds = clock // 10_000, clock // 100 % 100, clock % 100
    if dates is None or hours.max() > 24 or minutes.max() > 59 or seconds.max() > 59:
        return None
    return dates + (3600 * hours + 60 * minutes + seconds).astype("timedelta64[s]").astype("timedelta64[ms]")


def _within(values: np.ndarray | None, low: int | float, high: int | float) -> bool:
    """Whether all values lie between two bounds."""
    return values is not None and bool(values.min() >= low) and bool(values.max() <= high)


def _writer(pattern: str) -> Callable[[np.ndarray], list[str]]:
    """Return what writes dates in a pattern of strftime."""

    def write(dates: np.ndarray) -> list[str]:
        seconds = np.asarray(dates).astype("datetime64[s]")
        return [date.strftime(pattern) for date in seconds.astype(object).tolist()]

    return write
