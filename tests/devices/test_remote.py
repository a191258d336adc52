"""A device in another process: what it answers, and what is said when it misbehaves or is gone."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perturbax.devices import Checked, Remote, driver
from perturbax.errors import ArgumentError, DeviceError

HERE = Path(__file__).parent
INPUTS = np.arange(24.0).reshape(4, 3, 2)  # (T, B, n_in)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The computer of a device: its program, and a copy of the driver."""
    place = tmp_path_factory.mktemp("device")
    shutil.copy(driver.__file__, place / "driver.py")
    shutil.copy(HERE / "unruly.py", place / "unruly.py")
    return place


def unruly(folder, how, timeout=20, **given):
    return Remote([sys.executable, "-I", str(folder / "start.py"), how], timeout, **given)


@pytest.fixture(autouse=True, scope="module")
def start(folder):
    program = folder / "unruly.py"
    (folder / "start.py").write_text(
        f"import sys, runpy; sys.path.insert(0, {str(folder)!r}); runpy.run_path({str(program)!r})"
    )


def test_a_device_is_written_to_and_run_and_what_it_prints_is_no_frame(folder):
    device = Checked(unruly(folder, "well"), 2, 1, 4)
    W = np.array([[1.0], [-2.0]])
    assert np.array_equal(device.write({"W": W})["W"], W)
    found = device.run(INPUTS, taps=["out.z"])
    assert np.array_equal(found["outputs"], INPUTS @ W)
    assert list(found) == ["outputs", "out.z"]
    assert (device.costs.writes, device.costs.trials) == (1, 3)
    device.bye()
    assert "exit status 0; it printed: good night" in device.device.gone
    with pytest.raises(DeviceError, match="the device is gone: it was told bye"):
        device.run(INPUTS)


def test_more_trials_than_a_batch_are_several_runs(folder):
    device = Checked(unruly(folder, "small"), 2, 1, 4)
    W = np.array([[1.0], [-2.0]])
    device.write({"W": W})
    assert np.array_equal(device.run(INPUTS)["outputs"], INPUTS @ W)
    device.bye()


@pytest.mark.parametrize(
    ("how", "words", "goes_on"),
    [
        (
            "dies",
            "it ended before it answered run; exit status 3; it printed: out of memory on tile 3",
            False,
        ),
        ("hangs", "it did not answer run within 1 seconds", False),
        ("half", "no frame of the protocol: half a frame: 32 of", False),
        ("endless", "no frame of the protocol: a frame of 268435457 bytes is longer than the limit", False),
        ("fails", "the device cannot run: OverflowError: membrane", True),
        ("nan", r"what unruly returns outputs is nan at \[1, 2, 0\], not a finite number", True),
        ("flat", r"outputs has the shape \(3, 1\), not \(4, 3, 1\)", True),
        ("tap", r"out.z has the shape \(4, 3, 1\), not \(4, 3, 2\)", True),
    ],
)
def test_what_goes_wrong_in_a_run_is_said_in_one_line(folder, how, words, goes_on):
    device = Checked(unruly(folder, how, 1 if how == "hangs" else 20), 2, 1, 4)
    with pytest.raises(DeviceError, match=words) as caught:
        device.run(INPUTS, taps=["out.z"])
    assert "\n" not in str(caught.value)
    assert bool(device.device.gone) is not goes_on
    if goes_on:
        assert device.write({"W": np.ones((2, 1))})["W"].sum() == 2
        device.bye()
    else:
        with pytest.raises(DeviceError, match="the device is gone"):
            device.write({})


def test_what_goes_wrong_in_hello_and_write_is_said_in_one_line(folder):
    with pytest.raises(DeviceError, match="speaks version 0 of the protocol, and this library version 1"):
        Checked(unruly(folder, "old"), 2, 1, 4)
    with pytest.raises(
        DeviceError, match="text where a frame should be, 'Welcome ': print it to standard error"
    ):
        Checked(unruly(folder, "text"), 2, 1, 4)
    with pytest.raises(DeviceError, match="unruly has 2 inputs, and the task 3"):
        Checked(unruly(folder, "narrow"), 3, 1, 4)
    for how, words in (("forgets", "answer to write: W is missing"), ("turned", r"W has the shape \(1, 2\)")):
        device = Checked(unruly(folder, how), 2, 1, 4)
        with pytest.raises(DeviceError, match=words):
            device.write({"W": np.ones((2, 1))})
        device.bye()
    mute = Checked(unruly(folder, "mute"), 2, 1, 4)
    assert mute.write({"W": np.ones((2, 1))}) is None
    for wrong, words in (
        (lambda: mute.write({"V": np.ones(1)}), "has no weights 'V', but W"),
        (lambda: mute.run(INPUTS, taps=["out.y"]), "has no tap 'out.y'"),
        (lambda: mute.run(INPUTS, currents={"out": np.zeros((4, 3, 1))}), "takes no current in layer 'out'"),
    ):
        with pytest.raises(DeviceError, match=words):
            wrong()
    mute.bye()


def test_a_device_that_is_killed_is_gone_and_one_that_was_started_ends_with_its_trainer(folder):
    device = Checked(unruly(folder, "well"), 2, 1, 4)
    process = device.device._line.process
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DeviceError, match="it ended before it answered run; ended by signal 9"):
        device.run(INPUTS)
    left = unruly(folder, "well")
    process = left._line.process
    del left  # which ends its pipes, and so the device by itself
    assert process.wait(5) == 0


def test_a_device_that_waits_at_a_socket_serves_one_trainer_after_the_other(folder):
    program = "import sys; from unruly import Unruly, serve; serve(Unruly(), sys.argv[2])"
    for at in (f"unix:{folder}/socket", "tcp:0"):
        command = [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}",
            "socket",
            at,
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            where = process.stderr.readline().removeprefix("device at ").strip()
            for _ in range(2):
                device = Checked(Remote(where, timeout=20), 2, 1, 4)
                assert device.run(INPUTS)["outputs"].shape == (4, 3, 1)
                device.bye()
            abandoned = Remote(where, timeout=20)
            abandoned._line.close(0)
            device = Checked(Remote(where, timeout=20), 2, 1, 4)
            device.bye()
        finally:
            process.kill()
            process.communicate()


def test_a_device_takes_no_path_at_which_something_else_stands(tmp_path):
    file, link, listening = tmp_path / "notes.txt", tmp_path / "link", tmp_path / "device"
    file.write_text("kept")
    link.symlink_to(file)
    for path in (file, link, tmp_path):
        with pytest.raises(ValueError, match="no socket, and stays"):
            driver.serve(None, f"unix:{path}")
    assert file.read_text() == "kept"
    assert link.is_symlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(listening))
        other.listen(1)
        with pytest.raises(ValueError, match="another device listens there"):
            driver.serve(None, f"unix:{listening}")
    with driver._listening(f"unix:{listening}"):  # that of a device that has ended goes
        assert stat.S_IMODE(listening.stat().st_mode) == 0o600


def test_places_where_no_device_is(monkeypatch):
    monkeypatch.chdir(HERE.parents[1])
    for where, error, words in (
        ("no-such-program --x", DeviceError, "cannot start the device 'no-such-program --x': No such file"),
        ("/tmp", DeviceError, "cannot start the device '/tmp': /tmp is a folder"),
        (
            f"{HERE}/unruly.py",
            DeviceError,
            r"unruly.py is no program by itself \(take 'python .*unruly.py'\)",
        ),
        ("LICENSE", DeviceError, "it is no program on the path .take ./LICENSE for the file here"),
        ("unix:/no/such/socket", DeviceError, "no device answers at unix:/no/such/socket"),
        ("tcp:1", DeviceError, "no device answers at tcp:1"),
        ("tcp:here", ArgumentError, "tcp:PORT or tcp:HOST:PORT, not at 'tcp:here'"),
        ("", ArgumentError, "needs a command"),
        ("python 'x", ArgumentError, "is no command: No closing quotation"),
    ):
        with pytest.raises(error, match=words):
            Remote(where, timeout=2)


def test_how_long_to_wait(folder, monkeypatch):
    with unruly(folder, "hangs", None) as device:
        assert device.timeout == 60
    monkeypatch.setenv("PERTURBAX_DEVICE_TIMEOUT", "2.5")
    with unruly(folder, "hangs", None) as device:
        assert device.timeout == 2.5
    for wrong in ("soon", "0", "-3", "nan", "inf"):
        monkeypatch.setenv("PERTURBAX_DEVICE_TIMEOUT", wrong)
        with pytest.raises(
            ArgumentError, match=f"PERTURBAX_DEVICE_TIMEOUT must be a number .* not '{wrong}'"
        ):
            Remote("cat")
    with pytest.raises(ArgumentError, match="timeout must be a number of seconds above 0, not -1"):
        Remote("cat", timeout=-1)
