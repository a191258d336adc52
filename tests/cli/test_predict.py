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
    assert set(result["test"]) == {"loss", "mse", "mse_scaled"}
    assert {"mean", "persistence", "linear"} <= set(result["baselines"])
    assert result["test"]["mse"] < 0.5 * result["baselines"]["persistence"]["mse"]
    # The training file is not needed any more, nor the target, to forecast.
    data.unlink()
    again = series(tmp_path / "new.csv")
    assert main(["predict", str(out), "--data", str(again), "--out", str(tmp_path / "f.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "f.csv").read_text().splitlines()))
    actual = [float(r["load"]) for r in csv.DictReader(again.read_text().splitlines())]
    assert list(rows[0]) == ["row", "time", "load", "forecast_row", "load_forecast"]
    assert (rows[7]["row"], rows[7]["forecast_row"], rows[7]["load"]) == ("8", "11", str(actual[7]))
    assert len(rows) == 400
    forecast = np.array([float(r["load_forecast"]) for r in rows])[300:-3]
    truth = np.array(actual)[303:]
    assert np.mean((forecast - truth) ** 2) < 1.5 * result["test"]["mse"]
    # A folder that holds a run is left as it was.
    before = everything(out)
    assert error_of(capsys, [*argv[:3], *argv[3:]])[0] == 2
    assert everything(out) == before
    # Forecasts never replace a file: not the data, not part of a run.
    for there in (again, out / "config.json"):
        assert "exists already" in error_of(capsys, ["predict", out, "--data", again, "--out", there])[1]
    assert everything(out) == before
    (tmp_path / "bare.csv").write_text("time,load\n1,2\n")
    status, line = error_of(
        capsys, ["predict", out, "--data", tmp_path / "bare.csv", "--out", tmp_path / "g.csv"]
    )
    assert "temp" in line
    assert not (tmp_path / "g.csv").exists()
