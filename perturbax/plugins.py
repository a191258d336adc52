"""Classes by name, and code that is imported by name: the user's own, and optional packages."""

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, TypeVar

from perturbax.errors import ArgumentError, first_line, unknown

Kind = TypeVar("Kind")


class Kept(NamedTuple):
    """An object from source that a run has kept.

    Attributes:
        value: the object.
        files: the source of its module and of what that imports, by path.
    """

    value: Any
    files: Mapping[str, bytes]


NAMED: set[str] = set()
"""What has been imported by its name, `module:attribute`, in this process."""
_NOTHING: Mapping[str, Kept] = MappingProxyType({})
_STANDING: ContextVar[Mapping[str, Kept]] = ContextVar("_STANDING", default=_NOTHING)
_LEFT: dict[str, Kept] = {}  # what names stood for before


class Registry(dict[str, type[Kind]]):
    """A dictionary from names to classes, which answers an unknown name with the nearest one.

        RULES["nod"]   raises UnknownName (a KeyError): unknown rule 'nod'; did you mean 'node'?

    `in`, `get`, iteration and `len` are those of a dictionary; copies and `|` give a registry.

    Attributes:
        kind: what the classes are, as errors call it: rule, cell, task.
    """

    def __init__(self, kind: str, classes: Mapping[str, type[Kind]]):
        super().__init__(classes)
        self.kind = kind

    def __missing__(self, name: object) -> NoReturn:
        raise unknown(self.kind, str(name), self)

    def __or__(self, others: Any) -> "Registry[Any]":
        return Registry(self.kind, {**self, **others})

    def __ror__(self, others: Any) -> "Registry[Any]":
        return Registry(self.kind, {**others, **self})

    def copy(self) -> "Registry[Kind]":
        """Return a registry with the same names and classes."""
        return Registry(self.kind, self)


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor; one that hands on **others has those of the next class, too."""
    found = dict(inspect.signature(cls).parameters)
    for base in cls.__mro__[1:]:
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in found.values()):
            break
        if "__init__" not in base.__dict__ or base is object:
            continue
        found = {name: p for name, p in found.items() if p.kind != p.VAR_KEYWORD}
        for name, parameter in inspect.signature(base).parameters.items():
            if name != "self":
                found.setdefault(name, parameter)
    return found


def import_object(kind: str, path: str) -> Any:
    """Return the object at `module:attribute`; modules of the working folder are found, too.

    Arguments:
        kind: what it is for, as errors call it: rule, cell, task, noise.
        path: the module's name, a colon, and the name of the object in it.

    Raises ArgumentError with one line, whatever the module does while it is imported.
    """
    if path in _STANDING.get():
        return _STANDING.get()[path].value
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = import_attribute(kind, path)
    except ArgumentError as error:
        if path in _LEFT and isinstance(error.__cause__, ModuleNotFoundError):
            return _LEFT[path].value
        raise
    NAMED.add(path)
    return found


def import_attribute(kind: str, path: str) -> Any:
    """Return the object at `module:attribute`, from where Python finds modules.

    Arguments as in `import_object`, which also looks into the working folder.

    Raises ArgumentError with one line, whatever the module does while it is imported.
    """
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # the module is the user's: anything may be raised
        raise ArgumentError(f"cannot import {kind} {path!r}: {first_line(error)}") from error
    if found is None:
        raise ArgumentError(f"module {module} has no {attribute!r}")
    return found


@contextlib.contextmanager
def standing_for(objects: Mapping[str, Kept]) -> Iterator[None]:
    """Let names stand for objects that a run has kept: inside, and afterwards where Python finds none.

    Arguments:
        objects: what a name, `module:attribute`, stands for.
    """
    token = _STANDING.set({**_STANDING.get(), **objects})
    _LEFT.update(objects)
    try:
        yield
    finally:
        _STANDING.reset(token)


def names_standing() -> frozenset[str]:
    """Return the names that stand for objects which a run has kept, where this is called."""
    return frozenset(_STANDING.get())


def kept_object(path: str) -> Kept | None:
    """Return what a name stands for now, or stood for where Python finds no such module; None for neither.

    Arguments:
        path: the name, `module:attribute`.
    """
    module = path.partition(":")[0]
    left = None if module in sys.modules else _LEFT.get(path)
    return _STANDING.get().get(path, left)


def import_optional(who: str, module: str, package: str) -> Any:
    """Return a module of an optional package.

    Arguments:
        who: what needs the package; its last word is the extra of perturbax that brings it (`task digits`).
        module: the module to import.
        package: the package's name, as errors call it.

    Raises ArgumentError, which says what to install, where the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = f"pip install 'perturbax[{who.split()[-1]}]'"
        missing = (error.name or "").split(".")[0]
        if missing == module.split(".")[0]:
            raise ArgumentError(f"{who} needs the package {package}: {install}") from error
        raise ArgumentError(f"{who} cannot import {package} ({first_line(error)}): {install}") from error
