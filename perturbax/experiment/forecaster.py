"""Forecasts in Python without files: fit a series, ask what comes next. In the manner of sktime."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import ArgumentError, DataError, PerturbaxError, unknown
from perturbax.experiment import forecasting, frames
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.forecasting import Forecasts, History, Model
from perturbax.experiment.frames import Frame
from perturbax.experiment.options import find, options
from perturbax.experiment.resolve import KNOWN, resolve
from perturbax.experiment.result import Result
from perturbax.experiment.run import run
from perturbax.experiment.variants import experiment_from, parse_variant
from perturbax.fields import in_range
from perturbax.tasks.forms import parse_horizons

LEAST_VALID = 20  # rows of the validation part that are worth giving up rows of a short series for
NOT_SETTINGS = ("task", "data", "task_options", "target", "inputs", "horizon", "known", "series", "test")
"""Fields of an Experiment and settings of the task that a Forecaster sets by itself, or names apart."""


class Fitted(NamedTuple):
    """What fitting leaves.

    Attributes:
        result: the run: network, measures, settings.
        y: the rows that were fitted, and those that came by `update`.
        x: the same of the inputs; None without any.
        model: what forecasts are made with.
        targets: the columns of y that are forecast.
    """

    result: Result
    y: Frame
    x: Frame | None
    model: Model
    targets: tuple[str, ...]


class Forecaster:
    """Forecasts of a series by a recurrent network that any rule of this library trains.

        px.Forecaster(rule="mirror", horizon=24).fit(y).predict()

    The series is a list, an array `(N,)` or `(N, columns)`, a pandas Series or a DataFrame; forecasts come
    back in the same form, and an index goes on behind its last row. The settings are those of `perturbax run
    --task series`: the last rows are for validation, which chooses the network and makes the intervals; no
    test part is kept back unless `test` asks for one.

    Attributes:
        rule: name of a learning rule, with suffixes as in `compare --rules`, or module:Class of your own.
        horizon: how far ahead: 24 is the next 24 rows; also a list of rows ahead, or text such as 1,6,24.
        target: which columns of y are forecast; None for all. The others are only read.
        known: which columns of X are known ahead, such as holidays; None for none, True for all. `predict`
            must then be given their values.
        test: share of the rows, the last, that is kept back to measure the errors in `result_.summary`; 0
            for none but the few that a run cannot do without.
        settings: any other setting of a run (cell, units, passes, lr, seed, ...) or of the task `series`
            (form, season, window, valid, ...); with a prefix those of rule and cell: rule__sigma, cell__gain.
        result_: after `fit`, the `Result` of the run.
    """

    def __init__(
        self,
        rule: str = "mirror",
        horizon: Any = 1,
        target: Any = None,
        known: Any = None,
        test: int | float = 0.0,
        **settings: Any,
    ):
        self.rule = rule
        self.horizon = horizon
        self.target = target
        self.known = known
        self.test = test
        self.settings = settings
        self._fitted: Fitted | None = None
        self._fh: tuple[int, ...] | None = None

    def fit(self, y: Any, X: Any = None, fh: Any = None, **settings: Any) -> "Forecaster":
        """Train a network on a series and return the forecaster itself.

        Arguments:
            y: the series, `(N,)` or `(N, columns)`, oldest row first, steps of equal length, no gaps.
            X: further columns that are read, with as many rows; None for none.
            fh: rows ahead to forecast instead of `horizon`: a number k (the k-th row alone), several, or a
                ForecastingHorizon of sktime; None for `horizon`.
            settings: changed as by `set_params` first.

        Raises ArgumentError for settings that cannot be used, DataError for data that cannot, PerturbaxError
        where the loss does not stay finite.
        """
        self.set_params(**settings)
        self._fh = None if fh is None else _rows_of(fh, None)
        rows, inputs = self._read(y, "y"), None if X is None else self._read(X, "X")
        self._train(rows, inputs)
        return self

    def predict(self, fh: Any = None, X: Any = None) -> Any:
        """Return forecasts of the rows after the last one, in the form of y.

        Arguments:
            fh: rows ahead as for `fit`, among those that were fitted; None for all of these.
            X: the columns that are known ahead, for every row up to the farthest that is forecast.

        Raises ArgumentError before `fit`, for rows ahead that were not fitted, and where X lacks.
        """
        fitted = self._need_fit()
        ahead, made = self._forecast(fh, X)
        values = made.value.reshape(len(fitted.targets), len(ahead)).T  # (rows, targets)
        which = [fitted.y.names.index(name) for name in fitted.targets]
        return frames.like_the_user(fitted.y, values, which, self._index(ahead))

    def predict_interval(self, fh: Any = None, X: Any = None, coverage: Any = 0.9) -> Any:
        """Return prediction intervals, by split conformal prediction from validation errors.

        Arguments:
            fh: as for `predict`.
            X: as for `predict`.
            coverage: share of values that an interval shall hold, from 0 to below 1; or several.

        For pandas a DataFrame with columns (target, coverage, "lower" or "upper"), else an array `(rows,
        targets, coverages, 2)`. Infinite where the validation part is too short for the coverage. Raises what
        `predict` raises, and ArgumentError for a coverage out of range.
        """
        fitted = self._need_fit()
        shares = [float(share) for share in np.atleast_1d(coverage)]
        for share in shares:
            in_range("coverage", share, 0, 1, below=True)
        ahead, made = self._forecast(fh, X)
        shape = (len(fitted.targets), len(ahead))
        value = made.value.reshape(shape)  # (targets, rows)
        bounds = np.zeros((len(ahead), len(fitted.targets), len(shares), 2))
        for i, share in enumerate(shares):
            width = forecasting.half_widths(fitted.model, made, 100 * share).reshape(shape)
            bounds[:, :, i, 0] = (value - width).T
            bounds[:, :, i, 1] = (value + width).T
        if fitted.y.like is None:
            return bounds
        labels = [fitted.y.labels[fitted.y.names.index(name)] for name in fitted.targets]
        return frames.intervals_like_the_user(fitted.y, bounds, labels, shares, self._index(ahead))

    def update(self, y: Any, X: Any = None, update_params: bool = True) -> "Forecaster":
        """Take in rows that came after those of `fit`, and return the forecaster itself.

        Arguments:
            y: the new rows, in the form of those that were fitted.
            X: the same of X.
            update_params: train anew on all rows; False only moves the present on to the new rows.
        """
        fitted = self._need_fit()
        rows = frames.appended(fitted.y, self._read(y, "y"), "y")
        if (X is None) != (fitted.x is None):
            raise ArgumentError("update needs X where fit had it, and only there")
        inputs = fitted.x
        if inputs is not None:
            more = frames.renamed(self._read(X, "X"), fitted.y.names)
            inputs = frames.appended(inputs, more, "X")
        if update_params:
            self._train(rows, inputs)
        else:
            _check_same_rows(rows, inputs)
            self._fitted = fitted._replace(y=rows, x=inputs)
        return self

    def fit_predict(self, y: Any, X: Any = None, fh: Any = None, X_pred: Any = None) -> Any:
        """Return `fit(y, X, fh).predict(fh, X_pred)`."""
        return self.fit(y, X, fh).predict(fh, X_pred)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all settings by name, as the constructor takes them; deep: of no meaning here."""
        own = {name: getattr(self, name) for name in ("rule", "horizon", "target", "known", "test")}
        return own | self.settings

    def set_params(self, **params: Any) -> "Forecaster":
        """Change settings by name, forget what was fitted if any changes; return the forecaster itself."""
        for name, value in params.items():
            if name in ("rule", "horizon", "target", "known", "test"):
                setattr(self, name, value)
            else:
                self.settings = {**self.settings, name: value}
        if params:
            self._fitted = None
        return self

    def clone(self) -> "Forecaster":
        """Return a forecaster with the same settings that is not fitted."""
        return type(self)(**self.get_params())

    @property
    def is_fitted(self) -> bool:
        """Whether `fit` has been called."""
        return self._fitted is not None

    @property
    def fh(self) -> tuple[int, ...]:
        """The rows ahead that are forecast."""
        return self._fh or _rows_ahead(self.horizon)

    @property
    def cutoff(self) -> Any:
        """The last row that is known: a pandas index of one entry, for arrays its number from 0."""
        y = self._need_fit().y
        return len(y.values) - 1 if y.index is None else y.index[-1:]

    @property
    def result_(self) -> Result:
        """The `Result` of the run: network, settings, measures. Raises ArgumentError before `fit`."""
        return self._need_fit().result

    def __repr__(self) -> str:
        """Return the call that makes this forecaster."""
        return f"Forecaster({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def _need_fit(self) -> Fitted:
        """Return what fitting left; ArgumentError before."""
        if self._fitted is None:
            raise ArgumentError("this Forecaster is not fitted: call fit(y) first")
        return self._fitted

    def _read(self, data: Any, what: str) -> Frame:
        """Return the rows of the user's data; what: what errors call it."""
        return frames.read_frame(data, what, str(self.settings.get("gaps", "refuse")))

    def _train(self, y: Frame, x: Frame | None) -> None:
        """Train a network on rows."""
        _check_same_rows(y, x)
        time = _check_time(y)
        x = None if x is None else frames.renamed(x, y.names)
        targets = _chosen("target", self.target, y)
        if x is None and self.known:
            raise ArgumentError("known names columns of X, and there is no X: fit(y, X)")
        known = _chosen("known", self.known, x) if x is not None and self.known else ()
        experiment = self._experiment(len(y.values))
        settings: Any = experiment.task_options
        columns = y.columns() | ({} if x is None else x.columns())
        inputs = tuple(name for name in columns if name not in known)
        series: Any = find("task", "series", KNOWN["task"])
        task = series(**settings)._with_series(
            "y",
            columns,
            inputs,
            targets,
            known=known,
            calendar=bool(settings.get("calendar", False)),
            time=time,
        )
        result = run(experiment, task=task)
        if result.summary["status"] == "diverged":
            raise PerturbaxError(
                f"the loss was no longer finite at step {result.summary['diverged_at']}: try a lower lr"
            )
        warmup = int(result.scaling["warmup"])
        model = forecasting.model_of(result.net, result.scaling, task.shifts, warmup, "the result")
        self._fitted = Fitted(result, y, x, model, targets)

    def _experiment(self, n: int) -> Resolved:
        """Return the run that the settings describe, for a series of n rows, every setting named."""
        variant = parse_variant(self.rule)
        fields = dict(variant.fields)
        own: dict[str, dict[str, Any]] = {
            "task": _parts(n, max(self.fh), self.test) | {"horizon": ",".join(map(str, self.fh))},
            "rule": dict(variant.options),
            "cell": {},
        }
        run_settings = {f.name for f in dataclasses.fields(Experiment)} - set(NOT_SETTINGS)
        task_settings = set(options(KNOWN["task"]["series"])) - set(NOT_SETTINGS)
        for name, value in self.settings.items():
            kind, of_class, inner = name.partition("__")
            if of_class and kind in own:
                own[kind][inner] = value
            elif name in ("rule_options", "cell_options"):
                own[name.removesuffix("_options")].update(value)
            elif name in run_settings:
                fields[name] = value
            elif name in task_settings:
                own["task"][name] = value
            else:
                raise unknown("setting", name, sorted(run_settings | task_settings))
        base = Experiment(task="series")
        return resolve(experiment_from(base, fields, own))

    def _forecast(self, fh: Any, future: Any) -> tuple[tuple[int, ...], Forecasts]:
        """Return the rows ahead, and a forecast for each target and each of them."""
        fitted, model = self._need_fit(), self._need_fit().model
        wanted = self.fh if fh is None else _rows_of(fh, self.cutoff)
        for rows in wanted:
            if rows not in self.fh:
                fits = ",".join(map(str, self.fh))
                raise ArgumentError(
                    f"this Forecaster was fitted for {fits} rows ahead, not {rows}: fit it anew"
                )
        history = self._history(fitted, future)
        made = forecasting.after_the_last(model, history, forecasting.answers(model, history))
        places = [made.ahead.tolist().index(rows) for rows in wanted]
        of_target = [np.array(places) + i * len(model.encoding.horizons) for i in range(len(fitted.targets))]
        kept = np.concatenate(of_target)
        return wanted, Forecasts(*(entries[kept] for entries in made))

    def _history(self, fitted: Fitted, future: Any) -> History:
        """Return the rows that are known, and those of the columns that are known ahead."""
        columns = fitted.y.columns() | ({} if fitted.x is None else fitted.x.columns())
        known = fitted.model.encoding.known
        if known:
            if future is None:
                raise ArgumentError(f"predict needs X, the values ahead of {', '.join(known)}")
            ahead = frames.renamed(self._read(future, "X"), fitted.y.names)
            rows = self._rows_of_future(ahead)  # (the farthest row ahead,)
            for name in known:
                if name not in ahead.names:
                    raise ArgumentError(f"X lacks the column {name!r}, which is known ahead")
                columns[name] = np.concatenate([columns[name], ahead.columns()[name][rows]])
        n = len(fitted.y.values)
        return History("y", columns, (("", 0, n),), frames.time_axis(fitted.y.index)[0])

    def _rows_of_future(self, x: Frame) -> np.ndarray:
        """Return which row of X is each of the next rows; rows that are not forecast may be any.

        Raises ArgumentError where a row that is forecast is missing.
        """
        farthest = max(self.fh)
        if x.index is None or self._need_fit().y.index is None:
            if len(x.values) < farthest:
                raise ArgumentError(f"X must have the next {farthest} rows, not {len(x.values)}")
            return np.arange(farthest)
        rows = x.index.get_indexer(self._index(range(1, farthest + 1)))  # (farthest,), -1 where it is missing
        for k in self.fh:
            if rows[k - 1] < 0:
                raise ArgumentError(f"X must have the row {self._index([k])[0]}, which is forecast")
        return np.maximum(rows, 0)

    def _index(self, ahead: Sequence[int]) -> Any:
        """Return the index of the rows ahead; None for arrays."""
        index = self._need_fit().y.index
        return None if index is None else frames.index_after(index, ahead)


def _rows_ahead(horizon: Any) -> tuple[int, ...]:
    """Return the rows ahead of a setting: 24 is the next 24 rows; also `[1, 6, 24]` and text, `1,6,24`."""
    if isinstance(horizon, str):
        return parse_horizons(horizon)
    if isinstance(horizon, int | np.integer) and not isinstance(horizon, bool):
        return _whole_rows(range(1, int(horizon) + 1), horizon)
    return _whole_rows(horizon, horizon)


def _rows_of(fh: Any, cutoff: Any) -> tuple[int, ...]:
    """Return the rows ahead of an argument: a number k is the k-th; cutoff: what dates are relative to."""
    if getattr(fh, "is_relative", True) is False:
        fh = fh.to_relative(cutoff)
    rows = fh.to_numpy() if hasattr(fh, "to_numpy") else np.atleast_1d(fh)
    return _whole_rows(rows, fh)


def _whole_rows(rows: Any, given: Any) -> tuple[int, ...]:
    """Return numbers of rows, rising; ArgumentError for anything but whole numbers from 1, each once."""
    try:
        found = sorted({int(k) for k in rows if int(k) == k and not isinstance(k, bool)})
        usable = len(found) == len(rows) and min(found, default=0) >= 1
    except (TypeError, ValueError):
        found, usable = [], False
    if not usable:
        raise ArgumentError(f"horizon must be rows ahead, whole numbers from 1, each once; not {given!r}")
    return tuple(found)


def _parts(n: int, farthest: int, test: int | float) -> dict[str, float]:
    """Return the shares of validation and test rows.

    Test: as asked, but no less than the one forecast that a run is judged by. Validation: 15 %, in short
    series up to two fifths, so that 20 errors make the intervals.

    Arguments:
        n: rows in all.
        farthest: rows to the farthest one that is forecast.
        test: the share that is asked for.
    """
    test_rows = max(round(n * test), farthest + 1)
    valid_rows = max(round(0.15 * n), min(farthest + LEAST_VALID, 2 * n // 5), farthest + 1)
    return {"valid": valid_rows / n, "test": test_rows / n}


def _check_same_rows(y: Frame, x: Frame | None) -> None:
    """Raise DataError where X has not the rows of y, or a column of the same name."""
    if x is None:
        return
    if len(x.values) != len(y.values):
        raise DataError(f"X must have the rows of y: {len(x.values)} and {len(y.values)}")
    if x.index is not None and y.index is not None and not x.index.equals(y.index):
        raise DataError("X must have the index of y")


def _check_time(y: Frame) -> Any:
    """Return the time axis of rows, None without dates; warn where they do not go on in equal steps.

    Raises ArgumentError for an index that cannot go on behind its last row.
    """
    if y.index is not None:
        frames.index_after(y.index, [1])
    time, missing = frames.time_axis(y.index)
    if missing or (time is not None and time.step is None and len(time.values) > 2):
        what = f"leaves out {missing} rows" if missing else "does not go on in equal steps"
        warnings.warn(
            f"the index of y {what}: rows are taken as they follow each other; if that is wrong, fill holes "
            "first (y.asfreq)",
            stacklevel=4,
        )
    return time


def _chosen(setting: str, names: Any, frame: Frame) -> tuple[str, ...]:
    """Return the columns that a setting names: all of them for None or True.

    Raises ArgumentError for a name that is no column.
    """
    if names is None or names is True:
        return frame.names
    given = [names] if isinstance(names, str) or not isinstance(names, list | tuple) else list(names)
    found = []
    for name in given:
        if name in frame.labels:
            found.append(frame.names[frame.labels.index(name)])
        elif str(name) in frame.names:
            found.append(str(name))
        else:
            raise unknown(f"{setting} column", str(name), frame.names)
    return tuple(found)
