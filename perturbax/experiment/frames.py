"""Series as users hold them: lists, arrays, pandas Series and DataFrames.

pandas is not imported: what looks like its objects is read by their methods, and answers are made by their
own classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import ArgumentError, DataError, first_line
from perturbax.tasks.files.times import TimeAxis, step_of

VALUE = "y"  # what a column without a name is called


class Frame(NamedTuple):
    """Rows of one or several columns, and what they looked like.

    Attributes:
        values: by column, float64 `(N, columns)`.
        names: of the columns, as text.
        labels: the same as the user has them, for answers.
        index: the pandas index of the rows; None for arrays and lists.
        like: the user's object, or an empty one of its kind, whose class makes the answers; None for arrays.
        dimensions: 1 for a single column without an axis of columns, else 2.
    """

    values: np.ndarray
    names: tuple[str, ...]
    labels: tuple[Any, ...]
    index: Any
    like: Any
    dimensions: int

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns by name, `(N,)` each."""
        return {name: self.values[:, i] for i, name in enumerate(self.names)}


def read_frame(data: Any, what: str, gaps: str = "refuse") -> Frame:
    """Return the rows of a list, an array, a pandas Series or a DataFrame; one axis of time, oldest first.

    Arguments:
        data: `(N,)` or `(N, columns)`.
        what: what errors call it, such as y.
        gaps: `refuse` NaN, or `hold` the last value of the column.

    Raises DataError for what is neither, for values that are no finite numbers, and for an index that does
    not rise.
    """
    index = getattr(data, "index", None) if hasattr(data, "to_numpy") else None
    values = _numbers(data, what)
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise DataError(
            f"{what} must be (N,) or (N, columns), with a row at least; not of shape {values.shape}"
        )
    labels = _labels(data, values, what)
    names = tuple(str(label) for label in labels)
    if len(set(names)) < len(names):
        raise DataError(f"{what} has two columns of one name: {', '.join(names)}")
    columns = values.reshape(len(values), -1)  # (N, columns)
    if gaps == "hold":
        columns = _held(columns)
    _check_finite(columns, names, what)
    if index is not None:
        _check_rising(index, what)
    like = data[:0] if index is not None else None
    return Frame(columns, names, labels, index, like, values.ndim)


def appended(first: Frame, more: Frame, what: str) -> Frame:
    """Return rows with more of them behind.

    Rows that are there already, by their index, are replaced. Raises ArgumentError for other columns, or one
    with an index and one without.

    Arguments:
        first: the rows that come first.
        more: those that follow.
        what: what errors call them.
    """
    if more.names != first.names or (more.index is None) != (first.index is None):
        raise ArgumentError(f"{what} must look like what was fitted: columns {', '.join(first.names)}")
    if first.index is None:
        return first._replace(values=np.concatenate([first.values, more.values]))
    kept = np.asarray(first.index < more.index[0])  # (N,)
    index = first.index[kept].append(more.index)
    return first._replace(values=np.concatenate([first.values[kept], more.values]), index=index)


def renamed(x: Frame, taken: Sequence[str]) -> Frame:
    """Return a frame in which no column has a name that is taken: they get an X in front.

    Arguments:
        x: the columns.
        taken: names that they must not have.
    """
    names = tuple(f"X {name}" if name in taken else name for name in x.names)
    return x._replace(names=names)


def index_after(index: Any, ahead: Sequence[int]) -> Any:
    """Return the index of the rows that come so many steps after the last one.

    Dates go on with the index's own frequency, else with the one that can be inferred, else with the median
    of the steps; periods with their period; numbers with their last step.

    Arguments:
        index: a pandas index of at least one row.
        ahead: steps after the last row, from 1; 0 and below lie in the index.

    Raises ArgumentError for an index that cannot go on, such as text.
    """
    last = index[-1:]
    moved = [index[len(index) - 1 + k : len(index) + k] if k <= 0 else _moved(index, last, k) for k in ahead]
    return moved[0].append(moved[1:]) if len(moved) > 1 else moved[0]


def time_axis(index: Any) -> tuple[TimeAxis | None, int]:
    """Return the time axis of a pandas index, None for arrays, numbers and other labels; and missing rows.

    The step of the axis is None where the dates do not go on in equal steps.
    """
    dates = _dates_of(index)
    if dates is None:
        return None, 0
    step, apart = step_of(dates)
    name = str(getattr(index, "name", None) or "time")
    return TimeAxis(name, "an index of pandas", dates, step, _written), int((apart - 1).sum())


def _written(dates: np.ndarray) -> list[str]:
    """Return dates as text."""
    return [str(date) for date in dates]


def _dates_of(index: Any) -> np.ndarray | None:
    """Return the dates of a pandas index, datetime64[ms] `(N,)`; None for numbers and other labels."""
    if index is None:
        return None
    if hasattr(index, "to_timestamp"):  # periods
        index = index.to_timestamp()
    values = index.to_numpy()
    if getattr(index, "tz", None) is not None:
        values = index.tz_localize(None).to_numpy()
    return values.astype("datetime64[ms]") if np.issubdtype(values.dtype, np.datetime64) else None


def like_the_user(frame: Frame, values: np.ndarray, which: Sequence[int], index: Any) -> Any:
    """Return an answer in the form that the user's data have.

    Arguments:
        frame: the user's data.
        values: `(rows, targets)`.
        which: the columns of the data that were forecast.
        index: of the rows; ignored for arrays.
    """
    flat = frame.dimensions == 1
    if frame.like is None:
        return values[:, 0] if flat else values
    if flat:
        return type(frame.like)(values[:, 0], index=index, name=frame.like.name)
    return type(frame.like)(values, index=index, columns=[frame.labels[i] for i in which])


def intervals_like_the_user(
    frame: Frame, bounds: np.ndarray, labels: Sequence[Any], shares: Sequence[float], index: Any
) -> Any:
    """Return intervals as a DataFrame of pandas whose columns are (target, coverage, lower or upper).

    Arguments:
        frame: the user's data, a Series or DataFrame.
        bounds: `(rows, targets, coverages, 2)`.
        labels: of the targets.
        shares: the coverages, from 0 to 1.
        index: of the rows.
    """
    table = frame.like if frame.dimensions == 2 else frame.like.to_frame()
    names = [(label, share, end) for label in labels for share in shares for end in ("lower", "upper")]
    columns = dict(zip(names, bounds.reshape(len(bounds), -1).T, strict=True))
    return type(table)(columns, index=index)  # names that are tuples make a MultiIndex


def _moved(index: Any, last: Any, steps: int) -> Any:
    """Return the index of the row so many steps after the last one."""
    kind = type(index).__name__
    try:
        if kind == "PeriodIndex" or len(index) < 2:
            return last + steps
        if kind != "DatetimeIndex":
            return last + steps * (index[-1] - index[-2])
        frequency = index.freq or (index.inferred_freq if len(index) > 2 else None)
        if frequency is not None:
            return last.shift(steps, freq=frequency)
        between = np.diff(index.tz_localize(None).to_numpy()).astype("timedelta64[ns]").astype(np.int64)
        return last + np.timedelta64(steps * int(np.median(between)), "ns")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ArgumentError(
            f"the index cannot go on behind {last[0]!r}: {first_line(error)} "
            "(dates as text: index = pandas.to_datetime(index))"
        ) from None


def _numbers(data: Any, what: str) -> np.ndarray:
    """Return the values of an object as float64; DataError for text, dates and complex numbers."""
    if hasattr(data, "columns") and len(set(data.columns)) == len(data.columns) > 0:
        columns = [_numbers(data[name], f"{what}, column {name},") for name in data.columns]
        return np.concatenate([column.reshape(len(data), -1) for column in columns], 1)
    try:
        values = np.ma.asarray(data.to_numpy() if hasattr(data, "to_numpy") else data)
        if values.dtype.kind in "Mmc":
            raise TypeError(f"it holds {values.dtype}")
        return np.ma.filled(values.astype(np.float64), np.nan)  # what is masked is missing
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{what} must hold numbers: {first_line(error)} (dates and names of rows belong in the index)"
        ) from None


def _labels(data: Any, values: np.ndarray, what: str) -> tuple[Any, ...]:
    """Return the names of the columns as the user has them; numbered ones for arrays."""
    if hasattr(data, "columns"):
        return tuple(data.columns)
    if values.ndim == 1:
        name = getattr(data, "name", None)
        return (VALUE if name is None else name,)
    return tuple(f"{what}{i}" for i in range(values.shape[1]))


def _held(values: np.ndarray) -> np.ndarray:
    """Return columns `(N, columns)` with each NaN replaced by the last value above it, where there is one."""
    rows = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])  # (N, columns)
    return np.take_along_axis(values, np.maximum.accumulate(rows, 0), 0)


def _check_finite(values: np.ndarray, names: Sequence[str], what: str) -> None:
    """Raise DataError for the first value that is no finite number."""
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"{what}, row {row + 1}, column {names[column]}: {values[row, column]} is not a finite number "
            "(gaps: hold carries the last value forward)"
        )


def _check_rising(index: Any, what: str) -> None:
    """Raise DataError for rows whose index does not rise: it must be oldest first, no time twice."""
    if not getattr(index, "is_monotonic_increasing", True):
        raise DataError(f"the index of {what} does not rise: sort it, oldest first")
    if not getattr(index, "is_unique", True):
        twice = index[index.duplicated()][0]
        raise DataError(f"the index of {what} has {twice} twice: one row for each time is needed")
