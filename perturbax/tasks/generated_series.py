"""What the forecasts of a generated series share: its length, its seed, and that they take no file."""

import abc
from pathlib import Path
from typing import ClassVar, TypeVar

import equinox as eqx
import numpy as np

from perturbax.fields import whole
from perturbax.tasks.base import Task
from perturbax.tasks.forecast import Forecast

Opened = TypeVar("Opened", bound="GeneratedSeries")


class GeneratedSeries(Forecast):
    """Base of the forecasts whose series is computed from an equation.

    Class attribute: `source`, what errors call the series.

    Attributes:
        length: samples of the series, after the washout.
        series_seed: seed of the series; not the seed of a run.
    """

    source: ClassVar[str]
    length: eqx.AbstractVar[int]  # pyright: ignore[reportGeneralTypeIssues]
    series_seed: eqx.AbstractVar[int]  # pyright: ignore[reportGeneralTypeIssues]

    def __check_init__(self) -> None:
        """Check the length and the seed."""
        whole("length", self.length)
        whole("series_seed", self.series_seed, 0)

    @abc.abstractmethod
    def series(self) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
        """Return (columns by name, float64 `(length,)` each; names of the inputs; name of the target)."""

    def open(self: Opened, data: Path | None) -> Opened:
        """Return the task with its series generated.

        Arguments:
            data: None; ArgumentError for a file.
        """
        Task.open(self, data)
        columns, inputs, target = self.series()
        return self._with_series(self.source, columns, inputs, (target,))
