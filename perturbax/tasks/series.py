"""Forecasting a column of any CSV file."""

from typing import ClassVar

from perturbax.fields import setting
from perturbax.tasks.fromfile import FromFile


class Series(FromFile):
    """Forecast of any CSV file: one line per time, a header that names the columns.

        y_t = x^target_{t + horizon}

    Text columns, such as a date, are left out unless they are named, and refused then.

    Attributes:
        target: name of the column to forecast; required.
        inputs: names of the columns to read, separated by commas; empty for all columns of numbers.
    """

    target: str = setting("")
    inputs: str = setting("")
    summary: ClassVar[str] = "forecast a column of your own CSV file (--data FILE.csv --task.target COLUMN)"
