"""A device at a socket: one trainer at a time, none that keeps it for ever, and what comes unasked."""

import contextlib
import os
import socket
import threading
import time

import numpy as np
import pytest

from perturbax.devices import Remote, driver
from perturbax.errors import DeviceError

PATIENCE = 0.4


class Failing:
    """A device whose runs fail as those of hardware do, and whose write returns what is no dictionary."""

    def hello(self, asked):
        return {"inputs": np.int64(2), "shape": np.arange(2), "seeded": np.bool_(True)}

    def write(self, weights):
        return [1]

    def run(self, inputs, **named):
        raise PermissionError("no access to /dev/tile0\x1b[2J")

    def bye(self):
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A device that waits at a socket, in a thread."""
    path = str(tmp_path_factory.mktemp("device") / "socket")
    server = threading.Thread(
        target=driver.serve, args=(Failing(), f"unix:{path}", driver.LIMIT, PATIENCE), daemon=True
    )
    server.start()
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


def test_a_second_trainer_is_told_who_has_the_device_and_the_first_goes_on(place):
    with Remote(f"unix:{place}", timeout=10) as first:
        assert first.hello({})["inputs"] == 2
        for _ in range(3):
            with pytest.raises(DeviceError, match=rf"has the device: process {os.getpid()}, for \d+ seconds"):
                Remote(f"unix:{place}", timeout=10).hello({})
        time.sleep(1.5 * PATIENCE)  # a trainer may compute for as long as it likes
        assert first.hello({})["shape"] == [0, 1]
        with pytest.raises(ValueError, match="another device listens there"):
            driver._make_room(place)  # though it is busy
    with Remote(f"unix:{place}", timeout=10) as second:
        assert second.hello({})["seeded"] is True


@pytest.mark.parametrize("sent", [b"", b"\x10", b"\x10" + bytes(7) + b"PK"])
def test_a_trainer_that_stalls_is_let_go(place, sent, capfd):
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(place)
        silent.sendall(sent)
        silent.settimeout(10)
        assert silent.recv(1) == b""
    assert PATIENCE < time.monotonic() - began < 5
    with Remote(f"unix:{place}", timeout=10) as device:
        assert device.hello({})["inputs"] == 2
    assert f"let go of process {os.getpid()}, which sent no whole frame within 0.4" in capfd.readouterr().err


def test_bytes_that_drip_do_not_keep_a_device(place):
    began, drop = time.monotonic(), b""
    with socket.socket(socket.AF_UNIX) as slow, contextlib.suppress(BrokenPipeError):
        slow.connect(place)
        while time.monotonic() - began < 5:
            slow.sendall(drop)
            time.sleep(PATIENCE / 4)
            drop = b"\1"
    assert time.monotonic() - began < 5


def test_whatever_a_device_raises_reaches_the_trainer_in_one_line_that_can_be_printed(place):
    with Remote(f"unix:{place}", timeout=10) as device:
        with pytest.raises(
            DeviceError, match="cannot run: PermissionError: no access to /dev/tile0"
        ) as error:
            device.run(np.zeros((3, 2, 2)))
        assert str(error.value).isprintable()
        with pytest.raises(DeviceError, match="write must return a dictionary of arrays by name, or None"):
            device.write({})
        assert device.hello({})["inputs"] == 2


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (b"".join(driver.pack({})), "it sent more than it was asked for before write"),
        (b"tile 3 is warm\n", "text where a frame should be, 'tile 3 i'"),
        (b"warm\n", "it sent something that is no frame before it was asked to write"),
    ],
)
def test_what_a_device_sends_unasked_is_not_taken_for_an_answer(tmp_path, after, words):
    path = str(tmp_path / "device")

    def answer_and_say_more(listener):
        with listener.accept()[0] as connection, contextlib.suppress(ConnectionError):
            driver.read_frame(connection.recv_into)
            connection.sendall(b"".join(driver.pack({"version": 1})) + after)
            connection.recv(1)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        server = threading.Thread(target=answer_and_say_more, args=(listener,), daemon=True)
        server.start()
        device = Remote(f"unix:{path}", timeout=10)
        assert device.hello({}) == {"version": 1}
        with pytest.raises(DeviceError, match=words):
            device.write({})
        server.join(10)
