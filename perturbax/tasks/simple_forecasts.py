"""The baselines of a series: simple forecasts that need no network, judged like one."""

from typing import Any

import jax
import numpy as np

from perturbax.tasks import linear
from perturbax.tasks.base import Metrics
from perturbax.tasks.encoding import Encoding, standardised
from perturbax.tasks.fitting import fit_linear
from perturbax.tasks.forecast_metrics import metrics_of_error, metrics_of_forecast
from perturbax.tasks.forms import naive_forecast
from perturbax.tasks.opened_series import Source
from perturbax.tasks.record import Record, Wanted, forecasts_of


def baselines_on(source: Source, x: jax.Array, wanted: Wanted, part: str) -> dict[str, Metrics]:
    """Return the metrics of simple forecasts on a part, by name.

    Arguments:
        source: the opened series.
        x: its inputs, `(N, n_in)`.
        wanted: what is asked of its encoding.
        part: `valid` or `test`.
    """
    record, encoding = source.record, source.encoding
    rows = record.rows(part, wanted.horizons, encoding.history)
    forecasts = _naive_forecasts(source, wanted)
    if not (source.is_simple and wanted.lags):
        forecasts["linear"] = np.full(source.truth.shape, np.nan)
        forecasts["linear"][rows] = forecasts_of(record, _linear_encoding(source, wanted), rows)
        return {name: metrics_of_forecast(source, made, rows) for name, made in forecasts.items()}
    found = {name: metrics_of_forecast(source, made, rows) for name, made in forecasts.items()}
    return _of_one_output(source, x, wanted, part, found)


def _naive_forecasts(source: Source, wanted: Wanted) -> dict[str, np.ndarray]:
    """Return forecasts at every row that need no fit, by name, `(N, n_out)` each; and the mean of all."""
    record, encoding = source.record, source.encoding
    first_rows = _first_rows(record)
    naive = {"persistence": "difference"}
    if encoding.season > 1 and min(wanted.horizons) > 0:
        naive["seasonal naive"] = "seasonal"
    forecasts = {"mean": np.broadcast_to(_training_means(source), source.truth.shape)}
    for name, form in naive.items():
        columns = [
            naive_forecast(form, record.columns[target], first_rows, max(horizon, 1), encoding.season)
            for target, horizon in encoding.outputs
        ]
        forecasts[name] = np.stack(columns, 1)  # (N, n_out)
    if encoding.form == "combined":
        forecasts["combined"] = source.base
    return forecasts


def _of_one_output(
    source: Source, x: jax.Array, wanted: Wanted, part: str, found: dict[str, Metrics]
) -> dict[str, Metrics]:
    """Return the baselines of form level with one output, computed from what a network reads."""
    record, encoding, lags = source.record, source.encoding, wanted.lags
    read = np.asarray(x, np.float64)  # (N, n_in)
    series = _scaled_target(source, x.dtype)  # (N,)
    (shift,) = wanted.horizons

    def rows_of(name: str) -> np.ndarray:
        return record.rows(name, wanted.horizons, encoding.history)

    train, valid, judged = rows_of("train"), rows_of("valid"), rows_of(part)
    fits = linear.fit(read, series, train[train >= lags - 1], shift, lags)

    def error(rows: np.ndarray, forecast: np.ndarray | float) -> float:
        # Twelve digits: where an array lies in memory changes what linear algebra leaves in the last.
        return float(f"{np.mean((series[rows + shift] - forecast) ** 2):.12g}")

    best = min(fits, key=lambda fit: error(valid, linear.predict(read, valid, fit, lags)))
    fitted = linear.predict(read, judged, best, lags)  # (rows,)
    everywhere = np.full(source.truth.shape, np.nan)
    everywhere[judged, 0] = fitted * encoding.target_stds[0] + encoding.target_means[0]
    found["linear"] = metrics_of_forecast(source, everywhere, judged)
    scaled = {"mean": 0.0, "persistence": series[judged], "linear": fitted}
    return {
        name: metrics | (metrics_of_error(source, error(judged, scaled[name])) if name in scaled else {})
        for name, metrics in found.items()
    }


def _scaled_target(source: Source, x_dtype: Any) -> np.ndarray:
    """Return the target column in training stds, rounded as a network's numbers are, float64 `(N,)`."""
    encoding = source.encoding
    column = source.record.columns[encoding.targets[0]]
    scaled = standardised(
        source.record.source, encoding.targets, column[:, None], encoding.target_means, encoding.target_stds
    )
    return scaled[:, 0].astype(x_dtype).astype(np.float64)


def _linear_encoding(source: Source, wanted: Wanted) -> Encoding:
    """Return the linear forecast that is the baseline."""
    if source.fitted.linear is not None:
        return source.fitted.linear
    return fit_linear(source.record, wanted, source.encoding.season)


def _training_means(source: Source) -> np.ndarray:
    """Return the mean of each output's target over the training rows, `(n_out,)`, own units."""
    record = source.record
    parts = [record.training_rows(record.columns[target]) for target, _ in source.encoding.outputs]
    return np.array([np.concatenate(part).mean() for part in parts])


def _first_rows(record: Record) -> np.ndarray:
    """Return for each row the first row of its series, `(N,)`."""
    return np.concatenate([np.full(end - first, first) for _, first, end in record.segments])
