"""Series as users hold them. pandas is no dependency: its tests run where it is installed."""

import numpy as np
import pytest

from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.frames import (
    appended,
    index_after,
    intervals_like_the_user,
    like_the_user,
    read_frame,
    renamed,
    time_axis,
)
from perturbax.tasks.files.times import Step


def test_lists_and_arrays():
    one = read_frame([1, 2, 3], "y")
    assert (one.names, one.values.shape, one.index) == (("y",), (3, 1), None)
    assert like_the_user(one, np.array([[4.0], [5.0]]), [0], None).tolist() == [4, 5]
    two = read_frame(np.ones((3, 2), np.float32), "X")
    assert (two.names, two.values.dtype) == (("X0", "X1"), np.float64)
    assert like_the_user(two, np.ones((1, 2)), [0, 1], None).shape == (1, 2)
    assert len(appended(two, read_frame(np.ones((2, 2)), "X"), "X").values) == 5
    held = read_frame([[1, 2], [np.nan, 3], [np.nan, np.nan]], "y", "hold")
    assert held.values.tolist() == [[1, 2], [1, 3], [1, 3]]
    with pytest.raises(DataError, match=r"y, row 1, column y: nan is not a finite number \(gaps: hold"):
        read_frame([np.nan, 1], "y", "hold")
    masked = np.ma.masked_equal([1, 999, 3], 999)  # of whole numbers
    assert read_frame(masked, "y", "hold").values.tolist() == [[1], [1], [3]]
    with pytest.raises(DataError, match="y, row 2, column y: nan is not"):
        read_frame(masked, "y")
    assert renamed(one, ("y",)).names == ("X y",)
    assert time_axis(None) == (None, 0)


@pytest.fixture
def pd():
    """The library pandas, where it is installed."""
    return pytest.importorskip("pandas", reason="pandas is no dependency")


def test_an_index_goes_on(pd):
    cases = [
        (pd.date_range("2020-01-31", periods=5, freq="ME"), ["2020-06-30", "2020-07-31"]),
        (pd.date_range("2020-01-01", periods=5, freq="B"), ["2020-01-08", "2020-01-09"]),
        (pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05"]), ["2020-01-06"] * 1),
        (pd.period_range("2020Q1", periods=5, freq="Q"), ["2021Q2", "2021Q3"]),
        (pd.RangeIndex(0, 10, 2), ["10", "12"]),
        (pd.Index([3, 4, 5]), ["6", "7"]),
        (pd.Index([0.0, 0.5, 1.0]), ["1.5", "2.0"]),
    ]
    for index, following in cases:
        found = index_after(index, range(1, len(following) + 1))
        assert [str(label).removesuffix(" 00:00:00") for label in found] == following
        assert index_after(index, [-1, 0]).equals(index[-2:])
    berlin = pd.date_range("2020-01-01", periods=5, freq="h", tz="Europe/Berlin")
    assert str(index_after(berlin, [1])[0]) == "2020-01-01 05:00:00+01:00"
    with pytest.raises(ArgumentError, match=r"the index cannot go on behind 'c'.*pandas.to_datetime"):
        index_after(pd.Index(list("abc")), [1])


def test_steps_of_time(pd):
    for freq, step in (
        ("h", Step(1, "h")),
        ("15min", Step(15, "min")),
        ("D", Step(1, "D")),
        ("W", Step(1, "W")),
        ("B", Step(1, "B")),
        ("MS", Step(1, "M")),
        ("QE", Step(1, "Q")),
        ("YS", Step(1, "Y")),
    ):
        axis, missing = time_axis(pd.date_range("2020-01-01", periods=30, freq=freq))
        assert (axis.step, missing) == (step, 0), freq
    months, _ = time_axis(pd.period_range("2020-01", periods=4, freq="M"))
    assert months.values[1] == np.datetime64("2020-02-01")
    days = ["2020-01-01", "2020-01-02", "2020-01-05", "2020-01-06", "2020-01-07"]
    assert time_axis(pd.DatetimeIndex(days))[1] == 2
    assert time_axis(pd.RangeIndex(3)) == (None, 0)


def test_answers_look_like_the_data(pd):
    index = pd.date_range("2020-01-01", periods=3)
    series = read_frame(pd.Series([1, 2, 3], index=index, name="load"), "y")
    after = index_after(index, [1, 2])
    made = like_the_user(series, np.array([[4.0], [5.0]]), [0], after)
    pd.testing.assert_series_equal(made, pd.Series([4.0, 5.0], index=after, name="load"))
    frame = read_frame(pd.DataFrame({"a": [1, 2, 3], 7: [4, 5, 6]}, index=index), "y")
    assert frame.names == ("a", "7")
    made = like_the_user(frame, np.ones((2, 1)), [1], after)
    pd.testing.assert_frame_equal(made, pd.DataFrame({7: [1.0, 1.0]}, index=after))
    bounds = np.arange(8.0).reshape(2, 1, 2, 2)
    made = intervals_like_the_user(series, bounds, ["load"], [0.8, 0.9], after)
    assert made.columns.tolist() == [
        ("load", 0.8, "lower"),
        ("load", 0.8, "upper"),
        ("load", 0.9, "lower"),
        ("load", 0.9, "upper"),
    ]
    assert made.index.equals(after)
    assert made["load", 0.9, "upper"].tolist() == [3, 7]
    assert appended(frame, read_frame(pd.DataFrame({"a": [9], 7: [9]}, index=index[2:]), "y"), "y").values[
        :, 0
    ].tolist() == [1, 2, 9]


def test_what_pandas_may_hold_wrong(pd):
    for wrong, message in (
        (pd.Series([1, 2], index=[2, 1]), "the index of y does not rise: sort it"),
        (pd.Series([1, 2], index=[2, 2]), "the index of y has 2 twice"),
        (pd.Series(["x", "y"]), "y must hold numbers"),
        (
            pd.DataFrame({"b": [1], "date": ["2020-01-01"]}),
            "y, column date, must hold numbers: .*in the index",
        ),
        (
            pd.DataFrame({"date": pd.to_datetime(["2020-01-01"])}),
            "y, column date, must hold numbers: it holds",
        ),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "y has two columns of one name"),
        (pd.Series([1.0, None], name="a"), "y, row 2, column a: nan is not a finite number"),
    ):
        with pytest.raises(DataError, match=message):
            read_frame(wrong, "y")


def test_an_index_below_seconds(pd):
    index = pd.date_range("2020-01-01", periods=20, freq="500ms")
    axis, missing = time_axis(index)
    assert (axis.step, missing) == (Step(0.5, "s"), 0)
    assert axis.values[1] - axis.values[0] == np.timedelta64(500, "ms")
    uneven = index.delete(5)  # no frequency can be inferred
    assert index_after(uneven, [2])[0] - uneven[-1] == pd.Timedelta(seconds=1)
