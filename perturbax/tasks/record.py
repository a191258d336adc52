"""A series as it was read, how it is cut, and what is asked of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from perturbax.tasks.encoding import Columns, Encoding, Segments, moments

Ranges = Sequence[tuple[int, int]]


class Record(NamedTuple):
    """A series as it was read, and how it is cut.

    Attributes:
        source: what errors call it: its file, or the task.
        columns: by name, float64 `(N,)`, in own units.
        time: the `TimeAxis` of the rows, or None.
        segments: (name, first, end) of each series in the rows.
        parts: for `train`, `valid` and `test` the (first, end) of its rows in each series.
    """

    source: str
    columns: Columns
    time: Any
    segments: Segments
    parts: Mapping[str, Ranges]

    def training_rows(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the training rows of a column, one array for each series.

        Arguments:
            values: the column, `(N,)`.
        """
        return [values[first:end] for first, end in self.parts["train"]]

    def lowest(self, name: str) -> float:
        """Return the smallest value of a column in the training rows.

        Arguments:
            name: of the column.
        """
        return min(float(part.min()) for part in self.training_rows(self.columns[name]) if len(part))

    def spans(self, ratio: float, name: str) -> bool:
        """Whether the largest training value of a column is at least so many times the smallest.

        Arguments:
            ratio: how many times.
            name: of the column.
        """
        largest = max(float(part.max()) for part in self.training_rows(self.columns[name]) if len(part))
        return largest >= ratio * self.lowest(name)

    def rows(self, part: str, horizons: Sequence[int], history: int = 0) -> np.ndarray:
        """Return the rows whose targets lie in the same part of the same series, with enough rows before.

        Arguments:
            part: train, valid or test.
            horizons: rows from an input to its targets.
            history: rows in front that a forecast needs.
        """
        ranges = self.ranges(part, horizons, history)
        return np.concatenate([np.arange(first, end) for first, end in ranges])

    def ranges(self, part: str, horizons: Sequence[int], history: int = 0) -> list[tuple[int, int]]:
        """Return (first, end) of these rows in each series; end is no less than first.

        Arguments as in `rows`.
        """
        found = []
        for (first, end), (_, start, _) in zip(self.parts[part], self.segments, strict=True):
            first_row = max(first - min(*horizons, 0), start + history)
            found.append((first_row, max(first_row, end - max(*horizons, 0))))
        return found


class Wanted(NamedTuple):
    """What is asked of an encoding.

    Attributes:
        inputs: names of the columns that are read.
        targets: names of the columns that are forecast.
        horizons: rows ahead.
        known: names of the columns known ahead.
        calendar: names of the features of the dates.
        form: one of FORMS, or auto.
        season: rows of a season; 0 to find it.
        lags: rows that a linear fit reads of every column; 0 for at least a season.
        window: rows of a training sequence, which must be left.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    horizons: tuple[int, ...]
    known: tuple[str, ...]
    calendar: tuple[str, ...]
    form: str
    season: int
    lags: int
    window: int


def training_std(record: Record, name: str) -> float:
    """Return the standard deviation of a column over the training rows; 1 where it is constant.

    Arguments:
        record: the series, and how it is cut.
        name: of the column.
    """
    return moments(np.concatenate(record.training_rows(record.columns[name])))[1]


def naive_scale(record: Record, name: str, season: int) -> float:
    """Return the mean absolute error of the seasonal naive forecast over the training rows, own units.

        mean over training rows of |v_t - v_{t - season}|

    It is what MASE divides by (Hyndman, Koehler 2006). NaN where it is 0, or no series has more than a season
    of training rows.

    Arguments:
        record: the series, and how it is cut.
        name: of the column.
        season: rows of a season, at least 1.
    """
    parts = record.training_rows(record.columns[name])
    changes = np.concatenate([np.abs(part[season:] - part[:-season]) for part in parts])
    return float(changes.mean()) if len(changes) and changes.mean() > 0 else float("nan")


def forecasts_of(record: Record, encoding: Encoding, rows: np.ndarray) -> np.ndarray:
    """Return what a network whose outputs are 0 would forecast at some rows, `(rows, n_out)`, own units.

    Arguments:
        record: the series, and how it is cut.
        encoding: how it is read, and what forecasts are changes from.
        rows: numbers of the rows that forecasts are made at, `(rows,)`.
    """
    base = encoding.base_of(record.columns, record.time, record.segments, rows)
    return encoding.in_units(np.zeros(encoding.n_out), base[rows])
