"""Jobs that take no time, for the tests of what hands them out: each leaves files in a folder."""

import os
import signal
import sys
import time
from pathlib import Path

from perturbax.errors import ArgumentError


def write(settings, tell):
    """Say who does it and with how many threads, and leave a file with that."""
    tell("stepped", done=1, folder=os.getcwd())
    print("a line on standard error", file=sys.stderr)
    path = Path(settings["path"])
    path.write_text(f"{os.getpid()} {os.environ.get('NPROC')}")


def kill_once(settings, tell):
    """Kill the process at the first try, be done at the second."""
    path = Path(settings["path"])
    if not path.exists():
        path.write_text("begun")
        tell("stepped", done=1)
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("ended")


def kill(settings, tell):
    """Kill the process at every try."""
    with open(settings["path"], "a") as file:
        file.write("begun\n")
    os.kill(os.getpid(), signal.SIGKILL)


def fail(settings, tell):
    """Fail in a way that the user can mend."""
    raise ArgumentError("sigma is too small")


def break_down(settings, tell):
    """Fail in a way that nobody has thought of."""
    raise ZeroDivisionError("nothing to divide by")


def wait(settings, tell):
    """Say that it has begun, and wait until it is ended; tell every tenth of a second."""
    Path(settings["path"]).write_text(str(os.getpid()))
    for step in range(600):
        time.sleep(0.1)
        tell("stepped", done=step)
    Path(settings["path"]).write_text("nobody has ended it")
