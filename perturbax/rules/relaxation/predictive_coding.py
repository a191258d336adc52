"""Predictive coding."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.fields import in_range, one_of, setting
from perturbax.learning.facts import Facts
from perturbax.learning.rule import SequenceRule
from perturbax.network.network import Network
from perturbax.rules.relaxation.graph import VERTICES, WAY_BACK, Graph, nothing, relaxed


class PredictiveCoding(SequenceRule):
    """Predictive coding, predictions and slopes fixed at the forward pass.

        e_t <- e_t + rate (J_{t+1}^T e_{t+1} + q_t - e_t),   all t at once, from e = 0

    e_t = p_t - v_t is how far the value v_t of a vertex has moved from its prediction p_t, J_{t+1}^T the
    transposed derivative of the next step, q_t the error of its loss. A sweep of rate 1 hands each error on
    by one step, so that n sweeps are backpropagation truncated to n + 1 steps, and T - 1 are the full
    gradient; with a smaller rate r it takes about (T + 20) / r of them. Sweeps use only what neighbours in
    the graph say, and run in parallel over time.

    Millidge, Tschantz and Buckley 2022, who take 100 sweeps of rate 0.1; Whittington and Bogacz 2017;
    Rosenbaum 2022.

    Attributes:
        sweeps: how often all errors are updated.
        rate: of each update, above 0, at most 1.
        vertices: steps (errors cross the layers of one step at once) or layers (each layer has errors of its
            own, and a sweep takes them one layer down or one step back: in a stack T - 1 + hidden layers are
            exact).
    """

    sweeps: int = 8
    rate: float = 1.0
    vertices: str = setting("steps")

    facts: ClassVar[Facts] = Facts(
        equation="dA = (dp/da)^T e z^T, e_t <- e_t + rate (J^T e_{t+1} + q_t - e_t)",
        target="biased by few sweeps: n of rate 1 reach n steps back; T - 1: full gradient",
        uses=WAY_BACK,
        cost="3 + 2 sweeps passes, in parallel over time",
        memory="T x B x units",
        papers=("millidge2022", "whittington2017", "rosenbaum2022"),
        passes=19,
    )

    def __check_init__(self) -> None:
        """Check the sweeps and what relaxes."""
        in_range("sweeps", self.sweeps, 0)
        in_range("rate", self.rate, 0, 1, above=True)
        one_of("vertices", self.vertices, VERTICES)

    def described(self) -> Facts:
        """Return the facts: each sweep sends errors back once through every step."""
        return super().described().but(passes=3 + 2 * self.sweeps)

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run forward, let the errors settle, and multiply them with the activity of the forward pass."""
        graph = Graph.of(net, xs, ys, loss, self.vertices)
        forward = graph.at(graph.values)

        def arriving(e: PyTree) -> PyTree:
            return forward.pull((e, forward.slope))[0]

        e = relaxed(nothing(graph.values), arriving, self.sweeps, self.rate)
        signals = forward.pull((e, forward.slope))[1]
        return state, forward.loss.mean(), graph.gradient(forward.sites, signals)
