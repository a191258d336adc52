"""From the bytes of a CSV file to columns: encodings, compression, separators, and chunks of rows.

Columns of plain numbers become arrays as they are read; only the others are kept as text, so that a file of a
million rows fits in memory.
"""

import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from perturbax.errors import ArgumentError, DataError
from perturbax.tasks.files.numerals import (
    CODES,
    Column,
    are_codes,
    column_of_text,
    decimal_commas,
    plain_number,
    shown,
)
from perturbax.tasks.files.preamble import read_preamble

CHUNK = 20_000  # rows that are turned into columns at once


class Content(NamedTuple):
    """What a CSV file holds.

    Attributes:
        lines: line of the file that each row ends on, from 1, `(N,)`.
        columns: by name; columns without a name are in `unnamed`.
        unnamed: the first column, where the header has no name for it; None elsewhere.
        remarks: what was unusual about the file, one sentence each.
    """

    lines: np.ndarray
    columns: dict[str, Column]
    unnamed: Column | None
    remarks: tuple[str, ...]


class _Source:
    """A file that can be read several times, line by line."""

    def __init__(self, path: Path):
        self.path = path
        self.remarks: tuple[str, ...] = ()
        self.encoding = "utf-8-sig"
        try:
            with path.open("rb") as file:
                start = file.read(4)
        except (FileNotFoundError, NotADirectoryError):
            raise ArgumentError(f"no such file: {path}") from None
        except IsADirectoryError:
            raise DataError(f"{path} is a directory, not a file") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        self.is_packed = start[:2] == b"\x1f\x8b"
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self.encoding = "utf-16"

    def text_lines(self) -> Iterator[str]:
        """Yield the lines of the file; DataError where it is no text."""
        try:
            with self._open() as binary, io.TextIOWrapper(binary, self.encoding, newline="") as text:
                for line in text:
                    if "\0" in line:
                        raise DataError(self._zero())
                    yield line
        except UnicodeDecodeError:
            raise
        except (OSError, EOFError, zlib.error) as error:
            what = getattr(error, "strerror", None) or error
            raise DataError(f"{self.path} cannot be read: {what}") from None

    def choose_encoding(self) -> None:
        """Read the file once as UTF-8; where it is not, take Western European (cp1252), or refuse it."""
        try:
            with self._open() as binary:
                decoder = io.TextIOWrapper(binary, self.encoding, newline="")
                while decoder.read(1 << 20):
                    pass
            return
        except UnicodeDecodeError:
            pass
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{self.path} cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from None
        with self._open() as binary:
            content = binary.read()
        try:
            content.decode(self.encoding)
        except UnicodeDecodeError as error:
            place = error.start + 1
        else:  # pragma: no cover - the same bytes have just failed
            return
        if b"\0" in content:
            raise DataError(self._zero())
        try:
            content.decode("cp1252")
        except UnicodeDecodeError:
            raise DataError(f"{self.path} is not a UTF-8 text file (byte {place})") from None
        self.encoding = "cp1252"
        self.remarks = (f"the file is not UTF-8 (byte {place}): it was read as Western European (cp1252)",)

    def _open(self) -> gzip.GzipFile | io.BufferedReader:
        """Return the file, unpacked where it is gzipped."""
        return gzip.open(self.path, "rb") if self.is_packed else self.path.open("rb")

    def _zero(self) -> str:
        """Return the error for a byte of zero."""
        with self._open() as binary:
            place = binary.read().index(b"\0") + 1
        return f"{self.path} is not a text file (byte {place} is 0)"


def read_content(path: Path) -> Content:
    """Read a CSV file: a header line, then one row per line; UTF-8 (or cp1252), also gzipped.

    Cells are separated by commas, semicolons, tabs or bars, whichever the header has most of. Comments (#) in
    front of the header and rows of units behind it are skipped, which is said. Blank lines are skipped,
    except in a file of one column, where one between rows is an empty cell.

    Arguments:
        path: the file.

    Raises ArgumentError where there is no such file, DataError for content that is not such a table.
    """
    source = _Source(path)
    source.choose_encoding()
    as_text: set[int] = set()  # numbers of the columns that are not all plain numbers
    commas = False
    while True:
        known = len(as_text)
        scan = _Scan(source, as_text, commas)
        scan.run()
        if len(as_text) > known and not scan.text_from_the_start():
            continue
        content = scan.content()
        in_question = scan.points_in_question(content)
        if commas or not in_question:
            return content
        commas = True
        as_text |= in_question


def read_start(path: Path) -> Content:
    """Read the first rows of a CSV file, some ten thousand, without looking at the rest.

    Arguments:
        path: the file.

    Raises what `read_content` raises, and UnicodeDecodeError for a file that is not UTF-8.
    """
    scan = _Scan(_Source(path), set())
    scan.run(blocks=1)
    return scan.content()


class _Scan:
    """One pass over a file; columns found to hold text on the way are added to `as_text`."""

    def __init__(self, source: _Source, as_text: set[int], commas: bool = False):
        self.source, self.as_text, self.path = source, as_text, source.path
        self.commas = commas  # whether numbers of the file have decimal commas
        self.codes: set[int] = set()  # numbers of the columns of codes, by the first rows
        self.remarks: tuple[str, ...] = ()
        self.header: list[str] = []
        self.separator = ","
        self.lines: list[np.ndarray] = []
        self.numbers: dict[int, list[np.ndarray]] = {}
        self.texts: dict[int, list[tuple[str, ...]]] = {}
        self.odd: dict[int, dict[int, str]] = {}  # cells that are gaps or infinite, by column and row
        self.rows = 0
        self.last_line = 0  # of those that are turned into columns
        self.waiting: list[int] = []  # blank lines of a file of one column, which count where rows follow

    def run(self, blocks: int | None = None) -> None:
        """Read the file, a block of lines at a time: so many blocks, or all."""
        lines = self._lines_from_header()
        for _ in itertools.count() if blocks is None else range(blocks):
            block = list(itertools.islice(lines, CHUNK))
            if not block:
                break
            if not self._take_plain(block):
                self._take_records(block, lines)
        if not self.header:
            raise DataError(f"{self.path}: the file is empty")
        if not self.rows:
            raise DataError(f"{self.path}: no rows after the header")

    def _lines_from_header(self) -> Iterator[str]:
        """Return the lines of the file from the header on, and take the separator from it."""
        preamble = read_preamble(self.source.text_lines())
        self.separator, self.remarks = preamble.separator, preamble.remarks
        self.last_line = preamble.skipped
        return preamble.lines

    def _take_plain(self, block: list[str]) -> bool:
        """Turn lines into columns the fast way, and return whether that was possible.

        It is where all lines have as many cells as the header, none in quotes, and plain numbers wherever
        numbers were before. `_take_records` finds the same numbers in any block.
        """
        marks = len(self.header) - 1
        numbers = [i for i, name in enumerate(self.header) if i not in self.as_text and (name or i == 0)]
        if not numbers or self.waiting or any(line.count(self.separator) != marks for line in block):
            return False
        joined = "".join(block)
        if '"' in joined or "_" in joined:
            return False
        try:
            values = np.loadtxt(
                block, np.float64, comments=None, delimiter=self.separator, usecols=numbers, ndmin=2
            )  # (rows, columns of numbers)
        except ValueError:
            return False
        if len(values) != len(block) or not np.isfinite(values).all():
            return False
        for column, i in enumerate(numbers):
            self.numbers.setdefault(i, []).append(np.ascontiguousarray(values[:, column]))
        texts = [i for i in sorted(self.as_text) if self.header[i] or i == 0]
        if texts:
            cells = [line.rstrip("\r\n").split(self.separator, texts[-1] + 1) for line in block]
            for i in texts:
                self.texts.setdefault(i, []).append(tuple(row[i] for row in cells))
        self.lines.append(np.arange(self.last_line + 1, self.last_line + len(block) + 1))
        self.last_line += len(block)
        self.rows += len(block)
        return True

    def _take_records(self, block: list[str], lines: Iterator[str]) -> None:
        """Turn lines into columns record by record; the last cell may go on in the lines behind them."""
        rows: list[list[str]] = []
        ends: list[int] = []  # line of the file that each row ends on
        reader = csv.reader(itertools.chain(block, lines), delimiter=self.separator, strict=True)
        try:
            for record in reader:
                self._take_record(record, self.last_line + reader.line_num, rows, ends)
                if reader.line_num >= len(block):
                    break
        except csv.Error as error:
            raise DataError(f"{self.path}, line {self.last_line + reader.line_num}: {error}") from None
        self.last_line += reader.line_num
        if rows:
            self._take(rows, ends)

    def _take_record(self, record: list[str], line: int, rows: list[list[str]], ends: list[int]) -> None:
        """Put a record and the line it ends on behind those of its block; the first one is the header."""
        if not self.header:
            self._take_header(record)
            return
        if not _is_filled(record):
            if len(self.header) == 1:
                self.waiting.append(line)
            return
        rows += [[""] for _ in self.waiting]
        ends += self.waiting
        self.waiting.clear()
        if len(record) != len(self.header):
            cells = f"{len(record)} cell{'s' * (len(record) != 1)}"
            what = f"{self.path}, line {line}: {cells}, the header has {len(self.header)}"
            is_title = len(self.header) == 1 and not self.rows and not any(map(_is_filled, rows))
            raise DataError(what + " (is the first line a title? Take it out)" * is_title)
        rows.append(record)
        ends.append(line)

    def _take_header(self, record: list[str]) -> None:
        """Keep the names of the columns; DataError where they are none, or two are alike."""
        self.header = [" ".join(name.split()) for name in record]
        names = [name for name in self.header if name]
        if all(plain_number(name) is not None for name in names):
            what = "holds only numbers" if names else "is empty"
            raise DataError(f"{self.path}: the first line must name the columns, it {what}")
        for i, name in enumerate(names):
            if name in names[:i]:
                raise DataError(f"{self.path}: two columns are named {shown(name)}: rename one of them")

    def _take(self, rows: list[list[str]], lines: list[int]) -> None:
        """Turn rows into columns."""
        self.lines.append(np.array(lines))
        for i, cells in enumerate(zip(*rows, strict=True)):
            if not self.header[i] and i > 0:
                self._say_what_is_left_out(i, cells)
                continue
            if self.rows == 0 and are_codes(cells):
                self.codes.add(i)
                self.as_text.add(i)
            values = None if i in self.as_text else self._parsed(i, cells)
            if values is None:
                self.as_text.add(i)
                self.texts.setdefault(i, []).append(cells)
            else:
                self.numbers.setdefault(i, []).append(values)
        self.rows += len(rows)

    def _say_what_is_left_out(self, i: int, cells: tuple[str, ...]) -> None:
        """Keep a remark on a column without a name that holds something in the first rows."""
        if self.rows == 0 and any(cell.strip() for cell in cells):
            self.remarks += (f"column {i + 1} has no name: it is left out",)

    def points_in_question(self, content: Content) -> set[int]:
        """Return the columns of plain numbers whose points may stand between groups of digits: 1.250.

        They may in a file with decimal commas, where all their numbers have three digits behind the point, or
        none.
        """
        if not any(decimal_commas(column) for column in content.columns.values()):
            return set()
        found = set()
        for i, name in enumerate(self.header):
            if i in self.as_text or not name:
                continue
            values = content.columns[name].values
            if values is None or (values == np.floor(values)).all():
                continue
            thousands = 1000 * values
            if np.nanmax(np.abs(thousands - np.round(thousands)), initial=0) < 1e-6:
                found.add(i)
        return found

    def _parsed(self, i: int, cells: tuple[str, ...]) -> np.ndarray | None:
        """Return cells as floats, NaN at gaps; None where one of them is text."""
        try:
            if "_" in "".join(cells):  # float() reads 2010_01 as 201001
                return None
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            parsed = [plain_number(cell) for cell in cells]
            if None in parsed:
                return None
            values = np.array(parsed, np.float64)
        for row in np.flatnonzero(~np.isfinite(values)).tolist():
            self.odd.setdefault(i, {})[self.rows + row] = cells[row]
        return values

    def text_from_the_start(self) -> bool:
        """Whether no column that holds text was taken for numbers in an earlier chunk."""
        return not set(self.numbers) & self.as_text

    def content(self) -> Content:
        """Return what was read."""
        columns: dict[str, Column] = {}
        unnamed = None
        for i, name in enumerate(self.header):
            if not name and i > 0:
                continue
            if i in self.as_text:
                cells = tuple(cell for chunk in self.texts.pop(i) for cell in chunk)
                column = column_of_text(cells, self.separator, self.commas)
                if i in self.codes and not column.notation and column.values is not None:
                    column = column._replace(notation=CODES)
            else:
                column = Column(np.concatenate(self.numbers.pop(i)), None, "", -1, self.odd.get(i, {}))
            if name:
                columns[name] = column
            else:
                unnamed = column
        return Content(np.concatenate(self.lines), columns, unnamed, (*self.source.remarks, *self.remarks))


def _is_filled(record: list[str]) -> bool:
    """Whether a record is more than a blank line."""
    return len(record) > 1 or any(cell.strip() for cell in record)
