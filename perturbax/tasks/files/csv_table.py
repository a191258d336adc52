"""A CSV file as a table of named columns, in order of time, with errors that say where."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from perturbax.errors import DataError
from perturbax.tasks.files.numerals import Column, is_gap, shown
from perturbax.tasks.files.reading import Content, read_content, read_start
from perturbax.tasks.files.times import TimeAxis

GAPS = ("refuse", "hold")
_WAY_OUT = "--task.gaps hold carries the last value forward"


class Cells(Mapping[str, tuple[str, ...]]):
    """The cells of each named column as text, by name; made when they are asked for."""

    def __init__(self, columns: Mapping[str, Column]):
        self._columns = columns

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """Return the cells of a column."""
        return self._columns[name].cells()

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the columns, in the order of the file."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column."""
        return name in self._columns


class Table(NamedTuple):
    """A CSV file.

    Attributes:
        source: the file, as errors call it.
        lines: for each row the line of the file that it ends on, from 1, `(N,)`.
        columns: by name.
        unnamed: the first column of the file where it has no name; None elsewhere.
        remarks: what was unusual about the file and what was done about it, one sentence each.
        time: when the rows are; None where no column says so, or before `arranged` has looked.
        segments: (name, first, end) of each series, contiguous rows, oldest first; one without a name for a
            file that holds one series.
        left_out: why columns that are no inputs are none, by name.
    """

    source: str
    lines: np.ndarray
    columns: dict[str, Column]
    unnamed: Column | None = None
    remarks: tuple[str, ...] = ()
    time: TimeAxis | None = None
    segments: tuple[tuple[str, int, int], ...] = ()
    left_out: Mapping[str, str] = MappingProxyType({})

    @property
    def cells(self) -> Cells:
        """Columns by name, one string per row."""
        return Cells(self.columns)

    def numeric(self, name: str) -> bool:
        """Whether a column is one of numbers: at least half of its non-empty cells are.

        Arguments:
            name: of the column.
        """
        values = self.columns[name].values
        return values is not None and not bool(np.isnan(values).all())

    def numbers(self, name: str, gaps: str = "refuse") -> np.ndarray:
        """Return a column as floats `(N,)`, all finite.

        Arguments:
            name: of the column.
            gaps: `refuse` cells that are empty or say NA, or `hold`: carry the last value of the same series
                forward, which never looks ahead.

        Raises DataError with the line of the first cell that is no number, infinite, or a gap.
        """
        column = self.columns[name]
        if column.wrong >= 0:
            raise self._bad(name, column.wrong, f"{shown(column.cell(column.wrong))} is not a number")
        if column.values is None:
            row = next(i for i, cell in enumerate(column.cells()) if cell.strip())
            raise self._bad(name, row, f"{shown(column.cell(row))} is not a number")
        if np.isinf(column.values).any():
            row = int(np.argmax(np.isinf(column.values)))
            raise self._bad(name, row, f"{shown(column.cell(row))} is not a finite number")
        return self._without_gaps(name, column, column.values, gaps)

    def gaps_in(self, name: str) -> int:
        """Return how many cells of a column of numbers hold none; 0 for a column of text.

        Arguments:
            name: of the column.
        """
        values = self.columns[name].values
        return 0 if values is None else int(np.isnan(values).sum())

    def until_last_filled(self, names: Sequence[str]) -> "Table":
        """Return the table without the last rows of each series in which none of some columns is filled.

        There what is known ahead may go on. A series in which they are never filled stays as it is.

        Arguments:
            names: of the columns; without any, the table stays as it is.
        """
        filled = np.zeros(len(self.lines), bool) if names else np.ones(len(self.lines), bool)  # (N,)
        for name in names:
            column = self.columns[name]
            if column.values is not None:
                filled |= ~np.isnan(column.values)
            else:
                filled |= [not is_gap(cell) for cell in column.cells()]
        kept, segments, end = [], [], 0
        for name, first, stop in self.segments:
            rows = np.flatnonzero(filled[first:stop])
            n = int(rows[-1]) + 1 if len(rows) else stop - first
            kept.append(np.arange(first, first + n))
            segments.append((name, end, end + n))
            end += n
        return self if end == len(self.lines) else self._of_rows(np.concatenate(kept), tuple(segments))

    def _of_rows(self, rows: np.ndarray, segments: tuple[tuple[str, int, int], ...]) -> "Table":
        """Return a table of some of the rows, by number, and the series that they make up."""
        return self._replace(
            lines=self.lines[rows],
            columns={name: column.taken(rows) for name, column in self.columns.items()},
            time=self.time and self.time._replace(values=self.time.values[rows]),
            segments=segments,
        )

    def starts(self) -> np.ndarray:
        """Return for each row the first row of its series, `(N,)`."""
        starts = np.zeros(len(self.lines), int)
        for _, first, end in self.segments:
            starts[first:end] = first
        return starts

    def _without_gaps(self, name: str, column: Column, values: np.ndarray, gaps: str) -> np.ndarray:
        """Return a column with each NaN replaced by the last value; DataError where gaps are refused."""
        gap = np.isnan(values)
        if not gap.any():
            return values
        if gaps != "hold":
            row = int(np.argmax(gap))
            raise self._bad(name, row, f"{self._what(column.cell(row))} ({_WAY_OUT})")
        rows, starts = np.arange(len(values)), self.starts()
        last = np.maximum.accumulate(np.where(gap, starts, rows))  # (N,)
        if gap[last].any():
            row = int(last[np.argmax(gap[last])])
            raise self._bad(
                name, row, f"{self._what(column.cell(row))}, and there is no earlier value to hold"
            )
        return values[last]

    @staticmethod
    def _what(cell: str) -> str:
        """Return what is wrong with a cell that holds no number."""
        return f"{shown(cell)} is not a finite number" if cell.strip() else "the cell is empty"

    def _bad(self, name: str, row: int, what: str) -> DataError:
        """Return the error for a cell: file, line, column, and what is wrong with it."""
        return DataError(f"{self.source}, line {self.lines[row]}, column {name}: {what}")


def read_table(path: Path) -> Table:
    """Read a CSV file: a header line, then one row per line; rows as they follow each other in the file.

    UTF-8 (or cp1252, which is said), also gzipped. Cells are separated by commas, semicolons, tabs or bars.
    Comments (#) in front of the header and rows of units behind it are skipped, which is said. Columns
    without a name (an index, a trailing comma) are left out; blank lines are skipped, except in a file of one
    column, where a blank line between rows is an empty cell. `arranged` puts the rows in order of time.

    Arguments:
        path: the file.

    Raises ArgumentError where there is no such file, DataError for content that is not such a table.
    """
    return _table(path, read_content(path))


def first_rows(path: Path) -> Table:
    """Return the table of the first rows of a file, without reading the rest.

    A file is read once for all runs of a comparison.

    Arguments:
        path: the file.

    Raises what `read_table` raises, and UnicodeDecodeError where the rows are not UTF-8.
    """
    return _first_rows(path, state_of(path))


@lru_cache(maxsize=2)
def _first_rows(path: Path, state: tuple[int, ...]) -> Table:
    """Return the first rows of a file in one state; one that has changed is another."""
    return _table(path, read_start(path))


def state_of(path: Path) -> tuple[int, ...]:
    """Return what changes with the content of a file; empty where there is none, which reading will say.

    Arguments:
        path: the file.
    """
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _table(path: Path, content: Content) -> Table:
    """Return the table of what was read."""
    return Table(
        source=str(path),
        lines=content.lines,
        columns=content.columns,
        unnamed=content.unnamed,
        remarks=content.remarks,
        segments=(("", 0, len(content.lines)),),
    )
