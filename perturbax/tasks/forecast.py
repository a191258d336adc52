"""What all forecasts of a series share: the split by time, windows, streams, scaling and baselines."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError
from perturbax.fields import fractions, one_of, setting, whole
from perturbax.tasks import forecast_metrics
from perturbax.tasks.arguments import PARTS as PARTS
from perturbax.tasks.base import HeldOut, Metrics, Task, require_data
from perturbax.tasks.calendar import calendar_names
from perturbax.tasks.encoding import Encoding, Segments
from perturbax.tasks.encoding import standardised as standardised  # where version 0.1.0 had it
from perturbax.tasks.forecast_words import facts_of, notes_of
from perturbax.tasks.forms import FORMS, parse_horizons
from perturbax.tasks.opened_series import USUAL_WINDOW as USUAL_WINDOW
from perturbax.tasks.opened_series import Rows as Rows
from perturbax.tasks.opened_series import Scale as Scale
from perturbax.tasks.opened_series import Source as Source
from perturbax.tasks.opened_series import cut, opened_rows, usual_window
from perturbax.tasks.record import Record, Wanted
from perturbax.tasks.simple_forecasts import baselines_on
from perturbax.tasks.windows import Stretches, one_stream, random_windows, side_by_side

Opened = TypeVar("Opened", bound="Forecast")
Scaling = dict[str, np.ndarray]


class Forecast(Task):
    """Base of the tasks that read a series row by row and predict columns at other rows.

        input  x_t = (row_t - mean) / std,      target  y_t = (v_{t + horizon} - b_t) / std

    What is forecast is by `form` the level itself (b the mean), the change from the present value
    (`difference`), from the same phase of the last season that is known (`seasonal`), from the present
    value plus the change over the same rows a season ago (`seasonal-difference`), or from a fitted linear
    forecast (`linear`); `auto` takes a mean of all these, weighted by their validation errors
    (`combined`). With a base, the network starts as the base: its readout at zero. Means, stds, seasons
    and coefficients are those of the training part; a column that is constant there is divided by 1.

    The series is cut by time, training | validation | test; a row counts as input of a part only if its
    targets lie in the same part. The first rows of a held-out stream come from in front of the part; they
    warm the state up and are not scored. Of several series in one file each is cut that way, and no window,
    lag or season reaches from one into another.

    Attributes:
        horizon: number of rows between an input and its target; several, as in 1-24 or 1,6,24, at once.
        form: what is forecast: level, difference, seasonal, seasonal-difference, linear, or auto, which takes
            the mean of all these, weighted by validation errors.
        season: rows of a season; 0 finds it in the step of time and the training rows, 1 is none.
        window: rows of one training sequence; 0 for 100, or as many as fit.
        valid: fraction of the rows that is for validation, after the training rows.
        test: fraction of the rows that is for testing, at the end.
        warmup: rows in front of a held-out part that warm up the state, not scored.
        lags: number of rows that the linear baseline reads; 0 for at least a season.
        rows: the opened series; no setting.
    """

    loss_in: ClassVar[str] = "NMSE"
    least_horizon: ClassVar[int] = 1
    before: ClassVar[dict[str, Any]] = {"form": "level"}  # settings of runs that are older than these

    horizon: int | str = setting(1)
    form: str = setting("level")
    season: int = setting(0)
    window: int = setting(100)
    valid: float = setting(0.15)
    test: float = setting(0.15)
    warmup: int = setting(200)
    lags: int = setting(24)
    rows: Rows | None = eqx.field(default=None, metadata={"data": True})

    def __check_init__(self) -> None:
        """Check the counts, the fractions and the form."""
        if not isinstance(self.horizon, str):
            whole("horizon", self.horizon, self.least_horizon)
        parse_horizons(self.horizon, self.least_horizon)
        for name in ("season", "window", "warmup", "lags"):
            whole(name, getattr(self, name), 0)
        fractions("rows", self.valid, self.test)
        one_of("form", self.form, (*FORMS, "auto"))
        if min(self.shifts) < 0 and self.form != "level":
            raise ArgumentError(f"form {self.form} is for forecasts: what is past is recalled in form level")

    @abc.abstractmethod
    def open(self, data: Path | None) -> Task:
        """Return the task with its series in place.

        Arguments:
            data: file with the series, or None.
        """

    @property
    def shifts(self) -> tuple[int, ...]:
        """Rows from an input to each of its targets: the horizons; below zero the target is in the past."""
        return parse_horizons(self.horizon, self.least_horizon)

    @property
    def shift(self) -> int:
        """Rows from an input to its farthest target."""
        return max(self.shifts, key=abs)

    @property
    def opened(self) -> Rows:
        """The series; ArgumentError before `open`."""
        return require_data(self, self.rows, "rows")

    @property
    def encoding(self) -> Encoding:
        """How the series is read, and what its forecasts are changes from; ArgumentError before `open`."""
        return self.opened.source.encoding

    @property
    def record(self) -> Record:
        """The series as it was read, and how it is cut; ArgumentError before `open`."""
        return self.opened.source.record

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): an output for each target and horizon."""
        return self.encoding.n_in, self.encoding.n_out

    @property
    def starts_at_zero(self) -> bool:
        """Whether outputs of zero are a forecast of their own, which training starts from: the base."""
        return self.encoding.has_base

    @property
    def steps(self) -> int:
        """Steps of a training sequence: the window."""
        if self.window or self.rows is None:
            return self.window or USUAL_WINDOW
        return usual_window(self.record.parts["train"], self.shift)

    @property
    def unit(self) -> str:
        """Label of the output in figures: the target's name; empty where there are several."""
        targets = self.encoding.targets
        return targets[0] if len(targets) == 1 else ""

    def bounds(self, part: str) -> tuple[int, int]:
        """Return (first, end): rows that are inputs of part `train`, `valid` or `test`; end is excluded.

        Of several series those of the first; all are in `ranges`.

        Arguments:
            part: `train`, `valid` or `test`.
        """
        return self.ranges(part)[0]

    def ranges(self, part: str) -> list[tuple[int, int]]:
        """Return (first, end) of the rows that are inputs of a part, for each series.

        Arguments:
            part: `train`, `valid` or `test`.
        """
        return self.record.ranges(part, self.shifts, self.encoding.history)

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return windows of the training part that begin at random rows."""
        return self._read(random_windows(key, batch, self.ranges("train"), self.steps))

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return the i-th consecutive window of `batch` streams through the training part.

        They start equally spaced, and go on at the beginning of the part when they reach its end. Of several
        series each window lies in one, and all streams begin another stretch at once: see `begins_anew`.
        """
        ranges, window = self.ranges("train"), self.steps
        if len(ranges) > 1:
            return self._read(Stretches.of(ranges, window, batch).rows(i, batch))
        return self._read(one_stream(i, batch, ranges, window))

    def begins_anew(self, i: Array | int, batch: int) -> Array | bool:
        """Return whether streams through several series begin new stretches with their i-th window."""
        ranges = self.ranges("train")
        return len(ranges) > 1 and Stretches.of(ranges, self.steps, batch).begins(i)

    def held_out(self, part: str) -> HeldOut:
        """Return part `valid` or `test` of each series as one stream, up to `warmup` rows in front of it.

        The streams of several series are as long as the longest; no answer is asked for behind their ends.
        """
        return self._side_by_side(self.ranges(part))

    def seen(self) -> HeldOut:
        """Return the last rows of the training part as streams, as long as those of the test part."""
        last = []
        for (first, end), (first_test, end_test) in zip(
            self.ranges("train"), self.ranges("test"), strict=True
        ):
            last.append((max(first, end - (end_test - first_test)), end))
        return self._side_by_side(last)

    def metrics(self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"]) -> Metrics:
        """Return `loss`, `mse` in the targets' own units squared, and `mse_scaled` in training variances.

        All are means over outputs. For form level `mse_scaled` is the loss.
        """
        source = self.opened.source
        if source.is_simple:
            return forecast_metrics.metrics_of_error(source, jnp.mean((y - target) ** 2))
        squares = forecast_metrics.over_asked((y - target) ** 2, target)  # (n_out,)
        return forecast_metrics.metrics_of_outputs(source, squares)

    def measures(
        self, y: Float[Array, "T B n_out"], target: Float[Array, "T B n_out"], base: Float[Array, "T B n_out"]
    ) -> Metrics:
        """Return the usual measures of forecasts in own units, means over outputs: mae, rmse, smape, mase.

            mae    mean |v - f|                    rmse   root of mse
            smape  mean 200 |v - f| / (|v| + |f|), in percent (Makridakis 1993); 0 where both are 0
            mase   mae over that of the seasonal naive forecast on training rows (Hyndman, Koehler 2006)

        Arguments:
            y: outputs.
            target: targets.
            base: what they are changes from, own units.
        """
        of_outputs = self.measures_of_outputs(y, target, base)
        found = {name: jnp.mean(values) for name, values in of_outputs.items() if name != "mse"}
        return {"mae": found["mae"], "rmse": jnp.sqrt(jnp.mean(of_outputs["mse"])), **found}

    def measures_of_outputs(self, y: Array, target: Array, base: Array) -> dict[str, Array]:
        """Return mse, mae, smape and mase of each output, `(n_out,)`; arguments as for `measures`."""
        return forecast_metrics.measures_of_outputs(self.opened.source, y, target, base)

    def in_units(self, y: Array, base: Array | None = None) -> Array:
        """Return outputs or targets in the targets' own units, `(..., n_out)`.

        Arguments:
            y: outputs or targets.
            base: what they are changes from, own units; None for form level.
        """
        return forecast_metrics.in_units(self.encoding, y, base)

    def output_names(self) -> list[dict[str, Any]]:
        """Return the target and the horizon of each output."""
        return [{"target": target, "horizon": horizon} for target, horizon in self.encoding.outputs]

    def scaling(self) -> Scaling:
        """Return what forecasting a new file needs: the arrays of the `Encoding`, without pickle."""
        return self.encoding.to_arrays()

    def facts(self) -> dict[str, Any]:
        """Return how the series is encoded, and what that was chosen from."""
        return facts_of(self.opened.source)

    def notes(self) -> list[str]:
        """Return in sentences what the file holds, how the series is encoded and why, and what is unusual."""
        return notes_of(self.opened.source, bool(self.season))

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of simple forecasts, by name.

        `mean`: the training mean. `persistence`: the present value. `seasonal naive`: the value at the same
        phase of the last season that is known, where there is a season. `linear`: a linear fit to training
        rows, its ridge the best on validation: with form level and `lags` named it reads so many rows; else
        at least a season, on top of the naive forecast, and as levels or changes, whichever is best on
        validation. `combined`: with form auto the weighted mean of simple forecasts that training starts
        from.
        """
        return self._baselines_on("test")

    def valid_baselines(self) -> dict[str, Metrics]:
        """Return the metrics of the same forecasts on validation data: other rows, other losses."""
        return self._baselines_on("valid")

    def _baselines_on(self, part: str) -> dict[str, Metrics]:
        """Return the metrics of simple forecasts on part `valid` or `test`."""
        of = self.encoding
        wanted = self._wanted(of.inputs, of.targets, of.known, of.calendar, self.steps)
        return baselines_on(self.opened.source, self.opened.x, wanted, part)

    def _side_by_side(self, ranges: Sequence[tuple[int, int]]) -> HeldOut:
        """Return rows of each series as streams, with the same number of warm-up rows in front of all."""
        lowest = self.encoding.history - min(*self.shifts, 0)
        streams = side_by_side(ranges, [start + lowest for _, start, _ in self.record.segments], self.warmup)
        # In numpy: JAX compiles every operation on arrays of a new shape.
        xs, ys = np.asarray(self.opened.x)[streams.rows], np.asarray(self.opened.y)[streams.rows]
        if len(ranges) > 1:
            ys = np.where(streams.inside[..., None], ys, np.asarray(np.nan, ys.dtype))
        base = self.opened.source.base[streams.rows].astype(ys.dtype)
        return HeldOut(jnp.asarray(xs), jnp.asarray(ys), streams.warmup, jnp.asarray(base))

    def _read(self, rows: Array) -> tuple[Array, Array]:
        """Return inputs and targets at row numbers `(T, B)`."""
        return self.opened.x[rows], self.opened.y[rows]

    def _with_series(
        self: Opened,
        source: str,
        columns: Mapping[str, np.ndarray],
        inputs: tuple[str, ...],
        targets: tuple[str, ...],
        *,
        known: tuple[str, ...] = (),
        calendar: bool = False,
        time: Any = None,
        segments: Segments | None = None,
        about: Sequence[str] = (),
    ) -> Opened:
        """Return the task with a series in place.

        Arguments:
            source: what errors call the series: its file, or the task.
            columns: by name, float64 `(N,)`, in own units.
            inputs: names of the columns that are read.
            targets: names of the columns that are predicted.
            known: names of the columns whose values are known ahead.
            calendar: whether features of the dates are read.
            time: the `TimeAxis` of the rows, None where there are no dates.
            segments: (name, first, end) of each series in the rows; None for one.
            about: what is to be known of the file, one line each.

        Raises ArgumentError for too few rows, DataError for numbers too large to be scaled.
        """
        n = len(columns[targets[0]])
        segments = tuple(segments or (("", 0, n),))
        record = cut(source, columns, time, segments, (self.valid, self.test))
        if calendar and time is None:
            raise ArgumentError(f"{source}: calendar needs a column of dates, and none is found")
        names = calendar_names(time.step) if calendar else ()
        window = self.window or usual_window(record.parts["train"], self.shift)
        wanted = self._wanted(inputs, targets, known, names, window)
        return dataclasses.replace(self, rows=opened_rows(record, wanted, about))

    def _wanted(
        self,
        inputs: tuple[str, ...],
        targets: tuple[str, ...],
        known: tuple[str, ...],
        calendar: tuple[str, ...],
        window: int,
    ) -> Wanted:
        """Return what is asked of an encoding of these columns."""
        return Wanted(
            inputs=inputs,
            targets=targets,
            horizons=self.shifts,
            known=known,
            calendar=calendar,
            form=self.form,
            season=self.season,
            lags=self.lags,
            window=window,
        )
