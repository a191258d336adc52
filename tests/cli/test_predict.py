"""`predict`: from a CSV file to a run to forecasts for another file."""

import csv
import json

import numpy as np
from helpers import error_of, everything, series

from perturbax.cli import main


def test_from_a_csv_to_forecasts(capsys, tmp_path):
    data = series(tmp_path / "d.csv")
    out = tmp_path / "run"
    argv = [
        "run",
        "--task",
        "series",
        "--data",
        data,
        "--task.target",
        "load",
        "--task.horizon",
        "3",
        "--task.form",
        "level",
        "--units",
        "16",
        "--task.window",
        "30",
        "--steps",
        "300",
        "--lr",
        "5e-3",
        "--rule",
        "bptt",
        "--out",
        out,
    ]
    assert main(list(map(str, argv))) == 0
    result = json.loads((out / "result.json").read_text())
    assert {
        "task",
        "rule",
        "cell",
        "seed",
        "steps",
        "status",
        "seconds",
        "compile_seconds",
        "forward_passes",
        "peak_memory_bytes",
        "test",
        "baselines",
    } <= set(result)
    assert set(result["test"]) == {"loss", "mse", "mse_scaled", "mae", "rmse", "smape", "mase"}
    assert {"mean", "persistence", "linear"} <= set(result["baselines"])
    assert result["test"]["mse"] < 0.5 * result["baselines"]["persistence"]["mse"]
    check_intervals(result["intervals"])
    held = 100 * result["intervals"]["80"]["coverage"]
    assert f"; intervals hold {held:.1f} % in those of 80 %" in capsys.readouterr().out
    # The training file is not needed any more, nor the target, to forecast.
    data.unlink()
    again = series(tmp_path / "new.csv")
    actual = [float(r["load"]) for r in csv.DictReader(again.read_text().splitlines())]
    ask = ["predict", out, "--data", again]
    check_one_per_row(ask, tmp_path / "all.csv", actual, result)
    check_what_comes_next(capsys, ask, tmp_path)
    check_backtest(capsys, ask, tmp_path / "back.csv", actual, result)
    check_nothing_is_lost(capsys, ask, argv, out, again)
    check_far_inputs_and_cold_starts(capsys, ask, tmp_path)
    (tmp_path / "bare.csv").write_text("time,load\n1,2\n")
    status, line = error_of(
        capsys, ["predict", out, "--data", tmp_path / "bare.csv", "--out", tmp_path / "g.csv"]
    )
    assert "temp" in line
    assert not (tmp_path / "g.csv").exists()


def call(argv):
    """Run a command that must end well."""
    assert main(list(map(str, argv))) == 0


def table(text):
    """The rows of a CSV text."""
    return list(csv.DictReader(text.splitlines()))


def check_intervals(intervals):
    """What result.json says about intervals: wider ones hold more, and about as much as was asked."""
    assert set(intervals) == {"80", "95"}
    assert intervals["80"]["half_widths"] < intervals["95"]["half_widths"]
    for level, found in intervals.items():
        assert found["coverage"] == found["coverages"][0]
        assert abs(found["coverage"] - float(level) / 100) < 0.15


def check_one_per_row(ask, file, actual, result):
    """`--all`: one forecast per row of the file."""
    call([*ask, "--all", "--out", file])
    rows = table(file.read_text())
    assert list(rows[0]) == ["row", "time", "load", "forecast_row", "load_forecast"]
    assert (rows[7]["row"], rows[7]["forecast_row"], rows[7]["load"]) == ("8", "11", str(actual[7]))
    assert len(rows) == 400
    forecast = np.array([float(r["load_forecast"]) for r in rows])[300:-3]
    truth = np.array(actual)[303:]
    assert np.mean((forecast - truth) ** 2) < 1.5 * result["test"]["mse"]


def check_what_comes_next(capsys, ask, folder):
    """The rows after the last one, as the last forecasts of `--all`, with intervals around them."""
    capsys.readouterr()
    call(ask)
    said = capsys.readouterr()
    rows = table(said.out)
    assert [r["horizon"] for r in rows] == ["3"] * 3
    assert {r["target"] for r in rows} == {"load"}
    every = [float(r["load_forecast"]) for r in table((folder / "all.csv").read_text())]
    np.testing.assert_allclose([float(r["forecast"]) for r in rows], every[-3:], rtol=1e-5)
    assert all(len(r["forecast"]) == len("50.1234") for r in rows)  # as many digits as the data have
    assert "400 rows of history" in said.err
    call([*ask, "--interval", "80,95,99.9", "--out", folder / "next.csv"])
    assert "intervals of 80 % held" in capsys.readouterr().err
    for row in table((folder / "next.csv").read_text()):
        bounds = [float(row[name]) for name in ("low_95", "low_80", "forecast", "high_80", "high_95")]
        assert bounds == sorted(bounds)
        assert (row["low_99.9"], row["high_99.9"]) == ("-inf", "inf")  # 57 residuals cannot promise that


def check_backtest(capsys, ask, file, actual, result):
    """Errors over past origins are those of the forecasts that are written."""
    capsys.readouterr()
    call([*ask, "--backtest", 60, "--interval", "80", "--out", file])
    head, line = capsys.readouterr().out.splitlines()[:2]
    measures = dict(zip(head.split(), line.split(), strict=True))
    rows = table(file.read_text())
    assert len(rows) == 60
    truth, forecast, low, high = (
        np.array([float(r[k]) for r in rows]) for k in ("truth", "forecast", "low_80", "high_80")
    )
    np.testing.assert_allclose(truth, actual[-60:], atol=1e-4)
    error = truth - forecast
    np.testing.assert_allclose(float(measures["mse"]), np.mean(error**2), rtol=2e-3)
    np.testing.assert_allclose(float(measures["mae"]), np.mean(np.abs(error)), rtol=2e-3)
    season = json.loads((ask[1] / "config.json").read_text())["facts"]["encoding"]["season"]
    before = np.array(actual[:338])  # the first of the 60 origins is row 338
    naive = np.mean(np.abs(before[season:] - before[:-season]))
    np.testing.assert_allclose(float(measures["mase"]), np.mean(np.abs(error)) / naive, rtol=2e-3)
    inside = np.mean((low <= truth) & (truth <= high))
    assert abs(float(measures["coverage_80"]) - 100 * inside) < 2
    assert (measures["target"], measures["horizon"], measures["origins"]) == ("load", "3", "60")
    assert "398 rows whose forecasts" not in error_of(capsys, [*ask, "--backtest", 398])[1]
    assert "has 397 rows whose forecasts" in error_of(capsys, [*ask, "--backtest", 398])[1]
    assert "must be above 0" in error_of(capsys, [*ask, "--backtest", 0])[1]


def check_nothing_is_lost(capsys, ask, argv, out, data):
    """A folder that holds a run is left as it was; forecasts replace a file only if told, never these."""
    before = everything(out)
    assert error_of(capsys, argv)[0] == 2
    assert everything(out) == before
    for there in (data, out / "config.json"):
        assert "exists already" in error_of(capsys, [*ask, "--out", there])[1]
        assert "name another --out" in error_of(capsys, [*ask, "--out", there, "--overwrite"])[1]
    assert everything(out) == before
    mine = out.parent / "mine.csv"
    mine.write_text("old")
    assert "--overwrite" in error_of(capsys, [*ask, "--out", mine])[1]
    assert mine.read_text() == "old"
    call([*ask, "--out", mine, "--overwrite"])
    assert mine.read_text().startswith("time,horizon,target,forecast,made_at")


def check_far_inputs_and_cold_starts(capsys, ask, folder):
    """Both are said; a folder of runs stands for the best of them."""
    few = folder / "few.csv"
    few.write_text("load,temp\n" + "50,20\n" * 9 + "50,90\n")
    capsys.readouterr()
    call(["predict", folder, *ask[2:], "--data", few])
    said = capsys.readouterr().err
    assert "cold start: 10 rows" in said
    assert (
        "input temp lies far outside the range of training (19 to 21) in 10% of the rows, such as 90" in said
    )
    assert "of 1 runs" in said
    assert "holds no finished run" in error_of(capsys, ["predict", few.parent.parent, "--data", few])[1]
