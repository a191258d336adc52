"""What a device says of itself in its `hello`, checked once, as frozen classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import prod
from numbers import Integral
from typing import Any

from perturbax.devices.driver import LIMIT
from perturbax.devices.hello import (
    choice,
    count,
    known_layer,
    named,
    number,
    only_known,
    shape,
    switch,
    words,
    wrong,
)
from perturbax.errors import DeviceError, printable

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
    def of_network(self) -> tuple[Any, ...]:
        """What a network is made of: its shape, layer, what it reads, and the order; not what it can hold."""
        return self.shape, self.layer, self.reads, self.order

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
        return _checked(said)

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


ENTRIES = ("version", "accepts", *(entry.name for entry in fields(Abilities)))
"""What hello may say of a device."""
OF_WEIGHTS = tuple(entry.name for entry in fields(Weight))
"""What it may say of an array of weights."""


def _checked(said: Any) -> Abilities:
    """Return the answer to `hello`, each entry checked."""
    if not isinstance(said, Mapping):
        raise DeviceError(f"hello of the device must be a dictionary, not {type(said).__name__}")
    version = said.get("version")
    if not isinstance(version, Integral) or isinstance(version, bool) or version != VERSION:
        raise DeviceError(
            f"the device speaks version {version!r:.80} of the protocol, and this library version {VERSION}: "
            f"its hello must say version {VERSION}, which is what it was asked for"
        )
    only_known("hello", said, ENTRIES)
    weights = {name: _weight(name, entry) for name, entry in named("weights", said.get("weights")).items()}
    if not weights:
        raise wrong("weights", "must name at least one array of weights")
    values = sum(prod(weight.shape) for weight in weights.values())
    if 4 * values > LIMIT:  # as float32, before anything of that size is drawn
        raise wrong("weights", f"are {values} numbers, more than a frame of {LIMIT} bytes can take")
    currents = {
        layer: shape(f"currents.{layer}", units)
        for layer, units in named("currents", said.get("currents")).items()
    }
    taps = {layer: _tap_names(layer, names) for layer, names in named("taps", said.get("taps")).items()}
    _check_layers(weights, currents, taps)
    words("accepts", said.get("accepts"))  # words of later versions are left to whoever knows them
    batch = said.get("batch")
    score = switch("score", said.get("score", False))
    can = Abilities(
        name=printable(str(said.get("name", "device"))[:80]),
        inputs=count("inputs", said.get("inputs")),
        outputs=count("outputs", said.get("outputs", 0), least=0 if score else 1),
        weights=weights,
        noise=choice("noise", said.get("noise", "unknown"), NOISES),
        seeded=switch("seeded", said.get("seeded", False)),
        currents=currents,
        taps=taps,
        batch=None if batch is None else count("batch", batch),
        score=score,
        drifts=switch("drifts", said.get("drifts", False)),
        repeats=_repeats(said.get("repeats"), taps),
    )
    for tap, other in can.repeats.items():
        shapes = [can.tap_shape(*name.rsplit(".", 1)) for name in (tap, other)]
        if None not in shapes and shapes[0] != shapes[1]:
            raise wrong(f"repeats.{tap}", f"names {other} {shapes[1]}, of another shape than {shapes[0]}")
    return can


def _weight(name: str, entry: Any) -> Weight:
    """Return what is said of one array of weights."""
    where = f"weights.{name}"
    if not name or name == "_":
        raise wrong("weights", f"cannot have the name {name!r}")
    if not isinstance(entry, Mapping) or "shape" not in entry:
        raise wrong(where, "must be a dictionary with a shape")
    only_known(where, entry, OF_WEIGHTS)
    layer, reads = entry.get("layer"), entry.get("reads")
    if layer is not None and not (isinstance(layer, str) and layer and layer.isprintable()):
        raise wrong(f"{where}.layer", f"must be the name of a layer or null, not {layer!r:.80}")
    weight = Weight(
        shape=shape(f"{where}.shape", entry["shape"]),
        layer=layer,
        reads=None if reads is None else choice(f"{where}.reads", reads, READS),
        order=choice(f"{where}.order", entry.get("order", "pre-post"), ORDERS),
        low=number(f"{where}.low", entry.get("low")),
        high=number(f"{where}.high", entry.get("high")),
        step=number(f"{where}.step", entry.get("step")),
    )
    if weight.step is not None and not weight.step > 0:
        raise wrong(f"{where}.step", f"must be above 0, not {weight.step}")
    if weight.low is None or weight.high is None:
        return weight
    if not weight.low < weight.high:
        raise wrong(where, f"must have low below high, not {weight.low} and {weight.high}")
    if weight.step is not None and weight.step > weight.high - weight.low:
        raise wrong(f"{where}.step", f"must fit into the range, {weight.low} to {weight.high}")
    return weight


def _tap_names(layer: str, names: Any) -> tuple[str, ...]:
    """Return the taps of a layer."""
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise wrong(f"taps.{layer}", f"must be a list of {', '.join(TAPS)}, not {names!r:.80}")
    return tuple(choice(f"taps.{layer}", name, TAPS) for name in names)


def _repeats(said: Any, taps: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the taps that repeat others; both must be known, and the other one is sent itself."""
    known = {f"{layer}.{name}" for layer, names in taps.items() for name in names}
    found = dict(named("repeats", said))
    for tap, other in found.items():
        both_known = isinstance(other, str) and {tap, other} <= known
        if not both_known or other in found or not tap.endswith((".z", ".r")):
            raise wrong(
                f"repeats.{tap}", f"must be z or r of a layer, and name a tap that is sent, not {other!r:.80}"
            )
    return found


def _check_layers(
    weights: Mapping[str, Weight], currents: Mapping[str, tuple[int, ...]], taps: Mapping[str, Any]
) -> None:
    """Refuse layers that no weights name, and arrays of one layer that do not fit together."""
    layers = list(dict.fromkeys(weight.layer for weight in weights.values() if weight.layer is not None))
    for entry, of_layers in (("currents", currents), ("taps", taps)):
        for layer in of_layers:
            known_layer(entry, layer, layers)
    kinds: dict[tuple[str, str], tuple[int, ...]] = {(layer, "a"): s for layer, s in currents.items()}
    for name, weight in weights.items():
        if weight.layer is None or weight.reads is None:
            continue
        for kind, found in (("a", weight.post), (weight.reads, weight.pre)):
            expected = kinds.setdefault((weight.layer, kind), found)
            if found != expected:
                raise wrong(
                    f"weights.{name}", f"makes {kind} of layer {weight.layer} {found}, not {expected}"
                )
