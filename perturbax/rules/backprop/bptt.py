"""Backpropagation through time."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.learning.autodiff import bptt
from perturbax.learning.facts import Facts
from perturbax.learning.rule import SequenceRule
from perturbax.learning.shares import ROWS
from perturbax.network.network import Network


class BPTT(SequenceRule):
    """Backpropagation through time: the exact gradient, by reverse-mode differentiation of the whole
    sequence.

        dL/da_t = (dL_t/da_t) + (da_{t+1}/da_t)^T dL/da_{t+1}

    Werbos 1990.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dA = sum_t g_t z_t^T, g_t = dL_t/da_t + (da_{t+1}/da_t)^T g_{t+1}",
        target="full gradient, exact",
        uses=("output error", "stored sequence", "derivatives", "transposed weights"),
        cost="3 passes",
        memory="T x B x units",
        papers=("werbos1990",),
    )

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Return the exact gradient."""
        return state, *bptt(loss)(net, xs, ys)
