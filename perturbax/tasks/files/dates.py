"""Dates and times as text: which of the usual ways of writing them a column uses, and its values."""

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from perturbax.errors import DataError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
ORDERS = ("day-first", "month-first")
MOST_WRONG = 0.5  # share of texts that are no dates, from which no column holds any
LEAST_WRONG = 0.1  # the same for a column that was not named as time
_CLOCK = r"(?:(?:[T\s]+|-(?=\d\d:))(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?\s*([AaPp][Mm])?)?"
_ZONE = r"\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
_HAS_YEAR = r"(?=\d{4}\D|\d{1,2}\D\d{1,2}\D(?:\d{4}|\d{2})(?!\d))"  # in four digits, or two at the end
_DIGITS = re.compile(rf"{_HAS_YEAR}(\d{{1,4}})([-/.])(\d{{1,2}})\2(\d{{1,4}}){_CLOCK}{_ZONE}")
_WEEKDAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*[.,]*\s+)?"
_NAMED = re.compile(
    rf"{_WEEKDAY}(?:(\d{{1,2}})[\s./-]+)?([A-Za-z]{{3,9}})[\s./,-]+(?:(\d{{1,2}}),?\s+)?(\d{{4}}){_CLOCK}"
)
_NAMED_SHORT = re.compile(  # years of two digits: behind a day, or behind a month and a hyphen
    rf"(?:(\d{{1,2}})[\s./-]+)?([A-Za-z]{{3,9}})(?(1)[\s./-]|-)()(\d{{2}}){_CLOCK}"
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})([T\s_-])(\d{2})(:?)(\d{2})(?:\6(\d{2}))?(Z?)")
_MONTH = re.compile(r"(\d{4})[-/.\sM](\d{1,2})")
_MONTH_LAST = re.compile(r"(\d{1,2})[-/.](\d{4})")
_QUARTER = re.compile(r"(\d{4})[-\s:]*[Qq]([1-4])")
_QUARTER_LAST = re.compile(r"[Qq]([1-4])[-/\s]*(\d{4})")
_WEEK = re.compile(r"(\d{4})-?[Ww](\d{1,2})(?:-?([1-7]))?")
_PLAIN_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?")


class Dates(NamedTuple):
    """Dates that were read from text.

    Attributes:
        kind: how they are written, in words.
        values: datetime64[ms] `(N,)`; those with a zone in UTC.
        write: dates `(M,)` -> as text, in the same way.
    """

    kind: str
    values: np.ndarray
    write: Callable[[np.ndarray], list[str]]


def read_dates(
    source: str, name: str, cells: Sequence[str], order: str, missing: Callable, sure: bool = True
) -> Dates | None:
    """Return the dates in a column; None where it holds none.

    Arguments:
        source: what errors call the file.
        name: of the column.
        cells: its cells; none of them empty.
        order: of day and month in dates such as 3/4/2020: `day-first`, `month-first`, or `auto`, which takes
            the one that fits all of them, or leaves fewer steps without a row.
        missing: dates `(N,)` -> how many are missing between them, infinite where they follow each other in
            no equal steps.
        sure: whether the column must hold dates, by its name or because the user says so; of others texts
            that fit no calendar, or follow each other in no equal steps however they are read, are none,
            such as the numbers of versions.

    Raises DataError for a column that mostly holds dates, at the cell that is none; and where day and month
    cannot be told apart.
    """
    cells = [cell.strip() for cell in cells]
    if plain := _plain_iso(cells):
        return plain
    reader = next((read for pattern, read in _READERS if pattern.fullmatch(cells[0])), None)
    if reader is None:
        return None
    sample = [cells[i] for i in np.linspace(0, len(cells) - 1, min(50, len(cells))).astype(int)]
    pattern = next(pattern for pattern, read in _READERS if read is reader and pattern.fullmatch(cells[0]))
    if sum(1 for cell in sample if pattern.fullmatch(cell)) <= len(sample) / 2:
        return None
    found = [pattern.fullmatch(cell) for cell in cells]
    if None in found:
        if not sure and found.count(None) >= LEAST_WRONG * len(found):
            return None
        row = found.index(None)
        raise _NoDate(row, f"{cells[row][:40]!r} is not a date like {cells[0]!r}")
    groups = [match.groups("") for match in found if match]
    try:
        dates = reader(groups, cells[0], order, missing)
        is_odd = "." in cells[0] and dates.kind.startswith("month-first")  # nobody writes dates so
        return None if is_odd and not sure else dates
    except _NoDate as error:
        if error.share < (MOST_WRONG if sure else LEAST_WRONG):
            raise
    except _Ambiguous as error:
        if sure or error.has_steps:
            raise
    return None


def _plain_iso(cells: list[str]) -> Dates | None:
    """Return dates that numpy reads by itself, which is fast; None where it cannot."""
    if not _PLAIN_ISO.fullmatch(cells[0]) or any(len(cell) != len(cells[0]) for cell in cells):
        return None
    try:
        values = np.array(cells, "datetime64[s]")
    except ValueError:
        return None
    if np.isnat(values).any():
        return None
    clock = {10: "", 16: "%H:%M", 19: "%H:%M:%S"}[len(cells[0])]
    pattern = f"%Y-%m-%d{cells[0][10:11]}{clock}"

    def write(dates: np.ndarray) -> list[str]:
        """Write dates as those that were read are written."""
        return [one.strftime(pattern) for one in _python(dates)]

    return Dates("ISO dates", values.astype("datetime64[ms]"), write)


class _NoDate(DataError):
    """A cell that holds no date."""

    def __init__(self, row: int, what: str, share: float = 0.0):
        super().__init__(what)
        self.row, self.what, self.share = row, what, share


class _Ambiguous(DataError):
    """Dates whose days and months cannot be told apart; they may follow each other in equal steps."""

    def __init__(self, example: str, has_steps: bool):
        super().__init__(
            f"{example!r} and the others can be read with the day or with the month first: say which, "
            "--task.dates day-first or month-first"
        )
        self.has_steps = has_steps


def at_line(error: DataError, source: str, name: str, lines: np.ndarray) -> DataError:
    """Return an error of `read_dates` with the place in the file.

    Arguments:
        error: what `read_dates` raised.
        source: what errors call the file.
        name: of the column.
        lines: line of each row in the file, `(N,)`.
    """
    if isinstance(error, _NoDate):
        return DataError(f"{source}, line {lines[error.row]}, column {name}: {error.what}")
    return DataError(f"{source}, column {name}: {error}")


def _read_digits(found: list[tuple], example: str, order: str, missing: Callable) -> Dates:
    """Read dates of three numbers, with a time of the day or without."""
    fields = np.array([(match[0], match[2], match[3]) for match in found], np.int64)  # (N, 3)
    mark = found[0][1]
    time, has_time, has_seconds = _times_of_day([match[4:9] for match in found])
    zone = np.array([_offset(match[9]) for match in found], "timedelta64[m]")
    is_zoned = any(match[9] for match in found)
    separator = "T" if "T" in example[:11] else " "
    clock = (f"{separator}%H:%M" + ":%S" * has_seconds) if has_time else ""
    if len(found[0][0]) == 4:
        values = _dates(fields[:, 0], fields[:, 1], fields[:, 2])
        kind, pattern = "ISO dates" if mark == "-" else "dates", f"%Y{mark}%m{mark}%d"
    else:
        years = _with_century(fields[:, 2])
        chosen, values = _day_and_month(fields[:, 0], fields[:, 1], years, time, order, missing, example)
        year = "%y" if fields[:, 2].max() < 100 else "%Y"
        day_month = ("%d", "%m") if chosen == "day-first" else ("%m", "%d")
        kind, pattern = f"{chosen} dates", mark.join((*day_month, year))
    values = values + time.astype("timedelta64[ms]") - zone.astype("timedelta64[ms]")
    if is_zoned:
        kind, clock = f"{kind} with a zone, taken to UTC", clock or "T%H:%M"
    return Dates(kind, values, _clock_writer(pattern + clock, "Z" * is_zoned, bool((time % 1000).any())))


def _day_and_month(
    first: np.ndarray,
    second: np.ndarray,
    years: np.ndarray,
    time: np.ndarray,
    order: str,
    missing: Callable,
    example: str,
) -> tuple[str, np.ndarray]:
    """Return which of two numbers is the day, as one of ORDERS, and the dates, `(N,)`.

    Raises _NoDate where neither way fits all rows, and _Ambiguous where both do.
    """
    readings = {"day-first": (second, first), "month-first": (first, second)}
    if order in ORDERS:
        readings = {order: readings[order]}
    made: dict[str, np.ndarray] = {}
    refused: list[_NoDate] = []
    for name, (months, days) in readings.items():
        try:
            made[name] = _dates(years, months, days)
        except _NoDate as error:
            refused.append(error)
    if not made:
        raise min(refused, key=lambda error: (error.share, -error.row))
    if len(made) > 1:
        missed = {name: missing(dates + time.astype("timedelta64[ms]")) for name, dates in made.items()}
        least = min(missed.values())
        made = {name: dates for name, dates in made.items() if missed[name] == least}
        if len(made) > 1:
            raise _Ambiguous(example, least < math.inf)
    return next(iter(made.items()))


def _clock_writer(pattern: str, end: str, has_fractions: bool) -> Callable[[np.ndarray], list[str]]:
    """Return what writes dates in a pattern of strftime, thousandths of seconds where asked, and an end."""

    def write(dates: np.ndarray) -> list[str]:
        texts = [date.strftime(pattern) for date in _python(dates)]
        if has_fractions:
            thousandths = np.asarray(dates).astype("datetime64[ms]").astype(np.int64) % 1000  # (M,)
            texts = [f"{text}.{part:03d}" for text, part in zip(texts, thousandths.tolist(), strict=True)]
        return [text + end for text in texts]

    return write


def _read_named(found: list[tuple], example: str, order: str, missing: Callable) -> Dates:
    """Read dates with the name of the month."""
    names = [match[1].lower()[:3] for match in found]
    wrong = [row for row, name in enumerate(names) if name not in MONTHS]
    if wrong:
        raise _NoDate(wrong[0], f"{found[wrong[0]][1]!r} is no month", len(wrong) / len(found))
    months = [MONTHS.index(name) + 1 for name in names]
    days = [int(match[0] or match[2] or 1) for match in found]
    years = _with_century(np.array([match[3] for match in found], np.int64))
    time, has_time, _ = _times_of_day([match[4:9] for match in found])
    values = _dates(years, np.array(months), np.array(days)) + time.astype("timedelta64[ms]")
    has_days = any(match[0] or match[2] for match in found)
    day = "%d " * has_days
    year = "%Y" if len(found[0][3]) == 4 else "%y"
    pattern = f"{day}%b {year}" if found[0][0] or not has_days else f"%b %d {year}"
    if year == "%y":
        pattern = pattern.replace(" ", "-")
    pattern += " %H:%M" * has_time
    return Dates(
        "dates with names of months", values, lambda d: [one.strftime(pattern) for one in _python(d)]
    )


def _read_months(found: list[tuple], example: str, order: str, missing: Callable) -> Dates:
    """Read months: a year and a number from 1 to 12."""
    numbers = np.array(found, np.int64)  # (N, 2)
    is_last = len(found[0][0]) < 4
    years, months = numbers[:, int(is_last)], numbers[:, int(not is_last)]
    if not is_last and len(found) > 2 and (months == (years + 1) % 100).all():
        return _years_in_pairs(years, example)
    values = _dates(years, months, np.ones_like(years))
    mark = next(c for c in example if not c.isdigit())
    pattern = f"%m{mark}%Y" if is_last else f"%Y{mark}%m"
    return Dates("months", values, lambda dates: [d.strftime(pattern) for d in _python(dates)])


def _years_in_pairs(years: np.ndarray, example: str) -> Dates:
    """Return years that are written with the one behind them, such as 2019-20, as a season or budget is."""
    mark = next(c for c in example if not c.isdigit())

    def write(dates: np.ndarray) -> list[str]:
        return [f"{d.year}{mark}{(d.year + 1) % 100:02d}" for d in _python(dates)]

    return Dates("pairs of years", _dates(years, np.ones_like(years), np.ones_like(years)), write)


def _read_compact(found: list[tuple], example: str, order: str, missing: Callable) -> Dates:
    """Read dates without hyphens, with a time of the day, such as 20200131T1345."""
    year, month, day = (np.array([match[i] for match in found], np.int64) for i in range(3))
    time, _, has_seconds = _times_of_day([(m[4], m[6], m[7], "", "") for m in found])
    _, _, _, between, _, colon, _, _, end = found[0]
    seconds = f"{colon}%S" if has_seconds else ""
    pattern = f"%Y%m%d{between}%H{colon}%M{seconds}{end}"
    values = _dates(year, month, day) + time.astype("timedelta64[ms]")
    return Dates("ISO dates without hyphens", values, lambda d: [one.strftime(pattern) for one in _python(d)])


def _read_weeks(found: list[tuple], example: str, order: str, missing: Callable) -> Dates:
    """Read weeks of ISO 8601: a week begins on Monday, and the first of a year has its 4th of January."""
    years, weeks = (np.array([match[i] for match in found], np.int64) for i in (0, 1))
    days = np.array([int(match[2] or 1) for match in found])
    wrong = (weeks < 1) | (weeks > 53)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise _NoDate(row, f"there is no week {weeks[row]}", float(wrong.mean()))
    fourth = _dates(years, np.ones_like(years), np.full_like(years, 4)).astype("datetime64[D]")
    monday = fourth - ((fourth.astype(int) + 3) % 7).astype("timedelta64[D]")  # of the first week
    dates = monday + (7 * (weeks - 1) + days - 1).astype("timedelta64[D]")
    mark = "-" if "-" in example else ""
    pattern = f"%G{mark}W%V" + (f"{mark}%u" if found[0][2] else "")
    return Dates(
        "ISO weeks", dates.astype("datetime64[ms]"), lambda d: [t.strftime(pattern) for t in _python(d)]
    )


def _read_quarters(found: list[tuple], example: str, order: str, missing: Callable) -> Dates:
    """Read quarters of years."""
    numbers = np.array(found, np.int64)  # (N, 2)
    is_last = len(found[0][0]) < 4
    years, quarters = numbers[:, int(is_last)], numbers[:, int(not is_last)]
    values = _dates(years, 3 * quarters - 2, np.ones_like(years))

    def write(dates: np.ndarray) -> list[str]:
        pairs = [(d.year, (d.month + 2) // 3) for d in _python(dates)]
        return [f"Q{quarter} {year}" if is_last else f"{year}Q{quarter}" for year, quarter in pairs]

    return Dates("quarters", values, write)


_READERS = (
    (_DIGITS, _read_digits),
    (_COMPACT, _read_compact),
    (_QUARTER, _read_quarters),
    (_QUARTER_LAST, _read_quarters),
    (_MONTH, _read_months),
    (_MONTH_LAST, _read_months),
    (_NAMED, _read_named),
    (_NAMED_SHORT, _read_named),
    (_WEEK, _read_weeks),
)


def _with_century(years: np.ndarray) -> np.ndarray:
    """Return years, those of two digits as 1970 to 2069."""
    return np.where(years < 100, years + np.where(years < 70, 2000, 1900), years)


def _times_of_day(found: list[tuple]) -> tuple[np.ndarray, bool, bool]:
    """Return (milliseconds since midnight `(N,)`, whether any is given, whether seconds are given)."""
    seconds = np.zeros(len(found))
    given = with_seconds = False
    for row, (hour, minute, second, fraction, half) in enumerate(found):
        if not hour:
            continue
        given = True
        with_seconds = with_seconds or bool(second)
        h, m, s = int(hour), int(minute), int(second or 0)
        if half:
            h = h % 12 + 12 * (half.lower() == "pm")
        if h > 24 or m > 59 or s > 60 or (h == 24 and m + s > 0):
            raise _NoDate(row, f"{hour}:{minute} is no time of the day")
        seconds[row] = 3600 * h + 60 * m + s + float(f"0.{fraction or 0}")
    return np.round(seconds * 1000).astype(np.int64), given, with_seconds


def _offset(zone: str) -> int:
    """Return the offset from UTC of a zone such as +01:00, in minutes."""
    if not zone or zone in ("Z", "UTC", "GMT"):
        return 0
    sign = -1 if zone[0] == "-" else 1
    digits = zone[1:].replace(":", "")
    return sign * (60 * int(digits[:2]) + int(digits[2:]))


def _dates(years: np.ndarray, months: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Return dates, datetime64[ms] `(N,)`; raises for a month or a day that there is not."""
    wrong = (months < 1) | (months > 12)
    at = (years - 1970).astype("datetime64[Y]").astype("datetime64[M]")
    at = at + (np.clip(months, 1, 12) - 1).astype("timedelta64[M]")
    length = (at + np.timedelta64(1, "M")).astype("datetime64[D]") - at.astype("datetime64[D]")
    wrong |= (days < 1) | (days > length.astype(int))
    if wrong.any():
        row = int(np.argmax(wrong))
        what = f"there is no day {days[row]} in month {months[row]} of {years[row]}"
        raise _NoDate(row, what, float(wrong.mean()))
    return (at.astype("datetime64[D]") + (days - 1).astype("timedelta64[D]")).astype("datetime64[ms]")


def _python(dates: np.ndarray) -> list:
    """Return dates as those of Python."""
    return np.asarray(dates).astype("datetime64[s]").astype(object).tolist()
