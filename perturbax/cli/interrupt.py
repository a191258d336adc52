"""Ctrl-C ends the program at once, whatever it does: it waits for no compiler and tears nothing down.

Python acts on Ctrl-C between two of its own steps only. While a program is compiled there is none, so that it
would wait for the compiler; if the next step is within a callback of JAX, Python drops the interruption; and
where it interrupts JAX in its work, the process often ends in a segmentation fault, after the interpreter has
been torn down. So a thread reads the signal, says how to go on, and ends the process without any clean-up,
but that it ends the commands of devices first, whatever they do. Nothing is lost by that: files are written
such that a process may be killed at any moment.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

STATUS = 130  # 128 + the number of the signal, as shells have it
PATIENCE = 4.0  # seconds until the process ends even if it cannot say anything, or end its devices
SHOW_CURSOR = "\x1b[?25h"


@contextlib.contextmanager
def ends_at_once(message: Callable[[], str]) -> Iterator[None]:
    """End the process on Ctrl-C, with status 130, as long as the block lasts.

    Arguments:
        message: returns the line to be said; called at that moment, by another thread.

    The block is left as it is where Ctrl-C cannot be had: in another thread than the main one, on Windows,
    and in a program that handles or ignores it already.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if (
        os.name == "nt"
        or not main_thread
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    threading.Thread(target=_wait, args=(reading, message), daemon=True).start()
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _stand_still)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(former)
        os.close(writing)  # which ends the thread


def _stand_still(number: int, frame: object) -> None:
    """Leave a signal to the thread, and do no more: else the end of a device would be taken for a fault."""
    threading.Event().wait()


def _wait(reading: int, message: Callable[[], str]) -> None:
    """Wait for Ctrl-C, then end the process; other signals do not matter here."""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] == signal.SIGINT:
                _end(message)


def _end(message: Callable[[], str]) -> None:
    """Say the message on standard error and end the process."""
    backstop = threading.Timer(PATIENCE, os._exit, (STATUS,))  # a lock may be held, or a pipe be full
    backstop.daemon = True
    backstop.start()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    said = f"perturbax: {message()}\n"
    if os.isatty(2):
        said = f"{SHOW_CURSOR}\r\n{said}"
    with contextlib.suppress(OSError):
        os.write(2, said.encode())
    _end_devices()
    _forget_semaphores()
    os._exit(STATUS)


def _end_devices() -> None:
    """End the commands of devices: one that hangs would stay behind."""
    line = sys.modules.get("perturbax.devices.line")
    with contextlib.suppress(Exception):
        if line is not None:
            line.end_all()


def _forget_semaphores() -> None:
    """Give back the semaphores of processes that work for this one: Python would complain. The processes
    themselves end with this one.
    """
    util = sys.modules.get("multiprocessing.util")
    with contextlib.suppress(Exception):
        if util is not None:
            util._run_finalizers(0)  # what Python does itself where a program ends by its last line
