"""Which rows are forecast, from where, by which output; measures of forecasts by hand."""

import numpy as np
import pytest

from perturbax.errors import ArgumentError, DataError
from perturbax.experiment import measures
from perturbax.experiment.forecasting import (
    Forecasts,
    History,
    Model,
    after_the_last,
    half_widths,
    past_origins,
    rows_needed,
    truths,
)
from perturbax.experiment.intervals import of_residuals
from perturbax.tasks.encoding import Encoding


def model(horizons, targets=("a",), warmup=2, **settings):
    """A model without a network."""
    n_out = len(targets) * len(horizons)
    encoding = Encoding(
        ("a",), np.zeros(1), np.ones(1), targets, np.zeros(n_out), np.ones(n_out), horizons, **settings
    )
    kept = of_residuals(np.arange(1.0, 20.0)[:, None] * np.arange(1, len(horizons) * len(targets) + 1)[None])
    return Model(None, encoding, kept, None, warmup)


def history(*lengths):
    """Series one after the other, whose values are their row numbers."""
    ends = np.cumsum(lengths).tolist()
    segments = tuple((f"s{i}", end - n, end) for i, (n, end) in enumerate(zip(lengths, ends, strict=True)))
    values = np.arange(ends[-1], dtype=float)
    return History("d.csv", {"a": values, "b": 100 + values}, segments)


def answers(m, h):
    """Outputs that say who they are: row x 100 + number of the output."""
    n = len(m.encoding.targets) * len(m.encoding.horizons)
    return np.arange(h.segments[-1][2])[:, None] * 100.0 + np.arange(n)[None]


def test_several_horizons_are_forecast_from_the_last_row():
    m, h = model((1, 6, 24), ("a", "b")), history(30)
    made = after_the_last(m, h, answers(m, h))
    assert made.origin.tolist() == [29] * 6
    assert made.ahead.tolist() == [1, 6, 24] * 2
    assert made.value.tolist() == [2900, 2901, 2902, 2903, 2904, 2905]


def test_a_single_horizon_forecasts_every_row_up_to_it():
    m, h = model((3,)), history(10, 2)
    made = after_the_last(m, h, answers(m, h))
    assert made.segment.tolist() == [0, 0, 0, 1, 1]
    assert (made.origin + made.ahead).tolist() == [10, 11, 12, 13, 14]
    assert made.origin.tolist() == [7, 8, 9, 10, 11]


def test_what_cannot_be_forecast():
    m = model((-2,))
    with pytest.raises(ArgumentError, match="recalls a past value"):
        after_the_last(m, history(9), answers(m, history(9)))
    with pytest.raises(ArgumentError, match=r"backtest 4 is too many: d.csv, series s1 has 2 rows"):
        past_origins(model((1, 3)), history(9, 5), np.zeros((14, 2)), 4)
    none = np.zeros(0, int)
    with pytest.raises(ArgumentError, match="kept no validation residuals"):
        half_widths(model((1,))._replace(intervals=None), Forecasts(none, none, none, none, none), 80.0)


def test_past_origins_know_the_truth_at_every_horizon():
    m, h = model((1, 3), ("a", "b")), history(9, 6)
    made = past_origins(m, h, answers(m, h), 2)
    assert made.origin.tolist() == [4, 5] * 4 + [10, 11] * 4
    truth = truths(m, h, made)
    assert truth.tolist() == [5, 6, 7, 8, 105, 106, 107, 108, 11, 12, 13, 14, 111, 112, 113, 114]
    # The 16th of 19 residuals is the quantile for 80 %, times the number of the output from 1.
    assert half_widths(m, made, 80.0).tolist() == [16, 16, 32, 32, 48, 48, 64, 64] * 2


def test_a_recall_is_backtested_too():
    m, h = model((-2,)), history(5)
    made = past_origins(m, h, answers(m, h), 3)
    assert truths(m, h, made).tolist() == [0, 1, 2]


def test_rows_needed():
    assert rows_needed(model((1,)), history(3)) == "3 rows of history: enough, forecasts need 3"
    said = rows_needed(model((1,)), history(9, 2))
    assert said.startswith("cold start: 2 rows of history in series s1, but on test data the network had 3")


def test_too_short():
    m = model((1,), form="seasonal", season=4)
    with pytest.raises(DataError, match=r"d\.csv, series s1: 3 rows are too few: the first forecast needs 4"):
        after_the_last(m, history(9, 3), np.zeros((12, 1)))


def test_measures_by_hand():
    truth, forecast = np.array([1.0, 0.0, 3.0, -1.0]), np.array([2.0, 0.0, 3.0, 1.0])
    found = measures.of_forecasts(truth, forecast, 0.5)
    assert found == {
        "mse": pytest.approx(1.25),
        "rmse": pytest.approx(1.25**0.5),
        "mae": pytest.approx(0.75),
        "smape": pytest.approx(200 * (1 / 3 + 0 + 0 + 1) / 4),
        "mase": pytest.approx(1.5),
    }
    assert measures.naive_error([np.array([1.0, 3.0, 2.0]), np.array([5.0, 8.0])]) == 2
    assert measures.naive_error([np.array([1.0, 3.0, 2.0]), np.array([5.0, 8.0])], 2) == 1
    assert np.isnan(measures.naive_error([np.array([1.0])], 1))
    assert np.isnan(measures.of_forecasts(truth, forecast, 0.0)["mase"])
