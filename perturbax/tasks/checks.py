"""Checks that the settings of several tasks share."""

from perturbax.errors import ArgumentError


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
