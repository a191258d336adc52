"""Truncated backpropagation through time."""

from typing import ClassVar

from perturbax.fields import positive, setting
from perturbax.learning.autodiff import truncated_bptt
from perturbax.learning.rule import WholeSequence
from perturbax.learning.sequence import Estimator, Loss


class Truncated(WholeSequence):
    """Truncated BPTT in windows that do not overlap: errors stop where their window begins.

        dL_t/da_s for s in the window of t, else 0

    An error early in its window crosses few steps, one late in it many. Williams and Peng 1990.

    Attributes:
        window: steps of a window.
    """

    window: int = setting(10)

    equation: ClassVar[str] = "as bptt, state constant at the start of every window"
    target: ClassVar[str] = "gradient cut at the start of every window, exact"
    uses: ClassVar[tuple[str, ...]] = ("output error", "stored sequence", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 passes"
    memory: ClassVar[str] = "T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("williams1990",)

    def __check_init__(self) -> None:
        """A window has steps."""
        positive("window", self.window)

    def estimator(self, loss: Loss) -> Estimator:
        """The gradient, cut."""
        return truncated_bptt(loss, self.window)


class TruncatedRolling(WholeSequence):
    """Truncated BPTT with a window that rolls along: every error crosses the same number of steps.

        dL_t/da_s for t - window < s <= t, else 0

    The window is replayed for every step: the price is window times that of BPTT. Williams and Peng 1990.

    Attributes:
        window: steps that every error crosses, its own included.
    """

    window: int = setting(10)

    equation: ClassVar[str] = "as bptt, each L_t through its last window steps"
    target: ClassVar[str] = "gradient of every loss through its last window steps, exact"
    uses: ClassVar[tuple[str, ...]] = Truncated.uses
    cost: ClassVar[str] = "3 window passes"
    memory: ClassVar[str] = "T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("williams1990",)

    def __check_init__(self) -> None:
        """A window has steps."""
        positive("window", self.window)

    def passes(self) -> int:
        """The window is replayed for every step."""
        return 3 * self.window

    def estimator(self, loss: Loss) -> Estimator:
        """The gradient, cut."""
        return truncated_bptt(loss, self.window, rolling=True)
