"""Jobs that take no time, each of which leaves a file, and what tests of those who do them share."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from perturbax.errors import ArgumentError
from perturbax.jobs.job import Job


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
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("ended")


def kill(settings, tell):
    """Kill the process at every try."""
    with open(settings["path"], "a") as file:
        file.write("begun\n")
    time.sleep(0.2)
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


class Told:
    """What the loop was told, as (job, event), and the values of each."""

    def __init__(self):
        self.told, self.values = [], []

    def __call__(self, job, event, values):
        self.told.append((job.name, event))
        self.values.append(values)


def toy(function, path, **more):
    """A job of this file, named as the file that it leaves."""
    return Job(path.name, f"toy_jobs:{function}", {"path": str(path)}, **more)


def until(true):
    """Wait until something is true."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def gone(pid):
    """Whether there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


SCRIPT = """
import signal
import sys
from pathlib import Path
from toy_jobs import Told, toy
from perturbax.cli.interrupt import ends_at_once
from perturbax.jobs.job import run_jobs
from perturbax.jobs.perform import Surroundings

signal.signal(signal.SIGINT, signal.default_int_handler)  # of shells, background processes ignore it
surroundings, folder = Surroundings(1, numpys=1), Path(sys.argv[1])
with ends_at_once(lambda: "interrupted"):  # no `if __name__ == "__main__"`: processes do not run this again
    run_jobs([toy("wait", folder / name) for name in "ab"], ENGINE, Told())
"""


def end_a_script(folder, engine, number):
    """The status of a script that two jobs of an engine go on for, when it gets a signal; nothing is left."""
    places = {"Pool": "pool", "Cluster": "cluster"}
    imports = f"from perturbax.jobs.{places[engine.split('(')[0]]} import *\n"
    (folder / "script.py").write_text(imports + SCRIPT.replace("ENGINE", engine))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(folder / "script.py"), str(folder)]
    files = [folder / name for name in "ab"]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        until(lambda: all(file.exists() and file.read_text() for file in files))
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal sends it
        else:
            process.kill()
        said = process.stderr.read()
    until(lambda: all(gone(int(file.read_text())) for file in files))
    if number == signal.SIGINT:
        assert said == "perturbax: interrupted\n"
    return process.returncode


OPENED = {}


def open_here(settings, tell):
    """Keep a word in this process."""
    OPENED[settings["name"]] = settings["word"]


def say(name, question):
    """Answer with the word, the process, and the question; with nothing where there is no word."""
    if question == b"fail":
        raise ArgumentError("nobody knows")
    return f"{OPENED[name]} {os.getpid()} {question.decode()}".encode() if name in OPENED else b""
