"""Encodings of series: bases and inputs against direct formulas, nothing ahead of time, what is stored."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.options import coerce, options
from perturbax.experiment.run_folder import read_arrays
from perturbax.tasks import Series, linear
from perturbax.tasks.base import split_in_order
from perturbax.tasks.calendar import calendar_features, calendar_names, dates_ahead, moved
from perturbax.tasks.combining import combine, likelihood_weights
from perturbax.tasks.encoding import Encoding
from perturbax.tasks.fitting import Candidate, fit_encoding, naive_encoding
from perturbax.tasks.forms import FORMS, NAIVE, READINGS, naive_forecast, parse_horizons, read_as
from perturbax.tasks.record import Record, Wanted
from perturbax.tasks.season import autocorrelation, candidates, find_season

OLD = Path(__file__).parents[1] / "experiment" / "data" / "compare" / "node-s0" / "weights"
HOURS = SimpleNamespace(count=1, unit="h")


def axis(n, unit="h", start="2021-01-01", count=1):
    """A time axis of n equal steps."""
    step = SimpleNamespace(count=count, unit=unit)
    return SimpleNamespace(values=moved(np.full(n, np.datetime64(start)), step, np.arange(n)), step=step)


def record_of(columns, time=None, segments=None, valid=0.2, test=0.2):
    n = len(next(iter(columns.values())))
    segments = segments or (("", 0, n),)
    parts = {"train": [], "valid": [], "test": []}
    for _, start, stop in segments:
        for part, (first, end) in split_in_order(stop - start, valid, test).items():
            parts[part].append((start + first, start + end))
    return Record("data", columns, time, segments, parts)


def wanted(**change):
    plain = {"inputs": ("a", "b"), "targets": ("a",), "horizons": (1,), "known": (), "calendar": ()}
    return Wanted(**{**plain, "form": "level", "season": 0, "lags": 0, "window": 10, **change})


def wave(n, season=12, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    return {
        "a": np.sin(2 * np.pi * t / season) + 0.01 * t + noise * rng.normal(size=n),
        "b": rng.normal(size=n),
        "c": (t % 7 == 0) * 1.0,
    }


# Forms


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 12), st.integers(0, 99))
def test_bases_are_their_formulas(horizon, season, border, seed):
    v = np.random.default_rng(seed).normal(size=30)
    first_rows = np.where(np.arange(30) < border, 0, border)
    k = next(k for k in range(season, 99, season) if k >= horizon)
    formulas = {
        "level": (0, lambda t: 0.0),
        "difference": (0, lambda t: v[t]),
        "seasonal": (k - horizon, lambda t: v[t + horizon - k]),
        "seasonal-difference": (k, lambda t: v[t] + v[t + horizon - k] - v[t - k]),
    }
    for form, (back, formula) in formulas.items():
        got = naive_forecast(form, v, first_rows, horizon, season)
        for t in range(30):
            want = formula(t) if t - back >= first_rows[t] else np.nan
            np.testing.assert_allclose(got[t], want, rtol=1e-12, err_msg=f"{form} {t}")
        plain = Encoding(("a",), np.zeros(1), np.ones(1), ("a",), np.zeros(1), np.ones(1), (horizon,), form)
        plain = Encoding(**{**vars(plain), "season": season})
        assert plain.history == back
        base = plain.base_of({"a": v}, segments=[("x", 0, border), ("y", border, 30)])
        np.testing.assert_array_equal(base[:, 0], got)


def test_changes_do_not_reach_into_another_series():
    x = np.arange(12.0).reshape(6, 2) ** 2
    got = read_as("differences", x, np.array([0, 0, 0, 3, 3, 3]))
    np.testing.assert_array_equal(got[[0, 3]], 0)
    np.testing.assert_array_equal(got[[1, 2, 4, 5]], x[[1, 2, 4, 5]] - x[[0, 1, 3, 4]])


@pytest.mark.parametrize(
    ("text", "want"),
    [(3, (3,)), ("3", (3,)), ("1-4", (1, 2, 3, 4)), ("1, 6,24", (1, 6, 24)), ("6,1-3", (1, 2, 3, 6))],
)
def test_horizons(text, want):
    assert parse_horizons(text) == want


@pytest.mark.parametrize("text", ["", "a", "0", "-1", "4-2", "1,,2", "1.5", "1-", True])
def test_horizons_that_are_none(text):
    with pytest.raises(ArgumentError, match="horizon must be a whole number of at least 1, or several"):
        parse_horizons(text)


def test_a_horizon_that_is_named_twice():
    with pytest.raises(ArgumentError, match="horizon names a number of rows twice: 1-3,2"):
        parse_horizons("1-3,2")


def test_a_typed_horizon_stays_a_number():
    kind = options(Series)["horizon"].kind
    assert [coerce("task.horizon", text, kind) for text in ("24", 24, "1-24", " 3 ")] == [24, 24, "1-24", 3]


# Encodings


def fitted(form, columns, time=None, segments=None, **change):
    record = record_of(columns, time, segments)
    return record, fit_encoding(record, wanted(form=form, **change)).encoding


@pytest.mark.parametrize("form", [*FORMS, "auto"])
def test_outputs_become_forecasts_and_back(form):
    columns = wave(200)
    record, encoding = fitted(form, columns, axis(200, "M"), targets=("a", "b"), horizons=(1, 3))
    assert encoding.outputs == (("a", 1), ("a", 3), ("b", 1), ("b", 3))
    truth = encoding.targets_of(columns)  # (N, n_out)
    base = encoding.base_of(columns)
    y = (truth - base - encoding.target_means) / encoding.target_stds
    rows = slice(encoding.history, 197)
    np.testing.assert_allclose(encoding.in_units(y, base)[rows], truth[rows], rtol=1e-10)
    np.testing.assert_array_equal(truth[:197, 1], columns["a"][3:])
    assert np.isnan(truth[-3:, 1]).all()
    assert np.isnan(base[: encoding.history]).any() == (encoding.history > encoding.reading.startswith("d"))
    train = record.rows("train", encoding.horizons, encoding.history)
    np.testing.assert_allclose(np.mean(y[train] ** 2, 0), 1, rtol=0.05)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from((*FORMS, "auto")),
    st.sampled_from([(1,), (2, 5)]),
    st.integers(70, 149),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_nothing_after_a_row_enters_its_input_or_base(form, horizons, now, seed, several):
    columns = wave(150, seed=seed % 5)
    segments = (("x", 0, 60), ("y", 60, 150)) if several else None
    change = {"horizons": horizons, "targets": ("a", "b"), "season": 4, "window": 5}
    _, encoding = fitted(form, columns, axis(150), segments, calendar=calendar_names(HOURS), **change)
    rng = np.random.default_rng(seed)
    other = {name: values.copy() for name, values in columns.items()}
    for values in other.values():
        values[now + 1 :] = rng.normal(size=149 - now) * 100
    for one, two in (
        (encoding.inputs_of(columns, axis(150), segments), encoding.inputs_of(other, axis(150), segments)),
        (encoding.base_of(columns, axis(150), segments), encoding.base_of(other, axis(150), segments)),
    ):
        np.testing.assert_array_equal(one[: now + 1], two[: now + 1])


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.floats(-1e3, 1e3))
def test_held_out_rows_change_no_scale_and_test_rows_change_nothing(seed, offset):
    columns, rng = wave(240), np.random.default_rng(seed)
    record = record_of(columns, axis(240, "M"))
    (_, end_train), (_, end_valid) = record.parts["train"][0], record.parts["valid"][0]
    changed = {}
    for first in (end_train, end_valid):
        other = {name: values.copy() for name, values in columns.items()}
        for values in other.values():
            values[first:] = offset + rng.normal(size=240 - first)
        changed[first] = record_of(other, axis(240, "M"))
    for form in NAIVE:
        for reading in READINGS:
            one, two = (naive_encoding(r, wanted(), form, reading, 12) for r in (record, changed[end_train]))
            assert one.fingerprint() == two.fingerprint()
    for form in ("auto", "linear", "seasonal"):
        one, two = (fit_encoding(r, wanted(form=form)) for r in (record, changed[end_valid]))
        assert one.encoding.fingerprint() == two.encoding.fingerprint()
        assert (one.combination is None) == (form != "auto")
        if one.combination and two.combination:
            assert one.combination.errors == two.combination.errors
    season = [find_season(r.training_rows(r.columns["a"]), r.time.step) for r in (record, changed[end_train])]
    assert season == [12, 12]


def test_coefficients_come_from_training_rows(monkeypatch):
    seen = []
    fit_all = linear.fit_all
    monkeypatch.setattr(linear, "fit_all", lambda *args: seen.append(fit_all(*args)) or seen[-1])
    columns = wave(240)
    for first in (240, 144):
        columns["a"] = columns["a"].copy()
        columns["a"][first:] += 50
        fit_encoding(record_of(columns), wanted(form="linear", season=12))
    half = len(seen) // 2
    for one, two in zip(seen[:half], seen[half:], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("form", [*FORMS, "auto"])
def test_what_is_stored_is_read_back(form, tmp_path):
    columns, time = wave(200), axis(200)
    change = {"targets": ("a", "b"), "horizons": (1, 2), "known": ("c",), "calendar": calendar_names(HOURS)}
    _, encoding = fitted(form, columns, time, season=6, **change)
    arrays: Any = encoding.to_arrays()
    np.savez(tmp_path / "weights.npz", **arrays)
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as file:
        again = Encoding.from_arrays(dict(file))
    assert again.fingerprint() == encoding.fingerprint()
    np.testing.assert_array_equal(again.inputs_of(columns, time), encoding.inputs_of(columns, time))
    np.testing.assert_array_equal(again.base_of(columns, time), encoding.base_of(columns, time))
    assert encoding.inputs_of(columns, time).shape == (200, encoding.n_in)
    broken = encoding.to_arrays() | {"stds": np.ones(1)}
    with pytest.raises(DataError, match="the scaling that is stored beside the weights is damaged: stds has"):
        Encoding.from_arrays(broken)


def test_scaling_of_version_0_1_0_is_level():
    stored = {k.removeprefix("scaling."): v for k, v in read_arrays(OLD).items() if k.startswith("scaling.")}
    old = Encoding.from_arrays(stored, (3,))
    assert (old.form, old.reading, old.horizons, old.history, old.n_out) == ("level", "levels", (3,), 0, 1)
    assert old.targets == ("temperature",)
    columns = {name: np.array([1.0, 2.0]) for name in old.inputs}
    want = (np.array([[1.0], [2.0]]) - stored["means"]) / stored["stds"]
    np.testing.assert_array_equal(old.inputs_of(columns), want)
    y = np.array([[0.5], [1.0]])
    np.testing.assert_array_equal(old.in_units(y), y * stored["target_std"] + stored["target_mean"])


def test_what_is_known_is_read_ahead():
    columns, time = wave(100), axis(100)
    change = {"known": ("c",), "horizons": (2, 5), "inputs": ("a",)}
    _, encoding = fitted("level", columns, time, **change)
    x = encoding.inputs_of(columns, time)
    known = x[:, 1:] * encoding.stds[1:] + encoding.means[1:]
    np.testing.assert_allclose(known[:98, 0], columns["c"][2:], atol=1e-12)
    np.testing.assert_allclose(known[:95, 1], columns["c"][5:], atol=1e-12)
    assert np.isnan(known[95:, 1]).all()
    ahead = columns | {"c": np.concatenate([columns["c"], [7.0] * 5])}  # known behind the last row
    x = encoding.inputs_of(ahead, time)
    np.testing.assert_allclose(x[-1, 1:] * encoding.stds[1:] + encoding.means[1:], 7)


# The choice


def test_auto_gives_the_weight_to_what_the_series_asks_for():
    rng = np.random.default_rng(1)
    n, t = 400, np.arange(400)
    walk, pattern = np.cumsum(rng.normal(size=n)), 3 * rng.normal(size=12)
    b = rng.normal(size=n)
    found = {
        "walk": fit_encoding(record_of({"a": walk, "b": b}), wanted(form="auto")),
        "seasonal": fit_encoding(
            record_of({"a": np.tile(pattern, 34)[:n] + 1e-3 * walk, "b": b}), wanted(form="auto", season=12)
        ),
        "noise": fit_encoding(record_of({"a": b, "b": walk}), wanted(form="auto")),
    }
    shares = {}
    for name, fit in found.items():
        assert fit.encoding.form == "combined"
        assert fit.linear is not None
        assert fit.combination is not None
        assert fit.combination.errors["linear"] > 0
        np.testing.assert_allclose(sum(fit.combination.shares.values()), 1, rtol=1e-9)
        shares[name] = fit.combination.shares
    assert set(shares["walk"]) == {"difference", "linear"}
    assert "difference" not in shares["noise"]
    assert not {"level", "difference"} & set(shares["seasonal"])
    oscillation = np.sin(t / 5) + np.sin(t / 3)  # a linear recursion, of no whole period
    exact = fit_encoding(record_of({"a": oscillation, "b": b}), wanted(form="auto"))
    assert exact.combination is not None
    assert list(exact.combination.shares) == ["linear"]
    assert exact.combination.errors["linear"] < 1e-6


def test_weights_are_likelihoods_by_hand():
    errors = np.array([[1.0, 4.0], [2.0, 1.0], [1.0, 2.0]])  # two naive forecasts, a fitted one; two outputs
    got = likelihood_weights(errors, np.array([4.0, 2.0]), [True, True, False])
    unscaled = np.array([[0.25 * 1, 0.25 / 4], [0.25 / 4, 0.25 * 1], [0.5 * 1, 0.5 / 2]])
    np.testing.assert_allclose(got, unscaled / unscaled.sum(0), rtol=1e-12)
    only = likelihood_weights(errors[:2], np.array([4.0, 2.0]), [True, True])
    np.testing.assert_allclose(only[:, 0], [4 / 5, 1 / 5], rtol=1e-12)
    exact = likelihood_weights(np.array([[0.0], [1.0]]), np.array([50.0]), [False, False])
    np.testing.assert_allclose(exact[:, 0], [1, 0], atol=1e-12)


def test_the_mean_is_that_of_its_members():
    columns = {name: 5 + values for name, values in wave(200).items()}
    record, encoding = fitted("auto", columns, axis(200, "M"), targets=("a", "b"), horizons=(1, 3), season=12)
    assert {bool(member.rooted) for member in encoding.members} == {False, True}
    np.testing.assert_allclose(sum(member.weights for member in encoding.members), np.ones(4), rtol=1e-9)
    now = 150
    total = np.zeros(4)
    for member in encoding.members:
        read = {name: np.sqrt(v) if name in member.rooted else v for name, v in columns.items()}
        made = member.encoding.base_of(read)[now] + member.encoding.target_means  # those of levels alone
        total += member.weights * (made**2 if member.rooted else made)
    np.testing.assert_allclose(encoding.base_of(columns)[now], total, rtol=1e-12)
    assert encoding.history == max(member.encoding.history for member in encoding.members)


def test_roots_are_fitted_where_spreads_grow_with_the_level():
    rng = np.random.default_rng(0)
    root = 5 + 3 * np.sin(np.arange(400) / 5) + np.cumsum(0.02 * rng.normal(size=400)) + rng.normal(size=400)
    counts = np.maximum(root, 0) ** 2
    found = fit_encoding(record_of({"a": counts, "b": rng.normal(size=400)}), wanted(form="auto"))
    assert found.combination is not None
    assert found.combination.shares["linear of roots"] > 0.5
    rooted = {name for member in found.encoding.members for name in member.rooted}
    assert rooted == {"a"}
    negative = fit_encoding(record_of({"a": counts - 10, "b": counts}), wanted(form="auto"))
    assert negative.combination is not None
    assert "linear of roots" not in negative.combination.errors
    assert np.isfinite(found.encoding.base_of({"a": -counts, "b": counts})[50:]).all()  # below what was seen


def test_a_candidate_that_is_far_off_has_no_part():
    record = record_of(wave(200))
    good, bad = (naive_encoding(record, wanted(), form, "levels", 12) for form in ("seasonal", "level"))
    bad = Encoding(**{**vars(bad), "target_means": bad.target_means + 100})
    found = combine(record, [Candidate("seasonal", good), Candidate("level", bad)])
    assert [member.encoding.form for member in found.members] == ["seasonal"]
    np.testing.assert_array_equal(found.members[0].weights, 1)
    assert found.errors["level"] > found.errors["seasonal"]


def test_a_seasonal_form_needs_a_season():
    columns = {"a": np.cumsum(np.random.default_rng(0).normal(size=200)), "b": np.zeros(200)}
    with pytest.raises(ArgumentError, match="form seasonal needs a season, and none is found: name it"):
        fit_encoding(record_of(columns), wanted(form="seasonal"))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 99), st.integers(5, 60))
def test_fits_of_many_ridges_are_least_squares(n_lagged, lag, seed, chunk):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(70, n_lagged + 1)) + 3, rng.normal(size=(70, 2))
    lags, rows = (lag,) * n_lagged, np.arange(lag - 1, 70)
    read = linear.features(x, n_lagged, rows, lags)
    np.testing.assert_array_equal(read[4, 0:lag], x[rows[4] - np.arange(lag), 0])
    np.testing.assert_array_equal(read[4, -2:], [x[rows[4], -1], 1])
    before, linear.CHUNK = linear.CHUNK, chunk
    try:
        fits = linear.fit_all(x, n_lagged, y[rows], rows, lags)
        forecast = linear.forecast(x, n_lagged, rows, lags, fits[0])
    finally:
        linear.CHUNK = before
    spread = np.append(read[:, :-1].var(0), 0.0)
    for ridge, got in zip(linear.MORE_RIDGES, fits, strict=True):
        penalty = ridge * len(rows) * np.diag(spread)
        exact = np.linalg.solve(read.T @ read + penalty, read.T @ y[rows])
        np.testing.assert_allclose(got, exact, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(forecast, read @ fits[0], rtol=1e-12)


# Seasons and calendars


@pytest.mark.parametrize(
    ("unit", "count", "want"),
    [
        ("h", 1, (24, 168, 8766)),
        ("min", 30, (48, 336, 17532)),
        ("h", 6, (4, 28, 1461)),
        ("D", 1, (7, 365)),
        ("B", 1, (5, 261)),
        ("W", 1, (52,)),
        ("M", 1, (12,)),
        ("Q", 1, (4,)),
        ("Y", 1, ()),
    ],
)
def test_seasons_of_the_calendar(unit, count, want):
    assert candidates(SimpleNamespace(count=count, unit=unit)) == want


def test_seasons_are_found():
    rng, t = np.random.default_rng(0), np.arange(2000)
    day = np.sin(2 * np.pi * t / 24)
    week = np.where(t // 24 % 7 < 5, 1.0, 0.2) * day
    year = 8 * np.sin(2 * np.pi * t / 365.25) + 2 * rng.normal(size=2000)
    noise = rng.normal(size=2000)
    days = SimpleNamespace(count=1, unit="D")
    assert find_season([day + 0.1 * noise + 0.01 * t], HOURS) == 24
    assert find_season([week + 0.02 * noise], HOURS) == 168
    assert find_season([year], days) == 365
    assert find_season([np.cumsum(noise)], HOURS) == 1
    assert find_season([noise], None) == 1
    assert find_season([np.sin(2 * np.pi * t / 11) + 0.1 * noise], None) == 11
    assert find_season([np.ones(50)], HOURS) == 1
    assert find_season([0.3 * t], None) == 1
    assert find_season([t[:3]], HOURS) == 1
    assert find_season([day[:300], day[700:1000]], HOURS) == 24


def test_autocorrelation_is_its_formula():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=40), rng.normal(size=25) + 1]
    mean = np.concatenate(parts).mean()
    want = []
    for lag in range(6):
        pairs = [(part[lag:] - mean) * (part[: len(part) - lag] - mean) for part in parts]
        want.append(np.concatenate(pairs).mean())
    np.testing.assert_allclose(autocorrelation(parts, 5), np.array(want) / want[0], rtol=1e-10)


def test_calendar_features_are_phases_of_the_row_ahead():
    time = axis(60, "h", "2021-03-05T22:00")
    names = calendar_names(HOURS)
    assert names[:4] == ("sin hour", "cos hour", "sin weekday", "cos weekday")
    got = calendar_features(names, time, 3, np.zeros(60, int), np.full(60, 60))
    dates = np.datetime64("2021-03-05T22:00") + (np.arange(60) + 3) * np.timedelta64(1, "h")
    hour = dates.astype("datetime64[h]").astype(int) % 24 / 24
    weekday = np.array([d.astype("datetime64[D]").item().weekday() for d in dates]) / 7
    month = dates.astype("datetime64[M]").astype(int) % 12 / 12
    for phase, name in ((hour, "hour"), (weekday, "weekday"), (month, "month")):
        np.testing.assert_allclose(got[:, names.index(f"sin {name}")], np.sin(2 * np.pi * phase), atol=1e-12)
        np.testing.assert_allclose(got[:, names.index(f"cos {name}")], np.cos(2 * np.pi * phase), atol=1e-12)
    assert calendar_names(SimpleNamespace(count=1, unit="Q")) == ("sin month", "cos month")
    with pytest.raises(ArgumentError, match="yearly dates have no hour"):
        calendar_names(SimpleNamespace(count=1, unit="Y"))
    with pytest.raises(DataError, match="the data need a column of dates"):
        calendar_features(names, None, 1, np.zeros(2, int), np.full(2, 2))


@pytest.mark.parametrize(
    ("unit", "count", "start", "steps", "want"),
    [
        ("M", 1, "2021-01-31", 1, "2021-02-28"),
        ("M", 1, "2020-11-15", 3, "2021-02-15"),
        ("Q", 1, "2020-12-31", 1, "2021-03-31"),
        ("Y", 1, "2020-02-29", 1, "2021-02-28"),
        ("B", 1, "2021-03-05", 1, "2021-03-08"),
        ("W", 2, "2021-03-05", 1, "2021-03-19"),
        ("min", 15, "2021-03-05T23:50", 1, "2021-03-06T00:05"),
    ],
)
def test_dates_move_by_steps(unit, count, start, steps, want):
    got = moved(np.array([np.datetime64(start)]), SimpleNamespace(count=count, unit=unit), np.array([steps]))
    assert got[0] == np.datetime64(want, "s")


def test_last_days_of_months_stay_last():
    ends = np.array(["2021-01-31", "2021-02-28"], "datetime64[D]")
    got = moved(ends, SimpleNamespace(count=1, unit="M"), np.array([1, 1]))
    np.testing.assert_array_equal(got, np.array(["2021-02-28", "2021-03-31"], "datetime64[s]"))


def test_dates_go_on_behind_each_series():
    step = SimpleNamespace(count=1, unit="D")
    dates = np.array(["2021-01-01", "2021-01-02", "2020-06-01", "2020-06-02"], "datetime64[D]")
    got = dates_ahead(dates, step, 1, np.array([0, 0, 2, 2]), np.array([2, 2, 4, 4]))
    want = np.array(["2021-01-02", "2021-01-03", "2020-06-02", "2020-06-03"], "datetime64[s]")
    np.testing.assert_array_equal(got, want)
    with pytest.raises(DataError, match="do not go on in equal steps"):
        dates_ahead(dates, None, 1, np.array([0, 0, 2, 2]), np.array([2, 2, 4, 4]))
