"""Reading CSV files: what is accepted, and where exactly the rest goes wrong."""

import csv
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perturbax.errors import ArgumentError, DataError
from perturbax.tasks.files.csv_table import read_table


def written(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message(raised):
    """The message of an error; one line, without the folder."""
    text = str(raised.value)
    assert "\n" not in text
    return text.rpartition("/")[2]


@pytest.mark.parametrize(
    "content",
    [
        "date,a,b\nx,1,2.5\ny,-3e1,4\n",
        "\ufeffdate,a,b\nx,1,2.5\ny,-3e1,4",
        "date;a;b\r\nx;1;2.5\r\ny;-3e1;4\r\n\r\n",
        "date\ta\tb\nx\t1\t2.5\n\ny\t-3e1\t4\n",
        'date, a ," b "\n"x", 1 , 2.5\ny,-3e1,4\n   \n',
        "\n\ndate,a,,b,\nx,1,7,2.5,\ny,-3e1,8,4,\n",
    ],
    ids=["plain", "bom", "semicolon", "tab", "spaces", "unnamed"],
)
def test_reads_named_columns(tmp_path, content):
    table = read_table(written(tmp_path, content))
    assert list(table.cells) == ["date", "a", "b"]
    assert [table.numeric(name) for name in table.cells] == [False, True, True]
    np.testing.assert_array_equal(table.numbers("a"), [1, -30])
    np.testing.assert_array_equal(table.numbers("b"), [2.5, 4])


def test_lines_are_those_of_the_file(tmp_path):
    table = read_table(written(tmp_path, '\na,b\n1,2\n\n3,"x\ny"\n5,6\n'))
    assert table.lines.tolist() == [3, 6, 7]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "data.csv: the file is empty"),
        (b"\n\n  \n", "data.csv: the file is empty"),
        (b"a,b\n", "data.csv: no rows after the header"),
        (b"a,b,a\n1,2,3\n", "data.csv: two columns are named 'a': rename one of them"),
        (b"1,2\n3,4\n", "data.csv: the first line must name the columns, it holds only numbers"),
        (b",\n3,4\n", "data.csv: the first line must name the columns, it is empty"),
        (b"a,b,c\n1,2,3\n1,2\n", "data.csv, line 3: 2 cells, the header has 3"),
        (b"a,b\n1,2\n\n1\n", "data.csv, line 4: 1 cell, the header has 2"),
        (b"a,b\n1,2,3\n", "data.csv, line 2: 3 cells, the header has 2"),
        (b"a,b\n1,\x81\n", "data.csv is not a UTF-8 text file (byte 7)"),
        (b"a,b\n1,\x002\n", "data.csv is not a text file (byte 7 is 0)"),
        (b'a,b\n1,"2\n3,4\n', "data.csv, line 3: unexpected end of data"),
    ],
)
def test_refuses_what_is_no_table(tmp_path, content, expected):
    with pytest.raises(DataError) as raised:
        read_table(written(tmp_path, content))
    assert message(raised) == expected
    assert raised.value.exit_code == 1


def test_missing_files_and_folders(tmp_path):
    missing = tmp_path / "none.csv"
    with pytest.raises(ArgumentError) as raised:
        read_table(missing)
    assert str(raised.value) == f"no such file: {missing}"
    assert raised.value.exit_code == 2
    with pytest.raises(DataError) as raised:
        read_table(tmp_path)
    assert str(raised.value) == f"{tmp_path} is a directory, not a file"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("abc", "'abc' is not a number"),
        ('"a\nb"', r"'a\nb' is not a number"),
        ("1_0", "'1_0' is not a number"),
        ("x" * 50, f"'{'x' * 37}...' is not a number"),
        ("inf", "'inf' is not a finite number"),
        ("nan", "'nan' is not a finite number (--task.gaps hold carries the last value forward)"),
        ("", "the cell is empty (--task.gaps hold carries the last value forward)"),
        ("  ", "the cell is empty (--task.gaps hold carries the last value forward)"),
    ],
)
def test_bad_cells_are_named(tmp_path, cell, expected):
    table = read_table(written(tmp_path, f"t,T\na,1\nb,2\nc,{cell}\nd,{cell}\n"))
    line = 5 if "\n" in cell else 4
    with pytest.raises(DataError) as raised:
        table.numbers("T")
    assert message(raised) == f"data.csv, line {line}, column T: {expected}"


def test_text_comes_before_gaps(tmp_path):
    table = read_table(written(tmp_path, "a,T\n1,\n1,2\n1,abc\n"))
    with pytest.raises(DataError, match="line 4, column T: 'abc' is not a number"):
        table.numbers("T", "hold")


def test_holding_carries_the_last_value_forward(tmp_path):
    table = read_table(written(tmp_path, "a,T\n,1\n1,\n1,nan\n1,4\n1, \n"))
    np.testing.assert_array_equal(table.numbers("T", "hold"), [1, 1, 1, 4, 4])
    with pytest.raises(DataError) as raised:
        table.numbers("a", "hold")
    assert (
        message(raised)
        == "data.csv, line 2, column a: the cell is empty, and there is no earlier value to hold"
    )


def test_infinity_is_not_held(tmp_path):
    table = read_table(written(tmp_path, "a,T\n1,1\n1,-inf\n"))
    with pytest.raises(DataError, match=r"line 3, column T: '-inf' is not a finite number$"):
        table.numbers("T", "hold")


def test_a_blank_line_is_a_gap_in_a_single_column(tmp_path):
    table = read_table(written(tmp_path, "T\n1\n\n3\n\n"))
    np.testing.assert_array_equal(table.numbers("T", "hold"), [1, 1, 3])
    with pytest.raises(DataError, match="line 3, column T: the cell is empty"):
        table.numbers("T")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("1 x y", False),
        ("1 2 x", True),
        ("1 x", True),
        ("x", False),
        (" ", False),
        ("1", True),
        ("1 nan", True),
    ],
)
def test_most_cells_decide_what_a_column_is(tmp_path, cells, expected):
    rows = "\n".join(f"0,{cell}" for cell in [*cells.split(" "), ""])
    assert read_table(written(tmp_path, f"i,T\n{rows}\n")).numeric("T") is expected


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=n, max_size=n),
            min_size=1,
            max_size=9,
        )
    ),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
)
def test_numbers_survive_exactly(tmp_path_factory, rows, delimiter, end):
    path = tmp_path_factory.mktemp("table") / "data.csv"
    names = [f"column {i}" for i in range(len(rows[0]))]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=end).writerows([names, *rows])
    table = read_table(path)
    np.testing.assert_array_equal(np.stack([table.numbers(name) for name in names], 1), rows)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path):
    path = written(tmp_path, "a\n1\n")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_table(path)
