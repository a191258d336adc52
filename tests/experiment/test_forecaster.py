"""`px.Forecaster`: what it answers is what a run on a file answers; wrong calls end in one sentence."""

import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.predict import future, open_for_forecasts

TINY = {"units": 5, "steps": 20, "batch": 4, "lr": 1e-2, "window": 10, "logs": 2, "valid": 0.2, "seed": 3}
ROWS = 150


def two_series():
    """Two noisy series and a column that is known ahead, `(ROWS, 1)` each."""
    rng = np.random.default_rng(0)
    t = np.arange(ROWS + 3)
    a, b = 50 + 5 * np.sin(t / 4), 20 + np.cos(t / 4)
    y = np.stack([a, b], 1) + 0.1 * rng.normal(size=(ROWS + 3, 2))
    return y, np.sin(t / 4)[:, None]


@pytest.fixture(scope="module")
def fitted():
    """Two targets, two horizons, one column known ahead."""
    y, x = two_series()
    made = px.Forecaster(rule="bptt", horizon="1,3", known=True, test=0.2, form="difference", **TINY)
    return made.fit(y[:ROWS].tolist(), x[:ROWS])


def test_forecasts_are_those_of_a_run_on_a_file(tmp_path):
    y, _ = two_series()
    text = "\n".join(["a,b", *(f"{a!r},{b!r}" for a, b in y[:ROWS].tolist())])
    (tmp_path / "d.csv").write_text(text)
    settings = dict(TINY)
    task = {name: settings.pop(name) for name in ("window", "valid")} | {"horizon": "1,2", "test": 0.2}
    experiment = px.Experiment(
        task="series",
        rule="bptt",
        data=str(tmp_path / "d.csv"),
        task_options={"target": "a", "form": "level", **task},
        **settings,
    )
    result = px.run(experiment, tmp_path / "run")
    mine = px.Forecaster("bptt", horizon=2, target="y0", form="level", test=0.2, **TINY).fit(y[:ROWS])
    assert mine.result_.summary["test"] == result.summary["test"]
    assert mine.result_.summary["intervals"] == result.summary["intervals"]
    columns = dict(future(open_for_forecasts(tmp_path / "run", tmp_path / "d.csv"), (80.0,)))
    np.testing.assert_allclose(mine.predict()[:, 0], [float(v) for v in columns["forecast"]], rtol=1e-5)
    bounds = mine.predict_interval(coverage=0.8)
    assert bounds.shape == (2, 1, 1, 2)
    np.testing.assert_allclose(bounds[:, 0, 0, 0], [float(v) for v in columns["low_80"]], rtol=1e-5)
    np.testing.assert_allclose(bounds[:, 0, 0, 1], [float(v) for v in columns["high_80"]], rtol=1e-5)


def test_several_targets_and_a_column_known_ahead(fitted):
    y, x = two_series()
    made = fitted.predict(X=x[ROWS:])
    assert made.shape == (2, 2)
    assert np.isfinite(made).all()
    assert (np.abs(made - y[[ROWS, ROWS + 2]]) < 10).all()
    np.testing.assert_array_equal(fitted.predict(3, x[ROWS:]), made[1:])
    np.testing.assert_array_equal(fitted.predict([1, 3], x[ROWS:]), made)
    assert fitted.cutoff == ROWS - 1
    assert fitted.fh == (1, 3)
    bounds = fitted.predict_interval(X=x[ROWS:], coverage=[0.5, 0.9])
    assert bounds.shape == (2, 2, 2, 2)
    middle = bounds.mean(-1)  # (rows, targets, coverages)
    np.testing.assert_allclose(middle, np.stack([made, made], -1))
    widths = bounds[..., 1] - bounds[..., 0]
    assert (widths[..., 0] < widths[..., 1]).all()
    assert np.isinf(fitted.predict_interval(X=x[ROWS:], coverage=0.99)).all()  # of 27 residuals
    # What is known ahead matters, and what lies behind it does not.
    assert not np.allclose(fitted.predict(X=x[ROWS:] + 1), made)
    np.testing.assert_array_equal(fitted.predict(X=np.concatenate([x[ROWS:], [[9.0]]])), made)


def test_update_moves_the_present_on(fitted):
    y, x = two_series()
    moved = fitted.clone()
    moved._fitted = fitted._fitted
    moved.update(y[ROWS : ROWS + 2], x[ROWS : ROWS + 2], update_params=False)
    assert moved.cutoff == ROWS + 1
    assert not np.allclose(moved.predict(X=x[:3]), fitted.predict(X=x[:3]))
    assert fitted.cutoff == ROWS - 1
    with pytest.raises(ArgumentError, match="X must have the next 3 rows, not 2"):
        moved.predict(X=x[:2])
    with pytest.raises(ArgumentError, match="update needs X where fit had it"):
        moved.update(y[:2])
    with pytest.raises(ArgumentError, match="y must look like what was fitted: columns y0, y1"):
        moved.update(y[:2, :1], x[:2])


def test_settings_are_those_of_sktime_and_of_a_run(fitted):
    params = fitted.get_params()
    assert params["rule"] == "bptt"
    assert params["units"] == 5
    again = fitted.clone()
    assert again.get_params() == params
    assert not again.is_fitted
    assert fitted.is_fitted
    assert again.set_params(units=7, horizon=2).get_params() == {**params, "units": 7, "horizon": 2}
    assert repr(px.Forecaster(horizon=3, seed=1)) == (
        "Forecaster(rule='mirror', horizon=3, target=None, known=None, test=0.0, seed=1)"
    )
    resolved = fitted.result_.experiment
    assert (resolved.units, resolved.seed, resolved.task_options["form"]) == ((5,), 3, "difference")
    made = px.Forecaster("node:samples=2", rule__sigma=0.01, cell="gru", cell__gain=0.7)
    resolved = made._experiment(200)
    assert (resolved.rule_options["samples"], resolved.rule_options["sigma"]) == (2, 0.01)
    assert (resolved.cell, resolved.cell_options["gain"]) == ("gru", 0.7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "nod"}, "unknown rule 'nod'; did you mean 'node'"),
        ({"unit": 3}, "unknown setting 'unit'; did you mean 'units'"),
        ({"lr": -1.0}, "lr must be above 0"),
        ({"rule__sigm": 1}, "unknown rule setting 'sigm'; did you mean 'sigma'"),
        ({"form": "levels"}, "did you mean 'level'"),
        ({"horizon": 0}, "horizon must be rows ahead, whole numbers from 1"),
        ({"horizon": [1, 1]}, "each once"),
        ({"horizon": [1.5]}, "whole numbers"),
        ({"horizon": "1-x"}, "horizon must be"),
        ({"target": "z"}, "unknown target column 'z'"),
        ({"horizon": 90}, "rows are too few"),
    ],
)
def test_settings_that_cannot_be_used(settings, message):
    made = px.Forecaster(**{"rule": "node", **TINY, **settings})
    with pytest.raises(ArgumentError, match=message):
        made.fit(np.sin(np.arange(120.0)))
    assert not made.is_fitted


def test_data_that_cannot_be_used():
    made = px.Forecaster(**TINY)
    y = np.sin(np.arange(120.0))
    for wrong, message in (
        (["a", "b"], "y must hold numbers"),
        (3.0, r"y must be \(N,\) or \(N, columns\)"),
        ([], "with a row at least"),
        (np.where(np.arange(120) == 7, np.nan, y), "y, row 8, column y: nan is not a finite number"),
        (np.zeros((4, 2, 2)), r"not of shape \(4, 2, 2\)"),
    ):
        with pytest.raises(DataError, match=message):
            made.fit(wrong)
    with pytest.raises(DataError, match="X must have the rows of y: 5 and 120"):
        made.fit(y, y[:5])
    with pytest.raises(ArgumentError, match="known names columns of X, and there is no X"):
        made.clone().fit(y, known=True)
    for call in (made.predict, made.predict_interval, lambda: made.update(y), lambda: made.cutoff):
        with pytest.raises(ArgumentError, match="is not fitted: call fit"):
            call()


def test_calls_that_cannot_be_answered(fitted):
    _, x = two_series()
    with pytest.raises(ArgumentError, match="was fitted for 1,3 rows ahead, not 2"):
        fitted.predict(2, x[ROWS:])
    with pytest.raises(ArgumentError, match="predict needs X, the values ahead of X0"):
        fitted.predict()
    for share in (-0.1, 1, 80):
        with pytest.raises(ArgumentError, match="coverage must be 0 or more and below 1"):
            fitted.predict_interval(X=x[ROWS:], coverage=share)
