"""What stands above the rows of a CSV file: comments, the separator by name, the header, rows of units."""

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from perturbax.tasks.files.numerals import column_of_text, is_gap, shown

SEPARATORS = ",;\t|"
MOST_UNITS = 3  # rows under the header that may hold units
_NAMED_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')  # as spreadsheets write it
_BEGINS_WITH_A_NUMBER = re.compile(r"[-+\u2212<>~$€£]?\s*[.,]?\d")


class Preamble(NamedTuple):
    """The lines of a file from its header on.

    Attributes:
        lines: the header first; rows of units behind it are blank.
        separator: of cells.
        skipped: lines in front of the header.
        remarks: what was skipped, one sentence each.
    """

    lines: Iterator[str]
    separator: str
    skipped: int
    remarks: tuple[str, ...]


def read_preamble(lines: Iterator[str]) -> Preamble:
    """Return the lines of a file from its header on, and what was found on the way.

    The header is the first line that is neither blank nor begins with #; where the lines behind such comments
    begin with numbers it is the last comment. Cells are separated by what the header has most of: commas,
    semicolons, tabs or bars, unless a line such as sep=; says it.

    Arguments:
        lines: all lines of the file.
    """
    above: list[str] = []  # lines in front of the header
    separator = ""
    for line in lines:
        named = _NAMED_SEPARATOR.fullmatch(line.lstrip("\ufeff").rstrip("\r\n"))
        if named and not separator:
            separator = named[1]
        elif line.strip() and not line.startswith("#"):
            return _from_header(above, line, lines, separator)
        above.append(line)
    comments = [line for line in above if line.startswith("#")]
    if not comments:
        return Preamble(iter(()), separator or ",", len(above), ())
    return _from_header(above, "", lines, separator)


def _from_header(above: list[str], line: str, lines: Iterator[str], separator: str) -> Preamble:
    """Return the lines from the header on; line: the first one that is neither blank nor a comment."""
    comments = [row for row, text in enumerate(above) if text.startswith("#")]
    remarks = []
    following = itertools.chain([line], lines)
    header = next(following)
    if comments:
        last = comments[-1]
        candidate = above[last].lstrip("# ")
        by = separator or _separator_of(candidate)
        same_width = len(_cells(candidate, by)) == len(_cells(line, by))
        if not line or (same_width and any(map(_is_number, _cells(line, by)))):
            remarks.append(f"line {last + 1} begins with #: it is taken for the header")
            following = itertools.chain(above[last + 1 :], [line], lines)
            header, above = candidate, above[:last]
            comments.pop()
    if comments:
        where = f"line {comments[0] + 1} begins" if len(comments) == 1 else f"{len(comments)} lines begin"
        remarks.append(f"{where} with # in front of the header: skipped")
    separator = separator or _separator_of(header)
    first = len(above) + 2  # line of the file behind the header
    rows, said = _without_units(_cells(header, separator), following, separator, first)
    return Preamble(itertools.chain([header], rows), separator, len(above), (*remarks, *said))


def _separator_of(header: str) -> str:
    """Return the separator that a header has most of; a comma where it has none."""
    return max(SEPARATORS, key=header.count)


def _without_units(
    names: Sequence[str], lines: Iterator[str], separator: str, first: int
) -> tuple[Iterator[str], list[str]]:
    """Return the lines behind a header with rows of units made blank, and what there is to say about them.

    A row of units holds no number, and text where the first row behind has one.

    Arguments:
        names: cells of the header.
        lines: the lines behind it.
        separator: of cells.
        first: line of the file that the first of them is.
    """
    looked = list(itertools.islice(lines, MOST_UNITS + 1))
    rows = [_cells(line, separator) for line in looked]
    whole = [len(row) == len(names) > 1 for row in rows]
    units = 0
    while units < len(rows) and whole[units] and _holds_words_alone(rows[units]):
        units += 1
    if not 0 < units < len(rows) or not whole[units]:
        return itertools.chain(looked, lines), []
    values = rows[units]
    columns = [i for i, cell in enumerate(values) if _is_number(cell)]
    if not all(any(not is_gap(row[i]) for i in columns) for row in rows[:units]):
        return itertools.chain(looked, lines), []
    blank = ["\n"] * units
    said = []
    for row in range(units):
        shortened = ", ".join(cell.strip() for cell in rows[row] if cell.strip())
        said.append(f"line {first + row} under the header holds units ({shown(shortened)[1:-1]}): skipped")
    return itertools.chain(blank, looked[units:], lines), said


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of one line; none where it is no whole record."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator, strict=True), [])
    except csv.Error:
        return []


def _holds_words_alone(cells: Sequence[str]) -> bool:
    """Whether a row holds text, and nothing that begins as a number or a date does."""
    filled = [cell.strip() for cell in cells if not is_gap(cell)]
    return bool(filled) and not any(map(_BEGINS_WITH_A_NUMBER.match, filled))


def _is_number(cell: str) -> bool:
    """Whether a cell holds a number, in whatever notation."""
    is_word = not any(map(str.isdigit, cell))
    return not is_word and column_of_text((cell,), ";").values is not None
