"""Forecasts of a series in a CSV file: which columns they read and which they predict."""

import csv
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import equinox as eqx
import jax

from perturbax.errors import ArgumentError, unknown
from perturbax.fields import one_of, setting
from perturbax.moved import old_names
from perturbax.tasks.base import Task
from perturbax.tasks.files.arrange import Asked, arranged, summary
from perturbax.tasks.files.csv_table import GAPS, Table, read_table, state_of
from perturbax.tasks.files.dates import ORDERS
from perturbax.tasks.forecast import Forecast

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)


class FromFile(Forecast):
    """Base of the forecasts that read their series from a CSV file.

    Attributes:
        known: names of columns whose values are known ahead, such as holidays, separated by commas: they are
            read at the row that is forecast.
        calendar: whether sine and cosine of hour, weekday, day of the year and month are read off the dates,
            as far as their step has them.
        gaps: what to do about empty cells and missing rows: refuse, or hold the last value (which never looks
            ahead).
        time: name of the column with the time of each row; empty to look for one, none to take rows as they
            follow each other.
        dates: what comes first in dates such as 3/4/2020: day-first, month-first, or auto, whichever fits.
        series: name of the column that tells several series in one file apart.
    """

    target: eqx.AbstractVar[str]  # pyright: ignore[reportGeneralTypeIssues]
    inputs: eqx.AbstractVar[str]  # pyright: ignore[reportGeneralTypeIssues]
    known: str = setting("")
    calendar: bool = setting(False)
    gaps: str = setting("refuse")
    time: str = setting("")
    dates: str = setting("auto")
    series: str = setting("")

    def __check_init__(self) -> None:
        """Check what is done about gaps, and that no column is read twice."""
        one_of("gaps", self.gaps, GAPS)
        one_of("dates", self.dates, ("auto", *ORDERS))
        for setting_name in ("inputs", "known"):
            names = names_in(getattr(self, setting_name))
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise ArgumentError(f"{setting_name} names the column {name!r} twice")

    def open(self, data: Path | None) -> Task:
        """Return the task with the file read.

        Arguments:
            data: the CSV file.

        Raises ArgumentError without a file, for a column that the file has not or that holds text, and for
        too few rows; DataError for content that cannot be used.
        """
        if data is None:
            raise ArgumentError(f"task {type(self).__name__.lower()} needs --data FILE.csv")
        return _read_once(self, Path(data), state_of(Path(data)), jax.config.read("jax_enable_x64"))

    def asked_of(self, table: Table) -> Asked:
        """Return what the settings say about the rows of a table: which columns are named, and its time.

        Arguments:
            table: the file's rows.

        Raises ArgumentError without a target, and for a column that the table has not.
        """
        if not self.target:
            offer = ", ".join(name for name in table.columns if table.numeric(name))
            name = type(self).__name__.lower()
            raise ArgumentError(
                f"task {name} needs --task.target COLUMN; {table.source} has {offer or 'no numbers'}"
            )
        targets = (self.target,) if self.target in table.columns else names_in(self.target)
        named = (*targets, *names_in(self.inputs), *names_in(self.known))
        for column in named:
            if column not in table.columns:
                raise unknown("column", column, table.columns)
        return Asked(named, self.time, self.series, self.dates, self.gaps)

    def read(self, table: Table) -> Task:
        """Return the task with its columns of a table.

        Arguments:
            table: the file's rows, in order of time.

        Raises what `open` raises.
        """
        numeric = {column: table.numeric(column) for column in table.columns}
        numbers = tuple(column for column in numeric if numeric[column])
        targets = (self.target,) if self.target in numeric else names_in(self.target)
        known = names_in(self.known)
        for column in (*targets, *names_in(self.inputs), *known):
            check_column(table, numeric, column)
        if known:
            table = table.until_last_filled(targets)
        open_to_all = [name for name in numbers if name not in known and name not in table.left_out]
        inputs = names_in(self.inputs) or tuple(open_to_all)
        read = dict.fromkeys((*inputs, *targets, *known))  # each once, in order
        columns = {column: table.numbers(column, self.gaps) for column in read}
        return self._with_series(
            table.source,
            columns,
            inputs,
            targets,
            known=known,
            calendar=self.calendar,
            time=table.time,
            segments=table.segments,
            about=summary(table, tuple(read)),
        )

    def digest(self) -> str:
        """Return a hash of the numbers that are read."""
        return self.opened.source.digest


@lru_cache(maxsize=4)
def _read_once(task: FromFile, path: Path, state: tuple[int, ...], x64: bool) -> Task:
    """Read a file once for all runs of a comparison in one precision; one that changed is another."""
    table = read_table(path)
    return task.read(arranged(table, task.asked_of(table)))


def names_in(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list; a name with a comma stands in double quotes."""
    names = next(csv.reader([" ".join(text.split())], skipinitialspace=True), [])
    return tuple(name.strip() for name in names if name.strip())


def check_column(table: Table, numeric: dict[str, bool], name: str) -> None:
    """Raise ArgumentError for a column that the table has not, or that holds no numbers.

    Arguments:
        table: the file's rows.
        numeric: by name of each column that can be asked for, whether it holds numbers.
        name: of the column.
    """
    if name not in numeric:
        raise unknown("column", name, numeric)
    if not numeric[name]:
        example = next((cell for cell in table.cells[name] if cell.strip()), None)
        holds = "is empty" if example is None else f"holds text ({example[:40]!r}), not numbers"
        raise ArgumentError(f"{table.source}: column {name!r} {holds}")
