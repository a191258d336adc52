"""Any device, with every answer checked: sizes, names, shapes, and that numbers are finite."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perturbax.devices.abilities import VERSION, Abilities
from perturbax.devices.driver import LIMIT, Signs, in_turn
from perturbax.devices.remote import Remote
from perturbax.errors import DeviceError, PerturbaxError, first_line


@dataclass
class Costs:
    """What a device was asked to do so far.

    Attributes:
        writes: times that weights were written.
        trials: trials that were run.
        seconds: time in calls of the device.
    """

    writes: int = 0
    trials: int = 0
    seconds: float = 0.0


class Checked:
    """A device whose answers are checked, so that what it returns can be computed with.

    Arguments:
        device: an object with the four methods, in this process or a `Remote`.
        inputs: values of an input of the task.
        outputs: values of an output of the task.
        steps: steps of a trial, T.

    Attributes:
        can: its abilities, as it said in hello.
        costs: what it was asked to do so far.

    Raises DeviceError for a device with other numbers of inputs or outputs, and for one that fails.
    """

    def __init__(self, device: Any, inputs: int, outputs: int, steps: int):
        self.device, self.costs = device, Costs()
        asked = {"version": VERSION, "inputs": inputs, "outputs": outputs, "steps": steps}
        self.can = Abilities.of(self._call("hello", asked))
        for what, own, of_task in (
            ("inputs", self.can.inputs, inputs),
            ("outputs", self.can.outputs, outputs),
        ):
            if own != of_task and not (what == "outputs" and self.can.score):
                raise DeviceError(f"{self.can.name} has {own} {what}, and the task {of_task}")

    def write(self, weights: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Set weights; return a copy of all that are really held, or None where the device cannot tell.

        Arguments:
            weights: arrays by name; none at all to read back only.

        Raises DeviceError where names or shapes are not those of hello, or numbers are not finite.
        """
        self._check_weights("write", weights, missing=True)
        self.costs.writes += bool(weights)
        answer = self._call("write", dict(weights))
        if answer is None:
            return None
        if not isinstance(answer, Mapping):
            raise self._wrong(f"from write must be a dictionary of arrays, not {type(answer).__name__}")
        held = {name: np.array(self._numbers(answer, name)) for name in answer}
        self._check_weights("answer to write", held, missing=False)
        return held

    def run(
        self,
        inputs: Any,
        seed: int | None = None,
        currents: Mapping[str, Any] | None = None,
        targets: Any = None,
        taps: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run all trials from rest, in as few runs as the largest batch of the device allows.

        -> `outputs` `(T, B, n_out)`, or `score` `(B,)` or `(T, B)`, or both; and the taps, `(T, B, ...)`.

        Arguments:
            inputs: `(T, B, n_in)`: T steps of B trials.
            seed: of the device's own noise, or None. Where several runs are needed, they have the seeds that
                follow.
            currents: what is added to pre-activations, by layer, `(T, B, ...)`.
            targets: for a device that returns the score: an array, or arrays by name, `(T, B, ...)`.
            taps: what to return beside, `LAYER.TAP`.

        Raises DeviceError where the device fails, leaves out what was asked for, or returns other shapes, or
        numbers that are not finite.
        """
        inputs = np.asarray(inputs)
        T, trials = inputs.shape[:2]
        self._check_asked(taps, currents, (T, trials))
        most = self.can.batch or trials
        found = []
        for first in range(0, trials, most):
            part = slice(first, first + most)
            own_seed = None if seed is None else seed + first // most
            answer = self._call(
                "run",
                inputs[:, part],
                seed=own_seed,
                currents=_cut(currents, part) or None,
                targets=_cut(targets, part),
                taps=list(taps),
            )
            checked = self._checked_run(answer, taps, *[inputs[:, part].shape[:2]] * 2)
            if trials > most:  # the next run may write into the same arrays
                checked = {name: np.array(array) for name, array in checked.items()}
            found.append(checked)
        self.costs.trials += trials
        if len(found) == 1:
            return found[0]
        joined = {}
        for name, array in found[0].items():
            axis = array.ndim - 1 if name == "score" else 1
            joined[name] = np.concatenate([one[name] for one in found], axis)
        return joined

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
        """Write settings of weights and run rows of trials on each: at once where the device can do that.

        Arguments and what is returned: as in `driver.write_and_run`.

        Raises DeviceError as `write` and `run` do.
        """
        inputs = np.asarray(inputs)
        T, B = inputs.shape[:2]
        settings = len(next(iter(weights.values()))) if weights else 1
        trials = len(rows) * B
        size = sum(np.asarray(array).nbytes for array in weights.values()) + settings * inputs.nbytes
        few = size * len(rows) <= LIMIT // 4 and trials <= (self.can.batch or trials)
        if not (few and hasattr(self.device, "write_and_run")):
            return in_turn(self, weights, inputs, rows, middle, seed, currents, targets, taps)
        self._check_weights("write", weights, missing=True, settings=settings)
        self._check_asked(taps, currents, (T, 1 + max(k for k, _ in rows), B))
        self.costs.writes += settings if weights else 0
        named = {"seed": seed, "currents": currents, "targets": targets, "taps": list(taps)}
        answer = self._call("write_and_run", weights, inputs, rows, middle, **named)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise self._wrong("from write_and_run must be a pair: weights held, and arrays")
        held, found = answer
        if held is not None and held is not weights:
            if not isinstance(held, Mapping):
                raise self._wrong(f"as weights held must be a dictionary, not {type(held).__name__}")
            held = {name: self._numbers(held, name) for name in held}
            self._check_weights("answer to write", held, missing=False, settings=settings)
        self.costs.trials += settings * trials
        tap_trials = settings * (B if middle else trials)
        return held, self._checked_run(found, taps, (T, settings * trials), (T, tap_trials))

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something while the device works on the next question; at once where it is in this process.

        Arguments:
            work: a function of nothing.
        """
        if isinstance(self.device, Remote):
            self.device.meanwhile(work)
        else:
            work()

    def bye(self) -> None:
        """Say bye to the device."""
        self._call("bye")

    def _call(self, op: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the device; whatever it raises becomes DeviceError."""
        began = time.perf_counter()
        try:
            return getattr(self.device, op)(*arguments, **named)
        except PerturbaxError:
            raise
        except Exception as error:  # the device is the user's: anything may be raised
            kind = type(error).__name__
            raise DeviceError(f"the device cannot {op}: {kind}: {first_line(error)}") from error
        finally:
            self.costs.seconds += time.perf_counter() - began

    def _check_weights(
        self, what: str, arrays: Mapping[str, Any], missing: bool, settings: int | None = None
    ) -> None:
        """Refuse names and shapes that are not those of hello.

        `missing`: whether some may be left out; `settings`: of how many settings, None for one without axis.
        """
        known, axis = self.can.weights, () if settings is None else (settings,)
        for name, array in arrays.items():
            if name not in known:
                raise DeviceError(f"{what}: {self.can.name} has no weights {name!r}, but {', '.join(known)}")
            if np.shape(array) != axis + known[name].shape:
                wanted = axis + known[name].shape
                raise DeviceError(f"{what}: {name} has the shape {np.shape(array)}, not {wanted}")
        left_out = [name for name in known if name not in arrays]
        if left_out and not missing:
            raise DeviceError(f"{what}: {left_out[0]} is missing")

    def _check_asked(self, taps: Sequence[str], currents: Mapping[str, Any] | None, rows: tuple) -> None:
        """Refuse taps and currents that the device does not have, before it is asked for them."""
        for tap in taps:
            layer, _, name = tap.rpartition(".")
            if name not in self.can.taps.get(layer, ()):
                raise DeviceError(f"{self.can.name} has no tap {tap!r}")
        for layer, current in (currents or {}).items():
            if layer not in self.can.currents:
                raise DeviceError(f"{self.can.name} takes no current in layer {layer!r}")
            shape = current.shape if isinstance(current, Signs) else np.shape(current)
            _check_shape(f"currents.{layer}", shape, (*rows, *self.can.currents[layer]))

    def _checked_run(
        self, answer: Any, taps: Sequence[str], rows: tuple, rows_of_taps: tuple
    ) -> dict[str, np.ndarray]:
        """Return the answer to a run, with arrays of the right shapes and finite numbers alone."""
        if not isinstance(answer, Mapping):
            raise self._wrong(f"must be a dictionary of arrays, not {type(answer).__name__}")
        found = {}
        if self.can.outputs and ("outputs" in answer or not self.can.score):
            found["outputs"] = self._numbers(answer, "outputs")
            _check_shape(f"{self.can.name}: outputs", found["outputs"].shape, (*rows, self.can.outputs))
        if self.can.score and "score" in answer:
            found["score"] = self._numbers(answer, "score")
            if found["score"].shape not in (rows, rows[1:]):
                raise self._wrong(f"score has the shape {found['score'].shape}, not {rows[1:]} or {rows}")
        if not found:
            raise self._wrong("has neither outputs nor score")
        for tap in taps:
            found[tap] = self._numbers(answer, tap)
            layer, _, name = tap.rpartition(".")
            expected = self.can.tap_shape(layer, name)
            shape = found[tap].shape
            if (
                shape[:2] != rows_of_taps
                or len(shape) < 3
                or (expected is not None and shape[2:] != expected)
            ):
                wanted = (*rows_of_taps, *(expected or ("units",)))
                raise self._wrong(f"{tap} has the shape {shape}, not ({', '.join(map(str, wanted))})")
        return found

    def _numbers(self, answer: Mapping[str, Any], name: str) -> np.ndarray:
        """Return an array of an answer; DeviceError where it is missing, no numbers, or not finite."""
        if name not in answer:
            raise self._wrong(f"leaves out {name}")
        if np.ma.is_masked(answer[name]):
            raise self._wrong(f"{name} with values that are masked, and no numbers")
        array = np.asarray(answer[name])
        if array.dtype.kind not in "fiub":
            raise self._wrong(f"{name} is of {array.dtype}, not of real numbers")
        if not array.dtype.isnative or array.dtype.itemsize > 8:  # which nothing behind this computes with
            array = array.astype(np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise self._wrong(f"{name} is {array[place]} at {list(place)}, not a finite number")
        return array

    def _wrong(self, what: str) -> DeviceError:
        """Return the error for an answer."""
        return DeviceError(f"what {self.can.name} returns {what}")


def _cut(arrays: Any, trials: slice) -> Any:
    """Return some trials of arrays `(T, B, ...)`: one, several by name, or None."""
    if arrays is None:
        return None
    if isinstance(arrays, Mapping):
        return {name: np.asarray(array)[:, trials] for name, array in arrays.items()}
    return np.asarray(arrays)[:, trials]


def _check_shape(what: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raise DeviceError for another shape than is wanted."""
    if shape != wanted:
        raise DeviceError(f"{what} has the shape {shape}, not {wanted}")
