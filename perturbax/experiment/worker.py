"""A process that trains runs for another one: `python -m perturbax.experiment.worker`.

It reads pieces of work from standard input, a line of JSON each, and writes what happens to standard output,
likewise: the calls of a `Watcher`, then `done` or `failed`. It ends when its standard input ends, also in the
middle of a run, so that none goes on when the process that has started it is gone. What code prints goes to
standard error. Ctrl-C is left to the process that has started it.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from perturbax.errors import PerturbaxError
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.device_program import program_of
from perturbax.experiment.options import typed_fields
from perturbax.experiment.program import Program
from perturbax.experiment.resolve import resolve
from perturbax.experiment.run import resume, train
from perturbax.experiment.watch import Watcher


class Telling(Watcher):
    """A watcher that writes a line of JSON for every call."""

    def __init__(self, out: TextIO):
        self._out = out

    def tell(self, event: str, **values: Any) -> None:
        """Write a line."""
        print(json.dumps({"event": event, **values}), file=self._out, flush=True)

    def compiling(self, name: str, seeds: Sequence[int]) -> None:
        """Tell that runs begin.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """
        self.tell("compiling", name=name, seeds=list(seeds))

    def advanced(
        self, name: str, seeds: Sequence[int], done: int, total: int, loss: float, valid_loss: float
    ) -> None:
        """Tell of a chunk of steps.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
            done: training steps made so far.
            total: training steps in all.
            loss: mean training loss of the chunk.
            valid_loss: validation loss after it; NaN before the first.
        """
        values = {"done": done, "total": total, "loss": loss, "valid_loss": valid_loss}
        self.tell("advanced", name=name, seeds=list(seeds), **values)

    def judging(self, name: str, seeds: Sequence[int]) -> None:
        """Tell that training has ended.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """
        self.tell("judging", name=name, seeds=list(seeds))

    def ended(self, name: str, result: Any) -> None:
        """Tell that a run has ended: the result is in its folder.

        Arguments:
            name: what reports call the run.
            result: its result, with its folder.
        """
        self.tell("ended", name=name, folder=str(result.folder))


class Worker:
    """What a process does that works for another one.

    Arguments:
        telling: who is told of what happens.
    """

    def __init__(self, telling: Telling):
        self.telling = telling
        self._last: tuple[Resolved, Program] | None = None

    def do(self, piece: dict[str, Any]) -> None:
        """Train some seeds of one experiment, and tell how that ended.

        piece: `name`, `experiment` (the fields of a Resolved), `folders` (a list of seed and folder), `fresh`
            (whether they begin; otherwise they go on from their folders).
        """
        try:
            # What the experiment names is imported here, as it was where the command was typed.
            e = resolve(Experiment(**typed_fields(piece["experiment"])))
            folders = {int(seed): Path(folder) for seed, folder in piece["folders"]}
            if piece["fresh"]:
                compiled = self._compiled(e)
                train(compiled, list(folders), list(folders.values()), piece["name"], self.telling)
            else:
                for folder in folders.values():
                    resume(folder, report=self.telling)
        except PerturbaxError as error:
            self.telling.tell("failed", kind=type(error).__name__, message=str(error))
        else:
            self.telling.tell("done")

    def _compiled(self, e: Resolved) -> Program:
        """Return the compiled program of an experiment; that of the piece before is kept."""
        if self._last is None or self._last[0] != e:
            self._last = None  # its memory goes first
            self._last = e, program_of(build(e))
        return self._last[1]


def main() -> None:
    """Work until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    pieces: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            pieces.put(line)
        os._exit(0)  # whatever is being done: files are written such that this loses nothing

    threading.Thread(target=read, daemon=True).start()
    worker = Worker(Telling(out))
    while True:
        worker.do(json.loads(pieces.get()))


if __name__ == "__main__":
    main()
