"""The program: help, wrong arguments, exit status, and every way to start it."""

import importlib
import json
import os
import signal
import subprocess
import sys

import pytest
from helpers import error_of

import perturbax as px
from perturbax.cli import main
from perturbax.cli.main import COMMANDS


def test_help_needs_no_jax():
    code = "import sys; from perturbax.cli import main; main(['--help']); print('jax' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    assert out.splitlines()[-1] == "False"
    for command in ("run", "compare", "tune", "diagnose", "report", "predict", "list"):
        assert command in out
    assert max(map(len, out.splitlines())) < 80


def test_wrong_arguments_need_no_jax():
    code = "import sys; from perturbax.cli import main; main(sys.argv[1:]); print('jax' in sys.modules)"
    for name in COMMANDS:
        words = [sys.executable, "-c", code, name, "--no-such-flag"]
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        assert said.stdout == "False\n", name


def test_every_way_to_the_program_is_the_same():
    """The entry points of old and new releases, and `python -m`."""
    from importlib.metadata import EntryPoint

    for value in ("perturbax.cli:main", "perturbax.cli.main:main"):
        assert EntryPoint("perturbax", value, "console_scripts").load() is main
    for module in ("perturbax", "perturbax.cli"):
        words = [sys.executable, "-m", module, "--version"]
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        assert said.stdout == f"perturbax {px.__version__}\n"
        assert not said.stderr


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


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def stop(argv):
        raise KeyboardInterrupt

    def said(*argv):
        assert main(list(argv)) == 130
        return capsys.readouterr().err

    monkeypatch.setattr(importlib.import_module("perturbax.cli.main"), "_dispatch", stop)
    own = tmp_path / "my run"
    assert said("run", "--out", str(own)) == "perturbax: interrupted\n"  # nothing is there to go on with
    own.mkdir()
    (own / "config.json").write_text("{}")
    goes_on = f"perturbax: interrupted; go on with: perturbax run --resume '{own}'\n"
    assert said("run", "--resume", str(own)) == goes_on
    named = {"experiment": {"task": "mine:Task", "rule": "node", "cell": "tanh"}}  # code of the user's own
    (own / "config.json").write_text(json.dumps(named))
    assert said("run", "--resume", str(own)) == goes_on.replace("'\n", "' --trust\n")
    os.utime(own / "config.json", (1, 1))
    assert said("run", "--out", str(own)) == "perturbax: interrupted\n"  # another run, of before
    (own / "result.json").write_text("{}")
    assert said("run", "--resume", str(own)) == "perturbax: interrupted\n"
    for words in (["compare", "--rules", "node"], ["reproduce", "paper"]):
        kept = f"perturbax: interrupted; what is done is kept in {own}: the same command goes on\n"
        assert said(*words, "--out", str(own)) == kept
        assert said(*words, "--out", str(tmp_path / "none")) == "perturbax: interrupted\n"
    for words in (["tune", "--out", "x"], ["list"], ["nothing"], [], ["run", "--no-such"]):
        assert said(*words) == "perturbax: interrupted\n"


BUSY = """
import ctypes, os, signal, sys, threading
from perturbax.cli.interrupt import ends_at_once
signal.signal(signal.SIGINT, signal.default_int_handler)  # of shells, background processes ignore it
with ends_at_once(lambda: "interrupted; how to go on"):
    print("kept")
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    while True:
        ctypes.CDLL(None).sleep(60)  # without a step of Python, as in a compiler
"""


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_ctrl_c_ends_the_program_at_once_whatever_it_does():
    done = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (130, "kept\n")
    assert done.stderr == "perturbax: interrupted; how to go on\n"


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
)
WAITING = f"""
import os, select, signal, sys, threading
from perturbax.cli.interrupt import ends_at_once
from perturbax.devices.line import connect
signal.signal(signal.SIGINT, signal.default_int_handler)
with ends_at_once(lambda: "interrupted"):
    line = connect([sys.executable, "-c", {STUBBORN!r}], 30)
    select.select([line.source], [], [])
    os.read(line.source, 1)  # by now it heeds no signal
    print(line.process.pid, flush=True)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    select.select([line.source], [], [])
    print("the device has ended")
"""


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_ctrl_c_ends_a_device_that_hangs_and_heeds_no_signal():
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (130, "perturbax: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)  # reaped by the trainer, as it waited for its end


def test_ctrl_c_is_as_before_after_a_command():
    from perturbax.cli.interrupt import ends_at_once

    of_this_process = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ends_at_once(lambda: ""):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, of_this_process)
