"""A device in another process: the four methods over the pipes of a command, or over a socket."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from perturbax.devices import driver
from perturbax.devices.line import connect
from perturbax.errors import ArgumentError, DeviceError, printable

WAIT = 60.0  # seconds that a device has for each answer
WAIT_NAME = "PERTURBAX_DEVICE_TIMEOUT"  # environment variable that says another number
BESIDE = 1.0  # seconds that the rest of a frame has which nobody has asked for
PATIENCE = 5.0  # seconds that a device has to end after bye


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
        self._line, self._memory = connect(where, self.timeout), driver.Memory()

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


def _named_targets(targets: Any) -> dict[str, Any]:
    """Return the targets of a run as arrays of a frame, by their names there."""
    if isinstance(targets, Mapping):
        return {f"targets.{name}": target for name, target in targets.items()}
    return {} if targets is None else {"targets": targets}


def _one_line(text: Any) -> str:
    """Return the first line of a text, shortened."""
    return printable((str(text).strip().splitlines() or ["no reason given"])[0])[:500]
