"""Checks of what the methods of our tasks are given: keys, numbers of sequences, names of parts."""

import functools
import numbers
from collections.abc import Callable
from typing import Any

from perturbax.errors import ArgumentError
from perturbax.fields import check_key, one_of

PARTS = ("train", "valid", "test")
OURS = "perturbax."


def check_arguments(cls: Any) -> None:
    """Let the methods of a class of this package that draw sequences refuse other arguments in a sentence.

    Arguments:
        cls: a task; one of the user's own is left as it is.
    """
    if not cls.__module__.startswith(OURS):
        return
    for name, check in _CHECKS.items():
        if name in vars(cls):
            setattr(cls, name, _checked(vars(cls)[name], check))


def _checked(method: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """Return a method that checks its arguments first."""

    @functools.wraps(method)
    def checked(self: Any, *args: Any, **named: Any) -> Any:
        check(*args, **named)
        return method(self, *args, **named)

    return checked


def _check_sample(key: Any, batch: Any) -> None:
    """Refuse what is no key, and no number of sequences."""
    check_key(key)
    if not isinstance(batch, numbers.Integral) or isinstance(batch, bool) or batch < 1:
        raise ArgumentError(f"batch must be a whole number of at least 1, not {batch!r}")


def _check_stream(key: Any, i: Any, batch: Any) -> None:
    """Refuse the same; the number of the piece may be traced."""
    _check_sample(key, batch)


def _check_part(part: Any) -> None:
    """Refuse the name of a part that there is not."""
    one_of("part", part, PARTS)


_CHECKS = {"sample": _check_sample, "stream": _check_stream, "held_out": _check_part}
