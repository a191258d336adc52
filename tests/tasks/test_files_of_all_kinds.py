"""Long files, dates and times of the day in two columns, an index of dates, and steps below a second."""

import gzip

import numpy as np
import pytest

from perturbax.errors import DataError
from perturbax.tasks.files import reading
from perturbax.tasks.files.arrange import Asked, arranged
from perturbax.tasks.files.csv_table import read_table


def opened(tmp_path, text, **asked):
    """The table of a file with this text, in order of time; its target is called v."""
    path = tmp_path / "data.csv"
    path.write_text(text)
    return arranged(read_table(path), Asked(named=("v",), **asked))


HOURS = [np.datetime64("2020-01-01T00:00") + np.timedelta64(i, "h") for i in range(480)]


def clock(style, hour):
    """An hour as files write it."""
    half = "AM" if hour < 12 else "PM"
    return {
        "24": f"{hour:02d}:00",
        "seconds": f"{hour:02d}:00:00",
        "half": f"{hour % 12 or 12}:00 {half}",
        "number": hour,
        "dots": f"{hour:02d}.00",
    }[style]


@pytest.mark.parametrize(
    ("style", "name"),
    [("24", "Time"), ("seconds", "time"), ("half", "clock"), ("number", "hr"), ("dots", "Time")],
)
def test_dates_and_times_of_the_day_in_two_columns(tmp_path, style, name):
    rows = [f"{str(at)[:10]},{clock(style, i % 24)},{i % 7}" for i, at in enumerate(HOURS)]
    table = opened(tmp_path, "\n".join([f"day,{name},v", *rows[::-1]]))  # newest first
    np.testing.assert_array_equal(table.time.values, np.array(HOURS, "datetime64[ms]"))
    np.testing.assert_array_equal(table.numbers("v"), np.arange(480) % 7)
    assert str(table.time.step) == "1 hour"
    assert table.time.text(table.time.after(1)) == ["2020-01-21 00:00"]
    assert list(table.left_out) == ["day", name]


def test_what_is_no_time_of_the_day_of_the_row(tmp_path):
    days = [f"2020-01-{i + 1:02d}" for i in range(20)]
    sunrise = opened(
        tmp_path, "day,time,v\n" + "".join(f"{day},06:{i:02d},1\n" for i, day in enumerate(days))
    )
    assert str(sunrise.time.step) == "1 day"  # dates that are there once are the rows' own
    twice = "day,note,v\n" + "".join(f"{day},{note},1\n" for day in days for note in ("a", "b"))
    with pytest.raises(DataError, match="column 'note' tells several series apart"):
        opened(tmp_path, twice)


def test_an_index_of_dates_without_a_name(tmp_path):
    rows = [f"2020-01-{i + 1:02d},{i % 7}" for i in range(20)]
    table = opened(tmp_path, "\n".join([",v", *rows[::-1]]))
    np.testing.assert_array_equal(table.numbers("v"), np.arange(20) % 7)
    assert str(table.time.step) == "1 day"
    assert "newest first" in " ".join(table.remarks)


def test_steps_below_a_second(tmp_path):
    start = np.datetime64("2020-01-01T00:00:00.000")
    rows = [f"{start + np.timedelta64(100 * i, 'ms')},{i % 7}" for i in range(20)]
    table = opened(tmp_path, "\n".join(["at,v", *rows]))
    assert table.time.text(table.time.after(2)) == ["2020-01-01T00:00:02.000", "2020-01-01T00:00:02.100"]


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "7,x,8,9",
        '7,"x\ny",8,9',
        "7,x,,9",
        "7,x,1e400,9",
        "7,x,nan,9",
        "7,x,1_0,9",
        "7,x,NA,9",
        ' 7 , "x", 8,9',
    ],
    ids=["blank", "plain", "two lines", "empty", "infinite", "nan", "underscore", "word", "quotes"],
)
@pytest.mark.parametrize("block", [3, 5, 10_000])
def test_blocks_of_lines_are_read_as_the_whole_file(tmp_path, monkeypatch, odd, block):
    lines = ["a,t,b,c", *(f"{i}.5,w{i},{i / 7!r},{-i}" for i in range(40))]
    path = tmp_path / "data.csv"
    path.write_text("\n".join([*lines[:18], odd, *lines[18:]]) + "\n")
    whole = read_table(path)
    monkeypatch.setattr(reading, "CHUNK", block)
    pieces = read_table(path)
    monkeypatch.setattr(reading._Scan, "_take_plain", lambda self, block: False)
    slow = read_table(path)
    for table in (pieces, slow):
        np.testing.assert_array_equal(table.lines, whole.lines)
        for name in "abc":
            np.testing.assert_array_equal(table.columns[name].values, whole.columns[name].values)
            assert table.columns[name].wrong == whole.columns[name].wrong
        assert table.cells["t"] == whole.cells["t"]


def test_wrong_rows_are_named_in_any_block(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 5)
    path = tmp_path / "data.csv"
    rows = [f"{i},{i * i}\n" for i in range(20)]
    path.write_bytes(gzip.compress("".join(["a,b\n", *rows[:12], "1,2,3\n", *rows[12:]]).encode()))
    with pytest.raises(DataError, match="line 14: 3 cells, the header has 2"):
        read_table(path)
    path.write_text("".join(["a,b\n", *rows[:12], '1,"2\n', *rows[12:]]))
    with pytest.raises(DataError, match="line 22: unexpected end of data"):
        read_table(path)
