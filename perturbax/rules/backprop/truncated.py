"""Truncated backpropagation through time."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.fields import positive, setting
from perturbax.learning.autodiff import truncated_bptt
from perturbax.learning.facts import Facts
from perturbax.learning.rule import SequenceRule
from perturbax.learning.shares import ROWS
from perturbax.network.network import Network


class Truncated(SequenceRule):
    """Truncated BPTT in windows that do not overlap: errors stop where their window begins.

        dL_t/da_s for s in the window of t, else 0

    An error early in its window crosses few steps, one late in it many. Williams and Peng 1990.

    Attributes:
        window: steps of a window.
    """

    window: int = setting(10)

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="as bptt, state constant at the start of every window",
        target="gradient cut at the start of every window, exact",
        uses=("output error", "stored sequence", "derivatives", "transposed weights"),
        cost="3 passes",
        memory="T x B x units",
        papers=("williams1990",),
    )

    def __check_init__(self) -> None:
        """Check the window."""
        positive("window", self.window)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Return the gradient, cut at windows."""
        return state, *truncated_bptt(loss, self.window)(net, xs, ys)


class TruncatedRolling(SequenceRule):
    """Truncated BPTT with a window that rolls along: every error crosses the same number of steps.

        dL_t/da_s for t - window < s <= t, else 0

    The window is replayed for every step: the price is window times that of BPTT. Williams and Peng 1990.

    Attributes:
        window: steps that every error crosses, its own included.
    """

    window: int = setting(10)

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="as bptt, each L_t through its last window steps",
        target="gradient of every loss through its last window steps, exact",
        uses=("output error", "stored sequence", "derivatives", "transposed weights"),
        cost="3 window passes",
        memory="T x B x units",
        papers=("williams1990",),
        passes=30,
    )

    def __check_init__(self) -> None:
        """Check the window."""
        positive("window", self.window)

    def described(self) -> Facts:
        """Return the facts: the window is replayed for every step."""
        return super().described().but(passes=3 * self.window)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Return the gradient, cut at windows."""
        return state, *truncated_bptt(loss, self.window, rolling=True)(net, xs, ys)
