"""Processes that are started such that they know nothing of the script and the terminal of this one."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def no_script() -> Iterator[None]:
    """Let processes of `multiprocessing` that are started meanwhile not run the script of this one first.

    Python would import it there, and it need not be made for that.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = _NoScript(main)
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Let processes and threads that are started meanwhile not hear Ctrl-C, which is left to this thread."""
    if os.name != "nt":
        resource_tracker.ensure_running()  # which would let this thread hear the signal again
    block = getattr(signal, "pthread_sigmask", None)
    before = block(signal.SIG_BLOCK, {signal.SIGINT}) if block else set()
    try:
        yield
    finally:
        if block:
            block(signal.SIG_SETMASK, before)


class _NoScript(ModuleType):
    """Stands for the main module, without the file that it came from."""

    def __init__(self, main: ModuleType):
        super().__init__("__main__")
        self._main = main

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the main module."""
        if name == "__file__":
            raise AttributeError(name)
        return getattr(self._main, name)
