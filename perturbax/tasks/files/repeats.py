"""Rows of one series with the same time: dropped where they repeat a row, else refused with a reason."""

import numpy as np

from perturbax.errors import DataError
from perturbax.tasks.files.csv_table import Table
from perturbax.tasks.files.times import Found

FREE = "--task.time none takes rows as they follow each other"
_CHANGES = (3, 4, 9, 10, 11)  # months in which clocks change somewhere
_HOURS = (0, 1, 2, 3)  # at which they do


def without_doubles(
    table: Table, found: Found, groups: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Return the rows in order of time without those that repeat a row in every cell, and what was dropped.

    Arguments:
        table: as it was read.
        found: its time.
        groups: number of the series of each row, `(N,)`.
        order: numbers of the rows in order of time, `(N,)`.
    """
    before, after = order[:-1], order[1:]
    same = (found.values[before] == found.values[after]) & (groups[before] == groups[after])  # (N - 1,)
    for row in np.flatnonzero(same).tolist():
        pair = int(before[row]), int(after[row])
        same[row] = all(column.cell(pair[0]) == column.cell(pair[1]) for column in table.columns.values())
    if not same.any():
        return order, []
    kept = np.concatenate([order[:1], after[~same]])
    line = table.lines[after[np.argmax(same)]]
    count = int(same.sum())
    rows = f"{count} row is" if count == 1 else f"{count} rows are"
    return kept, [f"{rows} there twice, dropped (the first: line {line})"]


def refuse_repeats(
    table: Table, found: Found, groups: np.ndarray, order: np.ndarray, others: tuple[str, ...]
) -> None:
    """Raise DataError where two rows of one series have the same time, with what is likely behind it.

    Arguments:
        table: as it was read.
        found: its time.
        groups: number of the series of each row, `(N,)`.
        order: numbers of the rows in order of time, `(N,)`.
        others: columns that do not tell series apart: those that the task reads by name.
    """
    values, own = found.values[order], groups[order]
    again = np.flatnonzero((values[1:] == values[:-1]) & (own[1:] == own[:-1]))
    if not len(again):
        return
    first, second = sorted((int(order[again[0]]), int(order[again[0] + 1])))
    time = found.write(values[again[:1]])[0]
    what = f"{table.source}: {time} is there twice, in lines {table.lines[first]} and {table.lines[second]}"
    if len(again) > 1:
        what += f" (and {len(again)} more rows repeat a time)"
    raise DataError(f"{what}: {_reason(table, found, values[again], (first, second), others)}")


def _reason(
    table: Table, found: Found, repeated: np.ndarray, pair: tuple[int, int], others: tuple[str, ...]
) -> str:
    """Return why times may be there twice, and what to do; pair: the first two rows of one time."""
    columns = [table.columns[name] for name in found.columns if name in table.columns]
    if found.has_dates and any(column.cell(pair[0]) != column.cell(pair[1]) for column in columns):
        return f"times are read to a thousandth of a second, and these are closer ({FREE})"
    apart = _tells_apart(table, found, others)
    if apart:
        return f"column {apart!r} tells several series apart: name it, --task.series {apart}"
    if found.has_dates and clocks_change(repeated):
        return (
            "does summer time end there? Write times in UTC, or with their zone, such as "
            f"2020-10-25T02:00+01:00; {FREE}"
        )
    return (
        "where the file holds several series, name the column that tells them apart, "
        f"--task.series COLUMN; {FREE}"
    )


def clocks_change(times: np.ndarray) -> bool:
    """Whether times that are there twice, or are missing, lie where summer time ends or begins.

    They do in the small hours of one day a year, in months in which clocks change somewhere.

    Arguments:
        times: these times, datetime64 `(n,)`.
    """
    if not (times != times.astype("datetime64[D]")).any():
        return False
    hours = (times - times.astype("datetime64[D]")).astype("timedelta64[h]").astype(int)  # (n,)
    months = times.astype("datetime64[M]").astype(int) % 12 + 1  # (n,)
    days = np.unique(times.astype("datetime64[D]"))
    years = np.unique(times.astype("datetime64[Y]"))
    return len(days) == len(years) and bool(np.isin(months, _CHANGES).all() and np.isin(hours, _HOURS).all())


def _tells_apart(table: Table, found: Found, others: tuple[str, ...]) -> str | None:
    """Return the first column of text or of whole numbers within whose values no time is there twice."""
    n = len(table.lines)
    for name, column in table.columns.items():
        if name in found.columns or name in others:
            continue
        if column.values is not None and not np.all(column.values == np.floor(column.values)):
            continue
        cells = column.cells()
        if len(set(cells)) <= n / 2 and len(set(zip(cells, found.values.tolist(), strict=True))) == n:
            return name
    return None
