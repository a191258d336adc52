"""Single entries of a device's `hello`, checked: every function returns a value, or raises DeviceError.

`entry` is what the error calls it, such as `weights.W.shape`.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np

from perturbax.errors import DeviceError, unknown

PRIVATE = "x-"
"""Entries whose names start like this are the device's own, and not looked at."""


def wrong(entry: str, what: str) -> DeviceError:
    """Return the error for an entry; what: what must be otherwise."""
    return DeviceError(f"hello of the device: {entry} {what}")


def only_known(where: str, said: Mapping[Any, Any], known: Iterable[str]) -> None:
    """Refuse entries that the protocol does not have, with the nearest that it has.

    Arguments:
        where: what the entries belong to: `hello`, or the name of an array of weights.
        said: the entries.
        known: the names that there are.
    """
    known = list(known)
    for name in said:
        if name not in known and not str(name).startswith(PRIVATE):
            hint = unknown("entry", str(name)[:80], known)
            raise wrong(
                where, f"has the {hint} (names of your own start with {PRIVATE!r}, and are not looked at)"
            )


def known_layer(entry: str, layer: str, layers: Iterable[str]) -> None:
    """Refuse a layer that no array of weights names, with the nearest that one does.

    Arguments:
        entry: `currents` or `taps`.
        layer: the layer that it names.
        layers: those of the weights.
    """
    layers = list(layers)
    if layer in layers:
        return
    if not layers:
        raise wrong(entry, f"names layer {layer!r}, but no weights name a layer: say layer of each array")
    raise wrong(entry, f"names a layer that no weights name: {unknown('layer', layer, layers)}")


def named(entry: str, value: Any) -> Mapping[str, Any]:
    """Return an entry that is a dictionary by name, empty for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise wrong(entry, "must be a dictionary by name")
    for name in value:
        if not name.isprintable():
            raise wrong(entry, f"cannot have the name {name!r}: take characters that can be printed")
    return value


def words(entry: str, value: Any) -> tuple[str, ...]:
    """Return an entry that is a list of words, empty for None."""
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise wrong(entry, f"must be a list of words, not {value!r:.80}")
    if not all(isinstance(word, str) for word in value):
        raise wrong(entry, f"must be a list of words, not {value!r:.80}")
    return tuple(value)


def count(entry: str, value: Any, least: int = 1) -> int:
    """Return a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise wrong(entry, f"must be a whole number of at least {least}, not {value!r:.80}")
    return int(value)


def switch(entry: str, value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool | np.bool_):
        raise wrong(entry, f"must be true or false, not {value!r:.80}")
    return bool(value)


def choice(entry: str, value: Any, choices: Sequence[str]) -> str:
    """Return a value that is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(entry, f"must be {' or '.join(choices)}, not {value!r:.80}")
    return value


def shape(entry: str, value: Any) -> tuple[int, ...]:
    """Return a shape, each size at least 1."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= 8:
        raise wrong(entry, f"must be a shape, such as [3, 16], not {value!r:.80}")
    return tuple(count(entry, size) for size in value)


def number(entry: str, value: Any) -> float | None:
    """Return a finite number, or None."""
    if value is None:
        return None
    if not isinstance(value, Real) or isinstance(value, bool) or not isfinite(value):
        raise wrong(entry, f"must be a finite number or null, not {value!r:.80}")
    return float(value)
