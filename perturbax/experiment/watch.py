"""What runs tell while they go on: compiling, steps done, judged on test data, ended."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perturbax.experiment.result import Result


class Watcher:
    """What is told how runs go on; each method does nothing here. Derive from it what is of interest.

    Runs of several seeds that advance in one program are told of together, with all of their seeds.
    `name` is what reports call the runs: the label of a variant, or the name of a rule.
    """

    def compiling(self, name: str, seeds: Sequence[int]) -> None:
        """Runs begin, or go on after a stop: data are read and the program is compiled first.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """

    def advanced(
        self, name: str, seeds: Sequence[int], done: int, total: int, loss: float, valid_loss: float
    ) -> None:
        """A chunk of training steps was made.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
            done: training steps made so far.
            total: training steps in all.
            loss: mean training loss of the chunk, of the first of the runs.
            valid_loss: validation loss after the chunk, likewise; NaN before the first chunk.
        """

    def warned(self, name: str, seed: int, said: str) -> None:
        """There is something to say of a run that goes on, such as that it has learnt nothing so far.

        Arguments:
            name: what reports call the run.
            seed: its seed.
            said: what is said, behind the name of the run.
        """

    def judging(self, name: str, seeds: Sequence[int]) -> None:
        """Training has ended; the runs are judged on test data.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """

    def ended(self, name: str, result: "Result") -> None:
        """A run has ended, and all of its files are written.

        Arguments:
            name: what reports call the run.
            result: its result.
        """

    def lost(self, name: str, seeds: Sequence[int]) -> None:
        """Runs have ended without a result, because the process that trained them has died.

        Arguments:
            name: what reports call the runs.
            seeds: their seeds.
        """


StepReport = Callable[[int, int, float], None]
"""A function of (steps done, steps in all, training loss; NaN before the first chunk)."""
Report = StepReport | Watcher
"""What `report` may be in a call of `run` and its like."""


class _Called(Watcher):
    """A watcher that calls a function after every chunk."""

    def __init__(self, function: StepReport):
        self.function = function

    def advanced(
        self, name: str, seeds: Sequence[int], done: int, total: int, loss: float, valid_loss: float
    ) -> None:
        """Call the function."""
        self.function(done, total, loss)


def watcher_of(report: Report | None) -> Watcher:
    """Return a watcher for what `report` may be: a watcher, a function, or None."""
    if report is None:
        return Watcher()
    return report if isinstance(report, Watcher) else _Called(report)
