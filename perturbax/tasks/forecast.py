"""What all forecasts of a series share: the chronological split, windows, streams, scaling and baselines."""

import abc
import dataclasses
import itertools
from typing import Any, ClassVar, NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import fractions, setting, whole
from perturbax.tasks import linear
from perturbax.tasks.base import HeldOut, Metrics, Task

PARTS = ("train", "valid", "test")
Opened = TypeVar("Opened", bound="Forecast")
Scaling = dict[str, np.ndarray]


class Scale(NamedTuple):
    """Names, means and standard deviations of the training part, in own units; python floats, so always
    exact.
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
    """Base of the tasks that read a series row by row and say the target column at another row.

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
        """Refuse settings that mean nothing."""
        for name, least in {"horizon": 1, "window": 1, "warmup": 0, "lags": 1}.items():
            whole(name, getattr(self, name), least)
        fractions("rows", self.valid, self.test)

    @property
    @abc.abstractmethod
    def shift(self) -> int:
        """Rows from an input to its target; below zero the target is in the past."""

    @property
    def opened(self) -> Rows:
        """The series; ArgumentError before `open`."""
        if self.rows is None:
            raise ArgumentError(
                f"task {type(self).__name__} has no rows yet: use the task that open() returns"
            )
        return self.rows

    @property
    def sizes(self) -> tuple[int, int]:
        """(input columns, 1)."""
        return self.opened.x.shape[1], 1

    @property
    def steps(self) -> int:
        """The window."""
        return self.window

    @property
    def unit(self) -> str:
        """Label of the output in figures: the target's name."""
        return self.opened.scale.target

    def bounds(self, part: str) -> tuple[int, int]:
        """Return (first, end): the rows that are inputs of part `train`, `valid` or `test`; end is
        excluded.
        """
        first, end = self._cut(self.opened.x.shape[0])[part]
        return first - min(self.shift, 0), end - max(self.shift, 0)

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return windows of the training part that begin at random rows."""
        first, end = self.bounds("train")
        starts = jr.randint(key, (1, batch), first, end - self.window + 1)
        return self._read(starts + jnp.arange(self.window)[:, None])

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return the i-th consecutive window of `batch` streams that start equally spaced and wrap around."""
        first, end = self.bounds("train")
        length = end - first
        starts = jnp.asarray(np.arange(batch)[None] * length // batch)
        here = (jnp.asarray(i) % length) * self.window + jnp.arange(self.window)[:, None]
        return self._read(first + (starts + here) % length)

    def held_out(self, part: str) -> HeldOut:
        """Return part `valid` or `test` as one stream, up to `warmup` rows in front of it."""
        first, end = self.bounds(part)
        start = max(first - self.warmup, -min(self.shift, 0))
        return HeldOut(*self._read(jnp.arange(start, end)[:, None]), first - start)

    def seen(self) -> HeldOut:
        """Return the last rows of the training part as one stream, as long as that of the test part."""
        first, end = self.bounds("train")
        test = self.bounds("test")
        begin = max(first, end - (test[1] - test[0]))
        start = max(first, begin - self.warmup)
        return HeldOut(*self._read(jnp.arange(start, end)[:, None]), begin - start)

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, `mse` in the target's own units squared, and `mse_scaled`, in training variances (=
        loss).
        """
        return self._measures(jnp.mean((y - target) ** 2))

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
        x, y = (np.asarray(a, np.float64) for a in (self.opened.x, self.opened.y[:, 0]))
        train, valid, test = (np.arange(*self.bounds(part)) for part in PARTS)
        fits = linear.fit(x, y, train[train >= self.lags - 1], self.shift, self.lags)
        best = min(fits, key=lambda c: self._error(y, valid, linear.predict(x, valid, c, self.lags)))
        forecasts = {"mean": 0.0, "persistence": y[test], "linear": linear.predict(x, test, best, self.lags)}
        return {name: self._measures(self._error(y, test, forecast)) for name, forecast in forecasts.items()}

    def _error(self, y: np.ndarray, rows: np.ndarray, forecast: np.ndarray | float) -> float:
        # Twelve digits: where an array lies in memory changes what linear algebra leaves in the last ones.
        return float(f"{np.mean((y[rows + self.shift] - forecast) ** 2):.12g}")

    def _measures(self, error: Any) -> Metrics:
        return {"loss": error, "mse": error * self.opened.scale.target_std**2, "mse_scaled": error}

    def _read(self, rows: Array) -> tuple[Array, Array]:
        """Return inputs and targets at row numbers `(T, B)`."""
        return self.opened.x[rows], self.opened.y[rows + self.shift]

    def _cut(self, n: int) -> dict[str, tuple[int, int]]:
        """Return first row and end of each part of n rows."""
        valid, test = round(n * self.valid), round(n * self.test)
        edges = (0, n - valid - test, n - test, n)
        return dict(zip(PARTS, itertools.pairwise(edges), strict=True))

    def _with(
        self: Opened, source: str, columns: dict[str, np.ndarray], inputs: tuple[str, ...], target: str
    ) -> Opened:
        """Return the task with a series in place: columns by name, float64 `(N,)`, in own units."""
        self._check_length(source, len(columns[target]))
        end = self._cut(len(columns[target]))["train"][1]
        moments = {name: _moments(column[:end]) for name, column in columns.items()}
        means, stds = zip(*(moments[name] for name in inputs), strict=True)
        scale = Scale(inputs, means, stds, target, *moments[target])
        x = standardised(source, inputs, np.stack([columns[name] for name in inputs], 1), means, stds)
        y = standardised(source, (target,), columns[target][:, None], *zip(moments[target], strict=True))
        return dataclasses.replace(self, rows=Rows(jnp.asarray(x), jnp.asarray(y), scale))

    def _check_length(self, source: str, n: int) -> None:
        least = {"train": max(self.window, self.lags), "valid": 1, "test": 1}
        for part, (first, end) in self._cut(n).items():
            if end - first < (need := least[part] + self.horizon):
                raise ArgumentError(
                    f"{source}: {n} rows are too few: {end - first} of them are the {part} part, which needs {need} "
                    f"(window {self.window}, lags {self.lags}, horizon {self.horizon})"
                )


def standardised(source: str, names: Any, values: np.ndarray, means: Any, stds: Any) -> np.ndarray:
    """Return (values - means) / stds, float64 `(N, n)`; DataError where a number is out of all proportion."""
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
    """Return mean and standard deviation, 1 where there is no deviation (not the rounding error of the
    mean).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(np.mean(column)), float(np.std(column))
    return mean, std if np.ptp(column) > 0 and std > 0 else 1.0
