"""Settings of rules, cells, tasks and noise: how a class declares them, and checks of their values.

Every check raises ArgumentError with the name of the setting, what it must be, and what it was. Traced
values pass the checks of numbers: a compiled program leaves them open.
"""

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from perturbax.errors import ArgumentError, PerturbaxError, unknown
from perturbax.plugins import parameters_of

UNBOUNDED = float("inf")
KINDS = {
    bool: (bool, "true or false"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
}
"""Types that a setting may be declared as, what its values are instances of, and what errors call that."""


def setting(default: Any) -> Any:
    """Return a field of an `equinox.Module` that is a setting: a choice, a count, a switch, a constant.

    It is part of the structure, not of the arrays: no weight, and no input of a compiled program, which is
    compiled anew for another value.

    Arguments:
        default: the value where none is given.
    """
    return eqx.field(default=default, static=True)


def positive(name: str, value: object) -> None:
    """Raise ArgumentError for a number that is not above 0.

    Arguments:
        name: the setting, as the error calls it.
        value: its value.
    """
    if isinstance(value, int | float) and not value > 0:
        raise ArgumentError(f"{name} must be above 0, not {value}")


def in_range(
    name: str,
    value: object,
    low: int | float,
    high: int | float = UNBOUNDED,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Raise ArgumentError for a number outside the interval from low to high, for NaN and for infinity.

    Arguments:
        name: the setting, as the error calls it.
        value: its value.
        low: the lower end of the interval, which belongs to it unless `above`.
        high: the upper end, which belongs to it unless `below`; without one any finite number fits.
        above: whether the value must be above the lower end.
        below: whether the value must be below the upper end.
    """
    if not isinstance(value, int | float):
        return
    unbounded = high == UNBOUNDED
    fits_low = value > low if above else value >= low
    fits_high = value < high if below or unbounded else value <= high
    if fits_low and fits_high:
        return
    start = f"above {low:g}" if above else f"{low:g} or more"
    end = "" if unbounded else f" and below {high:g}" if below else f" and at most {high:g}"
    raise ArgumentError(f"{name} must be {start}{end}, not {value}")


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ArgumentError for a value that is none of the choices; the error names the nearest, or all.

    Arguments:
        name: the setting, as the error calls it.
        value: its value.
        choices: the values it may have.
    """
    choices = list(choices)
    if value not in choices:
        raise unknown(name, str(value), choices)


def whole(name: str, value: object, least: int = 1) -> None:
    """Raise ArgumentError unless the value is a whole number (an int) of at least `least`.

    Arguments:
        name: the setting, as the error calls it.
        value: its value.
        least: the smallest value allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name} must be a whole number of at least {least}, not {value!r}")


def chance(name: str, value: object) -> None:
    """Raise ArgumentError unless the value is a probability above 0, at most 1.

    Arguments:
        name: the setting, as the error calls it.
        value: its value.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise ArgumentError(f"{name} must be a probability above 0 and at most 1, not {value!r}")


def fractions(of: str, valid: float, test: float) -> None:
    """Raise ArgumentError unless validation, test, and what they leave for training are above 0.

    Arguments:
        of: what is divided, as the error calls it: `rows`, `text`.
        valid: fraction for validation.
        test: fraction for testing.
    """
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise ArgumentError(
            f"valid and test are fractions of the {of}, above 0 and together below 1; not {valid} and {test}"
        )


def of_kind(name: str, value: object, kind: Any) -> None:
    """Raise ArgumentError for a value that is not of the type its setting is declared with.

    Arguments:
        name: the setting, as the error calls it.
        value: its value; arrays and traced values pass, as their dtype is looked at where they are used.
        kind: the type: bool, int or float; any other is not checked.
    """
    if kind not in KINDS or hasattr(value, "dtype"):
        return
    wanted, words = KINDS[kind]
    if not isinstance(value, wanted) or (kind is not bool and isinstance(value, bool)):
        raise ArgumentError(f"{name} must be {words}, not {value!r}")


def check_key(key: Any) -> None:
    """Raise ArgumentError for what is no random key of JAX.

    Arguments:
        key: jax.random.key(seed), or the raw form, jax.random.PRNGKey(seed).
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ():
        return
    if dtype == jnp.uint32 and shape == jax.eval_shape(jax.random.PRNGKey, 0).shape:
        return
    what = type(key).__name__ if dtype is None else f"{dtype} of shape {shape}"
    raise ArgumentError(f"key must be one key, as jax.random.key(0) makes it; got {what}")


def check_given(cls: type, given: Mapping[str, Any]) -> None:
    """Raise UnknownName, with the nearest name, for a setting that a class does not have, and ArgumentError
    for a value of another type than the setting is declared with.

    Arguments:
        cls: the class that is about to be instantiated.
        given: the settings it is given, by name.
    """
    known = parameters_of(cls) if given else {}
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name, value in given.items():
        if name not in known:
            raise unknown(f"setting of {cls.__name__}", name, known)
        of_kind(name, value, known[name].annotation)


def refuse_abstract(kind: str, cls: type, error: type[PerturbaxError] = ArgumentError) -> None:
    """Raise an error for a class that lacks what every class of its kind must define.

    Arguments:
        kind: what the class is, as the error calls it: layer, task, rule.
        cls: the class that is about to be instantiated.
        error: the error's class.
    """
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        names = " and ".join(missing)
        raise error(
            f"{kind} {cls.__name__} has no {names}: every {kind} must define what its base leaves open"
        )
