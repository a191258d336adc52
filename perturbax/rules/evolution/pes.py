"""Persistent evolution strategies: unbiased evolution strategies over truncated unrolls."""

from typing import ClassVar

from jaxtyping import Array

from perturbax.fields import positive, setting
from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS, SAMPLES
from perturbax.rules.evolution.base import Unrolled


class PES(Unrolled):
    """Persistent evolution strategy: new weight noise every window, losses credited with all noise so far.

        dL_t/dw  ~  (L_t+ - L_t-) / (2 sigma) sum_{windows i until now} xi_i

    Unbiased (up to sigma^2) for the gradient of a whole episode from windows of any length, as later losses
    still feel earlier noise through the states; its variance grows with the number of windows. Online,
    updates need not come once per window (`every` = window is the paper's); states come from the weights of
    their time. Vicol, Metz and Sohl-Dickstein 2021.

    Attributes:
        window: steps before new noise is drawn.
    """

    window: int = setting(4)

    remembers: ClassVar[bool] = True
    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    facts: ClassVar[Facts] = Facts(
        equation="dW = (L+ - L-) / (2 sigma) sum_i xi_i, xi redrawn every window",
        target="full gradient of an episode, from truncated unrolls",
        cost="2 K passes",
        memory="2 K x weights, constant in T",
        papers=("vicol2021",),
        passes=2,
    )

    def __check_init__(self) -> None:
        """Check the window."""
        positive("window", self.window)

    def due(self, at: Array) -> Array:
        """Return whether a window starts."""
        return at % self.window == 0
