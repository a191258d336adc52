"""Checks that the settings of several tasks share."""

from perturbax.errors import ArgumentError


def whole(name: str, value: object, least: int = 1) -> None:
    """Raise ArgumentError unless the value is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}, not {value!r}")
