"""Files read as time: which column holds it, the order of rows, their step, series, holes and notations."""

import datetime
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perturbax.errors import ArgumentError, DataError
from perturbax.tasks import Series
from perturbax.tasks.files.arrange import Asked, arranged, summary
from perturbax.tasks.files.csv_table import read_table

N = 40
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(i) for i in range(N)]
HOURS = [datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=i) for i in range(N)]
MONTHS = [datetime.date(2001 + i // 12, i % 12 + 1, 1) for i in range(N)]
QUARTERS = [datetime.date(1990 + i // 4, 3 * (i % 4) + 1, 1) for i in range(N)]
LAST_DAYS = [(day + datetime.timedelta(31)).replace(day=1) - datetime.timedelta(1) for day in MONTHS]
WEEKDAYS = [day for day in DAYS if day.weekday() < 5 and day.day != 9]
START = 1577836800  # 2020-01-01


def opened(tmp_path, cells, head="date,v", separator=",", **asked):
    """The table of a file whose rows are the cells and a value."""
    rows = [f"{cell}{separator}{i % 7}.25" for i, cell in enumerate(cells)]
    return opened_text(tmp_path, "\n".join([head, *rows]), **asked)


def opened_text(tmp_path, text, **asked):
    path = tmp_path / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return arranged(read_table(path), Asked(**{"named": ("v",), **asked}))


def error(raised):
    text = str(raised.value)
    assert "\n" not in text
    return text.rpartition("/data.csv")[2].lstrip(":, ")


def written(days, pattern):
    return [day.strftime(pattern) for day in days]


@pytest.mark.parametrize(
    ("cells", "step", "following"),
    [
        (written(DAYS, "%Y-%m-%d"), "1 day", "2020-02-10"),
        (written(DAYS, "%Y/%m/%d"), "1 day", "2020/02/10"),
        (written(DAYS, "%d/%m/%Y"), "1 day", "10/02/2020"),
        (written(DAYS, "%m/%d/%Y"), "1 day", "02/10/2020"),
        (written(DAYS, "%d.%m.%y"), "1 day", "10.02.20"),
        (written(DAYS, "%d-%m-%Y"), "1 day", "10-02-2020"),
        (written(DAYS, "%b %d %Y"), "1 day", "Feb 10 2020"),
        (written(DAYS, "%d %B %Y"), "1 day", "10 Feb 2020"),
        (written(DAYS, "%Y%m%d"), "1 day", "20200210"),
        (written(DAYS[::7], "%Y-%m-%d"), "1 week", "2020-02-12"),
        (written(HOURS, "%Y-%m-%d %H:%M"), "1 hour", "2020-01-02 16:00"),
        (written(HOURS, "%Y-%m-%dT%H:%M:%S"), "1 hour", "2020-01-02T16:00:00"),
        (written(HOURS, "%Y-%m-%dT%H:%M+01:00"), "1 hour", "2020-01-02T15:00Z"),
        (written(HOURS, "%m/%d/%Y %I:%M %p"), "1 hour", "01/02/2020 16:00"),
        (written(HOURS[::3], "%Y-%m-%d %H:%M"), "3 hours", "2020-01-02 18:00"),
        ([START + 900 * i for i in range(N)], "15 minutes", str(START + 900 * N)),
        ([f"{1000 * (START + i)}" for i in range(N)], "1 second", str(1000 * (START + N))),
        (written(MONTHS, "%Y-%m"), "1 month", "2004-05"),
        (written(MONTHS, "%m/%Y"), "1 month", "05/2004"),
        (written(MONTHS, "%Y%m"), "1 month", "200405"),
        (written(MONTHS, "%b %Y"), "1 month", "May 2004"),
        (written(LAST_DAYS, "%Y-%m-%d"), "1 month", "2004-05-31"),
        ([f"{day.year}Q{(day.month + 2) // 3}" for day in QUARTERS], "1 quarter", "2000Q1"),
        ([f"Q{(day.month + 2) // 3} {day.year}" for day in QUARTERS], "1 quarter", "Q1 2000"),
        ([1900 + i for i in range(N)], "1 year", "1940"),
        ([f"{1900 + i}.0" for i in range(N)], "1 year", "1940"),
        ([f"{1959 + i / 4:.2f}" for i in range(N)], "1 quarter", "1969-01"),
        ([f"{1958.2027 + i / 12:.4f}" for i in range(N)], "1 month", "1961-07"),
        ([43831 + i for i in range(N)], "1 day", "43871"),
        (written(WEEKDAYS, "%Y-%m-%d"), "1 business day", "2020-02-10"),
    ],
)
def test_time_is_recognised(tmp_path, cells, step, following):
    table = opened(tmp_path, cells)
    assert table.time is not None
    assert str(table.time.step) == step
    assert table.time.text(table.time.after(1)) == [following]
    assert table.left_out == {"date": "the time"}
    again = table.time.text(table.time.values)
    assert opened(tmp_path, again).time.values.tolist() == table.time.values.tolist()


def test_julian_days_and_dates_over_columns(tmp_path):
    assert (
        str(opened(tmp_path, [2451545 + i for i in range(N)], "jd,v").time.values[0])[:13] == "2000-01-01T12"
    )
    table = opened(tmp_path, [f"{day.year},{day.month},{day.day}" for day in DAYS], "year,month,day,v")
    assert table.time.text(table.time.after(1)) == ["2020-02-10"]
    assert list(table.left_out) == ["year", "month", "day"]
    table = opened(tmp_path, [f"{1990 + i // 4}.0,{i % 4 + 1}.0" for i in range(N)], "Year,quarter,v")
    assert str(table.time.step) == "1 quarter"


@pytest.mark.parametrize(
    ("cells", "head"),
    [
        (list(range(N)), ",v"),
        (list(range(N)), "sample,v"),
        ([f"{0.1 * i:.1f}" for i in range(N)], "seconds,v"),
    ],
)
def test_what_only_rises_is_no_input(tmp_path, cells, head):
    table = opened(tmp_path, cells, head)
    assert table.time is None
    name = head.split(",")[0]
    assert set(table.left_out) == {name} - {""}
    named = opened(tmp_path, cells, head, named=("v", name))
    assert name not in named.left_out


@pytest.mark.parametrize(
    ("cells", "head"),
    [
        ([i % 24 for i in range(N)], "hour,v"),
        ([f"2020,{i % 7}" for i in range(N)], "year,weekday,v"),
        ([f"{np.sqrt(i):.3f}" for i in range(N)], "growth,v"),
        ([i * i for i in range(N)], "square,v"),
        ([5 - 2 * i for i in range(N)], "left,v"),
        ([20 + (i % 3) for i in range(N)], "day,v"),
    ],
)
def test_other_numbers_stay_inputs(tmp_path, cells, head):
    table = opened(tmp_path, cells, head)
    assert table.time is None
    assert table.left_out == {}


def test_rows_come_in_order_of_time(tmp_path):
    right = opened(tmp_path, DAYS)
    rows = [f"{day},{i % 7}.25" for i, day in enumerate(DAYS)]
    for text, said in (
        (rows[::-1], "newest first"),
        (rows[9:] + rows[:9], "1 row is out of order: sorted by time"),
        (rows[:5] + rows[4:], "1 row is there twice, dropped (the first: line 7)"),
    ):
        table = opened_text(tmp_path, "\n".join(["date,v", *text]))
        assert said in " ".join(table.remarks)
        np.testing.assert_array_equal(table.numbers("v"), right.numbers("v"))
        np.testing.assert_array_equal(table.time.values, right.time.values)
    assert right.remarks == ()


def test_doubled_times_are_refused_by_name(tmp_path):
    with pytest.raises(DataError) as raised:
        opened(tmp_path, [*DAYS, DAYS[3]])
    assert error(raised).startswith(
        "2020-01-04 is there twice, in lines 5 and 42: where the file holds several"
    )
    free = opened(tmp_path, [*DAYS, DAYS[3]], time="none")
    assert free.time is None
    assert len(free.numbers("v")) == N + 1


def test_several_series_in_one_file(tmp_path):
    cells = [f"{day},{site}" for day in DAYS for site in ("north", "south")]
    with pytest.raises(DataError, match="'site' tells several series apart: name it, --task"):
        opened(tmp_path, cells, "date,site,v")
    table = opened(tmp_path, cells, "date,site,v", series="site")
    assert table.segments == (("north", 0, N), ("south", N, 2 * N))
    np.testing.assert_array_equal(table.numbers("v")[:N], np.arange(0, 2 * N, 2) % 7 + 0.25)
    np.testing.assert_array_equal(table.time.values[:N], table.time.values[N:])
    assert table.left_out["site"] == "tells the series apart"
    assert "the state of the network goes on from one series into the next" in " ".join(summary(table, ["v"]))
    with pytest.raises(ArgumentError, match="unknown column 'sites'"):
        opened(tmp_path, cells, "date,site,v", series="sites")


def test_gaps_are_not_held_over_the_border_of_a_series(tmp_path):
    text = "date,site,v\n2020-01-01,a,1\n2020-01-02,a,2\n2020-01-01,b,\n2020-01-02,b,4\n"
    table = opened_text(tmp_path, text, series="site", gaps="hold")
    with pytest.raises(DataError, match="no earlier value to hold"):
        table.numbers("v", "hold")


def test_missing_rows_are_refused_or_put_in(tmp_path):
    there = [day for i, day in enumerate(DAYS) if i not in (5, 6, 20)]
    with pytest.raises(DataError) as raised:
        opened(tmp_path, there)
    assert error(raised).startswith(
        "3 rows are missing, the first between 2020-01-05 and 2020-01-08 (line 6)"
    )
    table = opened(tmp_path, there, gaps="hold")
    assert table.time.text(table.time.values) == [str(day) for day in DAYS]
    values = table.numbers("v", "hold")
    assert values[5] == values[6] == values[4]
    assert table.gaps_in("v") == 3
    assert "3 rows are missing" in " ".join(summary(table, ["v"]))
    irregular = opened(tmp_path, [DAYS[i] for i in (0, 1, 3, 6, 10, 15, 21, 28)])
    assert irregular.time.step is None
    assert "not equally spaced" in " ".join(irregular.remarks)


def test_day_and_month_that_cannot_be_told_apart_are_refused(tmp_path):
    cells = [f"0{1 + i % 9}/0{1 + i * i % 9}/20{10 + i}" for i in range(9)]
    with pytest.raises(DataError, match=r"--task\.dates day-first or month-first"):
        opened(tmp_path, cells)
    first = opened(tmp_path, cells, dates="day-first").time.values[1]
    assert str(first)[:10] == "2011-02-02"
    with pytest.raises(DataError, match="line 4, column date: there is no day 30 in month 2 of 2021"):
        opened(tmp_path, ["2021-02-27", "2021-02-28", "2021-02-30", "2021-03-01"])
    with pytest.raises(DataError, match="line 5, column date: 'later' is not a date like"):
        opened(tmp_path, ["2021-02-27", "2021-02-28", "2021-03-01", "later"])
    with pytest.raises(DataError, match="column 'v' holds no dates or times"):
        opened(tmp_path, DAYS, time="v", named=())


@pytest.mark.parametrize(
    ("separator", "cells", "expected", "notation"),
    [
        (";", ["1,5", "2", "-0,25"], [1.5, 2, -0.25], "decimal commas"),
        (";", ["1,500", "2,000", "0,250"], [1.5, 2, 0.25], "decimal commas"),
        (";", ["1.234,5", "2,5", "12.345.678,0"], [1234.5, 2.5, 12345678], "decimal commas"),
        (",", ['"1,234"', "99", '"12,345,678"'], [1234, 99, 12345678], "thousands separators"),
        (";", ["1 234,5", "2 000", "7"], [1234.5, 2000, 7], "thousands separators"),
        (",", ["1'234.5", "2'000", "7"], [1234.5, 2000, 7], "thousands separators"),
        (",", ["5%", "7.5 %", "-1%"], [5, 7.5, -1], "per cent signs"),
        (",", ["5.5 kWh", "7 kWh", "-1 kWh"], [5.5, 7, -1], "unit kWh"),
        (",", ["$5.50", "$7", '"$1,234"'], [5.5, 7, 1234], "thousands separators and unit $"),
        (",", ["21°C", "22.5°C", "20°C"], [21, 22.5, 20], "unit °C"),
        (",", ["true", "False", "TRUE"], [1, 0, 1], "true and false, or yes and no, as 1 and 0"),
        (",", ["yes", "no", "yes"], [1, 0, 1], "true and false, or yes and no, as 1 and 0"),
    ],
)
def test_notations_are_read_and_said(tmp_path, separator, cells, expected, notation):
    rows = [f"{day}{separator}{cell}" for day, cell in zip(DAYS, cells, strict=False)]
    table = opened_text(tmp_path, "\n".join([f"date{separator}v", *rows]))
    np.testing.assert_array_equal(table.numbers("v"), expected)
    assert f"v: {notation}" in " ".join(summary(table, ["v"]))


@pytest.mark.parametrize("cells", [["5 kg", "5 lb"], ["A12", "B13"], ["1,2", "3,45,6"], ["12:30", "12:45"]])
def test_other_text_is_left_out_and_said(tmp_path, cells):
    text = "date;w;v\n" + "\n".join(f"2020-01-0{i + 1};{cell};{i}" for i, cell in enumerate(cells))
    table = opened_text(tmp_path, text)
    assert not table.numeric("w")
    assert f"leaves out w: text, such as {cells[0]!r}" in summary(table, ["v"])


@pytest.mark.parametrize("word", ["NA", "n/a", "null", "None", "?", "-", "#N/A", "NaN", ""])
def test_words_for_nothing_are_gaps(tmp_path, word):
    text = f"date,v\n2020-01-01,1\n2020-01-02,{word}\n2020-01-03,3\n"
    table = opened_text(tmp_path, text, gaps="hold")
    np.testing.assert_array_equal(table.numbers("v", "hold"), [1, 1, 3])
    assert "gaps: 1 in v; the last value is carried forward" in summary(table, ["v"])
    with pytest.raises(DataError, match="line 3, column v"):
        table.numbers("v")


def test_other_encodings_and_packed_files(tmp_path):
    table = opened_text(tmp_path, "date,v,where\n2020-01-01,1,Köln\n2020-01-02,2,Köln\n".encode("cp1252"))
    assert "read as Western European (cp1252)" in " ".join(table.remarks)
    assert table.cells["where"] == ("Köln", "Köln")
    text = "date,v\n2020-01-01,1\n2020-01-02,2\n"
    for content in (gzip.compress(text.encode()), text.encode("utf-16")):
        table = opened_text(tmp_path, content)
        np.testing.assert_array_equal(table.numbers("v"), [1, 2])
        assert table.time is not None
    with pytest.raises(DataError, match="cannot be read"):
        opened_text(tmp_path, gzip.compress(text.encode())[:-9])


def test_columns_that_turn_to_text_late_keep_their_cells(tmp_path, monkeypatch):
    """Numbers are parsed in chunks: a column that turns out to be text is read anew, as it is written."""
    monkeypatch.setattr("perturbax.tasks.files.reading.CHUNK", 4)
    rows = [f"{day},00{i},{i}.50" for i, day in enumerate(DAYS[:9])]
    table = opened_text(tmp_path, "\n".join(["date,code,v", *rows, f"{DAYS[9]},x9,NA"]))
    assert table.cells["code"] == (*(f"00{i}" for i in range(9)), "x9")
    np.testing.assert_array_equal(table.columns["v"].values, [*(i + 0.5 for i in range(9)), np.nan])
    assert table.lines.tolist() == list(range(2, 12))


def test_rows_behind_the_last_target_are_for_what_is_known_ahead(tmp_path):
    rows = [f"{day},{i % 2},{i % 7}.5" for i, day in enumerate(DAYS)]
    future = [f"{DAYS[-1] + datetime.timedelta(i + 1)},1," for i in range(3)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["date,holiday,v", *rows, *future]))
    fields = {"target": "v", "form": "level", "lags": 2, "warmup": 2}
    task = Series(known="holiday", **fields).open(path)
    assert len(task.opened.x) == N
    with pytest.raises(DataError, match="line 42, column v: the cell is empty"):
        Series(**fields).open(path)


@given(st.permutations(range(12)), st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d %b %Y"]))
def test_the_order_of_the_file_changes_nothing(tmp_path_factory, order, pattern):
    folder = tmp_path_factory.mktemp("table")
    days = [datetime.date(2021, 3, 25) + datetime.timedelta(i) for i in order]
    text = "\n".join(
        ["date,v", *(f"{day.strftime(pattern)},{i}" for i, day in zip(order, days, strict=True))]
    )
    table = opened_text(folder, text)
    np.testing.assert_array_equal(table.numbers("v"), np.arange(12))
    assert str(table.time.step) == "1 day"
