"""A device in another process: the four methods over the pipes of a command, or over a socket."""

import contextlib
import fcntl
import math
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, cast

import numpy as np

from perturbax.devices import driver
from perturbax.errors import ArgumentError, DeviceError, first_line, printable

PIPE = 2**20  # bytes that a pipe is asked to hold: fewer turns between the two processes
WAIT = 60.0  # seconds that a device has for each answer
WAIT_NAME = "PERTURBAX_DEVICE_TIMEOUT"  # environment variable that says another number
BESIDE = 1.0  # seconds that the rest of a frame has which nobody has asked for
PATIENCE = 5.0  # seconds that a device has to end after bye
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)


class Remote:
    """A device in another process, with the four methods of a device.

    Every call sends one frame and waits for one frame; what each holds is in docs/devices.md. Where a device
    says that it failed, DeviceError has its words, and it can be asked again. Where it is gone, does not
    answer in time, or answers with what is no frame, the connection is closed, a command that was started for
    it is ended, and every later call raises DeviceError.

    Arguments:
        where: a command to start, such as `python my_device.py`, or as a list of its words (no shell reads
            it); or `unix:PATH`, `tcp:PORT` (this computer) or `tcp:HOST:PORT`, where a device waits.
        timeout: seconds to wait for each answer; the first has to wait for the device to start. By default
            those of the environment variable PERTURBAX_DEVICE_TIMEOUT, else 60.
        limit: most bytes of a frame, and of what it unpacks to.

    Raises DeviceError where the command cannot be started or nobody listens, ArgumentError for a timeout
    that is no number of seconds above 0.
    """

    def __init__(
        self, where: str | Sequence[str], timeout: int | float | None = None, limit: int = driver.LIMIT
    ):
        self.timeout, self.limit = _seconds(timeout), limit
        self.gone = ""
        self._accepts: frozenset[str] = frozenset()  # what the device takes beside the plain forms
        self._meanwhile: Callable[[], None] | None = None
        self._line, self._memory = _connect(where, self.timeout), driver.Memory()

    def hello(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the device says of itself, not checked yet.

        Arguments:
            asked: `version`, and the `inputs`, `outputs` and `steps` of the task.
        """
        said = self._ask("hello", asked, {})[0]
        accepts = said.get("accepts")
        listed = accepts if isinstance(accepts, list) else []
        self._accepts = frozenset(name for name in listed if isinstance(name, str))
        return said

    def write(self, weights: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Set weights; return those really held, or None where the device cannot tell.

        Arguments:
            weights: arrays by name; none at all to read back only.
        """
        said, held = self._ask("write", {}, weights)
        return held if said.get("held") else None

    def run(
        self,
        inputs: Any,
        seed: int | None = None,
        currents: Mapping[str, Any] | None = None,
        targets: Any = None,
        taps: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run all trials from rest, in one frame: -> outputs `(T, B, n_out)` or a score, and the taps.

        Arguments:
            inputs: `(T, B, n_in)`: T steps of B trials.
            seed: of the device's own noise, or None.
            currents: what is added to pre-activations, by layer, `(T, B, ...)`.
            targets: what a device that returns the score needs: an array, or arrays by name, `(T, B, ...)`.
            taps: names of what to return beside, such as `hidden.z`.
        """
        arrays = {"inputs": inputs, **_named_targets(targets)}
        arrays |= {f"currents.{layer}": current for layer, current in (currents or {}).items()}
        return self._ask("run", {"seed": seed, "taps": list(taps)}, arrays)[1]

    def write_and_run(
        self,
        weights: Mapping[str, Any],
        inputs: Any,
        rows: Sequence[Sequence[Any]],
        middle: str | None = None,
        seed: int | None = None,
        currents: Mapping[str, Any] | None = None,
        targets: Any = None,
        taps: Sequence[str] = (),
    ) -> tuple[Mapping[str, Any] | None, dict[str, np.ndarray]]:
        """Write settings of weights and run rows of trials on each, in one frame where the device takes that.

        Arguments and what is returned: as in `driver.write_and_run`. The weights held are those given where
        the device says so.
        """
        if not {"weights", "rows"} <= self._accepts:
            return driver.in_turn(self, weights, inputs, rows, middle, seed, currents, targets, taps)
        arrays = {"inputs": inputs, **_named_targets(targets)}
        arrays |= {f"weights.{name}": array for name, array in weights.items()}
        signs = {}
        for layer, current in (currents or {}).items():
            as_bits = isinstance(current, driver.Signs) and "signs" in self._accepts
            arrays[f"currents.{layer}"] = current.bits if as_bits else current
            if as_bits:
                signs[layer] = {"size": current.size, "shape": list(current.shape)}
        said = {"seed": seed, "taps": list(taps), "rows": list(rows), "middle": middle, "signs": signs}
        answer, found = self._ask("run", said, arrays)
        if not weights or not answer.get("held"):
            return None, found
        if answer["held"] == "asked":
            return weights, found
        names = [name for name in found if name.startswith("held.")]
        return {name.removeprefix("held."): found.pop(name) for name in names}, found

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something once, as soon as the next question was sent: while the device works on it.

        Arguments:
            work: a function of nothing.
        """
        self._meanwhile = work

    def bye(self) -> None:
        """Say bye, and end a command that was started; nothing happens where the device is gone already."""
        if self.gone:
            return
        with contextlib.suppress(DeviceError):
            self._ask("bye", {}, {})
        self._close("it was told bye", PATIENCE)

    def __enter__(self) -> "Remote":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bye()

    def _ask(
        self, op: str, said: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send one frame, and return what the frame that comes back holds."""
        if self.gone:
            raise DeviceError(f"the device is gone: {self.gone}")
        unsummed = "unsummed" in self._accepts
        if unsummed:
            said = {**said, "unsummed": True}
        try:
            pieces = driver.pack({**said, "op": op}, arrays, self.limit, summed=not unsummed)
        except driver.FrameError as error:
            raise ArgumentError(f"cannot send {op} to the device: {error}") from None
        deadline = time.monotonic() + self.timeout
        try:
            self._refuse_stray(op)
            self._line.send(pieces, deadline)
            work, self._meanwhile = self._meanwhile, None
            if work is not None:
                work()
            payload = driver.read_frame(
                lambda view: self._line.receive(view, deadline), self.limit, self._memory
            )
            if payload is None:
                raise BrokenPipeError
            answer, found = driver.unpack(payload, self.limit)
        except TimeoutError:
            self._fail(
                f"it did not answer {op} within {self.timeout:g} seconds "
                f"(for a slower device set {WAIT_NAME}=SECONDS)"
            )
        except driver.FrameError as error:
            self._fail(f"it answered {op} with what is no frame of the protocol: {error}")
        except OSError:
            self._fail(f"it ended before it answered {op}")
        except BaseException:  # interrupted between two frames: the next answer would be to this question
            self._close(f"{op} was interrupted", 0)
            raise
        if "error" in answer:
            raise DeviceError(f"the device cannot {op}: {_one_line(answer['error'])}")
        return answer, found

    def _refuse_stray(self, op: str) -> None:
        """Close the connection where something has come unasked: the answers behind it would be to others."""
        if not self._line.has_come():
            return
        deadline = time.monotonic() + min(self.timeout, BESIDE)
        try:
            payload = driver.read_frame(lambda view: self._line.receive(view, deadline), self.limit)
        except TimeoutError:
            self._fail(f"it sent something that is no frame before it was asked to {op}")
        if payload is None:
            raise BrokenPipeError
        said = driver.unpack(payload, self.limit)[0]
        if "error" in said:
            self._fail(f"it says: {_one_line(said['error'])}")
        self._fail(f"it sent more than it was asked for before {op}")

    def _fail(self, reason: str) -> NoReturn:
        """Close the connection, and raise DeviceError with the reason and the last words of the device."""
        self._close(reason, 0)
        raise DeviceError(f"the device is gone: {self.gone}") from None

    def _close(self, reason: str, patience: int | float) -> None:
        """Close the connection; what is known of the end of the device goes into `gone`."""
        self.gone = "; ".join(filter(None, (reason, self._line.close(patience))))


class _Line:
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


class _Command(_Line):
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


class _Socket(_Line):
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


def _seconds(timeout: int | float | None) -> float:
    """Return the seconds to wait: as given, else of the environment, else 60; ArgumentError for no number."""
    said = os.environ.get(WAIT_NAME, WAIT) if timeout is None else timeout
    try:
        seconds = float(said)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        name = WAIT_NAME if timeout is None else "timeout"
        raise ArgumentError(f"{name} must be a number of seconds above 0, not {said!r:.80}")
    return seconds


def _connect(where: str | Sequence[str], timeout: int | float) -> _Line:
    """Return the line to a device: a command that is started, or a socket."""
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


def _named_targets(targets: Any) -> dict[str, Any]:
    """Return the targets of a run as arrays of a frame, by their names there."""
    if isinstance(targets, Mapping):
        return {f"targets.{name}": target for name, target in targets.items()}
    return {} if targets is None else {"targets": targets}


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
    """End a process and all that it started, and close its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in pipes:
        with contextlib.suppress(OSError):
            pipe.close()


def _one_line(text: Any) -> str:
    """Return the first line of a text, shortened."""
    return printable((str(text).strip().splitlines() or ["no reason given"])[0])[:500]
