"""`run`: what it needs and refuses, configs that start another run, and runs that go on after a stop."""

import json
import signal
import subprocess
import sys
import time

import pytest
from helpers import QUICK, error_of, series

import perturbax as px
from perturbax.cli import main


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
    ("time,load\n" + "1,2\n" * 3, 2, "too few"),
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
    assert main(["run", "--config", config, "--rule", "frozen", "--out", str(tmp_path / "d")]) == 0


def test_killed_and_resumed_is_bit_for_bit(tmp_path):
    argv = [
        "run",
        "--task",
        "probe-lag1",
        "--rule",
        "node",
        "--units",
        "8",
        "--steps",
        "6000",
        "--batch",
        "4",
        "--logs",
        "120",
        "--out",
    ]
    program = [sys.executable, "-m", "perturbax.cli"]
    words = [*program, *argv, str(tmp_path / "cut")]
    run = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(px_lines(tmp_path / "cut")) < 5 and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert not (tmp_path / "cut" / "result.json").exists(), "the run ended before it could be killed"
    assert len(px_lines(tmp_path / "cut")) >= 5
    # The rest in this process: the program that it runs is found compiled.
    assert main(["run", "--resume", str(tmp_path / "cut")]) == 0
    assert main([*argv, str(tmp_path / "whole")]) == 0
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
