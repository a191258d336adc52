"""What all forecasts of a series share: the split by time, windows, streams, scaling and baselines."""

import abc
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError
from perturbax.fields import fractions, one_of, setting, whole
from perturbax.tasks import linear
from perturbax.tasks.base import PARTS, HeldOut, Metrics, Task, require_data, split_in_order
from perturbax.tasks.calendar import calendar_names
from perturbax.tasks.encoding import Encoding, Segments
from perturbax.tasks.encoding import standardised as standardised  # where version 0.1.0 had it
from perturbax.tasks.fitting import Fitted, fit_encoding, fit_linear
from perturbax.tasks.forms import FORMS, naive_forecast, parse_horizons
from perturbax.tasks.record import Record, Wanted, forecasts_of, naive_scale, training_std

Opened = TypeVar("Opened", bound="Forecast")
Scaling = dict[str, np.ndarray]
USUAL_WINDOW = 100  # rows of a training sequence where no window is named and the series is long enough


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


class Source:
    """What is known of an opened series beside its arrays: two of the same content are equal.

    Arguments:
        record: the series as it was read, and how it is cut.
        fitted: its encoding, and what that was chosen from.
        digest: fingerprint of the data that are read.
        about: what is to be known of the file, one line each.
    """

    def __init__(self, record: Record, fitted: Fitted, digest: str, about: Sequence[str] = ()):
        self.record, self.fitted, self.digest, self.about = record, fitted, digest, tuple(about)
        cut = (tuple(record.segments), tuple(sorted((part, tuple(r)) for part, r in record.parts.items())))
        self._key = (digest, fitted.encoding.fingerprint(), cut)

    def __eq__(self, other: object) -> bool:
        """Whether another source has the same content."""
        return isinstance(other, Source) and self._key == other._key

    def __hash__(self) -> int:
        """Return a hash of the content."""
        return hash(self._key)

    @property
    def encoding(self) -> Encoding:
        """How the series is read, and what its forecasts are changes from."""
        return self.fitted.encoding

    @cached_property
    def base(self) -> np.ndarray:
        """What the forecasts are changes from at each row, `(N, n_out)`, own units."""
        return self.encoding.base_of(self.record.columns, self.record.time, self.record.segments)

    @cached_property
    def truth(self) -> np.ndarray:
        """What is forecast at each row, `(N, n_out)`, own units; NaN beyond the end of a series."""
        return self.encoding.targets_of(self.record.columns, self.record.segments)

    @cached_property
    def training_stds(self) -> np.ndarray:
        """The standard deviation of each output's target over the training rows, `(n_out,)`, own units."""
        return np.array([training_std(self.record, target) for target, _ in self.encoding.outputs])

    @cached_property
    def naive_scales(self) -> np.ndarray:
        """What the absolute errors of each output are divided by for MASE, `(n_out,)`, own units."""
        season = self.encoding.season
        return np.array([naive_scale(self.record, target, season) for target, _ in self.encoding.outputs])


class Rows(eqx.Module):
    """A series as a network sees it.

    Attributes:
        x: the inputs at each row, `(N, n_in)`.
        y: the targets that belong to the input of each row, `(N, n_out)`; NaN where a series has none.
        source: what they were made from.
    """

    x: Float[Array, "N n_in"]
    y: Float[Array, "N n_out"]
    source: Source = eqx.field(static=True)


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
        return _usual_window(self.record.parts["train"], self.shift)

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
        ranges = self.ranges("train")
        if len(ranges) == 1:
            first, end = ranges[0]
            starts = jr.randint(key, (1, batch), first, end - self.steps + 1)
        else:
            firsts = np.array([first for first, _ in ranges])
            counts = np.array([end - first - self.steps + 1 for first, end in ranges])  # windows of each
            ends = np.cumsum(counts)
            drawn = jr.randint(key, (1, batch), 0, int(ends[-1]))  # (1, B): which window of all
            series = jnp.searchsorted(jnp.asarray(ends), drawn, side="right")  # (1, B)
            starts = drawn + jnp.asarray(firsts - (ends - counts))[series]
        rows = starts + jnp.arange(self.steps)[:, None]  # (T, B)
        return self._read(rows)

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return the i-th consecutive window of `batch` streams through the training part.

        They start equally spaced, and go on at the beginning of the part when they reach its end. Of several
        series each window lies in one; a stream goes on with the next series behind the last whole window.
        """
        ranges, window = self.ranges("train"), self.steps
        if len(ranges) > 1:
            pieces = np.concatenate([np.arange(first, end - window + 1, window) for first, end in ranges])
            places = jnp.asarray(np.arange(batch) * len(pieces) // batch) + jnp.asarray(i) % len(pieces)
            starts = jnp.asarray(pieces)[places % len(pieces)][None]  # (1, B)
            return self._read(starts + jnp.arange(window)[:, None])
        first, end = ranges[0]
        length = end - first
        starts = jnp.asarray(np.arange(batch)[None] * length // batch)  # (1, B)
        steps = (jnp.asarray(i) % length) * window + jnp.arange(window)[:, None]  # (T, 1)
        return self._read(first + (starts + steps) % length)

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
        if self._is_simple:
            return self._metrics_of(jnp.mean((y - target) ** 2))
        squares = self._over_asked((y - target) ** 2, target)  # (n_out,)
        return self._metrics_of_outputs(squares)

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
        wrong = (y - target) * _for_outputs(self.encoding.target_stds, y)  # (T, B, n_out), own units
        truth, forecast = self.in_units(target, base), self.in_units(y, base)
        size = jnp.abs(truth) + jnp.abs(forecast)
        relative = jnp.where(size > 0, 200 * jnp.abs(wrong) / jnp.where(size > 0, size, 1), 0)
        mae = self._over_asked(jnp.abs(wrong), target)
        return {
            "mse": self._over_asked(wrong**2, target),
            "mae": mae,
            "smape": self._over_asked(relative, target),
            "mase": mae / jnp.asarray(self.opened.source.naive_scales, mae.dtype),
        }

    def in_units(self, y: Array, base: Array | None = None) -> Array:
        """Return outputs or targets in the targets' own units, `(..., n_out)`.

        Arguments:
            y: outputs or targets.
            base: what they are changes from, own units; None for form level.
        """
        stds, means = _for_outputs(self.encoding.target_stds, y), _for_outputs(self.encoding.target_means, y)
        units = y * stds + means
        return units if base is None else units + base

    def output_names(self) -> list[dict[str, Any]]:
        """Return the target and the horizon of each output."""
        return [{"target": target, "horizon": horizon} for target, horizon in self.encoding.outputs]

    def scaling(self) -> Scaling:
        """Return what forecasting a new file needs: the arrays of the `Encoding`, without pickle."""
        return self.encoding.to_arrays()

    def facts(self) -> dict[str, Any]:
        """Return how the series is encoded, and what that was chosen from."""
        encoding, source = self.encoding, self.opened.source
        facts: dict[str, Any] = {
            "form": encoding.form,
            "reading": encoding.reading,
            "season": encoding.season,
            "history": encoding.history,
            "horizons": list(encoding.horizons),
            "targets": list(encoding.targets),
            "inputs": len(encoding.inputs),
            "rows": {part: self._rows_of(part) for part in PARTS},
            "outside": self._outside(),
        }
        if encoding.form == "linear":
            facts |= {"base": encoding.base, "lags": max(encoding.lags)}
        if source.fitted.combination is not None:
            facts["validation"] = dict(source.fitted.combination.errors)
            facts["weights"] = dict(source.fitted.combination.shares)
        return facts

    def _rows_of(self, part: str) -> int:
        """Return how many rows of the series a part has."""
        return sum(end - first for first, end in self.record.parts[part])

    def notes(self) -> list[str]:
        """Return in sentences what the file holds, how the series is encoded and why, and what is unusual.

        The last are test values outside the range of training.
        """
        encoding, combination = self.encoding, self.opened.source.fitted.combination
        said = [f"form {encoding.form}: what is forecast is {_FORMS_IN_WORDS[encoding.form]}"]
        if combination is not None:
            ranked = sorted(combination.shares.items(), key=lambda kind_and_share: -kind_and_share[1])
            listed = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in ranked)
            said[0] += f" (weighted by their validation errors: {listed})"
        if encoding.season > 1:
            said.append(
                f"season: {encoding.season} rows{'' if self.season else ', found in the training rows'}"
            )
        for target, share in self._outside().items():
            if share > 0:
                said.append(
                    f"{100 * share:.3g} % of the test values of {target} lie outside the range of its "
                    "training values"
                )
        return [*self.opened.source.about, *said]

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
        record, encoding = self.record, self.encoding
        first_rows = _first_rows(record)
        naive = {"persistence": "difference"}
        if encoding.season > 1 and min(self.shifts) > 0:
            naive["seasonal naive"] = "seasonal"
        forecasts = {"mean": np.broadcast_to(self._training_means(), self.opened.source.truth.shape)}
        for name, form in naive.items():
            columns = [
                naive_forecast(form, record.columns[target], first_rows, max(horizon, 1), encoding.season)
                for target, horizon in encoding.outputs
            ]
            forecasts[name] = np.stack(columns, 1)  # (N, n_out)
        if encoding.form == "combined":
            forecasts["combined"] = self.opened.source.base
        if not (self._is_simple and self.lags):
            rows = record.rows(part, self.shifts, encoding.history)
            forecasts["linear"] = np.full(self.opened.source.truth.shape, np.nan)
            forecasts["linear"][rows] = forecasts_of(record, self._linear_encoding(), rows)
            return {name: self._judged_forecast(forecast, part) for name, forecast in forecasts.items()}
        found = {name: self._judged_forecast(forecast, part) for name, forecast in forecasts.items()}
        return self._simple_baselines(found, part)

    def _simple_baselines(self, found: dict[str, Metrics], part: str) -> dict[str, Metrics]:
        """Return the baselines of form level with one output, computed from what a network reads."""
        x = np.asarray(self.opened.x, np.float64)  # (N, n_in)
        series = self._scaled_target(x_dtype=self.opened.x.dtype)  # (N,)
        shift = self.shift
        train, valid = (np.arange(*self.bounds(name)) for name in ("train", "valid"))  # row numbers
        judged = np.arange(*self.bounds(part))
        fits = linear.fit(x, series, train[train >= self.lags - 1], shift, self.lags)

        def error(rows: np.ndarray, forecast: np.ndarray | float) -> float:
            # Twelve digits: where an array lies in memory changes what linear algebra leaves in the last.
            return float(f"{np.mean((series[rows + shift] - forecast) ** 2):.12g}")

        best = min(fits, key=lambda fit: error(valid, linear.predict(x, valid, fit, self.lags)))
        fitted = linear.predict(x, judged, best, self.lags)  # (rows,)
        in_units = fitted * self.encoding.target_stds[0] + self.encoding.target_means[0]
        everywhere = np.full(self.opened.source.truth.shape, np.nan)
        everywhere[judged, 0] = in_units
        found["linear"] = self._judged_forecast(everywhere, part)
        scaled = {"mean": 0.0, "persistence": series[judged], "linear": fitted}
        return {
            name: metrics | (self._metrics_of(error(judged, scaled[name])) if name in scaled else {})
            for name, metrics in found.items()
        }

    def _scaled_target(self, x_dtype: Any) -> np.ndarray:
        """Return the target column in training stds, rounded as a network's numbers are, float64 `(N,)`."""
        encoding = self.encoding
        column = self.record.columns[encoding.targets[0]]
        scaled = standardised(
            self.record.source, encoding.targets, column[:, None], encoding.target_means, encoding.target_stds
        )
        return scaled[:, 0].astype(x_dtype).astype(np.float64)

    def _linear_encoding(self) -> Encoding:
        """Return the linear forecast that is the baseline."""
        if self.opened.source.fitted.linear is not None:
            return self.opened.source.fitted.linear
        of = self.encoding
        wanted = self._wanted(of.inputs, of.targets, of.known, of.calendar, self.steps)
        return fit_linear(self.record, wanted, of.season)

    def _training_means(self) -> np.ndarray:
        """Return the mean of each output's target over the training rows, `(n_out,)`, own units."""
        record = self.record
        parts = [record.training_rows(record.columns[target]) for target, _ in self.encoding.outputs]
        return np.array([np.concatenate(part).mean() for part in parts])

    def _judged_forecast(self, forecasts: np.ndarray, part: str) -> Metrics:
        """Return the metrics on a part of forecasts at each row, `(N, n_out)`, own units."""
        rows = self.record.rows(part, self.shifts, self.encoding.history)
        truth, forecast = self.opened.source.truth[rows], forecasts[rows]  # (rows, n_out)
        wrong = forecast - truth
        size = np.abs(truth) + np.abs(forecast)
        relative = 200 * np.abs(wrong) / np.where(size > 0, size, 1)
        squares, mae = np.mean(wrong**2, 0), np.mean(np.abs(wrong), 0)  # (n_out,)
        found = self._metrics_of_outputs(squares / self.encoding.target_stds**2)
        found |= {
            "mae": mae.mean(),
            "rmse": np.sqrt(squares.mean()),
            "smape": relative.mean(),
            "mase": np.mean(mae / self.opened.source.naive_scales),
        }
        return {name: float(f"{value:.12g}") for name, value in found.items()}

    def _metrics_of(self, error: Any) -> Metrics:
        """Return the metrics of form level with one output for a mean squared error in training variances."""
        return {"loss": error, "mse": error * float(self.encoding.target_stds[0]) ** 2, "mse_scaled": error}

    def _metrics_of_outputs(self, squares: Any) -> Metrics:
        """Return the metrics for mean squared errors of the outputs `(n_out,)`, as a network makes them."""
        stds, training_stds = self.encoding.target_stds, self.opened.source.training_stds
        return {
            "loss": (squares).mean(),
            "mse": (squares * np.asarray(stds**2, squares.dtype)).mean(),
            "mse_scaled": (squares * np.asarray((stds / training_stds) ** 2, squares.dtype)).mean(),
        }

    def _over_asked(self, values: Array, target: Array) -> Array:
        """Return the mean of values `(T, B, n_out)` over all answers asked for, `(n_out,)`."""
        asked = ~jnp.isnan(target)
        return jnp.sum(jnp.where(asked, values, 0), (0, 1)) / jnp.maximum(jnp.sum(asked, (0, 1)), 1)

    @property
    def _is_simple(self) -> bool:
        """Whether this is a forecast of one column at one horizon as its level, from columns alone."""
        encoding = self.encoding
        plain = not encoding.has_base and not encoding.known and not encoding.calendar
        return plain and encoding.n_out == 1 and len(self.record.segments) == 1

    def _outside(self) -> dict[str, float]:
        """Return for each target which share of its test values lies outside its training values' range."""
        record, found = self.record, {}
        for target in self.encoding.targets:
            column = record.columns[target]
            training = np.concatenate(record.training_rows(column))
            test = np.concatenate([column[first:end] for first, end in record.parts["test"]])
            outside = (test < training.min()) | (test > training.max())
            found[target] = float(outside.mean())
        return found

    def _side_by_side(self, ranges: Sequence[tuple[int, int]]) -> HeldOut:
        """Return rows of each series as streams, with the same number of warm-up rows in front of all."""
        lowest = self.encoding.history - min(*self.shifts, 0)
        first_rows = [start + lowest for _, start, _ in self.record.segments]
        front = [
            first - max(first - self.warmup, row) for (first, _), row in zip(ranges, first_rows, strict=True)
        ]
        warmup = max(min(front), 0)
        longest = max(end - first for first, end in ranges)
        offsets = np.arange(-warmup, longest)[:, None]  # (T, 1)
        firsts = np.array([first for first, _ in ranges])[None]  # (1, B)
        ends = np.array([end for _, end in ranges])[None]  # (1, B)
        rows = np.minimum(firsts + offsets, ends - 1)  # (T, B)
        # In numpy: JAX compiles every operation on arrays of a new shape.
        xs, ys = np.asarray(self.opened.x)[rows], np.asarray(self.opened.y)[rows]
        if len(ranges) > 1:
            ys = np.where((firsts + offsets < ends)[..., None], ys, np.asarray(np.nan, ys.dtype))
        base = self.opened.source.base[rows].astype(ys.dtype)
        return HeldOut(jnp.asarray(xs), jnp.asarray(ys), warmup, jnp.asarray(base))

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
        parts: dict[str, list[tuple[int, int]]] = {part: [] for part in PARTS}
        for _, start, stop in segments:
            for part, (first, end) in split_in_order(stop - start, self.valid, self.test).items():
                parts[part].append((start + first, start + end))
        record = Record(source, columns, time, segments, parts)
        if calendar and time is None:
            raise ArgumentError(f"{source}: calendar needs a column of dates, and none is found")
        names = calendar_names(time.step) if calendar else ()
        window = self.window or _usual_window(parts["train"], self.shift)
        self._check_length(record, window, 0)
        fitted = fit_encoding(record, self._wanted(inputs, targets, known, names, window))
        encoding = fitted.encoding
        self._check_length(record, window, encoding.history)
        x = encoding.inputs_of(columns, time, segments, source)  # (N, n_in)
        left = encoding.targets_of(columns, segments) - encoding.base_of(columns, time, segments)
        forecast = [target for target, _ in encoding.outputs]
        y = standardised(source, forecast, left, encoding.target_means, encoding.target_stds)  # (N, n_out)
        found = Source(record, fitted, _digest(record, encoding, x), about)
        return dataclasses.replace(self, rows=Rows(jnp.asarray(x), jnp.asarray(y), found))

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

    def _check_length(self, record: Record, window: int, history: int) -> None:
        """Raise ArgumentError where a series leaves a part too short.

        Arguments:
            record: the series.
            window: rows of a training sequence.
            history: rows in front of a forecast that its form needs.
        """
        horizon = abs(self.shift)
        lags = self.lags if self.form == "level" else 0
        least = {"train": max(window, lags) + history, "valid": 1, "test": 1}
        needs = f"window {window}, lags {self.lags}, horizon {horizon}"
        if history:
            needs += f", {history} rows in front of a forecast"
        for i, (name, start, stop) in enumerate(record.segments):
            for part in ("train", "valid", "test"):
                first, end = record.parts[part][i]
                need = least[part] + horizon
                if end - first < need:
                    of = f" of series {name}" if len(record.segments) > 1 else ""
                    raise ArgumentError(
                        f"{record.source}: {stop - start} rows{of} are too few: {end - first} of them are "
                        f"the {part} part, which needs {need} ({needs})"
                    )


_FORMS_IN_WORDS = {
    "level": "the value itself",
    "difference": "the change from the present value",
    "seasonal": "the change from the same phase of the last season",
    "seasonal-difference": "the change from the present value plus that over the same rows a season ago",
    "linear": "what a linear forecast leaves",
    "combined": "what the mean of simple forecasts leaves",
}


def _usual_window(training: Sequence[tuple[int, int]], shift: int) -> int:
    """Return the window where none is named: 100 rows, in short series a third of the training rows.

    Above 10 rows a multiple of 10, so that online updates every 10 rows fit.
    """
    shortest = min(end - first for first, end in training)
    window = max(1, min(USUAL_WINDOW, (shortest - abs(shift)) // 3))
    return window if window < 10 else window // 10 * 10


def _for_outputs(values: np.ndarray, y: Array) -> Array:
    """Return a number for each output `(n_out,)` with as many axes as y `(..., n_out)` has, and its dtype."""
    return jnp.asarray(values, y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def _first_rows(record: Record) -> np.ndarray:
    """Return for each row the first row of its series, `(N,)`."""
    return np.concatenate([np.full(end - first, first) for _, first, end in record.segments])


def _digest(record: Record, encoding: Encoding, x: np.ndarray) -> str:
    """Return a hash of what is read; of a plain series that of version 0.1.0.

    Arguments:
        record: the series.
        encoding: how it is read.
        x: the inputs, `(N, n_in)`.
    """
    plain = not encoding.has_base and not encoding.known and not encoding.calendar
    if plain and encoding.n_out == 1 and len(record.segments) == 1:
        means, stds = tuple(encoding.means.tolist()), tuple(encoding.stds.tolist())
        mean, std = float(encoding.target_means[0]), float(encoding.target_stds[0])
        scale = Scale(encoding.inputs, means, stds, encoding.targets[0], mean, std)
        digest = hashlib.sha256(repr(scale).encode())
        target = (record.columns[encoding.targets[0]][:, None] - mean) / std  # (N, 1)
        for values in (x, target):
            digest.update(values.astype(np.float32).tobytes())
        return digest.hexdigest()[:16]
    digest = hashlib.sha256(repr([encoding.targets, encoding.inputs, encoding.known]).encode())
    digest.update(repr([(name, first, end) for name, first, end in record.segments]).encode())
    for name in dict.fromkeys((*encoding.targets, *encoding.inputs, *encoding.known)):
        digest.update(record.columns[name].astype(np.float64).tobytes())
    if encoding.calendar:
        digest.update(np.asarray(record.time.values).astype("datetime64[s]").tobytes())
    return digest.hexdigest()[:16]
