"""Backpropagation through time."""

from typing import ClassVar

from perturbax.learning.autodiff import bptt
from perturbax.learning.rule import WholeSequence
from perturbax.learning.sequence import Estimator, Loss


class BPTT(WholeSequence):
    """Backpropagation through time: the exact gradient, by reverse-mode differentiation of the whole
    sequence.

        dL/da_t = (dL_t/da_t) + (da_{t+1}/da_t)^T dL/da_{t+1}

    Werbos 1990.
    """

    equation: ClassVar[str] = "dA = sum_t g_t z_t^T, g_t = dL_t/da_t + (da_{t+1}/da_t)^T g_{t+1}"
    target: ClassVar[str] = "full gradient, exact"
    uses: ClassVar[tuple[str, ...]] = ("output error", "stored sequence", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 passes"
    memory: ClassVar[str] = "T x B x units"
    papers: ClassVar[tuple[str, ...]] = ("werbos1990",)

    def estimator(self, loss: Loss) -> Estimator:
        """The exact gradient."""
        return bptt(loss)
