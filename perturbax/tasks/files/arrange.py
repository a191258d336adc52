"""Rows put in order of time: sorted, told apart by series, doubled rows dropped, missing rows found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perturbax.errors import ArgumentError, DataError, unknown
from perturbax.tasks.calendar import moved
from perturbax.tasks.files.clocks import with_time_of_day
from perturbax.tasks.files.csv_table import Table
from perturbax.tasks.files.numerals import CODES, Column, is_missing
from perturbax.tasks.files.repeats import FREE, clocks_change, refuse_repeats, without_doubles
from perturbax.tasks.files.times import Found, Step, TimeAxis, find_time, only_rises, step_of

MOST_FILLED = 10  # times as many rows as there are, before missing rows mean that time is irregular
# Numbers that stand for a missing value in many files, and how many ranges of the others away they must lie.
STAND_INS = {s * (10.0**n - 1) for n in (3, 4, 5, 6) for s in (1, -1)} | {
    -999.9,
    999.9,
    -9999.9,
    -99.0,
    -9999.0,
}
FAR_AWAY = 2
THE_TIME = "the time"
_HOLD = "--task.gaps hold puts them in and carries the last values forward"


class Asked(NamedTuple):
    """What a task says about the rows of its file.

    Attributes:
        named: columns that are targets, inputs or known ahead by name: they are never taken for time.
        time: name of the column of time; `none` for rows as they follow each other; empty to look for one.
        series: name of the column that tells several series apart; empty for one series.
        dates: whether day or month comes first in dates such as 3/4/2020: day-first, month-first or auto.
        gaps: what is done about missing rows: refuse, or hold.
    """

    named: Sequence[str] = ()
    time: str = ""
    series: str = ""
    dates: str = "auto"
    gaps: str = "refuse"


def arranged(table: Table, asked: Asked) -> Table:
    """Return a table with its rows in order of time, one series after the other.

    Arguments:
        table: as `read_table` returns it.
        asked: what the task says about it.

    Raises ArgumentError for columns that there are not, DataError for doubled times that no series explains,
    and for missing rows where gaps are refused.
    """
    for name in (asked.series, asked.time):
        if name and name not in table.columns and name != "none":
            raise unknown("column", name, table.columns)
    if asked.series and asked.series == asked.time:
        raise ArgumentError(f"column {asked.series!r} cannot be both the time and the series")
    groups, names = _series_of(table, asked.series)  # (N,)
    found = _time_of(table, asked)
    left_out = {asked.series: "tells the series apart"} if asked.series else {}
    remarks = [*table.remarks, *_unnamed_columns(table, found)]
    order = np.argsort(groups, kind="stable")
    if found is not None:
        order = np.lexsort((found.values, groups))  # stable: rows of one time stay as they are
        remarks += _order_remarks(found.values, groups)
        order, dropped = without_doubles(table, found, groups, order)
        remarks += dropped
        refuse_repeats(table, found, groups, order, (*asked.named, asked.series))
        left_out |= dict.fromkeys(found.columns, THE_TIME if found.has_dates else found.kind)
    table = _taken(table, order)
    groups = groups[order]
    table = table._replace(segments=_segments(groups, names))
    if found is not None and found.has_dates:
        left_out |= _counters(table, left_out)
        table, more = _with_time(table, found, found.values[order], asked)
        remarks += more
    elif found is not None:
        remarks += _counter_remarks(table, found, found.values[order], asked)
    left_out |= _text_columns(table, left_out)
    left_out = {name: why for name, why in left_out.items() if name and name not in asked.named}
    return table._replace(remarks=tuple(remarks), left_out=left_out)


def summary(table: Table, read: Sequence[str]) -> list[str]:
    """Return what is to be known of a file before it is used, a line each.

    Rows, series, step, first and last time, columns that are read, columns left out and why, and what was
    unusual about the file and done about it.

    Arguments:
        table: as `arranged` returns it.
        read: names of the columns that are read.
    """
    rows = f"{len(table.lines):,} rows"
    if len(table.segments) > 1:
        rows += f", {len(table.segments)} series"
    lines = []
    if table.time is None:
        lines.append(f"{rows}, without dates")
    else:
        first, last = table.time.values.min(), table.time.values.max()
        texts = table.time.text(np.array([first, last]))
        step = "" if len(table.lines) < 3 else ", in unequal steps"
        if table.time.step is not None:
            step = f", step {table.time.step}"
        column = table.time.name or "the first column"
        lines.append(f"{rows}{step}, {texts[0]} to {texts[1]} ({column}: {table.time.kind})")
    lines.append(f"reads {', '.join(read)}" + _notations(table, read))
    lines += [f"leaves out {name}: {why}" for name, why in table.left_out.items() if why != THE_TIME]
    gaps = {name: table.gaps_in(name) for name in read}
    if len(table.segments) > 1:
        lines.append("with --mode online the state of the network goes on from one series into the next")
    held = ", ".join(f"{count} in {name}" for name, count in gaps.items() if count)
    if held:
        lines.append(f"gaps: {held}; the last value is carried forward")
    return [*lines, *table.remarks, *_doubtful_numbers(table, read)]


def _doubtful_numbers(table: Table, read: Sequence[str]) -> list[str]:
    """Return a sentence for each column whose numbers may stand for nothing, or are too long for floats."""
    said = []
    for name in read:
        values = None if name not in table.columns else table.columns[name].values
        if values is None or np.isnan(values).all():
            continue
        for extreme in {float(np.nanmin(values)), float(np.nanmax(values))}:
            if extreme not in STAND_INS:
                continue
            others = values[(values != extreme) & ~np.isnan(values)]
            if len(others) and np.abs(extreme - others).min() > FAR_AWAY * max(np.ptp(others), 1):
                count = int(np.sum(values == extreme))
                said.append(
                    f"{name} is {extreme:g} in {count} row{'s' * (count > 1)}, far from all other values: if "
                    "that stands for a missing value, empty these cells"
                )
        if np.nanmax(np.abs(values)) >= 2**53 and (values == np.floor(values)).all():
            said.append(f"{name} holds whole numbers of more than 15 digits: the last digits are rounded")
    return said


def _notations(table: Table, read: Sequence[str]) -> str:
    """Return how the numbers of columns are written, where that is unusual."""
    notations = {name: table.columns[name].notation for name in read if name in table.columns}
    unusual = [f"{name}: {how}" for name, how in notations.items() if how]
    return f" ({'; '.join(unusual)})" if unusual else ""


def _time_of(table: Table, asked: Asked) -> Found | None:
    """Return the column of time; None where there is none, or none is wanted."""
    if asked.time == "none":
        return None
    columns = dict(table.columns)
    if table.unnamed is not None:
        columns = {"": table.unnamed, **columns}
    other = {*asked.named, asked.series} if asked.series else set(asked.named)
    candidates = [name for name in columns if name not in other]
    found = find_time(table.source, table.lines, columns, candidates, asked.dates, asked.time)
    return None if found is None else with_time_of_day(found, columns, candidates)


def _series_of(table: Table, name: str) -> tuple[np.ndarray, list[str]]:
    """Return the number of the series of each row, `(N,)`, in order of appearance, and the series' names."""
    if not name:
        return np.zeros(len(table.lines), int), [""]
    cells = [cell.strip() for cell in table.columns[name].cells()]
    empty = next((row for row, cell in enumerate(cells) if is_missing(cell)), None)
    if empty is not None:
        raise DataError(f"{table.source}, line {table.lines[empty]}, column {name}: the series is missing")
    number = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
    return np.array([number[cell] for cell in cells]), list(number)


def _order_remarks(values: np.ndarray, groups: np.ndarray) -> list[str]:
    """Return what there is to say about the order of the rows in the file, `(N,)` each."""
    newest_first = backwards = rows = 0
    for group in range(int(groups.max()) + 1):
        own = values[groups == group]
        rising = own[1:] > own[:-1]
        falling = own[1:] < own[:-1]
        if len(own) > 1 and falling.all():
            newest_first += 1
        else:
            backwards += int(falling.sum())
        rows += len(rising)
    if newest_first and not backwards:
        return ["the rows were newest first: they are put in order of time"]
    if backwards or newest_first:
        return [f"{_rows(backwards)} out of order: sorted by time"]
    return []


def _segments(groups: np.ndarray, names: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """Return (name, first, end) of each series of rows that are in order of their series."""
    ends = np.searchsorted(groups, np.arange(len(names)), side="right").tolist()
    return tuple(zip(names, [0, *ends[:-1]], ends, strict=True))


def _with_time(table: Table, found: Found, values: np.ndarray, asked: Asked) -> tuple[Table, list[str]]:
    """Return the table with its time axis, missing rows put in, and what there is to say about it."""
    name = " ".join(found.columns)
    steps = [step_of(values[first:end]) for _, first, end in table.segments]
    known = {step for step, _ in steps if step is not None}
    step = known.pop() if len(known) == 1 and all(one is not None for one, _ in steps) else None
    if step is None:
        axis = TimeAxis(name, found.kind, values, None, found.write)
        said = [] if len(values) < 3 else [_irregular(values, table)]
        return table._replace(time=axis), said
    missing = sum(int((apart - 1).sum()) for _, apart in steps)
    if missing > MOST_FILLED * len(values):
        axis = TimeAxis(name, found.kind, values, None, found.write)
        return table._replace(time=axis), [_irregular(values, table)]
    axis = TimeAxis(name, found.kind, values, step, found.write)
    if not missing:
        return table._replace(time=axis), []
    return _filled(table, axis, step, [apart for _, apart in steps], missing, asked)


def _filled(
    table: Table, axis: TimeAxis, step: Step, apart: Sequence[np.ndarray], missing: int, asked: Asked
) -> tuple[Table, list[str]]:
    """Return the table with missing rows put in where gaps are held; DataError where they are refused."""
    copies, rows, segments, end = [], [], [], 0
    for (name, first, stop), distances in zip(table.segments, apart, strict=True):
        counts = np.append(distances, 1)  # (rows,): each row, and those missing behind it
        rows.append(np.repeat(np.arange(first, stop), counts))
        ahead = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        copies.append(ahead)  # steps behind the row in front of a missing one; 0 for rows that are there
        segments.append((name, end, end + int(counts.sum())))
        end = segments[-1][2]
    taken, behind = np.concatenate(rows), np.concatenate(copies)
    at = taken[int(np.argmax(behind > 0))]
    hole = axis.text(axis.values[at : at + 2])
    where = f"{_rows(missing)} missing, the first between {hole[0]} and {hole[1]} (line {table.lines[at]})"
    values = axis.values[taken].astype("datetime64[ms]")
    put_in = np.flatnonzero(behind)
    values[put_in] = moved(values[put_in], step, behind[put_in]).astype("datetime64[ms]")
    if asked.gaps != "hold":
        change = " (does summer time begin there? UTC has no such hole)" * clocks_change(values[put_in])
        raise DataError(f"{table.source}: {where}{change}; {_HOLD}; {FREE}")
    emptied = np.where(behind > 0, -1, taken)  # (N',): -1 for a row that holds nothing
    columns = {}
    for name, column in table.columns.items():
        keeps_text = column.values is None
        columns[name] = column.taken(taken if keeps_text else emptied)
    filled = table._replace(
        columns=columns,
        unnamed=None,
        lines=table.lines[taken],
        segments=tuple(segments),
        time=axis._replace(values=values),
    )
    return filled, [f"{where}: put in, with the last values carried forward"]


def _rows(count: int) -> str:
    """Return a number of rows as the start of a sentence."""
    return f"{count} row is" if count == 1 else f"{count} rows are"


def _irregular(values: np.ndarray, table: Table) -> str:
    """Return a sentence about rows whose distances in time are not equal."""
    apart = np.concatenate([np.diff(values[first:end]) for _, first, end in table.segments])
    hours = apart.astype("timedelta64[ms]").astype(float) / 3_600_000
    least, most = (f"{h / 24:.3g} days" if h >= 48 else f"{h:.3g} hours" for h in (hours.min(), hours.max()))
    return f"times are not equally spaced ({least} to {most} apart): each row counts as one step"


def _counter_remarks(table: Table, found: Found, values: np.ndarray, asked: Asked) -> list[str]:
    """Return what there is to say about gaps in a mere counter."""
    said = []
    for _, first, end in table.segments:
        steps = np.diff(values[first:end])
        if len(steps) and not np.allclose(steps, np.median(steps), rtol=0.01):
            said.append(
                f"column {found.columns[0]!r} does not rise in equal steps: missing rows are not filled"
            )
    return said[:1]


def _text_columns(table: Table, left_out: dict[str, str]) -> dict[str, str]:
    """Return why columns of text, and of codes, are no inputs."""
    found = {}
    for name, column in table.columns.items():
        if name in left_out or table.numeric(name):
            continue
        example = next((cell for cell in column.cells() if not is_missing(cell)), None)
        found[name] = "empty" if example is None else f"text, such as {' '.join(example.split())[:30]!r}"
    for name, column in table.columns.items():
        if name not in left_out and column.notation == CODES:
            found[name] = "numbers with leading zeros are names of something, not amounts"
    return found


def _counters(table: Table, left_out: dict[str, str]) -> dict[str, str]:
    """Return why columns that only count the rows, beside one of dates, are no inputs."""
    found = {}
    for name, column in table.columns.items():
        values = column.values
        if name in left_out or values is None:
            continue
        if all(only_rises(values[first:end]) for _, first, end in table.segments):
            found[name] = "a number that only rises"
    return found


def _unnamed_columns(table: Table, found: Found | None) -> list[str]:
    """Return a sentence about a first column without a name that is left out."""
    is_time = found is not None and found.has_dates and "" in found.columns
    if table.unnamed is None or is_time:
        return []
    return ["the first column has no name: it is left out"]


def _taken(table: Table, rows: np.ndarray) -> Table:
    """Return a table of other rows, by number."""
    if len(rows) == len(table.lines) and (rows == np.arange(len(rows))).all():
        return table
    columns: dict[str, Column] = {name: column.taken(rows) for name, column in table.columns.items()}
    unnamed = None if table.unnamed is None else table.unnamed.taken(rows)
    return table._replace(columns=columns, unnamed=unnamed, lines=table.lines[rows])
