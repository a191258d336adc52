"""Forecasts as a table: dates that go on, series side by side, digits of the data. No network is run."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.forecasting import History, Model, after_the_last, inputs_of
from perturbax.experiment.intervals import of_residuals
from perturbax.experiment.predict import Opened, _decimals, _long_table, _texts, best_run, history_of
from perturbax.tasks.encoding import Encoding
from perturbax.tasks.files.arrange import Asked, arranged
from perturbax.tasks.files.csv_table import read_table
from perturbax.tasks.files.times import Step, TimeAxis


def written(days, step):
    """A time axis of days as a file has it."""
    return TimeAxis("day", "days", days, step, lambda dates: [str(d.astype("datetime64[D]")) for d in dates])


def opened(tmp_path, lengths, dates=None, cells="1.25", horizons=(1, 3)):
    """Series one after the other, whose values are their row numbers, and a model without a network."""
    (tmp_path / "d.csv").write_text("a\n" + f"{cells}\n" * sum(lengths))
    n_out = len(horizons)
    encoding = Encoding(("a",), np.zeros(1), np.ones(1), ("a",), np.zeros(n_out), np.ones(n_out), horizons)
    kept = of_residuals(np.ones((9, n_out)) * np.arange(1.0, n_out + 1))
    ends = np.cumsum(lengths).tolist()
    names = ["x", "y"] if len(lengths) > 1 else [""]
    segments = tuple((s, end - n, end) for s, n, end in zip(names, lengths, ends, strict=True))
    history = History("d.csv", {"a": np.arange(ends[-1], dtype=float)}, segments, dates)
    table = read_table(tmp_path / "d.csv")
    return Opened(tmp_path, Model(None, encoding, kept, None, 0), table, history, (), {})


def lines(made, levels=()):
    """The forecasts of the rows after the last one, a row of text each; an answer is 10 times its row."""
    n = made.history.segments[-1][2]
    y = 10.0 * np.arange(n)[:, None] + np.zeros((1, len(made.model.encoding.horizons)))
    columns = _long_table(made, after_the_last(made.model, made.history, y), levels)
    return [",".join(name for name, _ in columns)] + [
        ",".join(map(str, row)) for row in zip(*(values for _, values in columns), strict=True)
    ]


def test_dates_go_on_behind_the_last_row(tmp_path):
    days = np.array(["2020-02-27", "2020-02-28", "2020-02-29"], "datetime64[s]")
    made = opened(tmp_path, [3], written(days, Step(1, "D")))
    assert lines(made, (80.0,)) == [
        "day,horizon,target,forecast,low_80,high_80,made_at",
        "2020-03-01,1,a,20.00,19.00,21.00,2020-02-29",
        "2020-03-03,3,a,20.00,18.00,22.00,2020-02-29",
    ]
    month_ends = np.array(["2019-12-31", "2020-01-31", "2020-02-29"], "datetime64[s]")
    assert "2020-05-31,3" in lines(opened(tmp_path, [3], written(month_ends, Step(1, "M"))))[2]
    fridays = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[s]")
    assert "2020-01-08,3" in lines(opened(tmp_path, [3], written(fridays, Step(1, "B"))))[2]


def test_without_equal_steps_rows_are_counted(tmp_path):
    days = np.array(["2020-02-27", "2020-02-28", "2020-03-09"], "datetime64[s]")
    for dates in (None, written(days, None)):
        made = lines(opened(tmp_path, [3], dates))
        assert made[1] == "4,1,a,20.00,3"
        assert made[0].startswith("row,")


def test_each_series_goes_on_by_itself(tmp_path):
    days = np.array(["2020-01-01", "2020-01-02", "2021-01-01", "2021-01-02"], "datetime64[s]")
    made = opened(tmp_path, [2, 2], written(days, Step(1, "D")), horizons=(2,))
    assert lines(made) == [
        "series,day,horizon,target,forecast,made_at",
        "x,2020-01-03,2,a,0.00,2020-01-01",
        "x,2020-01-04,2,a,10.00,2020-01-02",
        "y,2021-01-03,2,a,20.00,2021-01-01",
        "y,2021-01-04,2,a,30.00,2021-01-02",
    ]
    assert lines(opened(tmp_path, [2, 2], horizons=(2,)))[3] == "y,3,2,a,20.00,1"


@pytest.mark.parametrize(
    ("cells", "value", "text"),
    [
        ("315.42", 316.0749, "316.07"),  # as many digits as the data have
        ("12", 12.345, "12.3"),  # at least three
        ("0.1234567890123", 0.123456789, "0.123457"),  # at most six
        ("12345678", 12345678.4, "12345700"),
        ("3", 0.00123, "0.00123"),
        ("1e-7", 1.234e-7, "0.000000123"),
        ("5", 0.0, "0.00"),
    ],
)
def test_digits(tmp_path, cells, value, text):
    made = opened(tmp_path, [3], cells=cells)
    values = np.array([value])
    assert _texts(values, _decimals(made, values)) == [text]
    assert _texts(np.array([np.inf, -np.inf]), 2) == ["inf", "-inf"]


def run_folder(path: Path, losses, **task_options):
    """What is read of a run to choose among several."""
    path.mkdir(parents=True)
    experiment = {"task": "series", "rule": "node", "task_options": task_options, "steps": 4}
    (path / "config.json").write_text(json.dumps({"experiment": experiment}))
    (path / "weights").write_bytes(b"")
    rows = [json.dumps({"step": i, "valid_loss": loss}) + "\n" for i, loss in enumerate(losses)]
    (path / "metrics.jsonl").write_text("".join(rows))


def test_the_best_run_of_a_comparison(tmp_path):
    run_folder(tmp_path / "one", [3.0, 0.5, 2.0], horizon=3)
    run_folder(tmp_path / "two", [1.0, None, 0.7], horizon=3)
    (tmp_path / "report.html").write_text("")
    chosen, said = best_run(tmp_path)
    assert chosen == tmp_path / "one"
    assert said == (f"of 2 runs {tmp_path / 'one'} has the lowest validation loss, 0.5",)
    assert best_run(tmp_path / "two") == (tmp_path / "two", ())
    run_folder(tmp_path / "far", [0.1], horizon=24)
    with pytest.raises(ArgumentError, match="holds runs on different tasks, such as"):
        best_run(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="no run folder and holds no finished run"):
        best_run(tmp_path / "empty")


def test_columns_that_are_known_ahead_go_on(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text("a,holiday\n" + "".join(f"{i},{i % 2}\n" for i in range(6)) + ",1\n,0\n,1\n")
    plain = Encoding(("a",), np.zeros(3), np.ones(3), ("a",), np.zeros(2), np.ones(2), (1, 3))
    model = Model(None, dataclasses.replace(plain, known=("holiday",)), None, None, 0)
    history = history_of(read_table(file), model, "refuse")
    assert history.segments == (("", 0, 6),)
    assert history.columns["a"].tolist() == [0, 1, 2, 3, 4, 5]
    assert history.columns["holiday"].tolist() == [0, 1, 0, 1, 0, 1, 1, 0, 1]
    assert inputs_of(model, history)[-1].tolist() == [5, 1, 1]  # a now, holiday 1 and 3 rows ahead
    short = history_of(read_table(file), model._replace(encoding=plain), "hold")
    assert short.segments == (("", 0, 9),)
    file.write_text("a,holiday\n" + "".join(f"{i},{i % 2}\n" for i in range(6)) + ",1\n")
    history = history_of(read_table(file), model, "refuse")
    lacking = np.isnan(inputs_of(model, history)).any(1)
    assert lacking.tolist() == [False] * 4 + [True] * 2
    with pytest.raises(DataError, match="holiday, known ahead, must have values for the next 3 rows"):
        after_the_last(model, history, np.where(lacking[:, None], np.nan, np.zeros((6, 2))))


@pytest.mark.parametrize("gap", ["", "NA", " ", "null", "-"])
def test_rows_of_what_is_known_ahead_end_where_no_target_is_filled(tmp_path, gap):
    """The same rows in training and in use, whatever word stands for nothing, in each of several series."""
    file = tmp_path / "d.csv"
    rows = [f"{s},{i},{i % 2}" for s in "xy" for i in range(6)]
    ahead = [f"{s},{gap},1" for s in "xy"]
    file.write_text("\n".join(["s,a,holiday", *rows[:6], ahead[0], *rows[6:], ahead[1]]) + "\n")
    table = arranged(read_table(file), Asked(("a", "holiday"), series="s"))
    assert table.segments == (("x", 0, 7), ("y", 7, 14))
    present = table.until_last_filled(["a"])
    assert present.segments == (("x", 0, 6), ("y", 6, 12))
    assert present.numbers("a").tolist() == [*range(6), *range(6)]
    assert present.lines.tolist() == [*range(2, 8), *range(9, 15)]
    assert table.until_last_filled([]) is table
    assert present.until_last_filled(["a"]) is present
    plain = Encoding(("a",), np.zeros(2), np.ones(2), ("a",), np.zeros(1), np.ones(1), known=("holiday",))
    history = history_of(table, Model(None, plain, None, None, 0), "refuse")
    assert history.segments == present.segments
    assert history.columns["holiday"].tolist() == [0, 1, 0, 1, 0, 1] * 2
