"""What a device says of itself in its `hello`, checked once, as frozen classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, prod
from numbers import Integral, Real
from typing import Any

from perturbax.devices.driver import LIMIT
from perturbax.errors import DeviceError

VERSION = 1
"""The version of the protocol that this library speaks."""
NOISES = ("none", "own", "unknown")
TAPS = ("z", "r", "a", "y")
READS = ("z", "r", "1")
ORDERS = ("pre-post", "post-pre")


@dataclass(frozen=True)
class Weight:
    """One array of weights on a device.

    Attributes:
        shape: its shape.
        layer: the layer whose pre-activations it makes, or None where no current or tap belongs to it.
        reads: the presynaptic activity that it is multiplied with: the tap `z` or `r` of its layer, or `1`
            for a bias; None where the pre-activation is no plain product of the array with one of these.
        order: `pre-post`, a = z W with W `(pre, ...)`, or `post-pre`, a = W z with W `(..., pre)`.
        low: the smallest weight that it can hold, or None where that is not known.
        high: the largest, or None.
        step: the distance of neighbouring weights that it can hold, or None where they are dense or unknown.
    """

    shape: tuple[int, ...]
    layer: str | None = None
    reads: str | None = None
    order: str = "pre-post"
    low: float | None = None
    high: float | None = None
    step: float | None = None

    @property
    def pre(self) -> tuple[int, ...]:
        """The shape of the presynaptic activity of one trial and step; () for a bias."""
        if self.reads == "1":
            return ()
        return self.shape[:1] if self.order == "pre-post" else self.shape[-1:]

    @property
    def post(self) -> tuple[int, ...]:
        """The shape of the pre-activations that it makes, of one trial and step."""
        if self.reads == "1":
            return self.shape
        return self.shape[1:] if self.order == "pre-post" else self.shape[:-1]


@dataclass(frozen=True)
class Abilities:
    """What a device is and can do, as it said in its `hello`.

    Attributes:
        name: what it calls itself.
        inputs: values that it reads in a step.
        outputs: values that it puts out in a step; 0 where it returns a score alone.
        weights: what can be written, by name.
        noise: `none`: what a run returns follows from weights, inputs and currents; `own`: white noise is
            added to the pre-activations, independent between units, steps and trials, with mean 0, and is
            part of the tap `a`; `unknown`: whatever else there may be.
        seeded: whether a run with the same seed has the same noise.
        currents: layers that take an added current in every step, with the shape of it for one trial and
            step, that of the pre-activations `(n,)` or `(gates, n)`.
        taps: layers, with what can be read of each: `z`, what its synapses saw in that step, in the order of
            the weights; `r`, the recurrent part where that has weights of its own; `a`, pre-activations,
            current and noise included; `y`, its activity.
        batch: most trials in one run, or None for any number.
        score: whether a run may return the score itself, given targets.
        drifts: whether weights change after they are written, so that those read back are not those of a run.
        repeats: taps that are another tap one step before, and 0 in the first step, with the name of that
            other one: they need not be sent.
    """

    name: str
    inputs: int
    outputs: int
    weights: Mapping[str, Weight]
    noise: str = "unknown"
    seeded: bool = False
    currents: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    taps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    batch: int | None = None
    score: bool = False
    drifts: bool = False
    repeats: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Abilities":
        """Return the abilities that a device says it has.

        Arguments:
            said: its answer to `hello`, as docs/devices.md describes it.

        Raises DeviceError, which names the entry, for an answer that is not as described.
        """
        return _Reading(said).abilities()

    def tap_shape(self, layer: str, tap: str) -> tuple[int, ...] | None:
        """Return the shape of a tap for one trial and step, or None where hello does not imply it.

        Arguments:
            layer: the name of the layer.
            tap: z, r, a or y.
        """
        own = [weight for weight in self.weights.values() if weight.layer == layer and weight.reads]
        if tap == "a":
            return self.currents.get(layer) or next((weight.post for weight in own), None)
        read = next((weight.pre for weight in own if weight.reads == tap), None)
        if read is not None:
            return read
        repeating = [one for one, other in self.repeats.items() if other == f"{layer}.{tap}"]
        return next((self._read(one) for one in repeating if self._read(one) is not None), None)

    def _read(self, tap: str) -> tuple[int, ...] | None:
        """Return the shape of LAYER.TAP where weights read it, else None."""
        layer, _, name = tap.rpartition(".")
        own = [weight for weight in self.weights.values() if (weight.layer, weight.reads) == (layer, name)]
        return own[0].pre if own else None

    def hello(self) -> dict[str, Any]:
        """Return the answer to `hello` that says the same: dictionaries, lists and numbers alone."""
        weights = {
            name: {
                "shape": list(weight.shape),
                "layer": weight.layer,
                "reads": weight.reads,
                "order": weight.order,
                "low": weight.low,
                "high": weight.high,
                "step": weight.step,
            }
            for name, weight in self.weights.items()
        }
        return {
            "version": VERSION,
            "name": self.name,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "weights": weights,
            "noise": self.noise,
            "seeded": self.seeded,
            "currents": {layer: list(shape) for layer, shape in self.currents.items()},
            "taps": {layer: list(names) for layer, names in self.taps.items()},
            "batch": self.batch,
            "score": self.score,
            "drifts": self.drifts,
            "repeats": dict(self.repeats),
        }


class _Reading:
    """An answer to `hello` while it is checked."""

    def __init__(self, said: Any):
        if not isinstance(said, Mapping):
            raise DeviceError(f"hello of the device must be a dictionary, not {type(said).__name__}")
        self.said = said
        version = said.get("version")
        if version != VERSION:
            raise DeviceError(
                f"the device speaks version {version!r} of the protocol, and this library version {VERSION}: "
                f"its hello must say version {VERSION}"
            )

    def abilities(self) -> Abilities:
        """Return all entries, checked."""
        weights = {name: self._weight(name, entry) for name, entry in self._named("weights").items()}
        if not weights:
            raise self._wrong("weights", "must name at least one array of weights")
        values = sum(prod(weight.shape) for weight in weights.values())
        if 4 * values > LIMIT:  # as float32, before anything of that size is drawn
            raise self._wrong("weights", f"are {values} numbers, more than a frame of {LIMIT} bytes can take")
        currents = {
            layer: self._shape(f"currents.{layer}", s) for layer, s in self._named("currents").items()
        }
        taps = {layer: self._tap_names(layer, names) for layer, names in self._named("taps").items()}
        self._check_layers(weights, currents)
        noise = self._choice("noise", self.said.get("noise", "unknown"), NOISES)
        batch = self.said.get("batch")
        score = self._switch("score")
        outputs = self._count("outputs", self.said.get("outputs", 0), least=0 if score else 1)
        can = Abilities(
            name=_printable(str(self.said.get("name", "device"))[:80]),
            inputs=self._count("inputs", self.said.get("inputs")),
            outputs=outputs,
            weights=weights,
            noise=noise,
            seeded=self._switch("seeded"),
            currents=currents,
            taps=taps,
            batch=None if batch is None else self._count("batch", batch),
            score=score,
            drifts=self._switch("drifts"),
            repeats=self._repeats(taps),
        )
        for tap, other in can.repeats.items():
            shapes = [can.tap_shape(*name.rsplit(".", 1)) for name in (tap, other)]
            if None not in shapes and shapes[0] != shapes[1]:
                raise self._wrong(
                    f"repeats.{tap}", f"names {other} {shapes[1]}, of another shape than {shapes[0]}"
                )
        return can

    def _check_layers(self, weights: Mapping[str, Weight], currents: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse weights of one layer that do not fit each other, or its current."""
        kinds: dict[tuple[str, str], tuple[int, ...]] = {(layer, "a"): s for layer, s in currents.items()}
        for name, weight in weights.items():
            if weight.layer is None or weight.reads is None:
                continue
            for kind, shape in (("a", weight.post), (weight.reads, weight.pre)):
                expected = kinds.setdefault((weight.layer, kind), shape)
                if shape != expected:
                    raise self._wrong(
                        f"weights.{name}", f"makes {kind} of layer {weight.layer} {shape}, not {expected}"
                    )

    def _repeats(self, taps: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Return the taps that repeat others; both must be known, and the other one is sent itself."""
        known = {f"{layer}.{name}" for layer, names in taps.items() for name in names}
        found = dict(self._named("repeats"))
        for tap, other in found.items():
            named = isinstance(other, str) and {tap, other} <= known
            if not named or other in found or not tap.endswith((".z", ".r")):
                raise self._wrong(
                    f"repeats.{tap}",
                    f"must be z or r of a layer, and name a tap that is sent, not {other!r:.80}",
                )
        return found

    def _wrong(self, entry: str, what: str) -> DeviceError:
        """Return the error for an entry."""
        return DeviceError(f"hello of the device: {entry} {what}")

    def _named(self, entry: str) -> Mapping[str, Any]:
        """Return an entry that is a dictionary, empty where there is none."""
        found = self.said.get(entry)
        if found is None:
            return {}
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise self._wrong(entry, "must be a dictionary by name")
        for name in found:
            if not name.isprintable():
                raise self._wrong(
                    entry, f"cannot have the name {name!r}: take characters that can be printed"
                )
        return found

    def _count(self, entry: str, value: Any, least: int = 1) -> int:
        """Return a whole number of at least `least`."""
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise self._wrong(entry, f"must be a whole number of at least {least}, not {value!r}")
        return int(value)

    def _switch(self, entry: str) -> bool:
        """Return true or false; false where nothing is said."""
        value = self.said.get(entry, False)
        if not isinstance(value, bool):
            raise self._wrong(entry, f"must be true or false, not {value!r}")
        return value

    def _choice(self, entry: str, value: Any, choices: Sequence[str]) -> str:
        """Return a value that is one of the choices."""
        if value not in choices:
            raise self._wrong(entry, f"must be {' or '.join(choices)}, not {value!r}")
        return value

    def _shape(self, entry: str, value: Any) -> tuple[int, ...]:
        """Return a shape, each size at least 1."""
        if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= 8:
            raise self._wrong(entry, f"must be a shape, such as [3, 16], not {value!r}")
        return tuple(self._count(entry, size) for size in value)

    def _tap_names(self, layer: str, names: Any) -> tuple[str, ...]:
        """Return the taps of a layer."""
        if not isinstance(names, Sequence) or isinstance(names, str):
            raise self._wrong(f"taps.{layer}", f"must be a list of {', '.join(TAPS)}, not {names!r}")
        return tuple(self._choice(f"taps.{layer}", name, TAPS) for name in names)

    def _number(self, entry: str, value: Any) -> float | None:
        """Return a finite number, or None."""
        if value is None:
            return None
        if not isinstance(value, Real) or isinstance(value, bool) or not isfinite(value):
            raise self._wrong(entry, f"must be a finite number or null, not {value!r}")
        return float(value)

    def _weight(self, name: str, entry: Any) -> Weight:
        """Return one array of weights."""
        where = f"weights.{name}"
        if not name or name == "_":
            raise self._wrong("weights", f"cannot have the name {name!r}")
        if not isinstance(entry, Mapping) or "shape" not in entry:
            raise self._wrong(where, "must be a dictionary with a shape")
        layer, reads = entry.get("layer"), entry.get("reads")
        if layer is not None and not isinstance(layer, str):
            raise self._wrong(f"{where}.layer", f"must be the name of a layer or null, not {layer!r}")
        if reads is not None:
            self._choice(f"{where}.reads", reads, READS)
        weight = Weight(
            shape=self._shape(f"{where}.shape", entry["shape"]),
            layer=layer,
            reads=reads,
            order=self._choice(f"{where}.order", entry.get("order", "pre-post"), ORDERS),
            low=self._number(f"{where}.low", entry.get("low")),
            high=self._number(f"{where}.high", entry.get("high")),
            step=self._number(f"{where}.step", entry.get("step")),
        )
        if weight.low is not None and weight.high is not None and not weight.low < weight.high:
            raise self._wrong(where, f"must have low below high, not {weight.low} and {weight.high}")
        if weight.step is not None and not weight.step > 0:
            raise self._wrong(f"{where}.step", f"must be above 0, not {weight.step}")
        return weight


def _printable(text: str) -> str:
    """Return a text with spaces for what cannot be printed, such as line ends and colours of a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
