"""Files as spreadsheets, loggers and databases write them: read rightly, with a word, or refused by name."""

import datetime

import numpy as np
import pytest

from perturbax.errors import ArgumentError, DataError
from perturbax.tasks.class_reading import classes_of, odd_names
from perturbax.tasks.files import csv_table
from perturbax.tasks.files.arrange import Asked, arranged, summary
from perturbax.tasks.files.csv_table import first_rows, read_table

N = 40
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(i) for i in range(N)]
HOURS = [datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=i) for i in range(N)]
START = np.datetime64("2020-01-01T00:00:00")
UNIX = 1577836800  # 2020-01-01


def opened(tmp_path, text, **asked):
    """The table of a file with this text, in order of time; its target is called v."""
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return arranged(read_table(path), Asked(**{"named": ("v",), **asked}))


def of_times(tmp_path, times, head="time,v", **asked):
    return opened(tmp_path, "\n".join([head, *(f"{at},{i % 7}.25" for i, at in enumerate(times))]), **asked)


def said(table):
    """What is said of a file before it is used, on one line."""
    read = [name for name in table.columns if table.numeric(name) and name not in table.left_out]
    return " | ".join(summary(table, read))


@pytest.mark.parametrize(
    ("times", "step", "following"),
    [
        ([UNIX * 10**6 + 60 * 10**6 * i for i in range(N)], "1 minute", str((UNIX + 60 * N) * 10**6)),
        ([UNIX * 10**9 + 60 * 10**9 * i for i in range(N)], "1 minute", str((UNIX + 60 * N) * 10**9)),
        ([UNIX * 10**9 + 10**7 * i for i in range(N)], "0.01 seconds", str(UNIX * 10**9 + 10**7 * N)),
        ([f"{UNIX + i / 2:.1f}" for i in range(N + 1)], "0.5 seconds", f"{UNIX + (N + 1) / 2}"),
        (
            [f"2020-01-01T00:00:00.{10_000 * i:06d}" for i in range(N)],
            "0.01 seconds",
            "2020-01-01T00:00:00.400",
        ),
        ([f"{day:%d-%b-%y}" for day in DAYS], "1 day", "10-Feb-20"),
        ([f"{at:%Y%m%d%H}" for at in HOURS], "1 hour", "2020010216"),
        ([f"{at:%Y%m%d%H%M}" for at in HOURS], "1 hour", "202001021600"),
        ([f"{at:%Y%m%d%H%M%S}" for at in HOURS], "1 hour", "20200102160000"),
        ([f"{at:%Y%m%dT%H%M%SZ}" for at in HOURS], "1 hour", "20200102T160000Z"),
        ([f"{at:%Y%m%d %H:%M}" for at in HOURS], "1 hour", "20200102 16:00"),
        ([f"{at:%Y-%m-%d %H:%M:%S} GMT" for at in HOURS], "1 hour", "2020-01-02 16:00:00Z"),
        ([f"{at:%Y/%m/%d-%H:%M}" for at in HOURS], "1 hour", "2020/01/02 16:00"),
        ([f"{year}-{(year + 1) % 100:02d}" for year in range(1998, 2011)], "1 year", "2011-12"),
        ([f"{day:%a %d %b %Y}" for day in DAYS], "1 day", "10 Feb 2020"),
        ([f"{datetime.date(2001 + i // 12, i % 12 + 1, 1):%b-%y}" for i in range(N)], "1 month", "May-04"),
        ([f"{day:%G-W%V}" for day in DAYS[::7]], "1 week", "2020-W07"),
        ([f"{day:%G-W%V-%u}" for day in DAYS], "1 day", "2020-W07-1"),
    ],
)
def test_times_of_computers_and_spreadsheets(tmp_path, times, step, following):
    table = of_times(tmp_path, times)
    assert str(table.time.step) == step
    assert table.time.text(table.time.after(1)) == [following]
    again = of_times(tmp_path, table.time.text(table.time.values))
    assert again.time.values.tolist() == table.time.values.tolist()


def test_times_closer_than_a_thousandth_of_a_second_are_refused(tmp_path):
    for times in (
        [f"2020-01-01T00:00:00.{100 * i:06d}" for i in range(N)],
        [UNIX * 10**9 + 100_000 * i for i in range(N)],
    ):
        with pytest.raises(
            DataError, match=r"read to a thousandth of a second, and these are closer \(--task"
        ):
            of_times(tmp_path, times)
        assert of_times(tmp_path, times, time="none").time is None


@pytest.mark.parametrize("minutes", [60, 30, 15])
def test_the_hour_that_clocks_show_twice_is_refused_by_its_name(tmp_path, minutes):
    steps = np.arange(-6 * 60 // minutes, 6 * 60 // minutes)
    utc = np.datetime64("2020-10-25T01:00") + steps * np.timedelta64(minutes, "m")  # summer time ends at 1
    clock = utc + np.where(steps < 0, 2, 1) * np.timedelta64(60, "m")
    with pytest.raises(
        DataError, match=r"2020-10-25T02:00 is there twice.* does summer time end there\? Write"
    ):
        of_times(tmp_path, clock)
    zoned = [f"{at}+0{2 if k < 0 else 1}:00" for at, k in zip(clock, steps, strict=True)]
    np.testing.assert_array_equal(of_times(tmp_path, zoned).time.values, utc.astype("datetime64[ms]"))
    spring = np.datetime64("2020-03-29T01:00") + steps * np.timedelta64(minutes, "m")
    with pytest.raises(DataError, match="does summer time begin there"):
        of_times(tmp_path, spring + np.where(steps < 0, 1, 2) * np.timedelta64(60, "m"))
    with pytest.raises(DataError) as raised:
        of_times(tmp_path, [*clock[steps < 0], *clock[steps < 0]])  # a series of the same rows
    assert "summer time" not in str(raised.value)


@pytest.mark.parametrize(
    "texts",
    [
        [f"1.{i % 3}.{i % 5}" for i in range(N)],
        [f"1.{i % 13}.{10 + i % 7}" for i in range(N)],
        [f"{1 + i % 9}.{20 + i % 9}.{10 + i % 20}" for i in range(N)],
        [f"10.0.{i % 3}.{i}" for i in range(N)],
        [f"ABC-{10 + i % 7}" for i in range(N)],
        [f"Model {2000 + i % 7}" for i in range(N)],
        ["3.11.10", *(f"3.11.{i}" for i in range(1, N))],
    ],
)
def test_what_looks_like_dates_is_left_out_with_a_word(tmp_path, texts):
    rows = "".join(f"{text},{i % 7}\n" for i, text in enumerate(texts))
    table = opened(tmp_path, "version,v\n" + rows)
    assert table.time is None
    assert f"leaves out version: text, such as {texts[0]!r}" in said(table)
    if texts[0] != "1.20.10":  # which could be one
        with pytest.raises(DataError, match=r"column '?version"):
            opened(tmp_path, "version,v\n" + rows, time="version")


def test_comments_and_named_separators_stand_above_the_header(tmp_path):
    rows = "".join(f"{day},{i % 7}.5\n" for i, day in enumerate(DAYS))
    plain = opened(tmp_path, "date,v\n" + rows)
    for text, words in (
        (
            "# logger 7\n# site: a, b\n\ndate,v\n" + rows,
            "2 lines begin with # in front of the header: skipped",
        ),
        ("# one\n#date,v\n" + rows, "line 2 begins with #: it is taken for the header"),
        ("# date,v\n" + rows, "line 1 begins with #: it is taken for the header"),
        ("sep=;\n" + ("date,v\n" + rows).replace(",", ";"), "1 day"),
        (("date,v\n" + rows).replace(",", "|"), "1 day"),
    ):
        table = opened(tmp_path, text)
        np.testing.assert_array_equal(table.numbers("v"), plain.numbers("v"))
        assert table.time.name == "date"
        assert words in said(table)
        skipped = text.count("\n") - N
        assert table.lines.tolist() == list(range(1 + skipped, 1 + skipped + N))
    with pytest.raises(DataError, match=r"line 2: 2 cells, the header has 1 \(is the first line a title\?"):
        opened(tmp_path, "Sales\ndate,v\n" + rows)


@pytest.mark.parametrize(
    "units", [",degC,hPa", ",°C,%", "yyyy-mm-dd,degC,hPa\n,Avg,Smp", "UTC,[m/s],-", '"","W/m²","hPa"']
)
def test_rows_of_units_are_skipped_and_said(tmp_path, units):
    rows = "".join(f"{day},{i % 7}.5,{i}\n" for i, day in enumerate(DAYS))
    table = opened(tmp_path, f"date,v,w\n{units}\n{rows}")
    np.testing.assert_array_equal(table.numbers("v"), np.arange(N) % 7 + 0.5)
    assert table.lines[0] == 3 + units.count("\n")
    assert said(table).count("under the header holds units") == 1 + units.count("\n")


def test_first_rows_of_words_that_are_no_units_stay(tmp_path):
    with pytest.raises(DataError, match="line 2, column v: 'broken' is not a number"):
        opened(tmp_path, "date,v\n2020-01-01,broken\n2020-01-02,2\n2020-01-03,3\n").numbers("v")
    with pytest.raises(DataError, match="line 2, column v: 'broken' is not a number"):
        opened(tmp_path, "v\nbroken\n2\n3\n").numbers("v")
    table = opened(tmp_path, "who,v\nAnna,NA\nBob,2\nCem,3\n")
    assert table.cells["who"][0] == "Anna"
    words = opened(tmp_path, "a,b\nred,x\nblue,y\n", named=())
    assert words.cells["a"] == ("red", "blue")


@pytest.mark.parametrize(
    ("cells", "expected", "words"),
    [
        (["1.250", "12.000", "950"], [1250, 12000, 950], "w: thousands separators"),
        (["0.125", "1.250", "2.5"], [0.125, 1.25, 2.5], ""),
        (["1.234.567", "1.250", "-950"], [1234567, 1250, -950], "w: thousands separators"),
        (["1.5D+01", "2.25D-1", "0.0"], [15, 0.225, 0], "w: exponents with D"),
        (["1.5", "\u22122.5", "3"], [1.5, -2.5, 3], "w: long minus signs"),
        (["1.5", "-9999", "3"], [1.5, -9999, 3], "w is -9999 in 1 row, far from all other values"),
        (
            ["12345678901234567", "2", "3"],
            [12345678901234567.0, 2, 3],
            "w holds whole numbers of more than 15",
        ),
    ],
)
def test_numbers_of_real_files(tmp_path, cells, expected, words):
    rows = [f"{day};{i},5;{cell}" for i, (day, cell) in enumerate(zip(DAYS, cells, strict=False))]
    table = opened(tmp_path, "\n".join(["date;v;w", *rows]))
    np.testing.assert_array_equal(table.numbers("v"), [0.5, 1.5, 2.5])
    np.testing.assert_array_equal(table.numbers("w"), expected)
    assert words in said(table)


def test_codes_with_leading_zeros_are_no_amounts(tmp_path):
    rows = "".join(f"{day},00{i % 3},0{i % 9},{i % 7}\n" for i, day in enumerate(DAYS))
    table = opened(tmp_path, "date,id,hour,v\n" + rows)
    assert "leaves out id: numbers with leading zeros are names of something" in said(table)
    assert "reads hour, v" in said(table)
    assert opened(tmp_path, "date,id,hour,v\n" + rows, named=("id", "v")).numbers("id")[1] == 1
    both = "".join(f"{day},00{i},{i}\n" for day in DAYS for i in range(2))
    series = opened(tmp_path, "date,id,v\n" + both, series="id")
    assert [name for name, _, _ in series.segments] == ["000", "001"]


def test_dates_over_columns_of_names_and_numbers(tmp_path):
    names = "".join(f"{2000 + i // 12},{datetime.date(2000, i % 12 + 1, 1):%B},{i}\n" for i in range(N))
    table = opened(tmp_path, "year,month,v\n" + names)
    assert str(table.time.step) == "1 month"
    assert table.time.text(table.time.after(1)) == ["2003-05"]
    hours = "".join(f"{DAYS[i // 24]},{100 * (i % 24)},{i}\n" for i in range(96))
    table = opened(tmp_path, "date,time,v\n" + hours)
    assert str(table.time.step) == "1 hour"


def test_columns_without_a_name_are_said(tmp_path):
    text = "".join(f"{5 - i % 3},{i % 7},x,\n" for i in range(9))
    remarks = said(opened(tmp_path, ",v,,\n" + text))
    assert "the first column has no name: it is left out" in remarks
    assert "column 3 has no name: it is left out" in remarks
    assert "column 4" not in remarks


def test_times_with_holes_and_columns_that_count_the_rows_are_no_inputs(tmp_path):
    times = [UNIX + 60 * i if i != 7 else "" for i in range(N)]
    with pytest.raises(DataError, match="line 9, column time: the time is missing"):
        of_times(tmp_path, times)
    assert of_times(tmp_path, times, time="none").numeric("time")
    rows = "".join(f"{day},{1000 + i},{i * i},{i % 7}\n" for i, day in enumerate(DAYS))
    table = opened(tmp_path, "date,id,square,v\n" + rows)
    assert table.left_out == {"date": "the time", "id": "a number that only rises"}
    assert "id" not in opened(tmp_path, "date,id,square,v\n" + rows, named=("id", "v")).left_out


def test_two_rows_are_not_called_unequal(tmp_path):
    assert "unequal" not in said(of_times(tmp_path, DAYS[:2]))


def test_the_first_rows_of_a_file_are_read_once(tmp_path, monkeypatch):
    path = tmp_path / "data.csv"
    path.write_text("a,v\n1,x\n2,y\n")
    reads = []
    read_start = csv_table.read_start
    monkeypatch.setattr(csv_table, "read_start", lambda path: reads.append(path) or read_start(path))
    assert first_rows(path) is first_rows(path)
    path.write_text("a,v\n1,x\n2,y\n3,z\n")
    assert first_rows(path).cells["v"] == ("x", "y", "z")
    assert len(reads) == 2
    with pytest.raises(ArgumentError, match="no such file"):
        first_rows(tmp_path / "none.csv")
    path.write_text("a,v\n1,x\n")
    assert len(first_rows(path).lines) == 1


@pytest.mark.parametrize("word", ["none", "None", "-", "missing", "."])
def test_words_for_nothing_among_numbers_may_name_a_class(tmp_path, word):
    path = tmp_path / "data.csv"
    path.write_text("v,state\n" + "".join(f"{i},{(word, 'low')[i % 2]}\n" for i in range(40)) + "7,NA\n")
    table = read_table(path)
    with pytest.raises(DataError, match=r"line 42, column state: the class is missing \(--task"):
        classes_of(table, "state", "refuse")
    classes, label = classes_of(table, "state", "hold")
    assert classes == tuple(sorted([word, "low"]))
    assert (label[0] == label[2], label[0] == label[1], label[40] == label[39]) == (True, False, True)
    assert odd_names(classes) == [
        f"{word!r} is a class like others; empty cells and words such as NA are gaps"
    ]
    assert odd_names(("low", "high")) == []
