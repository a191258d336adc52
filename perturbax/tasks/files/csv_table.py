"""Reading a CSV file into named columns, with errors that say where."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from perturbax.errors import ArgumentError, DataError

GAPS = ("refuse", "hold")
_WAY_OUT = "--task.gaps hold carries the last value forward"


class Table(NamedTuple):
    """A CSV file as text.

    Attributes:
        source: the file, as errors call it.
        lines: for each row the line of the file that it ends on, from 1.
        cells: columns by name, one string per row.
    """

    source: str
    lines: tuple[int, ...]
    cells: dict[str, tuple[str, ...]]

    def numeric(self, name: str) -> bool:
        """Whether a column is one of numbers: at least half of its non-empty cells are."""
        text = _parse(self.cells[name]).count(None)
        filled = sum(1 for cell in self.cells[name] if cell.strip())
        return 0 < filled <= 2 * (filled - text)

    def numbers(self, name: str, gaps: str = "refuse") -> np.ndarray:
        """Return a column as floats `(N,)`, all finite.

        Arguments:
            name: of the column.
            gaps: `refuse` empty and NaN cells, or `hold`: carry the last value forward, which never looks
                ahead.

        Raises DataError with the line of the first cell that is no number, infinite, or a gap.
        """
        parsed = _parse(self.cells[name])
        if None in parsed:
            row = parsed.index(None)
            raise self._bad(name, row, f"{_show(self.cells[name][row])} is not a number")
        values = np.array(parsed, np.float64)
        if np.isinf(values).any():
            row = int(np.argmax(np.isinf(values)))
            raise self._bad(name, row, f"{_show(self.cells[name][row])} is not a finite number")
        return self._without_gaps(name, values, gaps)

    def _without_gaps(self, name: str, values: np.ndarray, gaps: str) -> np.ndarray:
        """Return a column with each NaN replaced by the last value; DataError where gaps are refused."""
        gap = np.isnan(values)
        if not gap.any():
            return values
        row = int(np.argmax(gap))
        cell = self.cells[name][row]
        what = f"{_show(cell)} is not a finite number" if cell.strip() else "the cell is empty"
        if gaps != "hold":
            raise self._bad(name, row, f"{what} ({_WAY_OUT})")
        if row == 0:
            raise self._bad(name, row, f"{what}, and there is no earlier value to hold")
        return values[np.maximum.accumulate(np.where(gap, 0, np.arange(len(values))))]

    def _bad(self, name: str, row: int, what: str) -> DataError:
        """Return the error for a cell: file, line, column, and what is wrong with it."""
        return DataError(f"{self.source}, line {self.lines[row]}, column {name}: {what}")


def read_table(path: Path) -> Table:
    """Read a CSV file: UTF-8, a header line, then one row per line.

    Cells are separated by commas, or by `;` or tab if the header has no comma. Columns without a name (an
    index, a trailing comma) are left out; blank lines are skipped, except in a file of one column, where a
    blank line between rows is an empty cell. Raises ArgumentError where there is no such file, DataError for
    content that is not such a table.
    """
    records, lines = _records(path)
    if not records:
        raise DataError(f"{path}: the file is empty")
    header = [" ".join(name.split()) for name in records[0]]
    _check_header(path, header)
    rows, kept = _rows(path, header, records[1:], lines[1:])
    if not rows:
        raise DataError(f"{path}: no rows after the header")
    columns = zip(*rows, strict=True)
    return Table(
        str(path), kept, {name: column for name, column in zip(header, columns, strict=True) if name}
    )


def _records(path: Path) -> tuple[list[list[str]], list[int]]:
    """Return the records of a file and the line each ends on, without blank lines at either end."""
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, lines = [], []
    try:
        for record in reader:
            if records or _is_filled(record):
                records.append(record)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    while records and not _is_filled(records[-1]):
        records.pop()
    return records, lines[: len(records)]


def _text(path: Path) -> str:
    """Return the content of a file; ArgumentError where there is none, DataError where it is no text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise ArgumentError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a directory, not a file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 text file (byte {error.start + 1})") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise DataError(
            f"{path} is not a text file (byte {len(text[: text.index(chr(0))].encode()) + 1} is 0)"
        )
    return text


def _is_filled(record: list[str]) -> bool:
    """Whether a record is more than a blank line."""
    return len(record) > 1 or any(cell.strip() for cell in record)


def _check_header(path: Path, header: list[str]) -> None:
    """Raise DataError for a header that names no columns, or two alike."""
    names = [name for name in header if name]
    if None not in _parse(names):
        what = "holds only numbers" if names else "is empty"
        raise DataError(f"{path}: the first line must name the columns, it {what}")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(f"{path}: two columns are named {_show(name)}")


def _rows(
    path: Path, header: list[str], records: list[list[str]], lines: list[int]
) -> tuple[list[list[str]], tuple[int, ...]]:
    """Return the rows that hold something and their lines; all as long as the header."""
    rows, kept = [], []
    for record, line in zip(records, lines, strict=True):
        if not _is_filled(record) and len(header) > 1:
            continue
        row = record or [""]
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(row)} cell{'s' * (len(row) != 1)}, the header has {len(header)}"
            )
        rows.append(row)
        kept.append(line)
    return rows, tuple(kept)


def _parse(cells: Sequence[str]) -> list[float | None]:
    """Return the number in each cell: NaN where it is empty, None where it is text."""
    values: list[float | None] = []
    for cell in cells:  # one loop, no call per cell: files have millions
        try:
            values.append(None if "_" in cell else float(cell))  # float() reads 2010_01 as 201001
        except ValueError:
            values.append(None if cell.strip() else float("nan"))
    return values


def _show(text: str) -> str:
    """Return a cell on one line, shortened."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
