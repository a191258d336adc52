"""Settings of rules, cells, tasks and noise: fields that are part of the structure, and checks of their
values.

Every check raises ArgumentError with the name of the setting. Traced values pass: they are numbers that a
compiled program leaves open.
"""

from collections.abc import Iterable
from typing import Any

import equinox as eqx

from perturbax.errors import ArgumentError, unknown


def setting(default: Any) -> Any:
    """Return a field that is part of the structure, not of the arrays: a choice, a count, a switch."""
    return eqx.field(default=default, static=True)


def positive(name: str, value: object) -> None:
    """Refuse a number that is not above 0."""
    if isinstance(value, int | float) and not value > 0:
        raise ArgumentError(f"{name} must be above 0, not {value}")


def in_range(
    name: str,
    value: object,
    low: float,
    high: float = float("inf"),
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Refuse a number outside [low, high].

    Arguments:
        name: the setting, as errors call it.
        value: its value.
        low: the lower end of the interval.
        high: the upper end.
        above: whether the lower end itself is outside.
        below: whether the upper end itself is outside.
    """
    if not isinstance(value, int | float):
        return
    fits_low = value > low if above else value >= low
    fits_high = value < high if below or high == float("inf") else value <= high
    if fits_low and fits_high:
        return
    start = f"above {low:g}" if above else f"{low:g} or more"
    end = "" if high == float("inf") else f" and below {high:g}" if below else f" and at most {high:g}"
    raise ArgumentError(f"{name} must be {start}{end}, not {value}")


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices; the error names the nearest."""
    if value not in (choices := list(choices)):
        raise unknown(name, str(value), choices)


def whole(name: str, value: object, least: int = 1) -> None:
    """Raise ArgumentError unless the value is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}, not {value!r}")


def chance(name: str, value: object) -> None:
    """Raise ArgumentError unless the value is a probability above 0, at most 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise ArgumentError(f"{name} must be a probability above 0 and at most 1, not {value!r}")


def fractions(of: str, valid: float, test: float) -> None:
    """Raise ArgumentError unless both parts, and what they leave for training, are above nothing."""
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise ArgumentError(
            f"valid and test are fractions of the {of}, above 0 and together below 1; not {valid} and {test}"
        )
