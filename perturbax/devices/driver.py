"""The side of a device: frames, and a server of the four methods that a device has.

This file needs numpy alone (Python 3.8 or newer), and nothing else of perturbax: copy it to the computer that
the device hangs on.

    import numpy as np
    from driver import serve

    class MyDevice:
        def hello(self, asked):
            return {"version": 1, "name": "mine", "inputs": 2, "outputs": 1, "noise": "unknown",
                    "weights": {"W": {"shape": [2, 1]}}}
        def write(self, weights):
            self.W = weights["W"]
            return weights                                    # what is really held, or None
        def run(self, inputs, seed=None, currents=None, targets=None, taps=()):
            return {"outputs": np.tanh(inputs @ self.W)}      # inputs (T, B, 2), always from rest
        def bye(self):
            pass

    serve(MyDevice())

A frame is its length, 8 bytes, unsigned, little-endian, and then that many bytes of an npz file: a zip
archive of npy files, stored or deflated, as numpy.savez writes it. The member `_` is a JSON object in UTF-8,
as an array of uint8; all other members are arrays of numbers. docs/devices.md has what they mean.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import select
import socket
import stat
import struct
import sys
import time
import traceback
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

VERSION = 1
LIMIT = 2**28  # bytes of a frame, and of what it unpacks to; larger ones are refused before they are read
MEMBERS = 1000  # most arrays in a frame
TEXT = 2**20  # most bytes of the JSON object
FIRST = 2**24  # most bytes of memory that are asked for before anything of a frame has come
MOST = 256  # most pieces that are written at once
SHORT = 2**16  # bytes of a piece that is sent with others
PATIENCE = 60.0  # seconds that a trainer at a socket has for a frame that it has begun
ACCEPTS = ["weights", "rows", "signs", "unsummed"]  # what is understood here that a device need not

_HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?)([fiub])([1248])',\s*'fortran_order':\s*(True|False),"
    rb"\s*'shape':\s*\(([0-9, ]{0,200})\),?\s*\}\s*"
)
_LOCAL = struct.Struct("<4s5H3I2H")  # what stands before each member of a zip archive
_CENTRAL = struct.Struct("<4s6H3I5H2I")  # its entry in the directory at the end
_END = struct.Struct("<4s4H2IH")  # the end of the directory
_SUM = 14  # where in the header before a member its checksum stands
_STORED, _DEFLATED = 0, 8
_NARROW, _WIDE = struct.Struct("<H"), struct.Struct("<I")  # the length of the header of a npy file


class FrameError(ValueError):
    """A frame that is not as the protocol says; one line."""


class FrameTooLong(FrameError):
    """A frame that is longer than the limit: what follows it cannot be found any more."""


def pack(
    said: Mapping[str, Any],
    arrays: Mapping[str, Any] | None = None,
    limit: int = LIMIT,
    summed: bool = True,
) -> list[bytes | memoryview]:
    """Return a frame as pieces of bytes, to be sent one after the other.

    Arguments:
        said: a dictionary that JSON can hold.
        arrays: arrays of numbers by name.
        limit: most bytes of the frame.
        summed: whether it has checksums; else 0 stands in their place.

    Raises FrameError for an array that is not of numbers, and for a frame above the limit.
    """
    text = json.dumps(said, default=_as_json).encode()
    text += b" " * (-len(text) % 64)  # so that frames of other numbers are of one layout
    members = [("_", np.frombuffer(text, np.uint8))]
    for name, array in (arrays or {}).items():
        members.append((name, _plain(name, array)))
    layout = _layout(tuple([(name, array.dtype.str, array.shape) for name, array in members]))
    if layout.size > limit:
        raise FrameError(f"the frame would be longer than the limit of {limit} bytes")
    contents = [array.reshape(-1).view(np.uint8).data for _, array in members]
    if summed:
        layout = _with_sums(layout, contents)
    pieces: list[bytes | memoryview] = []
    for head, numbers in zip(layout.heads, contents):  # noqa: B905 strict is new in Python 3.10
        pieces += [head, numbers]
    return _fewer([*pieces, layout.tail])


def unpack(payload: Any, limit: int = LIMIT) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return (said, arrays) of the npz file in a frame: a dictionary, and arrays by name.

    Arrays can be written to. They lie in the payload where they can, so that nothing is copied.

    Nothing is unpickled, and no member is unpacked before the sizes of all are known to be within the limit.

    Arguments:
        payload: the bytes of the frame behind its length, as bytes or a view of memory.
        limit: most bytes that all members may have together.

    Raises FrameError, whose one line says what is wrong.
    """
    payload = memoryview(payload)
    members = _directory(payload)
    total = sum(member.size for member in members)
    if total > limit:
        raise FrameError(f"the frame unpacks to {total} bytes, more than the limit of {limit}")
    arrays = {}
    for member in members:
        name = member.name[:-4] if member.name.endswith(".npy") else member.name
        if name in arrays:
            raise FrameError(f"the frame has two arrays of the name {name!r:.80}")
        arrays[name] = _read_npy(name, _content(payload, member))
    return _said(arrays.pop("_", None)), arrays


def read_frame(
    read_into: Callable[[memoryview], int], limit: int = LIMIT, memory: Memory | None = None
) -> memoryview | None:
    """Return the bytes of the next frame behind its length, or None where there is none any more.

    Arguments:
        read_into: function of a view of memory, which fills its beginning and returns how many bytes it has
            read, 0 at the end, as `readinto` of a file and `recv_into` of a socket do.
        limit: most bytes of a frame.
        memory: where the bytes go; new memory by default.

    Raises FrameTooLong before anything is read of a frame above the limit, FrameError for half a frame.
    """
    head = memoryview(bytearray(8))
    came = _fill(read_into, head)
    if not came:
        return None
    length, text = struct.unpack("<Q", head)[0], _text_at_first(bytes(head[:came]))
    if came == len(text) or (length > limit and len(text) > 1):
        raise FrameTooLong(f"text where a frame should be, {text!r}: print it to standard error")
    if came < 8:
        raise FrameError("half a frame: it ends within its length")
    if length > limit:
        raise FrameTooLong(f"a frame of {length} bytes is longer than the limit of {limit}")
    memory = memory or Memory()
    payload, came = memory.take(min(length, FIRST)), 0
    while True:
        came += _fill(read_into, payload[came:])
        if came == length:
            return payload
        if came < len(payload):
            raise FrameError(f"half a frame: {came} of {length} bytes")
        longer = memory.take(min(length, 4 * came))  # memory grows with what has come
        longer[:came] = payload
        payload = longer


def answer(
    device: Any, said: dict[str, Any], arrays: dict[str, np.ndarray], limit: int = LIMIT
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return what a device answers: (a dictionary, arrays by name).

    Arguments:
        device: an object with the four methods.
        said: the dictionary of the frame, with `op`.
        arrays: the arrays of the frame.
        limit: most bytes of what the arrays of a run are spread out to.

    Raises what the device raises, and FrameError for what is asked wrongly.
    """
    op = said.get("op")
    if op == "hello":
        asked = {name: value for name, value in said.items() if name != "op"}
        return {"accepts": ACCEPTS, **_by_name("hello", device.hello(asked))}, {}
    if op == "write":
        held = device.write(arrays)
        return {"held": held is not None}, {} if held is None else _by_name("write", held)
    if op == "run":
        return _answer_run(device, said, arrays, limit)
    if op == "bye":
        device.bye()
        return {}, {}
    raise FrameError(f"op must be hello, write, run or bye, not {op!r:.80}")


class Signs(NamedTuple):
    """An array of values that are +size or -size, as one bit each.

    Attributes:
        bits: 1 for +size, in the order of the array, eight to a byte, the first the highest: uint8.
        size: the absolute value, of float32.
        shape: of the array.
    """

    bits: Any
    size: float
    shape: tuple[int, ...]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Return the array, float32."""
        bits = np.unpackbits(np.asarray(self.bits, np.uint8).reshape(-1), count=_count(self.shape))
        size = np.float32(self.size)
        array = np.where(bits, size, -size).reshape(self.shape)
        return array if dtype is None else array.astype(dtype)


def write_and_run(
    device: Any,
    weights: Mapping[str, Any],
    inputs: Any,
    rows: Sequence[Sequence[Any]],
    middle: str | None = None,
    seed: int | None = None,
    currents: Mapping[str, Any] | None = None,
    targets: Any = None,
    taps: Sequence[str] = (),
) -> tuple[Mapping[str, Any] | None, dict[str, Any]]:
    """Write each of S settings of weights, and run the same inputs on it in R rows of trials.

    -> (weights really held, `(S, ...)`, or None where the device cannot tell; outputs `(T, S R B, n_out)`,
    score and taps: setting after setting, and within each row after row).

    A device that has a method of this name does all at once, and takes the same arguments; any other is
    written and run S times.

    Arguments:
        device: an object with the methods write and run.
        weights: arrays by name, `(S, ...)`; none at all to run on what is written.
        inputs: `(T, B, n_in)`.
        rows: (k, factor) of each row: its currents are `factor` times block k.
        middle: what is returned of taps, `(T, S B, ...)`: those of the `first` row of each setting, or the
            `mean` of its rows; None for all rows.
        seed: of the device's own noise in every run, or None.
        currents: by layer, blocks `(T, K, B, ...)`; an array or `Signs`.
        targets: an array or arrays by name, `(T, B, ...)`.
        taps: what to return beside the outputs.
    """
    whole = getattr(device, "write_and_run", None)
    if whole is not None:
        return whole(weights, inputs, rows, middle, seed, currents, targets, taps)
    return in_turn(device, weights, inputs, rows, middle, seed, currents, targets, taps)


def in_turn(
    device: Any,
    weights: Mapping[str, Any],
    inputs: Any,
    rows: Sequence[Sequence[Any]],
    middle: str | None,
    seed: int | None,
    currents: Mapping[str, Any] | None,
    targets: Any,
    taps: Sequence[str],
) -> tuple[Mapping[str, Any] | None, dict[str, Any]]:
    """Return the same as `write_and_run`, by one write and one run for each setting of the weights.

    Answers are copied: a device may write into its own arrays in the next turn.
    """

    def repeated(array: Any) -> np.ndarray:  # (T, B, ...) -> (T, R B, ...)
        return np.concatenate([np.asarray(array)] * len(rows), 1)

    inputs, B = repeated(inputs), np.shape(inputs)[1]
    if isinstance(targets, Mapping):
        targets = {name: repeated(array) for name, array in targets.items()}
    elif targets is not None:
        targets = repeated(targets)
    spread = {}
    for layer, blocks in (currents or {}).items():
        blocks = np.asarray(blocks)  # (T, K, B, ...)
        parts = [blocks[:, k] * blocks.dtype.type(factor) for k, factor in rows]
        spread[layer] = np.concatenate(parts, 1)  # (T, R B, ...)
    settings = len(next(iter(weights.values()))) if weights else 1
    held, found = [], []
    for s in range(settings):
        if weights:
            one_held = device.write({name: np.array(array[s]) for name, array in weights.items()})
            if one_held is not None:
                one_held = {name: np.array(array) for name, array in _by_name("write", one_held).items()}
            held.append(one_held)
        given = device.run(inputs, seed=seed, currents=spread or None, targets=targets, taps=taps)
        answer = dict(_by_name("run", given))
        for tap in taps:
            if middle and tap in answer:
                answer[tap] = _middle(np.asarray(answer[tap]), B, middle)
        found.append({name: np.array(array) for name, array in answer.items()})
    all_held = None
    if held and all(one is not None for one in held):
        all_held = {name: np.stack([one[name] for one in held]) for name in held[0]}
    return all_held, {name: _joined(name, [one[name] for one in found]) for name in found[0]}


def serve(device: Any, at: str | None = None, limit: int = LIMIT, patience: float = PATIENCE) -> None:
    """Answer a trainer until it says bye or goes away.

    Over pipes, frames come in on standard input and go out on the standard output that this process was
    started with; what is printed afterwards goes to standard error. At a socket, one trainer after the other
    is served, for ever; one that comes meanwhile is told who has the device.

    Arguments:
        device: an object with the methods hello, write, run and bye.
        at: None for pipes; `unix:PATH`, or `tcp:PORT` for this computer alone, or `tcp:HOST:PORT`.
        limit: most bytes of a frame, and of what it unpacks to.
        patience: seconds that a trainer at a socket has for a frame that it has begun, for its first one, and
            to read an answer; one that takes longer is let go.

    Raises OSError where the socket cannot be opened, ValueError where something else stands at its path.
    """
    if at is None:
        frames_in, frames_out = io.FileIO(os.dup(0)), os.dup(1)
        sys.stdout.flush()
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        _serve_one(device, frames_in.readinto, lambda pieces: _write_all(frames_out, pieces), limit)
        return
    with _listening(at) as listener:
        refused: deque[socket.socket] = deque(maxlen=16)  # kept open, so that they can read why
        while True:
            select.select([listener], [], [])
            connection = _accepted(listener)
            if connection is not None:
                with connection:
                    trainer = _Trainer(connection, listener, refused, patience)
                    _serve_one(device, trainer.read_into, trainer.write, limit)


def _serve_one(
    device: Any,
    read_into: Callable[[memoryview], Any],
    write: Callable[[list[bytes | memoryview]], Any],
    limit: int,
) -> None:
    """Answer one trainer until it says bye or goes away."""
    memory, going_on = Memory(), True
    while going_on:
        try:
            payload = read_frame(read_into, limit, memory)
            if payload is None:
                return
            going_on, pieces = _answered(device, payload, limit)
            payload = None  # so that its memory can be used again
        except FrameError as error:
            going_on, pieces = not isinstance(error, FrameTooLong), pack({"error": _line(error)})
        except OSError as error:  # the trainer is gone
            _say_why(error)
            return
        try:
            write(pieces)
        except OSError as error:
            _say_why(error)
            return
        pieces = None


def _answered(device: Any, payload: memoryview, limit: int) -> tuple[bool, list[bytes | memoryview]]:
    """Return (whether the trainer goes on after this frame, the answer to it, perhaps an error)."""
    going_on = True
    try:
        said, arrays = unpack(payload, limit)
        going_on = said.get("op") != "bye"
        summed = said.get("unsummed") is not True
        return going_on, pack(*answer(device, said, arrays, limit), limit=limit, summed=summed)
    except Exception as error:  # whatever a device may raise: the trainer is told, and it goes on
        if not isinstance(error, FrameError):
            traceback.print_exc()
        return going_on, pack({"error": _line(error)})


def _say_why(error: OSError) -> None:
    """Say on standard error why a trainer was let go; nothing where it has gone by itself."""
    if isinstance(error, TimeoutError):
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()


class _Trainer:
    """A trainer at a socket, which has the device for itself: others that come are told so.

    Arguments:
        connection: the socket of the trainer.
        listener: the socket at which others come.
        refused: where the sockets of those others are kept.
        patience: as for `serve`.
    """

    def __init__(
        self, connection: socket.socket, listener: socket.socket, refused: deque[Any], patience: float
    ):
        self.connection, self.listener, self.refused = connection, listener, refused
        self.patience, self.began = patience, time.monotonic()
        self.deadline = self.began + patience  # of the frame that is coming; infinite between two frames
        if connection.family != getattr(socket, "AF_UNIX", None):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # its computer may be gone
        self.name = _who(connection)

    def read_into(self, view: memoryview) -> int:
        """Read into a view of memory: -> bytes that came, 0 at the end; TimeoutError after the deadline."""
        while True:
            self.connection.settimeout(0)
            try:
                came = self.connection.recv_into(view)
            except BlockingIOError:
                self._wait()
                continue
            if self.deadline == math.inf:
                self.deadline = time.monotonic() + self.patience
            return came

    def write(self, pieces: list[bytes | memoryview]) -> None:
        """Send all bytes; TimeoutError where the trainer does not read them."""
        self.connection.settimeout(self.patience)
        try:
            for piece in pieces:
                self.connection.sendall(piece)
        except socket.timeout:  # noqa: UP041 another class in Python 3.8
            raise self._slow("read no answer") from None
        self.deadline = math.inf

    def _wait(self) -> None:
        """Wait until the trainer has sent something, and tell others meanwhile that it has the device."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self._slow("sent no whole frame")
        both = [self.connection, self.listener]
        ready = select.select(both, [], [], None if left == math.inf else left)[0]
        if self.connection in ready or self.listener not in ready:
            return
        other = _accepted(self.listener)
        if other is None:
            return
        seconds = time.monotonic() - self.began
        with contextlib.suppress(OSError):
            said = {"error": f"another trainer has the device: {self.name}, for {seconds:.0f} seconds"}
            other.settimeout(1)
            other.sendall(b"".join(pack(said)))
            other.shutdown(socket.SHUT_WR)
        self.refused.append(other)

    def _slow(self, what: str) -> TimeoutError:
        """Return the error for a trainer that takes too long; what: what it has not done."""
        return TimeoutError(f"let go of {self.name}, which {what} within {self.patience:g} seconds")


def _accepted(listener: socket.socket) -> socket.socket | None:
    """Return the socket of a trainer that waits at a listener; None where it is gone again."""
    try:
        return listener.accept()[0]
    except OSError:
        return None


def _who(connection: socket.socket) -> str:
    """Return what a trainer is called: its process where that is known, else its address."""
    if connection.family != getattr(socket, "AF_UNIX", None):
        return "{}:{}".format(*connection.getpeername()[:2])
    if not hasattr(socket, "SO_PEERCRED"):
        return "a process of this computer"
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return f"process {struct.unpack('3i', credentials)[0]}"


def _listening(at: str) -> socket.socket:
    """Return a socket that listens at `unix:PATH`, `tcp:PORT` or `tcp:HOST:PORT`; where is said on stderr."""
    kind, _, where = at.partition(":")
    if kind == "unix":
        _make_room(where)
        listener = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)  # for the user alone, from the start
        try:
            listener.bind(where)
        finally:
            os.umask(mask)
    elif kind == "tcp":
        host, _, port = where.rpartition(":")
        if not port.isdecimal():
            raise ValueError("a port is a number")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host or "127.0.0.1", int(port)))
        at = "tcp:{}:{}".format(*listener.getsockname())
    else:
        raise ValueError(f"a device listens at unix:PATH, tcp:PORT or tcp:HOST:PORT, not at {at!r}")
    listener.listen(8)
    listener.setblocking(False)
    sys.stderr.write(f"device at {at}\n")
    sys.stderr.flush()
    return listener


def _make_room(path: str) -> None:
    """Remove the socket of a device that has ended; refuse a path at which anything else stands."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise ValueError("what stands there is no socket, and stays: name another path")
    if _somebody_listens(path):
        raise ValueError("another device listens there: name another path, or end that one")
    os.unlink(path)


def _somebody_listens(path: str) -> bool:
    """Whether a server answers at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)  # one that is busy lets others wait
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)


def _fewer(pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the same bytes with short pieces joined: every write wakes the other side."""
    found, short = [], []
    for piece in pieces:
        if len(piece) < SHORT:
            short.append(piece)
            continue
        found += [b"".join(short), piece]
        short = []
    return [*found, b"".join(short)]


def _write_all(handle: int, pieces: list[bytes | memoryview]) -> None:
    """Write all bytes to a file handle, as many at once as it takes."""
    rest = [memoryview(piece) for piece in pieces]
    while rest:
        several = hasattr(os, "writev")
        rest = left_of(rest, os.writev(handle, rest[:MOST]) if several else os.write(handle, rest[0]))


def left_of(pieces: list[memoryview], done: int) -> list[memoryview]:
    """Return what is left of pieces of bytes once so many of them were written."""
    for i, piece in enumerate(pieces):
        if done < len(piece):
            return [piece[done:], *pieces[i + 1 :]]
        done -= len(piece)
    return []


def _text_at_first(start: bytes) -> str:
    """Return the characters of ASCII text with which some bytes begin."""
    text = start.decode("latin-1")
    for i, character in enumerate(text):
        if not (" " <= character <= "~" or character in "\t\r\n"):
            return text[:i]
    return text


def _fill(read_into: Callable[[memoryview], int], view: memoryview) -> int:
    """Read until a view of memory is full or there is nothing more; return how many bytes have come."""
    came = 0
    while came < len(view):
        more = read_into(view[came:])
        if not more:
            break
        came += more
    return came


class Memory:
    """Memory that frames are read into; it is used again as soon as nobody holds an array in it."""

    def __init__(self) -> None:
        self._blocks: list[tuple[np.ndarray, Any]] = []  # each with a reference to the view handed out last

    def take(self, size: int) -> memoryview:
        """Return a view of so many bytes, which begin at a multiple of 64; size: how many."""
        for i, (block, last) in enumerate(self._blocks):
            if last() is None and len(block) >= size:
                return self._handed_out(i, block, size)
        block = np.empty(max(size, SHORT) + 64, np.uint8)
        first = -block.ctypes.data % 64
        self._blocks = self._blocks[-3:]
        self._blocks.append((block, None))
        return self._handed_out(len(self._blocks) - 1, block[first : first + max(size, SHORT)], size)

    def _handed_out(self, i: int, block: np.ndarray, size: int) -> memoryview:
        """Return a view of the beginning of a block, and remember it."""
        view = block[:size]
        self._blocks[i] = block, weakref.ref(view)
        return memoryview(view)  # pyright: ignore[reportArgumentType]


def _parts(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names start with a prefix, without it."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def _answer_run(
    device: Any, said: dict[str, Any], arrays: dict[str, np.ndarray], limit: int
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return what a device answers to a run."""
    if "inputs" not in arrays:
        raise FrameError("run needs the array inputs")
    seed, taps, rows = said.get("seed"), said.get("taps") or [], said.get("rows")
    currents: dict[str, Any] = _parts(arrays, "currents.")
    for layer, about in _named(said, "signs").items():
        currents[layer] = _signs(layer, currents.get(layer), about, limit)
    targets = arrays.get("targets", _parts(arrays, "targets.") or None)
    weights = _parts(arrays, "weights.")
    if rows is None and not weights:
        currents = {layer: np.asarray(current) for layer, current in currents.items()}
        found = device.run(arrays["inputs"], seed=seed, currents=currents or None, targets=targets, taps=taps)
        return {}, _by_name("run", found)
    rows = _rows([[0, 1.0]] if rows is None else rows, currents)
    if len({len(array) if array.ndim else 0 for array in weights.values()}) > 1:
        raise FrameError("weights.NAME must be arrays of as many settings each, (S, ...)")
    if arrays["inputs"].ndim < 2 or not arrays["inputs"].shape[1]:
        raise FrameError(f"inputs has the shape {arrays['inputs'].shape}, not (T, B, n_in) with B above 0")
    sizes = [4 * _count(c.shape) if isinstance(c, Signs) else c.nbytes for c in currents.values()]
    if max(sizes + [array.nbytes for array in arrays.values()]) * len(rows) > limit:
        raise FrameError(f"{len(rows)} rows of the inputs are more than the limit of {limit} bytes")
    middle = said.get("middle")
    if middle not in (None, "first", "mean"):
        raise FrameError(f"middle must be first, mean or null, not {middle!r:.80}")
    held, found = write_and_run(
        device, weights, arrays["inputs"], rows, middle, seed, currents or None, targets, taps
    )
    if not weights or held is None:
        return {"held": False}, found
    if held is weights or all(
        name in held and np.array_equal(held[name], array) for name, array in weights.items()
    ):
        return {"held": "asked"}, found
    return {"held": True}, {**found, **{f"held.{name}": array for name, array in held.items()}}


def _by_name(op: str, found: Any) -> Mapping[str, Any]:
    """Return what a method of a device has returned; FrameError for all but a dictionary by name."""
    if isinstance(found, Mapping) and all(isinstance(name, str) for name in found):
        for name, array in found.items():
            _refuse_masked(name, array)
        return found
    wanted = {"hello": "a dictionary", "write": "a dictionary of arrays by name, or None"}
    what = "other names than texts" if isinstance(found, Mapping) else type(found).__name__
    raise FrameError(f"{op} must return {wanted.get(op, 'a dictionary of arrays by name')}, not {what}")


def _refuse_masked(name: str, array: Any) -> None:
    """Raise FrameError for an array of which some values are masked: what is behind a mask is no number."""
    if np.ma.is_masked(array):
        raise FrameError(f"array {name!r:.80} has values that are masked: return numbers in their place")


def _as_json(value: Any) -> Any:
    """Return a number or array of numpy as what JSON can hold; FrameError for anything else."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise FrameError(f"a device says numbers, texts, lists and dictionaries of itself, not {value!r:.80}")


def _named(said: dict[str, Any], entry: str) -> dict[str, Any]:
    """Return an entry of the JSON object that is an object itself, empty where there is none."""
    found = said.get(entry) or {}
    if not isinstance(found, dict):
        raise FrameError(f"{entry} must be a JSON object by name")
    return found


def _signs(layer: str, bits: Any, about: Any, limit: int) -> Signs:
    """Return the currents of a layer that came as bits; FrameError where they are not as they should be."""
    size, shape = (about.get("size"), about.get("shape")) if isinstance(about, dict) else (None, None)
    wrong = f"signs of layer {layer!r:.80} must be an array of uint8, with its size and its shape"
    if bits is None or bits.dtype != np.uint8 or bits.ndim != 1 or not isinstance(size, (int, float)):
        raise FrameError(wrong)
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise FrameError(wrong)
    count = _count(shape)
    if 4 * count > limit or max(shape, default=0) > 2**31:
        raise FrameError(f"signs of layer {layer!r:.80} would take more than the limit of {limit} bytes")
    if len(bits) != -(-count // 8):
        raise FrameError(f"signs of layer {layer!r:.80} are {len(bits)} bytes, not {-(-count // 8)}")
    return Signs(bits, float(size), tuple(shape))


def _rows(rows: Any, currents: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Return the rows of a run, [(block, factor), ...]; FrameError where they are not as they should be."""
    found = []
    for row in rows if isinstance(rows, list) and 0 < len(rows) <= 2**16 else [None]:
        pair = row if isinstance(row, list) and len(row) == 2 else [None, None]
        if type(pair[0]) is not int or pair[0] < 0 or not isinstance(pair[1], (int, float)):
            raise FrameError("rows must be a list of [block, factor]")
        found.append((pair[0], float(pair[1])))
    blocks = max(k for k, _ in found) + 1
    for layer, current in currents.items():
        shape = current.shape
        if len(shape) < 3 or shape[1] < blocks:
            raise FrameError(
                f"currents of layer {layer!r:.80} must be (T, K, B, ...) with K at least {blocks}"
            )
    return found


def _count(shape: Sequence[int]) -> int:
    """Return how many values an array of a shape has, however large that is."""
    count = 1
    for extent in shape:
        count *= extent
    return count


def _middle(tap: np.ndarray, B: int, middle: str) -> np.ndarray:
    """Return the first of the rows in `(T, R B, ...)`, or their mean: `(T, B, ...)`."""
    if tap.ndim < 2 or tap.shape[1] % B:
        raise ValueError(f"a tap has the shape {tap.shape}, not (T, trials, ...)")
    rows = tap.reshape(len(tap), -1, B, *tap.shape[2:])
    return rows[:, 0] if middle == "first" else rows.mean(1).astype(tap.dtype, copy=False)


def _joined(name: str, parts: list[Any]) -> np.ndarray:
    """Return the trials of several runs as one array; a score `(B,)` has them last, all others second."""
    if len(parts) == 1:
        return np.asarray(parts[0])
    return np.concatenate(parts, np.ndim(parts[0]) - 1 if name == "score" else 1)


def _line(error: BaseException) -> str:
    """Return the class and first line of an error, shortened."""
    text = (str(error).strip().splitlines() or [""])[0][:400]
    if isinstance(error, FrameError):
        return text
    return f"{type(error).__name__}: {text}"


def _plain(name: str, array: Any) -> np.ndarray:
    """Return an array of little-endian numbers; FrameError for others."""
    _refuse_masked(name, array)
    array = np.asarray(array)
    dtype = array.dtype
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise FrameError(f"array {name!r:.80} is of {dtype}, not of real numbers")
    if dtype.str[0] == ">":
        array = array.astype(dtype.newbyteorder("<"))
    return array if array.flags.c_contiguous else array.copy("C")


class _Layout(NamedTuple):
    """All of a frame but its numbers.

    Attributes:
        heads: what stands before the numbers of each member; before the first, the length of the frame, too.
        tail: the directory, and its end.
        sums: checksum of each npy header.
        places: where in the tail the checksum of each member stands; in its head it stands at `_SUM`.
        size: bytes of the frame behind its length.
    """

    heads: list[bytes]
    tail: bytes
    sums: list[int]
    places: list[int]
    size: int


@lru_cache(20)
def _layout(members: tuple[tuple[str, str, tuple[int, ...]], ...]) -> _Layout:
    """Return the layout of a frame without checksums; members: (name, dtype, shape) of each array."""
    heads, directory, sums, places, at = [], b"", [], [], 0
    for name, dtype, shape in members:
        file_name = (name + ".npy").encode()
        npy = _npy_header(dtype, shape, at + _LOCAL.size + len(file_name))
        numbers = np.dtype(dtype).itemsize * _count(shape)
        size = len(npy) + numbers
        if at + size > 2**31:
            raise FrameError("the frame would be longer than the 2 GiB that a frame can have")
        entry = (20, 0x800, 0, 0, 0x21, 0, size, size, len(file_name), 0)
        heads.append(_LOCAL.pack(b"PK\3\4", *entry) + file_name + npy)
        sums.append(zlib.crc32(npy))
        places.append(len(directory) + _SUM + 2)
        directory += _CENTRAL.pack(b"PK\1\2", 20, *entry, 0, 0, 0, 0, at) + file_name
        at += len(heads[-1]) + numbers
    count = len(members)
    tail = directory + _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), at, 0)
    size = at + len(tail)
    heads[0] = struct.pack("<Q", size) + heads[0]
    return _Layout(heads, tail, sums, places, size)


def _with_sums(layout: _Layout, contents: Sequence[memoryview]) -> _Layout:
    """Return the layout with the checksums of these numbers in it."""
    heads, tail = [], bytearray(layout.tail)
    for i, numbers in enumerate(contents):
        checksum = zlib.crc32(numbers, layout.sums[i])
        head = bytearray(layout.heads[i])
        _WIDE.pack_into(head, _SUM if i else 8 + _SUM, checksum)
        _WIDE.pack_into(tail, layout.places[i], checksum)
        heads.append(bytes(head))
    return layout._replace(heads=heads, tail=bytes(tail))


def _npy_header(dtype: str, shape: tuple[int, ...], begin: int) -> bytes:
    """Return what stands before the numbers of a npy file that begins at this byte of a frame.

    The numbers begin at a multiple of 64 of the frame, so that they can be computed with where they are.
    """
    sizes = "".join(f"{size}, " for size in shape)
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({sizes}), }}"
    text += " " * (-(begin + len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


class _Member(NamedTuple):
    """What the directory of a zip archive says of a member."""

    name: str
    flags: int
    method: int
    checksum: int
    packed: int  # bytes in the archive
    size: int  # bytes once it is unpacked
    at: int  # byte of the archive at which it begins


def _directory(payload: memoryview) -> tuple[_Member, ...]:
    """Return the members of a zip archive by its directory; FrameError where there is none, or too many."""
    last = bytes(payload[-_END.size :])
    if last[:4] != b"PK\5\6":  # a comment follows
        last = bytes(payload[-(2**16) - _END.size :])
    at = last.rfind(b"PK\5\6")
    if at < 0 or len(last) - at < _END.size:
        raise FrameError("the frame is no npz file: it has no directory at its end")
    count, size, begin = _END.unpack_from(last, at)[4:7]
    if count > MEMBERS:
        raise FrameError(f"the frame has {count} arrays, more than {MEMBERS}")
    directory = bytes(payload[begin : begin + size])
    return _members(directory, count) if size > SHORT else _members_again(directory, count)


def _members(directory: bytes, count: int) -> tuple[_Member, ...]:
    """Return the members that a directory of so many entries lists; FrameError where it is damaged."""
    members, at = [], 0
    try:
        for _ in range(count):
            entry = _CENTRAL.unpack_from(directory, at)
            names, extra, comment = entry[10:13]
            name = directory[at + _CENTRAL.size : at + _CENTRAL.size + names]
            if entry[0] != b"PK\1\2" or len(name) != names:
                raise FrameError("the frame is no npz file: its directory is damaged")
            text = name.decode("utf-8" if entry[3] & 0x800 else "cp437")
            checksum, packed, size = entry[7:10]
            members.append(_Member(text, entry[3], entry[4], checksum, packed, size, entry[16]))
            at += _CENTRAL.size + names + extra + comment
    except (struct.error, UnicodeDecodeError):
        raise FrameError("the frame is no npz file: its directory is damaged") from None
    return tuple(members)


_members_again = lru_cache(20)(_members)  # of frames without checksums, which are alike


def _content(payload: memoryview, member: _Member) -> bytes | memoryview:
    """Return the bytes of a member of a zip archive, unpacked; FrameError where they are not as it says."""
    name = member.name
    if member.at + _LOCAL.size > len(payload) or payload[member.at : member.at + 4] != b"PK\3\4":
        raise FrameError(f"array {name!r:.80} does not begin where the frame says")
    if member.flags & 1 or member.method not in (_STORED, _DEFLATED):
        raise FrameError(f"array {name!r:.80} is neither stored nor deflated")
    names, extra = _LOCAL.unpack_from(payload, member.at)[-2:]
    start = member.at + _LOCAL.size + names + extra
    content: bytes | memoryview = payload[start : start + member.packed]
    if member.method == _DEFLATED:
        try:
            content = zlib.decompressobj(-15).decompress(content, member.size + 1)
        except zlib.error as error:
            raise FrameError(f"array {name!r:.80} cannot be unpacked: {error}") from None
    if len(content) != member.size:
        raise FrameError(f"array {name!r:.80} has not the {member.size} bytes that it says")
    if member.checksum and zlib.crc32(content) != member.checksum:
        raise FrameError(f"array {name!r:.80} has another checksum than it says")
    return content


def _read_npy(name: str, content: bytes | memoryview) -> np.ndarray:
    """Return the array in the bytes of a npy file, which can be changed; FrameError for all but numbers."""
    start = bytes(content[:12])
    if len(start) < 12 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise FrameError(f"array {name!r:.80} is no npy file")
    wide = start[6] > 1
    first = 12 if wide else 10
    length = _WIDE.unpack_from(start, 8)[0] if wide else _NARROW.unpack_from(start, 8)[0]
    dtype, native, shape, fortran, size = _about(name, bytes(content[first : first + min(length, 10000)]))
    numbers = content[first + length :]
    if size != len(numbers):
        raise FrameError(f"array {name!r:.80} has not as many numbers as its shape {shape!r:.80}")
    try:
        flat = np.frombuffer(numbers, dtype)  # holds on to its memory, which np.ndarray would not
        array = flat.reshape(shape, order="F" if fortran else "C")
    except ValueError as error:  # of no numbers, but with huge axes
        raise FrameError(f"array {name!r:.80} has the shape {shape!r:.80}: {error}") from None
    flags = array.flags
    if dtype is native and flags.writeable and flags.aligned and flags.c_contiguous:
        return array
    return array.astype(native, order="C")


@lru_cache(1000)
def _about(name: str, header: bytes) -> tuple[np.dtype, np.dtype, tuple[int, ...], bool, int]:
    """Return what the header of a npy file says; FrameError where it is none of numbers.

    -> (dtype, the same in the order of this computer, shape, whether the first axis runs fastest, bytes).
    """
    match = _HEADER.fullmatch(header)
    if match is None:
        raise FrameError(f"array {name!r:.80} is not of plain numbers (float, int or bool)")
    order, kind, size, fortran, sizes = match.groups()
    if kind + size in (b"f1", b"b2", b"b4", b"b8"):
        raise FrameError(f"array {name!r:.80} is of no known type of numbers")
    try:
        shape = tuple(int(text) for text in sizes.split(b",") if text.strip())
    except ValueError:
        raise FrameError(f"array {name!r:.80} has no shape that can be read") from None
    dtype = np.dtype((order.decode() or "=") + (kind + size).decode())
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    if len(shape) > 8 or max(shape, default=0) > 2**31:
        raise FrameError(f"array {name!r:.80} has not as many numbers as its shape {shape!r:.80}")
    return dtype, native, shape, fortran == b"True", dtype.itemsize * _count(shape)


def _said(text: np.ndarray | None) -> dict[str, Any]:
    """Return the JSON object of a frame; FrameError for anything else."""
    if text is None:
        raise FrameError("the frame has no member _")
    if text.dtype != np.uint8 or text.ndim != 1 or text.size > TEXT:
        raise FrameError(f"the member _ must be a JSON object as an array of at most {TEXT} uint8")
    try:
        said = json.loads(text.tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the member _ is no JSON: {_line(error)}") from None
    if not isinstance(said, dict):
        raise FrameError(f"the member _ must be a JSON object, not {type(said).__name__}")
    return said
