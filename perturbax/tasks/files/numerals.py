"""Numbers as files write them: decimal commas, thousands separators, per cent signs, units, truth values."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

NO_VALUE = frozenset(("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "null", "?"))  # says so in any column
# Among numbers these say it, too; among texts they are texts like others: a class may be called none.
NO_NUMBER = frozenset(("none", "nil", "-", "--", ".", "missing"))
GAP_WORDS = NO_VALUE | NO_NUMBER
TRUTH_VALUES = "true and false, or yes and no, as 1 and 0"
CODES = "codes with leading zeros"
TRUTH = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_CURRENCIES = r"(?:[$€£¥₹]|USD|EUR|GBP|JPY|CHF|CNY|INR)"
_AFFIXED = re.compile(rf"({_CURRENCIES}?)\s*([+-]?[\d.,'\s]*\d)\s*((?:%|[^\W\d_]|[°µ$€£¥₹/²³^·-])*\d?)")
_SPACES = dict.fromkeys(map(ord, " \u00a0\u202f\u2009'\u2019"), None)
_COMMA_DECIMAL = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?(?:[eE][+-]?\d+)?")
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_POINT_GROUPS = re.compile(r"[+-]?\d{1,3}(?:\.\d{3}){2,}")
_POINT_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})*|0")
_FORTRAN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[dD][+-]?\d+)?")
_CODE = re.compile(r"\d{3,}")
_SPACED = re.compile(r"[+-]?\d{1,3}(?:[ \u00a0\u202f\u2009'\u2019]\d{3})+(?:[.,]\d+)?")


class Column(NamedTuple):
    """One column of a file.

    Attributes:
        values: its numbers, float64 `(N,)`, NaN at gaps and at cells that hold no number; None where most
            cells are text.
        text: its cells as the file has them; None where all of them are plain numbers.
        notation: how the numbers are written, in words; empty for plain numbers.
        wrong: the first row whose cell is neither a number nor a gap; -1 for none.
        odd: of plain numbers, the cells that are gaps or infinite, by row.
    """

    values: np.ndarray | None
    text: tuple[str, ...] | None
    notation: str
    wrong: int
    odd: dict[int, str]

    def cell(self, row: int) -> str:
        """Return a cell as the file has it, or for plain numbers as Python would write it.

        Arguments:
            row: its number, from 0.
        """
        if self.text is not None:
            return self.text[row]
        if row in self.odd:
            return self.odd[row]
        return written(float(self.values[row]))  # type: ignore[index]

    def cells(self) -> tuple[str, ...]:
        """Return all cells."""
        return self.text if self.text is not None else tuple(self.cell(i) for i in range(self.rows))

    @property
    def holds_truth(self) -> bool:
        """Whether the cells are truth values."""
        return self.notation == TRUTH_VALUES

    @property
    def rows(self) -> int:
        """Number of cells."""
        return len(self.text) if self.text is not None else len(self.values)  # type: ignore[arg-type]

    def taken(self, rows: np.ndarray) -> "Column":
        """Return a column with cells taken from this one.

        Arguments:
            rows: number of the row that each of the M cells is taken from, `(M,)`; -1 for an empty cell.
        """
        values = text = None
        odd: dict[int, str] = {}
        if self.values is not None:
            values = np.where(rows >= 0, self.values[rows], np.nan)
        if self.text is not None:
            text = tuple(self.text[row] if row >= 0 else "" for row in rows.tolist())
        elif self.odd:
            odd = {
                i: self.odd.get(row, "") for i, row in enumerate(rows.tolist()) if row in self.odd or row < 0
            }
        wrong = -1
        if self.wrong >= 0:
            places = np.flatnonzero(rows == self.wrong)
            wrong = int(places[0]) if len(places) else -1
        return Column(values, text, self.notation, wrong, odd)


def is_gap(cell: str) -> bool:
    """Whether a cell among numbers says that there is none: it is empty, or a word such as NA or none."""
    return cell.strip().lower() in GAP_WORDS


def is_missing(cell: str) -> bool:
    """Whether a cell among texts says that there is none: it is empty, or a word such as NA."""
    return cell.strip().lower() in NO_VALUE


def plain_number(cell: str) -> float | None:
    """Return the number in a cell: NaN where there is none, None where it is text."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return float("nan") if is_gap(cell) else None


def written(value: float) -> str:
    """Return a number as text: whole numbers without a point, NaN as an empty cell."""
    if value != value:
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)


def shown(text: str) -> str:
    """Return a cell on one line, shortened."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def decimal_commas(column: Column) -> bool:
    """Whether the numbers of a column are written with decimal commas."""
    return column.notation.startswith("decimal commas")


def are_codes(cells: Sequence[str]) -> bool:
    """Whether cells are codes such as 00120: all of as many digits, three or more, and some begin with 0."""
    filled = {cell.strip() for cell in cells} - {""}
    has_zeros = any(cell.startswith("0") and cell.strip("0") for cell in filled)
    return has_zeros and len(set(map(len, filled))) == 1 and all(map(_CODE.fullmatch, filled))


def column_of_text(cells: tuple[str, ...], separator: str = ",", commas: bool = False) -> Column:
    """Return a column of which not every cell is a plain number.

    Arguments:
        cells: of the column, as the file has them.
        separator: of the file; where 1,234 can be one number or the other, it is a decimal comma in files
            with semicolons, a thousands separator in files with commas, and text in others.
        commas: whether other columns of the file have decimal commas: a point is then no decimal point where
            it can stand between groups of three digits.

    One notation must fit every filled cell. Where none does, the column is one of numbers with wrong cells
    among them if at least half of its filled cells are plain numbers, and one of text otherwise.
    """
    if all(cell[4:5] == cell[7:8] == "-" for cell in cells):  # ISO dates: numbers have one such sign at most
        return Column(None, cells, "", -1, {})
    filled = [cell.strip() for cell in cells if not is_gap(cell)]
    for notation, parsed in _notations(filled, separator, commas):
        values = np.full(len(cells), np.nan)
        values[[i for i, cell in enumerate(cells) if not is_gap(cell)]] = parsed
        return Column(values, cells, notation, -1, {})
    numbers = [plain_number(cell) for cell in cells]
    text = numbers.count(None)
    named = sum(1 for cell in cells if cell.strip())
    if not 0 < named <= 2 * (named - text):
        return Column(None, cells, "", -1, {})
    values = np.array([float("nan") if number is None else number for number in numbers])
    return Column(values, cells, "", numbers.index(None) if text else -1, {})


def _notations(filled: list[str], separator: str, commas: bool) -> Iterator[tuple[str, list[float]]]:
    """Yield (notation, numbers) of the first notation that fits all of the cells."""
    if not filled:
        return
    kinds = {cell.lower() for cell in filled[:1000]}
    if kinds <= set(TRUTH) and all(cell.lower() in TRUTH for cell in filled):
        yield TRUTH_VALUES, [TRUTH[cell.lower()] for cell in filled]
        return
    if any(map(str.isalpha, filled[0])) and all(map(_FORTRAN.fullmatch, filled)):
        exponents = [float(cell.replace("d", "e").replace("D", "e")) for cell in filled]
        yield "exponents with D, as Fortran writes them", exponents
        return
    if any("\u2212" in cell for cell in filled):
        filled = [cell.replace("\u2212", "-") for cell in filled]  # the sign of typesetters
        numbers = [_float(cell) for cell in filled]
        if None not in numbers:
            yield "long minus signs", [number for number in numbers if number is not None]
            return
    first = _AFFIXED.fullmatch(filled[0])
    if first is None:
        return
    numerals, affixes = [], set()
    for cell in filled:
        found = _AFFIXED.fullmatch(cell)
        if found is None:
            return
        numerals.append(found[2])
        affixes.add((found[1], found[3]))
        if len(affixes) > 1:
            return
    prefix, suffix = affixes.pop()
    grouped = _ungrouped(numerals, separator, commas)
    if grouped is None:
        return
    how, values = grouped
    affix = prefix or suffix
    marks = [how] * bool(how)
    if affix == "%":
        marks.append("per cent signs")
    elif affix:
        marks.append(f"unit {affix}")
    if marks:
        yield " and ".join(marks), values


def _ungrouped(numerals: list[str], separator: str, commas: bool) -> tuple[str, list[float]] | None:
    """Return (notation, numbers) of numerals with commas or groups of digits; None for anything else."""
    if commas and all(map(_POINT_GROUP.fullmatch, numerals)) and any("." in n for n in numerals):
        return "thousands separators", [float(n.replace(".", "")) for n in numerals]
    plain = [_float(numeral) for numeral in numerals]
    if not any(number is None for number in plain):
        return "", [number for number in plain if number is not None]
    fits_groups = all(_COMMA_GROUPS.fullmatch(n) or _float(n) is not None for n in numerals)
    fits_decimal = all(_COMMA_DECIMAL.fullmatch(n) for n in numerals)
    if fits_groups and fits_decimal and separator not in ",;":
        return None
    if fits_groups and not (fits_decimal and separator == ";"):
        return "thousands separators", [float(n.replace(",", "")) for n in numerals]
    if fits_decimal and any("," in n for n in numerals):
        return "decimal commas", [float(n.replace(".", "").replace(",", ".")) for n in numerals]
    in_groups = all(_POINT_GROUP.fullmatch(n) or n.lstrip("+-").isdigit() for n in numerals)
    if in_groups and any(map(_POINT_GROUPS.fullmatch, numerals)):
        return "thousands separators", [float(n.replace(".", "")) for n in numerals]
    if all(_SPACED.fullmatch(n) or _float(n.replace(",", ".")) is not None for n in numerals):
        spaceless = [n.translate(_SPACES).replace(",", ".") for n in numerals]
        return "thousands separators", [float(n) for n in spaceless]
    return None


def _float(text: str) -> float | None:
    """Return a number written plainly, or None."""
    try:
        return float(text)
    except ValueError:
        return None
