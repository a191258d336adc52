"""Classification of a column of a CSV file: its classes, what is read, what is asked for, baselines."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.resolve import resolve
from perturbax.tasks import Series
from perturbax.tasks.categories import Categories
from perturbax.tasks.class_reading import Reading
from perturbax.tasks.files.csv_table import read_table
from perturbax.tasks.forecast import Forecast

NAMES = ("sit", "walk", "run")


def written(path, columns, gaps=()):
    """A CSV file of these columns; gaps: (row, column) of empty cells."""
    lines = [",".join(columns)]
    for row, cells in enumerate(zip(*columns.values(), strict=True)):
        empty = {name for at, name in gaps if at == row}
        lines.append(
            ",".join("" if name in empty else str(cell) for name, cell in zip(columns, cells, strict=True))
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(n=200, names=NAMES):
    """Classes that stay for ten rows each; two numbers, of which the first counts rows."""
    label = np.arange(n) // 10 % len(names)
    noise = np.random.default_rng(0).normal(size=n)
    return {"t": np.arange(n), "ax": noise, "activity": [names[i] for i in label]}


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "a.csv", rows())


def opened(path, **settings):
    return Series(**({"target": "activity", "inputs": "ax", "window": 20, "warmup": 15} | settings)).open(
        path
    )


def refused(call, *words, kind=DataError):
    with pytest.raises(kind) as raised:
        call()
    said = str(raised.value)
    assert "\n" not in said
    for word in words:
        assert word in said, said


def named(task, one_hot):
    return [task.class_names[i] for i in np.argmax(np.asarray(one_hot), -1)]


def sampled(task, batch):
    """Sequences of one compiled program, as arrays of NumPy, which are looked through without compiling."""
    return [np.asarray(a) for a in jax.jit(lambda key: task.sample(key, batch))(jr.key(0))]


def streamed(task, batch, pieces):
    """Inputs and targets of the first pieces of streams, the same way."""
    piece = jax.jit(lambda i: task.stream(jr.key(0), i, batch))
    return [[np.asarray(a) for a in piece(i)] for i in range(pieces)]


def held_of(task, part):
    return jax.tree.map(np.asarray, task.held_out(part))


def test_a_column_of_text_is_a_class(file):
    task = opened(file)
    assert isinstance(task, Categories)
    assert task.class_names == ("run", "sit", "walk")
    assert (task.sizes, task.steps, task.asked_steps) == ((1, 3), 20, 20)
    assert isinstance(Series(target="ax", window=20).open(file), Forecast)
    *about, classes = task.notes()
    assert about == ["200 rows, without dates", "reads ax", "leaves out t: a number that only rises"]
    assert classes.startswith("activity 1 row ahead is one of 3 classes; in training: ")
    assert "persistence knows the class of the row before" in opened(file, horizon=0).notes()[-1]
    assert opened(file).digest() == task.digest() != opened(file, horizon=2).digest()


@pytest.mark.parametrize("horizon", [0, 1, 7])
def test_the_answer_is_the_class_so_many_rows_ahead(file, horizon):
    task = opened(file, horizon=horizon, inputs="t", warmup=15)
    data = rows()
    for part, first, end in (("valid", 140, 170), ("test", 170, 200)):
        held = held_of(task, part)
        assert held.warmup == 15
        assert held.xs.shape[:2] == (15 + end - first - horizon, 1)
        answers = named(task, held.ys[15:, 0])
        assert answers == data["activity"][first + horizon : end]
    mean, std = np.mean(np.arange(140 - horizon)), np.std(np.arange(140 - horizon))
    xs, ys = sampled(task, 300)
    read = np.rint(np.asarray(xs[..., 0]) * std + mean).astype(int)  # (T, B) row numbers
    assert read.min() == 0
    assert read.max() == 139 - horizon
    assert (np.diff(read, axis=0) == 1).all()
    for b in range(5):
        assert named(task, ys[:, b]) == [data["activity"][row + horizon] for row in read[:, b]]
    pieces = [xs for xs, _ in streamed(task, 2, 3)]
    read = np.rint(np.concatenate(pieces)[:, 0, 0] * std + mean).astype(int)
    np.testing.assert_array_equal(read, np.arange(60))


def test_one_answer_per_window(file):
    task = opened(file, horizon=0, inputs="t", answer="window")
    assert task.asked_steps == 1
    xs, ys = sampled(task, 50)
    assert np.isnan(ys[:-1]).all()
    mean, std = np.mean(np.arange(140)), np.std(np.arange(140))
    last = np.rint(np.asarray(xs[-1, :, 0]) * std + mean).astype(int)
    assert named(task, ys[-1]) == [rows()["activity"][row] for row in last]
    held = held_of(task, "test")
    assert held.xs.shape == (20, 30, 1)  # a window ends at each row of the part
    assert held.warmup == 0
    assert np.isnan(held.ys[:-1]).all()
    assert named(task, held.ys[-1]) == rows()["activity"][170:]
    assert task.seen().xs.shape == (20, 30, 1)
    np.testing.assert_array_equal(np.isnan(streamed(task, 3, 2)[1][1]).all((1, 2)), np.arange(20) < 19)


def test_long_files_judge_a_thousand_windows(tmp_path):
    path = written(tmp_path / "l.csv", rows(10_000))
    held = opened(path, horizon=0, answer="window").held_out("test")
    assert held.xs.shape == (20, 1000, 1)


def test_the_present_class_is_read_where_it_is_not_the_answer(file):
    data = np.array(rows()["activity"])
    for inputs, horizon, width in (
        ("", 1, 4),
        ("", 0, 1),
        ("ax", 1, 1),
        ("activity", 3, 3),
        ("ax,activity", 0, 4),
    ):
        task = opened(file, inputs=inputs, horizon=horizon)
        assert task.sizes[0] == width
        if width < 3:
            continue
        held = held_of(task, "test")
        read = held.xs[held.warmup :, 0, -3:]
        now = np.arange(170, 200 - horizon)
        assert named(task, read) == data[now - (horizon == 0)].tolist()  # never the answer itself
    first = opened(file, inputs="activity", horizon=0).opened.x[0]
    np.testing.assert_array_equal(first, np.zeros(3))
    refused(
        lambda: opened(written(file, {"activity": rows()["activity"]}), inputs="", horizon=0),
        "no columns of",
        kind=ArgumentError,
    )


def test_baselines_are_frequencies_and_the_last_class(file):
    data = np.array(rows()["activity"])
    for horizon, back in ((0, 1), (1, 1), (5, 5)):
        task = opened(file, horizon=horizon)
        found = task.baselines()
        judged = np.arange(170 + horizon, 200)
        right = np.mean(data[judged] == data[judged - back])
        np.testing.assert_allclose(found["persistence"]["accuracy"], right, rtol=1e-6)
        train = np.arange(horizon, 140)
        share = {name: np.mean(data[train] == name) for name in NAMES}
        loss = -np.mean([np.log(share[name]) for name in data[judged]])
        np.testing.assert_allclose(found["constant"]["loss"], loss, rtol=1e-5)
        assert found["persistence"]["loss"] < found["constant"]["loss"]


def test_classes_that_never_stay_have_a_baseline(tmp_path):
    data = rows() | {"activity": [NAMES[i % 3] for i in range(200)]}
    found = opened(written(tmp_path / "a.csv", data)).baselines()["persistence"]
    assert found["accuracy"] == 0
    assert 0 < found["loss"] < 5


@pytest.mark.parametrize(
    "names", [("true", "false"), ("True", "FALSE"), (" yes", "no "), ("a b", "a  c"), ("Grün", "blau")]
)
def test_texts_of_classes(tmp_path, names):
    path = written(tmp_path / "a.csv", rows(names=names))
    expected = sorted({" ".join(name.split()) for name in names})
    if names[0].lower() == "true":
        expected = ["false", "true"]
    assert list(opened(path).class_names) == expected


def test_numbers_are_classes_where_they_are_said_to_be(tmp_path):
    path = written(tmp_path / "a.csv", rows(names=("10", "2.0", "1")))
    assert isinstance(opened(path), Forecast)
    task = opened(path, classes=True)
    assert task.class_names == ("1", "2", "10")
    assert opened(path, classes=True, horizon=0).sizes == (1, 3)
    truths = written(tmp_path / "b.csv", rows(names=("0", "1")))
    assert opened(truths, classes=True).class_names == ("0", "1")
    refused(
        lambda: opened(path, horizon=0),
        "horizon must be at least 1 where the target is a number",
        kind=ArgumentError,
    )
    refused(lambda: opened(path, answer="window"), "--task.classes true", kind=ArgumentError)


@pytest.mark.parametrize(
    "names", [("10:30", "11:00"), ("10:30:00", "11:00:00"), ("2020-01-01", "2020-01-02"), ("3/4", "4/5")]
)
def test_times_and_dates_are_no_classes(tmp_path, names):
    path = tmp_path / "a.csv"
    data = rows(names=[f'"{name}"' for name in names])
    written(path, data)
    with pytest.raises((ArgumentError, DataError)):
        opened(path)


def test_classes_take_the_general_settings(file, tmp_path):
    """What `series` ships was found for forecasts of numbers; which it is, the head of the file says."""
    ask = {"task": "series", "rule": "bptt", "data": str(file)}
    number = resolve(px.Experiment(**ask, task_options={"target": "ax"}))
    assert (number.lr, number.units) == (3e-3, (32,))
    as_classes, as_levels = {"target": "ax", "classes": True}, {"target": "ax", "form": "level"}
    for options in ({"target": "activity"}, as_classes, as_levels):
        assert resolve(px.Experiment(**ask, task_options=options)).lr == 1e-3
    missing = {**ask, "data": str(tmp_path / "none.csv")}
    assert resolve(px.Experiment(**missing, task_options={"target": "activity"})).lr == 3e-3


@pytest.mark.parametrize("names", [("1,500", "2,500"), ("3%", "4%"), ("5 km", "7 km")])
def test_numbers_in_another_notation_are_numbers(tmp_path, names):
    path = written(tmp_path / "a.csv", rows(names=[f'"{name}"' for name in names]))
    assert isinstance(opened(path), Forecast)


def test_gaps(file, tmp_path):
    holey = written(tmp_path / "g.csv", rows(), gaps=[(15, "activity")])
    refused(lambda: opened(holey), "line 17, column activity: the class is missing (--task.gaps hold")
    assert opened(holey, gaps="hold").opened.label[15] == opened(file).opened.label[14]
    for word in ("NA", "null", "?", "nan"):
        data = rows()
        data["activity"][15] = word
        refused(
            lambda data=data: opened(written(holey, data)), "line 17, column activity: the class is missing"
        )
    first = written(tmp_path / "f.csv", rows(), gaps=[(0, "activity")])
    refused(lambda: opened(first, gaps="hold"), "no earlier one to hold")


def test_what_is_refused(file, tmp_path):
    refused(lambda: opened(file, horizon="1-3"), "horizon must be a single one", kind=ArgumentError)
    refused(lambda: opened(file, form="difference"), "form is for forecasts of numbers", kind=ArgumentError)
    for settings in ({"calendar": True}, {"known": "t"}, {"season": 7}):
        words = f"{next(iter(settings))} is for forecasts of numbers: column 'activity' holds classes"
        refused(lambda settings=settings: opened(file, **settings), words, kind=ArgumentError)
    refused(lambda: opened(file, answer="word"), "unknown answer 'word'", kind=ArgumentError)
    refused(lambda: opened(file, inputs="t,missing"), "missing", kind=ArgumentError)
    free = written(tmp_path / "f.csv", rows() | {"activity": [f"note {i}" for i in range(200)]})
    refused(lambda: opened(free), "200 different values, such as 'note 0' and 'note 99', are no classes")
    late = written(tmp_path / "l.csv", rows() | {"activity": ["sit"] * 150 + ["run"] * 50})
    refused(lambda: opened(late), "all rows for training have 'sit', the file has run, sit")
    one = written(tmp_path / "o.csv", rows() | {"activity": ["sit"] * 200})
    refused(lambda: opened(one), "all rows for training have 'sit'")
    short = written(tmp_path / "s.csv", rows(20))
    refused(
        lambda: opened(short, answer="window"),
        "20 rows are too few: the train part has 13",
        kind=ArgumentError,
    )
    assert opened(short, horizon=0, inputs="ax").steps == 14  # a window that fits


def test_several_series_are_cut_each_for_itself(file):
    whole = opened(file, inputs="t").opened
    segments = (("a", 0, 60), ("b", 60, 200))
    settings = {"window": 20, "warmup": 5, "valid": 0.2, "test": 0.2}
    task = Categories(**settings, rows=dataclasses.replace(whole, segments=segments))
    number = np.round(np.asarray(whole.x[:, 0], float), 6)  # rising, which tells rows apart
    assert task.bounds("train") == [(0, 35), (60, 143)]
    assert task.bounds("test") == [(48, 59), (172, 199)]
    held = task.held_out("test")
    assert held.xs.shape == (32, 2, 1)
    assert held.warmup == 5
    asked = ~np.isnan(held.ys).any(-1)
    assert asked.sum(0).tolist() == [11, 27]
    rows_read = np.searchsorted(number, np.round(np.asarray(held.xs[..., 0], float), 6))
    assert rows_read[asked[:, 0], 0].tolist() == list(range(48, 59))
    assert rows_read[asked[:, 1], 1].tolist() == list(range(172, 199))
    starts = np.searchsorted(number, np.round(np.asarray(task.sample(jr.key(0), 400)[0][0, :, 0], float), 6))
    assert set(starts) == {*range(16), *range(60, 124)}
    begins = set()
    for i in range(5):
        xs, _ = task.stream(jr.key(0), i, 2)
        read = np.searchsorted(number, np.round(np.asarray(xs[..., 0], float), 6))
        np.testing.assert_array_equal(read, read[:1] + np.arange(20)[:, None])
        begins |= set(read[0].tolist())
    assert begins == {0, 60, 80, 100, 120}  # no window reaches from one series into another
    windows = dataclasses.replace(task, answer="window").held_out("test")
    assert windows.xs.shape == (20, 38, 1)
    assert set(task.baselines()) == {"constant", "persistence"}
    assert task.seen().xs.shape[1] == 2


def test_what_a_new_file_needs_is_kept(file):
    task = opened(file, inputs="")
    arrays = task.scaling()
    assert all(array.dtype != object for array in arrays.values())
    reading = Reading.from_arrays(arrays)
    assert reading == task.opened.reading
    table = read_table(file)
    columns = {name: table.numbers(name) for name in reading.inputs}
    np.testing.assert_allclose(
        reading.inputs_of(columns, np.asarray(task.opened.label), "f"), task.opened.x, rtol=1e-5
    )
    refused(lambda: Reading.from_arrays({**arrays, "means": np.zeros(9)}), "damaged")
    refused(lambda: Reading.from_arrays({k: v for k, v in arrays.items() if k != "classes"}), "damaged")


def test_answers_are_counted_by_name(file):
    task = opened(file)
    held = task.held_out("test")
    kept = task.details(held.ys[held.warmup :], held.ys[held.warmup :])["confusion"]
    assert kept["classes"] == ["run", "sit", "walk"]
    assert np.trace(kept["counts"]) == np.sum(kept["counts"]) == 29
    assert task.metrics(jnp.zeros_like(held.ys), held.ys)["loss"] == pytest.approx(np.log(3), rel=1e-5)
