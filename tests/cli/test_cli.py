"""The command line: what it prints, how it exits, what it leaves alone."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import perturbax as px
from perturbax.cli.main import main

WEATHER = Path(os.environ.get("PERTURBAX_WEATHER", Path(__file__).parents[3] / "shared" / "data" / "WTH.csv"))
QUICK = ["--task", "probe-lag1", "--units", "6", "--steps", "12", "--batch", "4", "--logs", "4"]


def error_of(capsys, argv):
    """Run a command that must fail; return (status, its one line)."""
    status = main([str(a) for a in argv])
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err
    return status, lines[0]


def everything(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def series(path, rows=400, columns=("time", "load", "temp")):
    rng = np.random.default_rng(0)
    t = np.arange(rows)
    load = 50 + 10 * np.sin(t / 5) + rng.normal(size=rows)
    lines = [",".join(columns)]
    lines += [
        f"2020-01-{i % 28 + 1},{a:.4f},{20 + b:.4f}"
        for i, (a, b) in enumerate(zip(load, np.cos(t / 5), strict=True))
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_help_needs_no_jax():
    code = "import sys; from perturbax.cli.main import main\ntry: main(['--help'])\nfinally: print('jax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    assert out.splitlines()[-1] == "False"
    for command in ("run", "compare", "tune", "diagnose", "report", "predict", "list"):
        assert command in out


@pytest.mark.parametrize("rule", ["node", "weight", "published-activity"])
def test_help_explains_every_setting(capsys, rule):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--rule", rule, "--help"])
    assert caught.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    from perturbax.experiment.options import options

    assert "settings of rule " + rule in words
    for option in options(px.RULES[rule]).values():
        assert option.help, option.name
        assert f"--rule.{option.name}" in words
        assert option.help[:20] in words


def test_every_setting_of_every_class_is_documented():
    from perturbax.experiment.options import options

    for group in (px.RULES, px.CELLS, px.TASKS):
        for name, cls in group.items():
            for option in options(cls).values():
                assert option.help, f"{name}.{option.name}"


BAD = [
    (["run", "--rule", "nodes"], 2, "unknown rule 'nodes'; did you mean 'node'?"),
    (["run", "--task", "weathr"], 2, "did you mean 'weather'?"),
    (["run", "--cell", "tan"], 2, "did you mean 'tanh'?"),
    (["run", "--rule.sgima", "1"], 2, "did you mean 'sigma'?"),
    (["run", "--task.delaj", "1", "--task", "copy"], 2, "did you mean 'delay'?"),
    (["run", "--stesp", "3"], 2, "did you mean '--steps'?"),
    (["run", "--steps", "many"], 2, "steps must be a whole number, not 'many'"),
    (["run", "--lr", "nan"], 2, "lr must be a finite number"),
    (["run", "--batch", "0"], 2, "batch must be above 0"),
    (["run", "--units", "-3"], 2, "units must be above 0"),
    (["run", "--rule.sigma", "-1"], 2, "sigma must be above 0"),
    (["run", "--rule.sigma"], 2, "--rule.sigma needs a value"),
    (["run", "--steps"], 2, "expected one argument"),
    (["run", "--task", "series"], 2, "--data"),
    (["run", "--task", "weather", "--data", "nowhere.csv"], 2, "no such file"),
    (["rnu"], 2, "did you mean 'run'?"),
    (["compare"], 2, "--rules"),
    (["compare", "--rules", "node,nod", "--out", "x"], 2, "did you mean 'node'?"),
    (["compare", "--rules", "node:sampels=2", "--out", "x"], 2, "did you mean 'samples'?"),
    (["compare", "--rules", "node,node", "--out", "x"], 2, "same"),
    (["compare", "--rules", "node", "--seeds", "0", "--out", "x"], 2, "seeds must be above 0"),
    (["compare", "--rules", "node,frozen", "--rule.sgima", "5", "--out", "x"], 2, "did you mean 'sigma'?"),
    (["compare", "--rules", "node:samples", "--out", "x"], 2, "NAME=VALUE"),
    (["--foo"], 2, "unknown command"),
    (["list", "rulse"], 2, "did you mean 'rules'?"),
    (["report", "nowhere"], 2, "no such folder"),
    (["run", "--resume", "nowhere"], 2, "not a run folder"),
    (["run", "--config", "nowhere.json"], 2, "nowhere.json"),
]


@pytest.mark.parametrize(
    ("argv", "status", "words"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_wrong_arguments(capsys, tmp_path, monkeypatch, argv, status, words):
    monkeypatch.chdir(tmp_path)
    if argv[0] == "run" and "--resume" not in argv:
        argv = (
            [*argv, "--out", "run"]
            if argv[-1] not in ("--steps", "--rule.sigma")
            else ["run", "--out", "run", *argv[1:]]
        )
    got, line = error_of(capsys, argv)
    assert got == status
    assert words in line
    assert not any(tmp_path.iterdir())


def test_run_needs_a_folder(capsys):
    status, line = error_of(capsys, ["run"])
    assert status == 2
    assert "--out" in line


DATA = [
    ("", 1, "empty"),
    ("time,load\n", 1, "no rows"),
    ("time,load\n1,2\n1,2,3\n", 1, "line 3"),
    ("time,load\n1,2\n1,abc\n1,3\n1,4\n", 1, "line 3, column load"),
    ("time,load\n1,2\n1,nan\n1,3\n", 1, "line 3, column load"),
    ("time,load\n1,2\n1,inf\n1,3\n", 1, "line 3, column load"),
    ("time,load\n1,2\n1,\n1,3\n", 1, "--task.gaps hold"),
    ("time,load\n" + "1,2\n" * 30, 2, "too few"),
]


@pytest.mark.parametrize(("text", "status", "words"), DATA, ids=lambda v: repr(v)[:20])
def test_bad_data(capsys, tmp_path, text, status, words):
    (tmp_path / "d.csv").write_text(text)
    argv = [
        "run",
        "--task",
        "series",
        "--task.target",
        "load",
        "--data",
        tmp_path / "d.csv",
        "--out",
        tmp_path / "r",
    ]
    got, line = error_of(capsys, argv)
    assert got == status, line
    assert words in line
    assert not (tmp_path / "r").exists()


def test_a_target_that_is_no_column_and_a_horizon_that_is_too_long(capsys, tmp_path):
    data = series(tmp_path / "d.csv")
    base = ["run", "--task", "series", "--data", data, "--out", tmp_path / "r", "--task.target"]
    assert error_of(capsys, [*base, "laod"]) == (
        2,
        "perturbax: error: unknown column 'laod'; did you mean 'load'?",
    )
    status, line = error_of(capsys, [*base, "load", "--task.horizon", "500"])
    assert status == 2
    assert "horizon" in line


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


def test_a_runs_own_config_starts_another(capsys, tmp_path):
    assert main(["run", *QUICK, "--rule", "node", "--rule.samples", "2", "--out", str(tmp_path / "a")]) == 0
    config = str(tmp_path / "a" / "config.json")
    assert main(["run", "--config", config, "--seed", "1", "--out", str(tmp_path / "b")]) == 0
    assert main(["run", "--config", config, "--out", str(tmp_path / "c")]) == 0
    a, b, c = (px.load(tmp_path / name) for name in "abc")
    assert a.experiment == c.experiment
    assert a.summary["test"] == c.summary["test"] != b.summary["test"]
    assert b.experiment.seed == 1
    assert b.experiment.rule_options["samples"] == 2
    # Another rule does not inherit settings that it does not have.
    assert main(["run", "--config", config, "--rule", "bptt", "--out", str(tmp_path / "d")]) == 0


def test_killed_and_resumed_is_bit_for_bit(tmp_path):
    argv = [
        sys.executable,
        "-m",
        "perturbax.cli",
        "run",
        "--task",
        "probe-lag1",
        "--rule",
        "node",
        "--units",
        "32",
        "--steps",
        "12000",
        "--batch",
        "16",
        "--logs",
        "120",
        "--out",
    ]
    run = subprocess.Popen([*argv, str(tmp_path / "cut")], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(px_lines(tmp_path / "cut")) < 5 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert not (tmp_path / "cut" / "result.json").exists(), "the run ended before it could be killed"
    assert len(px_lines(tmp_path / "cut")) >= 5
    resume = [*argv[:4], "--resume", str(tmp_path / "cut")]
    for command in (resume, [*argv, str(tmp_path / "whole")]):
        subprocess.run(command, check=True, capture_output=True)
    cut, whole = (px.load(tmp_path / name) for name in ("cut", "whole"))
    kept = [[{k: v for k, v in line.items() if k != "seconds"} for line in r.metrics] for r in (cut, whole)]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 120
    assert (tmp_path / "cut" / "weights").read_bytes() == (tmp_path / "whole" / "weights").read_bytes()
    assert cut.summary["test"] == whole.summary["test"]


def px_lines(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_a_diverging_run_exits_1(capsys, tmp_path):
    status, line = error_of(
        capsys,
        [
            "run",
            *QUICK,
            "--optimiser",
            "sgd",
            "--lr",
            "1e30",
            "--clip",
            "0",
            "--schedule",
            "constant",
            "--out",
            tmp_path / "r",
        ],
    )
    assert status == 1
    assert "at step" in line
    assert json.loads((tmp_path / "r" / "result.json").read_text())["status"] == "diverged"


def test_compare_resumes_reuses_and_refuses(capsys, tmp_path):
    argv = [
        "compare",
        *QUICK,
        "--rules",
        "node:samples=2,node+decor,bptt:lr=3e-3,frozen",
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "c"),
    ]
    assert main(argv) == 0
    names = {p.name for p in (tmp_path / "c").iterdir()}
    labels = ("node-samples=2", "node+decor", "bptt-lr=3e-3", "frozen")
    assert names == {"report.html"} | {f"{label}-s{i}" for label in labels for i in (0, 1)}
    assert px.load(tmp_path / "c" / "bptt-lr=3e-3-s1").experiment.lr == 3e-3
    assert px.load(tmp_path / "c" / "node+decor-s0").experiment.decorrelate == "hidden"
    page = (tmp_path / "c" / "report.html").read_text()
    before = everything(tmp_path / "c")
    assert main(argv) == 0
    assert everything(tmp_path / "c") == before  # nothing was trained again, the page came out the same
    capsys.readouterr()
    status, line = error_of(capsys, [*argv, "--steps", "13"])
    assert status == 2
    assert "holds another run" in line
    assert everything(tmp_path / "c") == before
    assert main(["report", str(tmp_path / "c"), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text().count("<svg") == page.count("<svg")


@pytest.mark.skipif(not WEATHER.is_file(), reason=f"no weather data at {WEATHER} (set PERTURBAX_WEATHER)")
def test_weather_comparison(tmp_path):
    argv = [
        "compare",
        "--task",
        "weather",
        "--data",
        str(WEATHER),
        "--task.horizon",
        "24",
        "--rules",
        "node,bptt,frozen",
        "--seeds",
        "1",
        "--steps",
        "20",
        "--units",
        "16",
        "--task.lags",
        "4",
        "--out",
        str(tmp_path / "w"),
    ]
    assert main(argv) == 0
    page = (tmp_path / "w" / "report.html").read_text()
    assert "persistence" in page
    assert "linear" in page


@pytest.mark.parametrize("what", ["rules", "cells", "tasks"])
def test_list_names_everything(capsys, what):
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    for name in {"rules": px.RULES, "cells": px.CELLS, "tasks": px.TASKS}[what]:
        assert name in out


def test_own_classes_by_import_path(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp, perturbax as px\n"
        "from perturbax.cells.base import Recurrent\n"
        "class Sine(Recurrent):\n"
        "    def start(self): return (), jnp.zeros(self.U.shape[-1])\n"
        "    def advance(self, h, a): return (), jnp.sin(a)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["run", *QUICK, "--cell", "mine:Sine", "--out", "r"]) == 0
    assert type(px.load(tmp_path / "r").net.layers[0]).__name__ == "Sine"


def test_compare_notices_other_data(capsys, tmp_path):
    data = series(tmp_path / "d.csv", rows=300)
    argv = [
        "compare",
        "--task",
        "series",
        "--data",
        data,
        "--task.target",
        "load",
        "--task.window",
        "20",
        "--units",
        "4",
        "--steps",
        "4",
        "--batch",
        "4",
        "--logs",
        "2",
        "--seeds",
        "1",
        "--rules",
        "frozen",
        "--out",
        tmp_path / "c",
    ]
    assert main(list(map(str, argv))) == 0
    before = everything(tmp_path / "c")
    series(tmp_path / "d.csv", rows=299)
    status, line = error_of(capsys, argv)
    assert status == 2
    assert "data" in line
    assert everything(tmp_path / "c") == before


@pytest.mark.parametrize(
    ("command", "hint"), [("run", "--resume FOLDER"), ("reproduce", "the same command goes on")]
)
def test_an_interruption_says_how_to_go_on(command, hint, monkeypatch, capsys):
    def stop(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr("perturbax.cli.main._dispatch", stop)
    assert main([command]) == 1
    assert hint in capsys.readouterr().err
