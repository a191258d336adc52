"""The user's own code, found by its import path."""

import importlib
import os
import sys
from typing import Any

from perturbax.errors import ArgumentError


def imported(kind: str, name: str) -> Any:
    """Return what lies at module:attribute, modules of the working folder included.

    Raises ArgumentError with one line, whatever the user's module does.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ArgumentError(f"cannot import {kind} {name!r}: {first}") from error
    if found is None:
        raise ArgumentError(f"module {module} has no {attribute!r}")
    return found
