"""Tasks: exact data, no look into held-out rows, baselines with known values, and messages."""

import dataclasses
import inspect
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.forecasting import Model, inputs_of
from perturbax.experiment.predict import history_of
from perturbax.papers import CITATIONS
from perturbax.tasks import TASKS, Copy, Lag1, Lag3, MackeyGlass, Series, Weather, fromfile, linear
from perturbax.tasks.base import Task
from perturbax.tasks.encoding import Encoding
from perturbax.tasks.files.csv_table import read_table
from perturbax.tasks.probes import Probe

NAMES = [
    "mackey-glass",
    "copy",
    "weather",
    "series",
    "probe-bias",
    "probe-now",
    "probe-lag1",
    "probe-lag3",
    "probe-context",
]
WTH = Path(os.environ.get("PERTURBAX_WEATHER", Path(__file__).parents[3] / "shared" / "data" / "WTH.csv"))
needs_weather = pytest.mark.skipif(not WTH.is_file(), reason=f"no weather data at {WTH} (PERTURBAX_WEATHER)")
ROUNDED = [
    "narma",
    "lorenz",
    "adding",
    "delayed-xor",
    "flip-flop",
    "evidence",
    "pattern",
]  # once less when compiled
GENERATED = [name for name in NAMES if name not in ("weather", "series")]
KINDS = [
    "mackey-glass",
    "copy",
    "probe-bias",
    "probe-lag1",
]  # probes differ in their answers, which are below


def table(tmp_path, columns, name="data.csv"):
    """Write columns of anything to a file."""
    path = tmp_path / name
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def walk(tmp_path):
    """300 rows of a date, two columns that are read off the row number, and a constant."""
    t = np.arange(300)
    return table(tmp_path, {"date": [f"day {i}" for i in t], "T": t, "S": 5 - 2 * t, "C": [0.1] * 300})


def opened(path, **kw):
    plain = {"target": "T", "form": "level", "window": 10, "warmup": 20, "lags": 4, "horizon": 3}
    return Series(**{**plain, **kw}).open(path)


def own(values, scaling, column):
    """Standardised inputs of one column back in own units."""
    i = list(scaling["inputs"]).index(column)
    return np.asarray(values, np.float64)[..., i] * scaling["stds"][i] + scaling["means"][i]


def one_line(raised):
    text = str(raised.value)
    assert "\n" not in text
    return text


# Every task


def test_names():
    assert set(NAMES) <= set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_describe_themselves(name):
    cls = TASKS[name]
    assert cls.summary
    assert "\n" not in cls.summary
    assert set(cls.papers) <= set(CITATIONS)
    documented = "\n".join(
        inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__ if issubclass(base, Task)
    )
    for field in dataclasses.fields(cls):
        assert field.metadata.get("static") or field.metadata.get("data"), field.name
        assert f"\n    {field.name}: " in documented, field.name
    bases = [base for base in cls.__mro__[1:] if issubclass(base, Task)]
    assert all(base.__abstractmethods__ or base.__abstractvars__ for base in bases)


@pytest.mark.parametrize(
    "name", [name for name in TASKS if name not in ("neurogym", "bandit", "cart-pole", "gym")]
)  # sizes known without its package; no world, whose outputs are no answers
def test_the_loss_is_in_what_it_says(name):
    task = TASKS[name]()
    y = jnp.array([0.3, -0.2, 0.9, 0.1])
    target = jnp.array([0.0, 0.0, 1.0, 0.0])
    errors = {"nats": -jax.nn.log_softmax(y)[2], "MSE": jnp.mean((y - target) ** 2)}
    said = {"NMSE": "MSE"}.get(task.loss_in, task.loss_in)
    assert task.error(y, target) == pytest.approx(float(errors[said]), abs=1e-6)


@pytest.mark.parametrize("name", KINDS + ROUNDED)
def test_shapes_tracing_and_keys(name):
    task, key = TASKS[name]().open(None), jr.key(0)
    pairs = [
        (task.sample(key, 3), jax.jit(lambda task, key: task.sample(key, 3))(task, key)),
        (task.stream(key, 7, 3), jax.jit(lambda task, i: task.stream(key, i, 3))(task, 7)),
    ]
    for plain, traced in pairs:
        for n, one, other in zip(task.sizes, plain, traced, strict=True):
            assert one.shape == (task.steps, 3, n)
            tolerance = 1e-6 if name in ROUNDED else 0
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=0.1 * tolerance)
    again, other = task.sample(jr.key(0), 3), task.sample(jr.key(1), 3)
    np.testing.assert_array_equal(again[0], pairs[0][0][0])
    assert np.array_equal(other[0], again[0]) == (name in ("pattern", "probe-bias"))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", GENERATED + ROUNDED)
def test_precision_is_that_of_jax(name, double):
    with jax.enable_x64(double):
        task = TASKS[name]().open(None)
        got = jax.eval_shape(lambda task: (task.sample(jr.key(0), 2), task.stream(jr.key(0), 1, 2)), task)
        assert {a.dtype for a in jax.tree.leaves(got)} == {jnp.result_type(float)}


@pytest.mark.parametrize("name", KINDS)
def test_held_out_parts_differ_and_stay(name):
    task = TASKS[name]().open(None)
    valid, test, again = (task.held_out(part) for part in ("valid", "test", "test"))
    np.testing.assert_array_equal(test.xs, again.xs)
    np.testing.assert_array_equal(test.ys, again.ys)
    assert name == "probe-bias" or not np.array_equal(valid.xs, test.xs)

    @jax.jit
    def judged(task, ys):
        shifted = task.metrics(ys + 2, ys)["loss"]
        return task.metrics(ys, ys)["loss"], shifted, jnp.mean(jax.vmap(task.loss)(ys + 2, ys))

    exact, shifted, trained = judged(task, test.ys)
    assert exact == 0
    np.testing.assert_allclose(shifted, 4, rtol=1e-5)
    np.testing.assert_allclose(shifted, trained, rtol=1e-5)


@pytest.mark.parametrize("name", GENERATED)
def test_generated_tasks_take_no_file(name, walk):
    with pytest.raises(ArgumentError, match="generates its data: it takes no --data"):
        TASKS[name]().open(walk)


@pytest.mark.parametrize(
    ("cls", "kw", "expected"),
    [
        (Weather, {"horizon": 0}, "horizon must be a whole number of at least 1, not 0"),
        (Weather, {"horizon": -3}, "horizon must be a whole number of at least 1, not -3"),
        (Series, {"window": -1}, "window must be a whole number of at least 0, not -1"),
        (Series, {"warmup": -1}, "warmup must be a whole number of at least 0, not -1"),
        (Weather, {"lags": -1}, "lags must be a whole number of at least 0, not -1"),
        (Series, {"gaps": "holds"}, "unknown gaps 'holds'; did you mean 'hold'?"),
        (Series, {"inputs": "a, b,a"}, "inputs names the column 'a' twice"),
        (MackeyGlass, {"direction": "back"}, "unknown direction 'back'; choose from forecast, recall"),
        (MackeyGlass, {"tau": 0}, "tau must be a whole number of at least 1, not 0"),
        (MackeyGlass, {"length": 0}, "length must be a whole number of at least 1, not 0"),
        (MackeyGlass, {"series_seed": -1}, "series_seed must be a whole number of at least 0, not -1"),
        (Copy, {"length": 0}, "length must be a whole number of at least 1, not 0"),
        (Copy, {"delay": -1}, "delay must be a whole number of at least 0, not -1"),
        (Copy, {"symbols": 1}, "symbols must be a whole number of at least 2, not 1"),
        (Lag3, {"length": 3}, "length must be a whole number of at least 4, not 3"),
    ],
)
def test_settings_that_mean_nothing(cls, kw, expected):
    with pytest.raises(ArgumentError) as raised:
        cls(**kw)
    assert one_line(raised) == expected
    assert raised.value.exit_code == 2


def test_a_file_is_read_once_until_it_changes(walk, monkeypatch):
    reads = []
    monkeypatch.setattr(fromfile, "read_table", lambda path: reads.append(path) or read_table(path))
    first, again = opened(walk), opened(walk)
    assert len(reads) == 1
    assert again.digest() == first.digest()
    assert opened(walk, horizon=2).horizon == 2  # other settings, other task
    walk.write_text(walk.read_text().replace(",150", ",151"))  # as long as before
    assert opened(walk).digest() != first.digest()
    walk.unlink()
    with pytest.raises(ArgumentError, match="no such file"):
        opened(walk)


@pytest.mark.parametrize(
    ("valid", "test"), [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (-0.1, 0.5), (float("nan"), 0.1)]
)
def test_fractions(valid, test):
    with pytest.raises(ArgumentError) as raised:
        Series(valid=valid, test=test)
    expected = (
        f"valid and test are fractions of the rows, above 0 and together below 1; not {valid} and {test}"
    )
    assert one_line(raised) == expected


# Series


@pytest.mark.parametrize("horizon", [1, 3])
def test_targets_lie_ahead_and_inside_their_part(walk, horizon):
    task = opened(walk, horizon=horizon)
    scaling = task.scaling()
    assert task.sizes == (3, 1)
    assert task.unit == "T"
    parts = {"train": (0, 210), "valid": (210, 255), "test": (255, 300)}
    for part, (first, end) in parts.items():
        assert task.bounds(part) == (first, end - horizon)
    batches = [task.sample(jr.key(0), 400), *(task.stream(jr.key(0), i, 3) for i in range(30))]
    rows = [np.rint(own(xs, scaling, "T")) for xs, _ in batches]
    for row, (_, ys) in zip(rows, batches, strict=True):
        np.testing.assert_allclose(np.asarray(task.in_units(ys))[..., 0], row + horizon, atol=1e-3)
    for seen in (rows[0], np.concatenate(rows[1:])):
        assert set(seen.ravel()) == set(range(210 - horizon))
    np.testing.assert_array_equal(rows[0], rows[0][:1] + np.arange(10)[:, None])
    for part in ("valid", "test"):
        held, (first, end) = task.held_out(part), parts[part]
        row = own(held.xs, scaling, "T")[:, 0]
        np.testing.assert_allclose(row, np.arange(first - 20, end - horizon), atol=1e-3)
        np.testing.assert_allclose(np.asarray(task.in_units(held.ys))[:, 0, 0], row + horizon, atol=1e-3)
        assert held.warmup == 20


def test_streams_go_on_where_they_were_and_wrap_around(walk):
    task = opened(walk)
    pieces = [np.rint(own(task.stream(jr.key(i), i, 3)[0], task.scaling(), "T")) for i in range(50)]
    streams = np.concatenate(pieces)
    np.testing.assert_array_equal(streams, (np.array([[0, 69, 138]]) + np.arange(500)[:, None]) % 207)
    late = np.rint(own(task.stream(jr.key(0), 10**9, 1)[0], task.scaling(), "T"))[:, 0]
    np.testing.assert_array_equal(late, (10**10 + np.arange(10)) % 207)


def test_scaling_is_of_the_training_part(walk):
    scaling = opened(walk, inputs="S, C").scaling()
    t = np.arange(210)
    assert list(scaling["inputs"]) == ["S", "C"]
    np.testing.assert_allclose(scaling["means"], [(5 - 2 * t).mean(), 0.1], rtol=1e-14)
    np.testing.assert_array_equal(scaling["stds"], [np.std(5 - 2 * t), 1])
    assert (str(scaling["target"]), scaling["target_mean"], scaling["target_std"]) == (
        "T",
        t.mean(),
        np.std(t),
    )


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6))
def test_held_out_rows_touch_nothing_that_is_learnt(tmp_path_factory, seed, offset):
    folder = tmp_path_factory.mktemp("leak")
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 200))
    task = opened(table(folder, {"T": a, "S": b}, "one.csv"))
    first = task.bounds("valid")[0]
    a[first:], b[first:] = offset + rng.normal(size=(2, 200 - first))
    other = opened(table(folder, {"T": a, "S": b}, "other.csv"))
    for key in task.scaling():
        np.testing.assert_array_equal(task.scaling()[key], other.scaling()[key])
    for one, two in [(t.sample(jr.key(1), 64), o.sample(jr.key(1), 64)) for t, o in [(task, other)]] + [
        (task.stream(jr.key(1), i, 2), other.stream(jr.key(1), i, 2)) for i in range(9)
    ]:
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(task.held_out("test").xs, other.held_out("test").xs)
    np.testing.assert_array_equal(task.seen().ys, other.seen().ys)  # training rows, before and while judged
    assert task.seen().xs.shape == task.held_out("test").xs.shape
    learnt = [
        linear.fit(
            np.asarray(t.rows.x, float),
            np.asarray(t.rows.y[:, 0], float),
            np.arange(3, t.bounds("train")[1]),
            0,
            4,
        )
        for t in (task, other)
    ]
    np.testing.assert_array_equal(learnt[0], learnt[1])


def test_training_rows_are_judged_however_few(walk):
    task = opened(walk, warmup=1000)
    seen, (first, end) = task.seen(), task.bounds("test")
    assert len(seen.xs) - seen.warmup == end - first
    assert len(seen.xs) == task.bounds("train")[1]  # all that is there
    few = opened(walk, warmup=3, valid=0.4, test=0.5).seen()
    assert few.warmup == 0
    assert len(few.xs) == np.subtract(*opened(walk, valid=0.4, test=0.5).bounds("train")[::-1])


def test_test_rows_do_not_choose_the_linear_model(tmp_path, monkeypatch):
    seen = []
    predict = linear.predict
    monkeypatch.setattr(linear, "predict", lambda *args: seen.append(args[2]) or predict(*args))
    rng = np.random.default_rng(0)
    a = rng.normal(size=200)
    chosen = []
    for scale in (1, 50):
        a[170:] *= scale
        opened(table(tmp_path, {"T": a})).baselines()
        chosen.append(seen[-1])
    np.testing.assert_array_equal(*chosen)


def test_metrics_in_own_units(walk):
    task = opened(walk)
    target = task.held_out("test").ys
    got = task.metrics(target + 0.5, target)
    std = np.std(np.arange(210))
    assert list(got) == ["loss", "mse", "mse_scaled"]
    np.testing.assert_allclose(
        [got["loss"], got["mse_scaled"], got["mse"]], [0.25, 0.25, 0.25 * std**2], rtol=1e-5
    )


def test_baselines_of_a_ramp(walk):
    task = opened(walk)
    got = task.baselines()
    t = np.arange(258, 300)
    assert list(got) == ["mean", "persistence", "linear"]
    np.testing.assert_allclose(got["mean"]["mse"], np.mean((t - 104.5) ** 2), rtol=1e-5)
    np.testing.assert_allclose(got["persistence"]["mse"], 9, rtol=1e-4)
    assert got["linear"]["mse"] < 1e-8


def test_baselines_score_the_rows_of_the_test_part(tmp_path):
    rng = np.random.default_rng(0)
    task = opened(table(tmp_path, {"T": rng.normal(size=200), "S": rng.normal(size=200)}))
    test = task.held_out("test")
    xs, ys = test.xs[test.warmup :], test.ys[test.warmup :]
    got = task.baselines()
    np.testing.assert_allclose(got["persistence"]["loss"], task.metrics(xs[..., :1], ys)["loss"], rtol=1e-5)
    np.testing.assert_allclose(got["mean"]["loss"], task.metrics(jnp.zeros_like(ys), ys)["loss"], rtol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 99), st.integers(5, 60))
def test_linear_fit_is_least_squares(n_in, lags, seed, chunk):
    rng = np.random.default_rng(seed)
    x, y, rows = rng.normal(size=(60, n_in)), rng.normal(size=62), np.arange(lags - 1, 60)
    features = linear.lagged(x, rows, lags)
    np.testing.assert_array_equal(features[5, (lags - 1) * n_in : -1], x[5])
    before, linear.CHUNK = linear.CHUNK, chunk
    try:
        fits = linear.fit(x, y, rows, 2, lags)
        forecast = linear.predict(x, rows, fits[0], lags)
    finally:
        linear.CHUNK = before
    for ridge, got in zip(linear.RIDGES, fits, strict=True):
        penalty = ridge * len(rows) * np.diag([*[1.0] * (lags * n_in), 0.0])
        exact = np.linalg.solve(features.T @ features + penalty, features.T @ y[rows + 2])
        np.testing.assert_allclose(got, exact, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(forecast, features @ fits[0], rtol=1e-12, atol=1e-12)


def test_forecasting_a_new_file_needs_inputs_and_scaling_only(walk, tmp_path):
    task = opened(walk, inputs="S,C")
    np.savez(tmp_path / "scaling.npz", **task.scaling())
    with np.load(tmp_path / "scaling.npz", allow_pickle=False) as file:
        model = Model(None, Encoding.from_arrays(dict(file)), None, None, 0)
    read = history_of(read_table(walk), model, "refuse")
    np.testing.assert_array_equal(inputs_of(model, read).astype(np.float32), task.rows.x)
    np.testing.assert_array_equal(read.columns["T"], np.arange(300))
    forecast = model.encoding.in_units(np.asarray(task.rows.y, np.float64))
    np.testing.assert_allclose(forecast[:-3, 0], np.arange(3, 300), atol=1e-4)
    bare = table(tmp_path, {"C": [1, 2], "S": [3, 4]}, "bare.csv")
    read = history_of(read_table(bare), model, "refuse")
    np.testing.assert_allclose(own(inputs_of(model, read), task.scaling(), "S"), [3, 4], rtol=1e-4)
    assert set(read.columns) == {"S", "C"}


def test_a_new_file_without_the_columns(walk, tmp_path):
    model = Model(None, opened(walk, inputs="S,C").encoding, None, None, 0)

    def columns(path, gaps="refuse"):
        return history_of(read_table(path), model, gaps).columns

    path = table(tmp_path, {"T": [1, 2], "S": [3, 4]}, "new.csv")
    with pytest.raises(DataError) as raised:
        columns(path)
    assert one_line(raised) == f"{path} has no column 'C', which the model reads"
    path = table(tmp_path, {"S": ["x", "y"], "C": [3, 4]}, "new.csv")
    with pytest.raises(DataError, match="line 2, column S: 'x' is not a number"):
        columns(path)
    path = table(tmp_path, {"S": [1, ""], "C": [3, 4], "T": ["", 1]}, "new.csv")
    with pytest.raises(DataError, match="line 3, column S: the cell is empty"):
        columns(path)
    held = columns(path, "hold")
    assert held["S"][0] == held["S"][1]
    assert "T" not in held


def test_gaps_are_held(tmp_path):
    path = table(tmp_path, {"T": [i if i % 7 else ("" if i else 0) for i in range(200)]})
    with pytest.raises(DataError, match=r"line 9, column T: the cell is empty \(--task.gaps hold"):
        opened(path)
    held = own(opened(path, gaps="hold").rows.x, opened(path, gaps="hold").scaling(), "T")
    np.testing.assert_allclose(held, [i if i % 7 else max(i - 1, 0) for i in range(200)], atol=1e-4)


@pytest.mark.parametrize(
    ("kw", "expected"),
    [
        ({"target": ""}, "task series needs --task.target COLUMN; {path} has T, S, C"),
        ({"target": "t"}, "unknown column 't'; choose from date, T, S, C"),
        ({"target": "dat"}, "unknown column 'dat'; did you mean 'date'?"),
        ({"inputs": "S,TT"}, "unknown column 'TT'; did you mean 'T'?"),
        ({"inputs": "T,date"}, "{path}: column 'date' holds text ('day 0'), not numbers"),
        (
            {"horizon": 45},
            "{path}: 300 rows are too few: 45 of them are the valid part, which needs 46 "
            "(window 10, lags 4, horizon 45)",
        ),
        (
            {"window": 208},
            "{path}: 300 rows are too few: 210 of them are the train part, which needs 211 "
            "(window 208, lags 4, horizon 3)",
        ),
        (
            {"lags": 208},
            "{path}: 300 rows are too few: 210 of them are the train part, which needs 211 "
            "(window 10, lags 208, horizon 3)",
        ),
    ],
)
def test_wrong_columns_and_short_files(walk, kw, expected):
    with pytest.raises(ArgumentError) as raised:
        opened(walk, **kw)
    assert one_line(raised) == expected.format(path=walk)


def test_longest_window_and_horizon_that_fit(walk):
    task = opened(walk, window=207, lags=207, inputs="T")
    assert np.isfinite(task.sample(jr.key(0), 2)[0]).all()
    assert np.isfinite(task.baselines()["linear"]["mse"])
    assert opened(walk, horizon=44).held_out("test").xs.shape[0] == 21


def test_text_columns_are_left_out(walk):
    assert list(opened(walk).scaling()["inputs"]) == ["T", "S", "C"]


def test_a_name_with_a_comma(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('T,"S, north"\n' + "".join(f"{i},{-i}\n" for i in range(200)))
    assert list(opened(path, inputs='"S, north", T').scaling()["inputs"]) == ["S, north", "T"]


def test_a_value_out_of_all_proportion(tmp_path):
    path = table(tmp_path, {"T": [*range(199), 1e300], "S": [*range(199), 0]})
    with pytest.raises(DataError) as raised:
        opened(path)
    assert one_line(raised) == f"{path}, column T: the value 1e+300 is too large to be scaled"


@pytest.mark.parametrize("name", ["series", "weather"])
def test_files_are_needed(name):
    with pytest.raises(ArgumentError) as raised:
        TASKS[name]().open(None)
    assert one_line(raised) == f"task {name} needs --data FILE.csv"


@pytest.mark.parametrize("cls", [Series, Weather, MackeyGlass])
def test_before_open(cls):
    with pytest.raises(ArgumentError, match=f"task {cls.__name__} has no rows yet"):
        cls().sample(jr.key(0), 1)


# Weather


def test_weather_names_the_column_it_misses(walk):
    with pytest.raises(ArgumentError, match="unknown column 'DryBulbFarenheit'; choose from date, T, S, C"):
        Weather().open(walk)


@needs_weather
def test_weather_baselines():
    task = Weather(horizon=24, valid=0.15, test=0.15).open(WTH)
    assert task.sizes == (9, 1)
    assert task.opened.x.shape == (35064, 9)
    assert task.unit == "DryBulbFarenheit"
    got = {name: metrics["mse"] for name, metrics in task.baselines().items()}
    np.testing.assert_allclose(got["persistence"], 45.65, atol=0.01)
    np.testing.assert_allclose(got["mean"], 300.04, atol=0.01)
    np.testing.assert_allclose(got["linear"], 35.96, atol=0.05)


@needs_weather
def test_weather_reproduces_the_published_persistence():
    """Published: rows from 33,600 on are the test part, min-max scaling over all rows."""
    raw = np.loadtxt(WTH, delimiter=",", skiprows=1, usecols=2)
    task = Weather(horizon=1, valid=0.15, test=1464 / 35064).open(WTH)
    for hours, expected in {1: 0.000597, 48: 0.01083}.items():
        ahead = task if hours == 1 else Weather(horizon=hours, valid=0.15, test=1464 / 35064).open(WTH)
        test = ahead.held_out("test")
        now = test.xs[test.warmup :, :, 1:2]
        got = ahead.metrics(now, test.ys[test.warmup :])["mse"]
        np.testing.assert_allclose(got / np.ptp(raw) ** 2, expected, rtol=2e-2)


# Mackey-Glass


def test_mackey_glass_follows_its_equation():
    """A second implementation: the delay line as a queue."""
    from collections import deque

    history = 1.2 + 0.2 * (np.random.default_rng(3).random(170) - 0.5)
    line, v, values = deque(history), 1.2, []
    for _ in range(150):
        for _ in range(10):
            delayed = line.popleft()
            line.append(v)
            v = v + (0.2 * delayed / (1 + delayed**10) - 0.1 * v) / 10
        values.append(np.tanh(v - 1))
    task = MackeyGlass(length=400, window=20, horizon=2, series_seed=3).open(None)
    got = np.asarray(task.in_units(task.rows.y))[:48, 0]
    np.testing.assert_allclose(got, values[102:], atol=1e-6)


def test_mackey_glass_baselines():
    """The reference page has 0.0467; 0.0419, 0.0105, 0.0101 for 1, 16, 30 taps, on another split and seed."""
    got = {lags: MackeyGlass(lags=lags).open(None).baselines() for lags in (1, 16, 30)}
    assert 0.044 < got[1]["mean"]["mse"] < 0.051
    assert 0.039 < got[1]["linear"]["mse"] < 0.046
    assert 0.0095 < got[30]["linear"]["mse"] < got[16]["linear"]["mse"] < 0.0125
    assert got[1]["persistence"]["mse"] > 0.1


def test_recall_is_a_linear_filter():
    got = {
        lags: MackeyGlass(direction="recall", lags=lags).open(None).baselines()["linear"]
        for lags in (15, 16, 24)
    }
    assert got[16]["mse"] < 1e-20
    assert got[24]["mse"] < 1e-20
    assert got[15]["mse"] > 1e-12


def test_recall_looks_back_inside_its_part():
    task = MackeyGlass(direction="recall", warmup=10**4).open(None)
    assert [task.bounds(part) for part in ("train", "valid", "test")] == [
        (15, 3500),
        (3515, 4250),
        (4265, 5000),
    ]
    xs, ys = task.sample(jr.key(0), 8)
    np.testing.assert_array_equal(ys[15:], xs[:-15])
    test = task.held_out("test")
    assert test.warmup == 4265 - 15
    np.testing.assert_array_equal(test.ys[15:], test.xs[:-15])
    np.testing.assert_array_equal(test.ys[:15], task.rows.x[:15, None])


def test_the_series_has_a_seed_of_its_own():
    one, same, other = (MackeyGlass(length=600, series_seed=s).open(None).rows.x for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


# Copy


def test_copy_layout():
    task = Copy(length=3, delay=2, symbols=4)
    assert (task.sizes, task.steps) == ((6, 6), 8)
    xs, ys = task.sample(jr.key(0), 50)
    said, asked = jnp.argmax(xs, -1), jnp.argmax(ys, -1)
    np.testing.assert_array_equal(xs.sum(-1), jnp.ones((8, 50)))
    np.testing.assert_array_equal(ys.sum(-1), jnp.ones((8, 50)))
    np.testing.assert_array_equal(said[3:], jnp.array([0, 0, 5, 5, 5])[:, None] * jnp.ones((1, 50), int))
    np.testing.assert_array_equal(asked[:5], jnp.zeros((5, 50)))
    np.testing.assert_array_equal(asked[5:], said[:3])
    assert set(np.unique(said[:3])) == {1, 2, 3, 4}
    assert Copy(length=3, delay=0).sample(jr.key(0), 2)[0].shape == (6, 2, 10)


def test_one_fixed_sequence():
    task = Copy(fresh=False)
    one, other = task.sample(jr.key(0), 4), task.sample(jr.key(1), 4)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, jnp.repeat(a[:, :1], 4, 1))
    valid, test = task.held_out("valid"), task.held_out("test")
    sequences = [np.asarray(xs[:, :1]) for xs in (one[0], valid.xs, test.xs)]
    assert valid.xs.shape[1] == test.xs.shape[1] == 1
    assert len({s.tobytes() for s in sequences}) == 3
    np.testing.assert_array_equal(task.seen().xs, one[0][:, :1])
    assert Copy().seen() is None
    fresh = Copy().sample(jr.key(0), 4)[0]
    assert not np.array_equal(fresh[:, 0], fresh[:, 1])


def test_copy_metrics_count():
    task = Copy(length=2, delay=1, symbols=3)
    _, ys = task._sequences(jr.key(0), 2)
    silent = task.metrics(jnp.zeros_like(ys), ys)
    assert silent["error_bits"] == 5
    np.testing.assert_allclose(silent["loss"], 0.2, rtol=1e-6)
    assert task.metrics(ys, ys) == {"loss": 0, "recall": 1, "error_bits": 0}
    wrong = ys.at[-1, 0, 1:-1].set(jnp.roll(ys[-1, 0, 1:-1], 1))
    got = task.metrics(wrong, ys)
    assert (got["recall"], got["error_bits"]) == (0.75, 1)
    marker = ys.at[..., -1].set(9.0).at[..., 0].set(9.0)
    assert task.metrics(marker, ys)["recall"] == 1  # the largest among the symbols' entries


@pytest.mark.parametrize("fresh", [True, False])
def test_best_constant_of_copy(fresh):
    got = Copy(length=100, delay=10, fresh=fresh).baselines()["constant"]
    np.testing.assert_allclose(got["loss"], 0.0875 * 100 / 210, rtol=1e-6)
    assert (got["error_bits"], got["recall"]) == (100, 0.125)


def test_no_other_constant_is_better():
    task = Copy(length=3, delay=2, symbols=4)
    _, ys = task.sample(jr.key(0), 4096)
    best = jnp.mean((ys - ys.mean(1, keepdims=True)) ** 2)
    np.testing.assert_allclose(task.baselines()["constant"]["loss"], best, rtol=2e-3)


# Probes

PROBES = {name: cls for name, cls in TASKS.items() if name.startswith("probe-")}


def test_probe_answers():
    xs, ys = {}, {}
    for name, cls in PROBES.items():
        xs[name], ys[name] = cls().sample(jr.key(0), 16)
        assert xs[name].shape[0] == 8
    assert not xs["probe-bias"].any()
    np.testing.assert_allclose(ys["probe-bias"], np.full((8, 16, 2), [0.8, -0.4]), rtol=1e-6)
    np.testing.assert_array_equal(ys["probe-now"], xs["probe-now"])
    for lag in (1, 3):
        x, y = xs[f"probe-lag{lag}"], ys[f"probe-lag{lag}"]
        np.testing.assert_array_equal(y[lag:], x[:-lag])
        assert not y[:lag].any()
        assert set(np.unique(x)) == {-1, 1}
    x, y = xs["probe-context"], ys["probe-context"]
    np.testing.assert_array_equal(y[..., 0], x[..., 0] * x[..., 1])
    np.testing.assert_array_equal(x[..., 1], np.broadcast_to(x[:1, :, 1], (8, 16)))
    assert {tuple(pair) for pair in np.asarray(x).reshape(-1, 2)} == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize(("cls", "lag"), [(Lag1, 1), (Lag3, 3)])
def test_lags_reach_across_the_pieces_of_a_stream(cls, lag):
    pieces = [cls(length=4).stream(jr.key(0), i, 5) for i in range(4)]
    xs, ys = (np.concatenate(p) for p in zip(*pieces, strict=True))
    np.testing.assert_array_equal(ys[lag:], xs[:-lag])
    assert not ys[:lag].any()


def reservoir(xs, units, rng):
    """States `(T, B, units + 1)` of a random tanh network, and a one."""
    w, u, b = (
        rng.normal(size=(xs.shape[-1], units)),
        rng.normal(size=(units, units)),
        rng.normal(size=units) * 0.5,
    )
    u *= 0.9 / np.max(np.abs(np.linalg.eigvals(u)))
    h, states = np.zeros((xs.shape[1], units)), []
    for x in xs:
        h = np.tanh(0.5 * x @ w + h @ u + b)
        states.append(np.concatenate([h, np.ones((len(h), 1))], 1))
    return np.stack(states)


@pytest.mark.parametrize("name", PROBES)
def test_a_random_reservoir_with_a_trained_readout_solves_every_probe(name):
    task: Probe = PROBES[name]()
    rng = np.random.default_rng(0)
    xs, ys = (np.asarray(a, np.float64) for a in task.sample(jr.key(5), 512))
    test = task.held_out("test")
    both = reservoir(np.concatenate([xs, test.xs], 1), 32, rng)
    train, held = both[:, :512].reshape(-1, 33), both[:, 512:]
    readout = np.linalg.solve(train.T @ train + 1e-3 * np.eye(33), train.T @ ys.reshape(-1, ys.shape[-1]))
    assert np.mean((held @ readout - test.ys) ** 2) < task.solved
    constant = task.baselines()["zero" if name == "probe-bias" else "mean"]["loss"]
    np.testing.assert_allclose(task.solved / constant, 0.25 if name == "probe-context" else 0.1, rtol=0.06)
