"""One estimate by 2, 4 and 8 devices: equal to that of one, each with its own share of the work."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import many_devices
import pytest
from many_devices import FEW, UNITS, B, T

import perturbax as px
from perturbax.cli.main import main
from perturbax.errors import ArgumentError

HERE = Path(__file__).parent.parent
WEIGHTS = 8 * (
    many_devices.N_IN * UNITS + UNITS * UNITS + UNITS + UNITS * many_devices.N_OUT + many_devices.N_OUT
)
CASES = [
    (of, name, str(n))
    for of, cases in (("rows", many_devices.ROWS), ("samples", many_devices.SAMPLES))
    for name, (_, n) in cases.items()
]


@pytest.fixture(scope="module")
def found():
    """What a process with eight devices finds."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    answer = subprocess.run(
        [sys.executable, str(HERE / "many_devices.py")],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def whole(shapes, *sizes):
    """The shapes in which all of these sizes occur."""
    return [shape for shape in shapes if all(size in shape for size in sizes)]


@pytest.mark.parametrize(("of", "name", "n"), CASES)
def test_estimates_of_several_devices_are_those_of_one(found, of, name, n):
    assert found[of][name][n]["difference"] < 1e-11


def test_each_device_has_its_own_rows_alone(found):
    for name, by_number in found["rows"].items():
        assert whole(by_number["1"]["shapes"], B, UNITS), name
        for n in set(by_number) - {"1"}:
            # Rows of a rule that says nothing of them are brought together by XLA in the end.
            assert bool(whole(by_number[n]["shapes"], B, UNITS)) == (name == "derived"), (name, n)


def test_each_device_has_its_own_samples_alone(found):
    for name, of_one, many, n in (("node", 8, 8, "8"), ("evolution", 8, 8, "8"), ("weight", 8, 8, "4")):
        by_number = found["samples"][name]
        assert whole(by_number["1"]["shapes"], of_one, UNITS), name
        assert not whole(by_number[n]["shapes"], many, UNITS), name


def test_devices_meet_once_per_update(found):
    for of in ("rows", "samples"):
        for name, by_number in found[of].items():
            if name in ("derived", "scaled", "reward", "ou") or (of, name) == ("samples", "weight"):
                continue  # these have a mean at every step
            for n in set(by_number) - {"1"}:
                exchanges = by_number[n]["exchanges"]
                assert not any(one["each_step"] for one in exchanges), (name, n)
                # The loss and the gradient; of a population its losses, too.
                assert sum(one["bytes"] for one in exchanges) <= WEIGHTS + 8 + 2 * 8 * 16, (name, n)


def test_what_devices_cannot_share_is_refused_in_one_sentence(found):
    said = found["refused"]
    assert set(said) == set(many_devices.REFUSED)
    for name in ("batch and samples", "no samples", "derived"):
        assert said[name].startswith("ArgumentError: 2 devices cannot share the work: neither the batch of 3")
    assert "JAX has 8 cpu devices here, not 16" in said["too many"]
    assert "whole number" in said["no number"]
    assert FEW % 2
    assert T % 2


def test_whole_runs_are_those_of_one_device_and_go_on_with_another_number(found):
    runs = found["runs"]
    for name in ("two, then four", "online"):
        assert runs[name] < 1e-9, name
    assert runs["devices"] == 4
    assert runs["facts"] == 2
    assert "take a batch that divides by 2" in runs["online refused"]
    assert "neither the batch of 3" in runs["sequence refused"]
    assert "cannot be split by 2 devices: take units that divide by 2" in runs["units refused"]
    assert "name device or devices, not both" in runs["device refused"]


def test_weights_split_by_units_are_never_whole_on_a_device(found):
    runs = found["runs"]
    assert runs["weights"] < 1e-9
    assert set(runs["bytes"]) == {0.25}
    assert not [shape for shape in runs["shapes of weights"] if shape.count(4 * UNITS) > 1]


def test_devices_are_asked_for_by_a_number_that_there_is(capsys):
    assert main(["run", "--devices", "x", "--out", "runs/never"]) == 2
    assert "devices must be a whole number" in capsys.readouterr().err
    assert main(["run", "--devices", "0", "--out", "runs/never"]) == 2
    assert "at least 1" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match=r"JAX has 1 cpu device here, not 2.*JAX_NUM_CPU_DEVICES=2"):
        px.run(task="probe-lag1", mesh=2)


TINY = {"task": "probe-lag1", "units": 3, "batch": 8, "steps": 2, "logs": 2}


def free_port(first, last):
    """A port of this machine that is free, one of these."""
    for port in range(first, last + 1):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return free.getsockname()[1]
    raise OSError("no port is free")


RUN_AND_RESUME = """
import sys
import perturbax as px
from perturbax.cli.main import main
*words, half = sys.argv[1:]
assert main(["run", *words]) == 0
px.resume(half, mesh=2)
"""


def test_two_processes_of_slurm_share_a_run_and_go_on_with_one(tmp_path):
    """They meet once; that a user may name the place where they do is the next test."""
    one = px.run(**TINY)
    assert "devices" not in one.summary
    with contextlib.suppress(KeyboardInterrupt):
        px.run(**TINY, out=tmp_path / "half", on_log=many_devices.interrupt)
    words = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
    words += ["--out", str(tmp_path / "whole"), "--coordinator", "auto", str(tmp_path / "half")]
    job = free_port(61440, 65535) - 61440  # JAX makes the port of the number of the job
    slurm = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN_AND_RESUME, *words],
            env={**os.environ, **slurm, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    said = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "test loss" in said[0]
    assert "test loss" not in said[1]
    for folder in ("whole", "half"):
        found = px.load(tmp_path / folder)
        assert found.summary["devices"] == 2
        assert [line["step"] for line in found.metrics] == [1, 2]
        assert found.metrics[1]["loss"] == pytest.approx(one.metrics[1]["loss"], rel=1e-4)
        assert found.summary["test"]["loss"] == pytest.approx(one.summary["test"]["loss"], rel=1e-3)


def test_processes_that_meet_on_this_machine_listen_on_it_alone(monkeypatch, capsys):
    """JAX itself would listen on every address of the machine."""
    given = []

    def initialize(**settings):
        given.append(settings)
        raise RuntimeError("enough")

    monkeypatch.setattr("jax.distributed.initialize", initialize)
    for host in ("127.0.0.1", "localhost", "[::1]", "node1"):
        place = f"{host}:9000"
        typed = ["--coordinator", place, "--processes", "2", "--process", "1"]
        assert main(["run", "--out", "runs/never", *typed]) == 2
        own = {} if host == "node1" else {"coordinator_bind_address": place}
        assert given[-1] == {"coordinator_address": place, "num_processes": 2, "process_id": 1} | own
    assert "the processes did not meet: enough" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--processes", "2"], "--coordinator HOST:PORT"),
        (["--coordinator", "here"], "--processes N and --process I"),
        (["--coordinator", "here", "--processes", "2", "--process", "0"], "HOST:PORT, not 'here'"),
        (["--coordinator", "a:1", "--processes", "2", "--process", "2"], "there is no process 2"),
        (["--coordinator", "auto", "--processes", "2"], "by itself"),
        (["--coordinator", "a:1", "--devices", "2"], "neither --devices, --shard nor --device"),
    ],
)
def test_processes_that_cannot_meet_are_refused_before_anything_starts(capsys, typed, said):
    assert main(["run", "--out", "runs/never", *typed]) == 2
    assert said in capsys.readouterr().err
