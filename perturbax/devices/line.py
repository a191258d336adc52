"""Bytes to and from a device: the pipes of a command that is started here, or a socket, with deadlines."""

import contextlib
import fcntl
import os
import select
import shlex
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from perturbax.devices import driver
from perturbax.errors import ArgumentError, DeviceError, first_line, printable

PIPE = 2**20  # bytes that a pipe is asked to hold: fewer turns between the two processes
GENTLE = 1.0  # seconds that a device has to end once its pipe has ended, and again after SIGTERM
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)


class Line:
    """Bytes to and from a device, each call with a deadline.

    Arguments:
        source: file handle to read from.
        sink: file handle to write to.
    """

    def __init__(self, source: int, sink: int):
        self.source, self.sink = source, sink
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def send(self, pieces: Sequence[bytes | memoryview], deadline: int | float) -> None:
        """Send all bytes; TimeoutError after the deadline, OSError where nobody reads them."""
        rest = [memoryview(piece) for piece in pieces]
        while rest:
            try:
                rest = driver.left_of(rest, os.writev(self.sink, rest[: driver.MOST]))
            except BlockingIOError:
                _wait(self.sink, select.POLLOUT, deadline)

    def receive(self, view: memoryview, deadline: int | float) -> int:
        """Read into a view of memory: -> bytes that came, 0 at the end; TimeoutError after the deadline."""
        while True:
            try:
                return os.readv(self.source, [view])
            except BlockingIOError:
                _wait(self.source, select.POLLIN, deadline)

    def has_come(self) -> bool:
        """Whether something can be read, or the end was reached."""
        poll = select.poll()
        poll.register(self.source, select.POLLIN)
        return bool(poll.poll(0))

    def close(self, patience: int | float) -> str:
        """Close; return what is known of the end of the device, nothing here."""
        return ""


class _Command(Line):
    """A device that is a command, started here; it reads from and writes to pipes.

    Arguments:
        words: the command and its arguments.
    """

    def __init__(self, words: Sequence[str]):
        try:
            self.process = subprocess.Popen(  # noqa: S603 the user's own command, read by no shell
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # the device is not interrupted with the trainer, but told bye
            )
        except OSError as error:
            why = _why_not_started(words[0], error)
            raise DeviceError(f"cannot start the device {shlex.join(words)!r}: {why}") from None
        process = self.process
        self.frames_out = cast(IO[bytes], process.stdin)
        self.frames_in = cast(IO[bytes], process.stdout)
        super().__init__(self.frames_in.fileno(), self.frames_out.fileno())
        if _SET_PIPE_SIZE is not None:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.source, _SET_PIPE_SIZE, PIPE)
                fcntl.fcntl(self.sink, _SET_PIPE_SIZE, PIPE)
        self.words: deque[str] = deque(maxlen=20)  # what it printed last
        self.listener = threading.Thread(
            target=_keep_last_lines, args=(process.stderr, self.words), daemon=True
        )
        self.listener.start()
        self.end = weakref.finalize(self, _end, process, self.frames_in, self.frames_out)
        _STARTED.add(self)

    def close(self, patience: int | float) -> str:
        """End the command; return its exit status where it had ended by itself, and what it printed last."""
        ended = ""
        self.frames_out.close()
        try:
            status = self.process.wait(patience or 0.2)
            ended = f"exit status {status}" if status >= 0 else f"ended by signal {-status}"
        except subprocess.TimeoutExpired:
            pass
        self.end()
        self.listener.join(1.0)
        printed = "".join(self.words).strip().splitlines()
        last = printable(printed[-1])[:500] if printed else ""
        return "; ".join(filter(None, (ended, last and f"it printed: {last}")))


_STARTED: "weakref.WeakSet[_Command]" = weakref.WeakSet()


def end_all() -> None:
    """End all commands that were started here and still run, side by side: this process is about to end."""
    commands = [(one.process, one.frames_in, one.frames_out) for one in _STARTED]
    threads = [threading.Thread(target=_end, args=command, daemon=True) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Socket(Line):
    """A device that waits at a socket.

    Arguments:
        connection: the open socket.
    """

    def __init__(self, connection: socket.socket):
        self.connection = connection
        super().__init__(connection.fileno(), connection.fileno())
        weakref.finalize(self, connection.close)

    def close(self, patience: int | float) -> str:
        """Close the socket; nothing is known of the end of the device."""
        self.connection.close()
        return ""


def connect(where: str | Sequence[str], timeout: int | float) -> Line:
    """Return the line to a device: a command that is started, or a socket.

    Arguments:
        where: a command, or its words, or `unix:PATH`, `tcp:PORT` or `tcp:HOST:PORT`.
        timeout: seconds to wait for a socket.

    Raises DeviceError where a command cannot be started or nobody listens, ArgumentError for what is neither.
    """
    if not isinstance(where, str):
        return _Command(list(where))
    kind, _, rest = where.partition(":")
    if kind not in ("unix", "tcp"):
        return _Command(_words(where))
    if kind == "unix":
        family, place = socket.AF_UNIX, rest
    else:
        host, _, port = rest.rpartition(":")
        if not port.isdecimal():
            raise ArgumentError(f"a device is at tcp:PORT or tcp:HOST:PORT, not at {where!r}")
        family, place = socket.AF_INET, (host or "127.0.0.1", int(port))
    connection = socket.socket(family)
    connection.settimeout(timeout)
    try:
        connection.connect(place)
    except (OSError, OverflowError) as error:
        connection.close()
        raise DeviceError(f"no device answers at {where}: {first_line(error)}") from None
    if kind == "tcp":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Socket(connection)


def _words(command: str) -> list[str]:
    """Return the words of a command as a shell would read them; ArgumentError for none."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ArgumentError(f"the device {command!r} is no command: {first_line(error)}") from None
    if not words:
        raise ArgumentError("the device needs a command, unix:PATH or tcp:HOST:PORT")
    return words


def _why_not_started(program: str, error: OSError) -> str:
    """Return why a command cannot be started, and for a file of Python how it can be."""
    path = Path(program)
    if path.is_dir():
        return f"{program} is a folder"
    if path.is_file() and path.suffix == ".py":
        return f"{program} is no program by itself (take {shlex.join(['python', program])!r})"
    if path.is_file() and not path.is_absolute() and path.parent == Path("."):
        return f"it is no program on the path (take {shlex.quote(f'./{program}')} for the file here)"
    return error.strerror or str(error)


def _wait(handle: int, event: int, deadline: int | float) -> None:
    """Wait until a file handle is ready; TimeoutError after the deadline."""
    left = deadline - time.monotonic()
    poll = select.poll()
    poll.register(handle, event)
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError


def _keep_last_lines(stream: Any, lines: deque[str]) -> None:
    """Read what a device prints until it ends, and keep the last lines, shortened."""
    with contextlib.suppress(ValueError, OSError):
        for line in iter(lambda: stream.readline(1000), b""):
            lines.append(line.decode(errors="replace"))
    stream.close()


def _end(process: subprocess.Popen, *pipes: IO[bytes]) -> None:
    """End a process and all that it started: by the end of its pipes, then by SIGTERM, then by SIGKILL."""
    for pipe in pipes:
        with contextlib.suppress(OSError):
            pipe.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GENTLE)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
    process.wait()
