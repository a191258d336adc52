"""`run` and `predict` on a column of classes: from a CSV file to the class and its probability."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from helpers import error_of

from perturbax.cli import main

N = 300


def write(path, leave=()):
    """A file whose class is the sign of one of its numbers, three rows later."""
    value = np.sin(np.arange(N + 3) * 0.7) + 0.3 * np.cos(np.arange(N + 3) * 0.31)
    columns = {
        "day": [f"day {i}" for i in range(N)],
        "value": value[3:],
        "state": np.where(value > 0, "up", "down")[:N],
    }
    kept = {name: cells for name, cells in columns.items() if name not in leave}
    lines = [",".join(kept), *(",".join(map(str, cells)) for cells in zip(*kept.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


ARGUMENTS = ["--task.target", "state", "--task.inputs", "value", "--task.window", "12", "--units", "8"]
ARGUMENTS += ["--steps", "120", "--logs", "2", "--lr", "1e-2", "--rule", "bptt", "--batch", "16"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that answers at every row, and one that answers once per window; the data."""
    folder = tmp_path_factory.mktemp("classes")
    data = write(folder / "d.csv")
    ask = ["run", "--task", "series", "--data", data, *ARGUMENTS]
    assert main([str(a) for a in (*ask, "--out", folder / "row")]) == 0
    window = ["--task.answer", "window", "--task.horizon", "0", "--out", folder / "window"]
    assert main([str(a) for a in (*ask, *window)]) == 0
    return folder


def asked(capsys, *argv):
    """What a command prints, as rows of a CSV file."""
    capsys.readouterr()
    assert main([str(a) for a in argv]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


@pytest.mark.parametrize("name", ["row", "window"])
def test_results_and_report(runs, name, tmp_path):
    result = json.loads((runs / name / "result.json").read_text())
    assert set(result["test"]) == {"loss", "accuracy"}
    assert set(result["baselines"]) == {"constant", "persistence", "reservoir"}
    assert result["confusion"]["classes"] == ["down", "up"]
    counts = np.array(result["confusion"]["counts"])
    np.testing.assert_allclose(np.trace(counts) / counts.sum(), result["test"]["accuracy"], rtol=1e-5)
    assert main(["report", str(runs / name), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "Confusion of classes" in page
    assert "test accuracy" in page


def test_the_rows_after_the_last_one(runs, capsys):
    found = asked(capsys, "predict", runs / "row", "--data", runs / "d.csv")
    assert [list(line) for line in found] == [["row", "class", "probability", "made_at"]]
    assert (found[0]["row"], found[0]["made_at"]) == (str(N + 1), str(N))
    assert found[0]["class"] in ("down", "up")
    assert 0.5 <= float(found[0]["probability"]) <= 1


def test_every_row_and_the_same_row(runs, capsys, tmp_path):
    truth = [line["state"] for line in csv.DictReader((runs / "d.csv").read_text().splitlines())]
    every = asked(capsys, "predict", runs / "row", "--data", runs / "d.csv", "--all")
    assert [line["row"] for line in every] == [str(i) for i in range(2, N + 2)]
    right = np.mean([line["class"] == truth[int(line["row"]) - 1] for line in every[:-1]])
    assert right > 0.8
    # Nothing but the numbers is needed, where nothing else is read.
    bare = write(tmp_path / "bare.csv", leave=("state", "day"))
    assert asked(capsys, "predict", runs / "row", "--data", bare, "--all") == every
    windows = asked(capsys, "predict", runs / "window", "--data", bare)
    assert [int(line["row"]) for line in windows] == list(range(12, N + 1, 12))
    all_windows = asked(capsys, "predict", runs / "window", "--data", bare, "--all")
    assert [int(line["row"]) for line in all_windows] == list(range(12, N + 1))
    assert all_windows[::12] == windows


def test_backtest_measures_as_the_run_does(runs, capsys, tmp_path):
    for name, answers in (("row", 44), ("window", 45)):
        out = tmp_path / f"{name}.csv"
        argv = ["predict", runs / name, "--data", runs / "d.csv", "--backtest", answers, "--out", out]
        assert main([str(a) for a in argv]) == 0
        heads, line = (text.split() for text in capsys.readouterr().out.splitlines()[:2])
        measured = dict(zip(heads, line, strict=True))
        result = json.loads((runs / name / "result.json").read_text())
        for measure in ("accuracy", "loss"):
            assert float(measured[measure]) == pytest.approx(result["test"][measure], rel=2e-2, abs=2e-3)
        persistence = result["baselines"]["persistence"]["accuracy"]
        assert float(measured["persistence_accuracy"]) == pytest.approx(persistence, abs=1e-3)
        lines = list(csv.DictReader(out.read_text().splitlines()))
        right = np.mean([line["class"] == line["truth"] for line in lines])
        assert right == pytest.approx(float(measured["accuracy"]), abs=1e-3)


def test_what_is_refused(runs, capsys, tmp_path):
    ask = ["predict", runs / "row", "--data"]
    assert (
        "a class comes with its probability"
        in error_of(capsys, [*ask, runs / "d.csv", "--interval", "80"])[1]
    )
    bare = write(tmp_path / "bare.csv", leave=("state",))
    assert "no usable column 'state'" in error_of(capsys, [*ask, bare, "--backtest", "5"])[1]
    assert "backtest 300 is too many" in error_of(capsys, [*ask, runs / "d.csv", "--backtest", "300"])[1]
    none = write(tmp_path / "none.csv", leave=("value",))
    assert "no column 'value', which the model reads" in error_of(capsys, [*ask, none])[1]
    short = tmp_path / "short.csv"
    short.write_text("".join((runs / "d.csv").read_text().splitlines(keepends=True)[:9]))
    window = ["predict", runs / "window", "--data", short]
    assert "8 rows are too few: an answer needs 12" in error_of(capsys, window)[1]


def test_a_run_goes_on(runs, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(runs / "row", folder)
    (folder / "result.json").unlink()
    assert main(["run", "--resume", str(folder)]) == 0
    results = [json.loads((one / "result.json").read_text()) for one in (folder, runs / "row")]
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["confusion"] == results[1]["confusion"]
