"""Errors a person can act on: one line each, with the exit status the command line gives them."""

import difflib
from collections.abc import Iterable


class PerturbaxError(Exception):
    """Something went wrong that the message explains in one line; exit status 1."""

    exit_code = 1


class ArgumentError(PerturbaxError, ValueError):
    """An argument, name or setting that cannot be used; exit status 2."""

    exit_code = 2


class UnknownName(ArgumentError, KeyError):
    """A name that is none of the choices; exit status 2. Also a KeyError, as it comes out of dictionaries."""

    __str__ = Exception.__str__  # KeyError puts the message in quotes


class DataError(PerturbaxError, ValueError):
    """A data file whose content cannot be used; exit status 1."""


class LayerError(PerturbaxError, TypeError):
    """A layer that breaks the split of weights (`drive`) from dynamics (`advance`)."""


class StoreError(PerturbaxError):
    """A run folder that cannot be read or written."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UnknownName:
    """Return the error for a name that is none of the choices, with the nearest one or all of them."""
    choices = list(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices) or 'none'}"
    return UnknownName(f"unknown {kind} {name!r}; {hint}")
