"""What all forecasts of a series share: the split by time, windows, streams, scaling and baselines."""

import abc
import dataclasses
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import fractions, setting, whole
from perturbax.tasks import linear
from perturbax.tasks.base import PARTS, HeldOut, Metrics, Task, require_data, split_in_order

Opened = TypeVar("Opened", bound="Forecast")
Scaling = dict[str, np.ndarray]


class Scale(NamedTuple):
    """Means and standard deviations of the training part, in own units; Python floats, so always exact.

    Attributes:
        inputs: names of the input columns.
        means: of each input column.
        stds: standard deviation of each; 1 for a constant column.
        target: name of the target column.
        target_mean: its mean.
        target_std: its standard deviation.
    """

    inputs: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    target: str
    target_mean: float
    target_std: float


class Rows(eqx.Module):
    """A series in standard deviations from the mean of its training part.

    Attributes:
        x: the inputs, `(N, n_in)`.
        y: the target column at the same rows, `(N, 1)`.
        scale: what was subtracted and divided by.
    """

    x: Float[Array, "N n_in"]
    y: Float[Array, "N 1"]
    scale: Scale = eqx.field(static=True)


class Forecast(Task):
    """Base of the tasks that read a series row by row and predict the target column at another row.

        input  x_t = (row_t - mean) / std,      target  y_t = x^target_{t + shift}

    Mean and std are those of the training part; a column that is constant there is divided by 1. The series
    is cut by time, training | validation | test; a row counts as input of a part only if its target lies in
    the same part. The first rows of a held-out stream come from in front of the part; they warm the state up
    and are not scored.

    Attributes:
        horizon: number of rows between an input and its target.
        window: rows of one training sequence.
        valid: fraction of the rows that is for validation, after the training rows.
        test: fraction of the rows that is for testing, at the end.
        warmup: rows in front of a held-out part that warm up the state, not scored.
        lags: number of rows that the linear baseline reads.
        rows: the opened series; no setting.
    """

    loss_in: ClassVar[str] = "NMSE"

    horizon: int = setting(1)
    window: int = setting(100)
    valid: float = setting(0.15)
    test: float = setting(0.15)
    warmup: int = setting(200)
    lags: int = setting(24)
    rows: Rows | None = eqx.field(default=None, metadata={"data": True})

    def __check_init__(self) -> None:
        """Check the counts and the fractions."""
        for name, least in {"horizon": 1, "window": 1, "warmup": 0, "lags": 1}.items():
            whole(name, getattr(self, name), least)
        fractions("rows", self.valid, self.test)

    @abc.abstractmethod
    def open(self: Opened, data: Path | None) -> Opened:
        """Return the task with its series in place.

        Arguments:
            data: file with the series, or None.
        """

    @property
    def shift(self) -> int:
        """Rows from an input to its target, here the horizon; below zero the target is in the past."""
        return self.horizon

    @property
    def opened(self) -> Rows:
        """The series; ArgumentError before `open`."""
        return require_data(self, self.rows, "rows")

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): one input per input column, one output."""
        return self.opened.x.shape[1], 1

    @property
    def steps(self) -> int:
        """Steps of a training sequence: the window."""
        return self.window

    @property
    def unit(self) -> str:
        """Label of the output in figures: the target's name."""
        return self.opened.scale.target

    def bounds(self, part: str) -> tuple[int, int]:
        """Return (first, end): rows that are inputs of part `train`, `valid` or `test`; end is excluded."""
        first, end = self._split(self.opened.x.shape[0])[part]
        return first - min(self.shift, 0), end - max(self.shift, 0)

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return windows of the training part that begin at random rows."""
        first, end = self.bounds("train")
        starts = jr.randint(key, (1, batch), first, end - self.window + 1)
        rows = starts + jnp.arange(self.window)[:, None]  # (T, B)
        return self._read(rows)

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return the i-th consecutive window of `batch` streams through the training part.

        They start equally spaced, and go on at the beginning of the part when they reach its end.
        """
        first, end = self.bounds("train")
        length = end - first
        starts = jnp.asarray(np.arange(batch)[None] * length // batch)  # (1, B)
        steps = (jnp.asarray(i) % length) * self.window + jnp.arange(self.window)[:, None]  # (T, 1)
        return self._read(first + (starts + steps) % length)

    def held_out(self, part: str) -> HeldOut:
        """Return part `valid` or `test` as one stream, up to `warmup` rows in front of it."""
        first, end = self.bounds(part)
        start = max(first - self.warmup, -min(self.shift, 0))
        return HeldOut(*self._read(jnp.arange(start, end)[:, None]), first - start)

    def seen(self) -> HeldOut:
        """Return the last rows of the training part as one stream, as long as that of the test part."""
        first, end = self.bounds("train")
        first_test, end_test = self.bounds("test")
        first_scored = max(first, end - (end_test - first_test))
        start = max(first, first_scored - self.warmup)
        return HeldOut(*self._read(jnp.arange(start, end)[:, None]), first_scored - start)

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, `mse` in the target's own units squared, and `mse_scaled` in training variances.

        `mse_scaled` is the loss.
        """
        return self._metrics_of(jnp.mean((y - target) ** 2))

    def in_units(self, y: Array) -> Array:
        """Return outputs or targets in the target's own units."""
        return y * self.opened.scale.target_std + self.opened.scale.target_mean

    def scaling(self) -> Scaling:
        """Return what forecasting a new file needs: arrays that numpy.savez stores without pickle.

        `inputs`, `means`, `stds` `(n_in,)`; `target`, `target_mean`, `target_std` `()`. Own units, float64.
        """
        return {name: np.array(value) for name, value in self.opened.scale._asdict().items()}

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the training mean, of the current value, and of a linear model.

        The linear model reads `lags` rows; it is fitted to the training rows, its ridge is the best on
        validation.
        """
        x = np.asarray(self.opened.x, np.float64)  # (N, n_in)
        y = np.asarray(self.opened.y[:, 0], np.float64)  # (N,)
        train, valid, test = (np.arange(*self.bounds(part)) for part in PARTS)  # row numbers
        fits = linear.fit(x, y, train[train >= self.lags - 1], self.shift, self.lags)

        def error_on_valid(coefficients: np.ndarray) -> float:
            return self._error(y, valid, linear.predict(x, valid, coefficients, self.lags))

        best = min(fits, key=error_on_valid)
        forecasts = {"mean": 0.0, "persistence": y[test], "linear": linear.predict(x, test, best, self.lags)}
        return {
            name: self._metrics_of(self._error(y, test, forecast)) for name, forecast in forecasts.items()
        }

    def _error(self, y: np.ndarray, rows: np.ndarray, forecast: np.ndarray | float) -> float:
        """Return the mean squared error, in variances, of forecasts `(rows,)` made at rows of y `(N,)`."""
        # Twelve digits: where an array lies in memory changes what linear algebra leaves in the last ones.
        return float(f"{np.mean((y[rows + self.shift] - forecast) ** 2):.12g}")

    def _metrics_of(self, error: Any) -> Metrics:
        """Return the metrics for a mean squared error in training variances."""
        return {"loss": error, "mse": error * self.opened.scale.target_std**2, "mse_scaled": error}

    def _read(self, rows: Array) -> tuple[Array, Array]:
        """Return inputs and targets at row numbers `(T, B)`."""
        return self.opened.x[rows], self.opened.y[rows + self.shift]

    def _split(self, n: int) -> dict[str, tuple[int, int]]:
        """Return (first row, end) of each part of n rows."""
        return split_in_order(n, self.valid, self.test)

    def _with_series(
        self: Opened, source: str, columns: dict[str, np.ndarray], inputs: tuple[str, ...], target: str
    ) -> Opened:
        """Return the task with a series in place.

        Arguments:
            source: what errors call the series: its file, or the task.
            columns: by name, float64 `(N,)`, in own units.
            inputs: names of the columns that are read.
            target: name of the column that is predicted.

        Raises ArgumentError for too few rows, DataError for numbers too large to be scaled.
        """
        n = len(columns[target])
        self._check_length(source, n)
        end_of_training = self._split(n)["train"][1]
        moments = {name: _moments(column[:end_of_training]) for name, column in columns.items()}
        means = tuple(moments[name][0] for name in inputs)
        stds = tuple(moments[name][1] for name in inputs)
        target_mean, target_std = moments[target]
        read = np.stack([columns[name] for name in inputs], 1)  # (N, n_in)
        x = standardised(source, inputs, read, means, stds)
        y = standardised(source, (target,), columns[target][:, None], (target_mean,), (target_std,))
        scale = Scale(inputs, means, stds, target, target_mean, target_std)
        return dataclasses.replace(self, rows=Rows(jnp.asarray(x), jnp.asarray(y), scale))

    def _check_length(self, source: str, n: int) -> None:
        """Raise ArgumentError where n rows leave a part too short."""
        least = {"train": max(self.window, self.lags), "valid": 1, "test": 1}
        for part, (first, end) in self._split(n).items():
            need = least[part] + self.horizon
            if end - first < need:
                raise ArgumentError(
                    f"{source}: {n} rows are too few: {end - first} of them are the {part} part, "
                    f"which needs {need} (window {self.window}, lags {self.lags}, horizon {self.horizon})"
                )


def standardised(source: str, names: Any, values: np.ndarray, means: Any, stds: Any) -> np.ndarray:
    """Return (values - means) / stds, float64 `(N, n)`.

    Arguments:
        source: what errors call the data.
        names: of the columns.
        values: in own units, `(N, n)`.
        means: of each column.
        stds: of each column.

    Raises DataError where a number is too large: its square would overflow in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values - np.asarray(means)[None]) / np.asarray(stds)[None]
    usable = np.abs(scaled) < 1e15  # squares and sums of squares stay finite in float32
    if not usable.all():
        row, column = np.argwhere(~usable)[0]
        raise DataError(
            f"{source}, column {names[column]}: the value {values[row, column]:g} is too large to be scaled"
        )
    return scaled


def _moments(column: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of a column `(N,)`; 1 where it is constant, up to rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(np.mean(column)), float(np.std(column))
    return mean, std if np.ptp(column) > 0 and std > 0 else 1.0
