"""The library's own errors: one line each that says what was wrong and what to do.

Each has the exit status that the command line ends with.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from perturbax.moved import old_names

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

# What a function of arrays may raise when an array is missing, does not fit, or is traced.
FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class PerturbaxError(Exception):
    """Base of the library's errors, whose message is one line; exit status 1."""

    exit_code = 1


class ArgumentError(PerturbaxError, ValueError):
    """An argument, name or setting that cannot be used; exit status 2. Also a ValueError."""

    exit_code = 2


class UnknownName(ArgumentError, KeyError):
    """A name that is none of the choices; exit status 2. Also a KeyError, as it comes out of dictionaries."""

    __str__ = Exception.__str__  # KeyError puts the message in quotes


class DataError(PerturbaxError, ValueError):
    """A data file whose content cannot be used; exit status 1. Also a ValueError."""


class LayerError(PerturbaxError, TypeError):
    """A layer in which `drive` is not linear in the weights, or `advance` uses weights; exit status 1."""


class StoreError(PerturbaxError):
    """A run folder that cannot be read or written; exit status 1."""


class DeviceError(PerturbaxError):
    """A device that cannot be reached, breaks the protocol, or cannot do what is asked; exit status 1."""


class HostsError(PerturbaxError):
    """Hosts that share a run and are all lost, or of which none can compute as the others; exit status 1."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UnknownName:
    """Return the error for a name that is none of the choices; it names the nearest choice, or all of them.

    Arguments:
        kind: what the name is of: rule, cell, setting.
        name: the name that is not known.
        choices: the names that are.
    """
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices) or 'none'}"
    return UnknownName(f"unknown {kind} {name!r}; {hint}")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class where it has none; see `printable`."""
    return printable((str(error).strip() or type(error).__name__).splitlines()[0])


def printable(text: str) -> str:
    """Return a text with spaces for what cannot be printed, such as line ends and colours of a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
