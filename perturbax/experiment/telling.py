"""What runs in another process tell of themselves, on its way to a watcher in this one."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perturbax.experiment.result import load
from perturbax.experiment.watch import Watcher
from perturbax.jobs.job import PRINTED
from perturbax.jobs.perform import Tell


class Telling(Watcher):
    """A watcher that tells every call as an event with plain values.

    Arguments:
        tell: takes the events.
    """

    def __init__(self, tell: Tell):
        self._tell = tell

    def compiling(self, name: str, seeds: Sequence[int]) -> None:
        """Tell that runs begin.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """
        self._tell("compiling", name=name, seeds=list(seeds))

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
        self._tell("advanced", name=name, seeds=list(seeds), **values)

    def warned(self, name: str, seed: int, said: str) -> None:
        """Tell that there is something to say of a run that goes on.

        Arguments:
            name: what reports call the run.
            seed: its seed.
            said: what is said.
        """
        self._tell("warned", name=name, seed=seed, said=said)

    def judging(self, name: str, seeds: Sequence[int]) -> None:
        """Tell that training has ended.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """
        self._tell("judging", name=name, seeds=list(seeds))

    def ended(self, name: str, result: Any) -> None:
        """Tell that a run has ended: the result is in its folder.

        Arguments:
            name: what reports call the run.
            result: its result, with its folder.
        """
        self._tell("ended", name=name, folder=str(result.folder))


class Retold:
    """Tells a watcher what runs elsewhere have told; what they print, each line once.

    Arguments:
        watcher: the watcher.
    """

    def __init__(self, watcher: Watcher):
        self._watcher = watcher
        self._ended: set[Path] = set()
        self._said: set[str] = set()

    def hear(self, event: str, values: dict[str, Any]) -> None:
        """Tell of an event.

        Arguments:
            event: the name of a method of `Watcher`, or `printed`.
            values: its arguments.
        """
        if event == PRINTED:
            self.say(values["line"])
        elif event == "ended":
            self.ended_once(values["name"], Path(values["folder"]))
        else:
            getattr(self._watcher, event)(**values)

    def say(self, line: str) -> None:
        """Print a line on standard error, unless it was printed before.

        Arguments:
            line: the line.
        """
        if line not in self._said:
            self._said.add(line)
            print(line, file=sys.stderr)

    def ended_once(self, name: str, folder: Path) -> None:
        """Tell that a run has ended, unless that was told before.

        Arguments:
            name: what reports call the run.
            folder: its folder.
        """
        if folder not in self._ended:
            self._ended.add(folder)
            self._watcher.ended(name, load(folder))
