"""Code that is imported by name: the user's own, by its import path, and packages that not everyone has."""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from perturbax.errors import ArgumentError, unknown

Kind = TypeVar("Kind")


class Registry(dict[str, type[Kind]]):
    """Classes by name; an unknown name is answered with the nearest one."""

    def __init__(self, kind: str, classes: Mapping[str, type[Kind]]):
        super().__init__(classes)
        self.kind = kind

    def __missing__(self, name: str) -> NoReturn:
        raise unknown(self.kind, name, self)


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


def optional(who: str, module: str, package: str) -> Any:
    """Return a module of an optional package; ArgumentError with what to install where it cannot be imported.

    who: what needs it; its last word is the name of the extra that brings the package.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = f"pip install 'perturbax[{who.split()[-1]}]'"
        if (error.name or "").split(".")[0] == module.split(".")[0]:
            raise ArgumentError(f"{who} needs the package {package}: {install}") from error
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ArgumentError(f"{who} cannot import {package} ({first}): {install}") from error
