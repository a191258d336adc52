"""Activation relaxation, and what can be taken from it: frozen slopes, derivatives, transposed weights."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
from jaxtyping import Array, PyTree

from perturbax.fields import in_range, one_of, setting
from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules.relaxation.backward import at_rest, drawn_like, followed, with_matrices
from perturbax.rules.relaxation.base import WAY_BACK, Relaxation
from perturbax.rules.relaxation.graph import Graph, relaxed

SLOPES = ("frozen", "moving", "none")
BACKWARD = ("transposed", "random", "learnt")


class ActivationRelaxation(Relaxation):
    """Activation relaxation: activities themselves turn into the gradient, while outputs hold their error.

        X_t <- X_t + rate (J_{t+1}^T X_{t+1} + q_t - X_t),   all t at once, from X = the activity

    q_t is the error of the loss of step t + 1, J_{t+1}^T the transposed derivative of that step. The same
    recursion as predictive coding with fixed predictions, from another start: T - 1 sweeps of rate 1 are the
    full gradient. With fewer, activity is left where no error has arrived.

    The relaxation, though not the weights' own learning, can do with less: without the slopes of the forward
    pass (moving: those of the relaxing activity), without derivatives (none: those of neurons at rest; not
    for spikes), and without the transposed weights: random ones, or learnt ones, that follow every update of
    the forward weights while both decay, so that they forget how they differ. Millidge et al. 2020, who do
    not let them decay; Kolen and Pollack 1994.

    Attributes:
        slopes: frozen, moving or none.
        backward: transposed, random or learnt.
        decay: of forward and backward weights in every update, where these are learnt.
    """

    slopes: str = setting("frozen")
    backward: str = setting("transposed")
    decay: float = 1e-3

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (ds/da)^T X z^T, X_t <- X_t + rate (J^T X_{t+1} + q_t - X_t)",
        target="biased by few sweeps; T - 1 of rate 1: full gradient; other slopes, backward weights: biased",
        uses=WAY_BACK,
        cost="3 + 2 sweeps passes, in parallel over time; moving slopes: 3 + 3 sweeps",
        memory="T x B x units",
        papers=("millidge2020", "millidge2020scaling", "kolen1994"),
        locality="network",
        passes=19,
    )

    def __check_init__(self) -> None:
        """Check slopes, backward weights and decay."""
        super().__check_init__()
        one_of("slopes", self.slopes, SLOPES)
        one_of("backward", self.backward, BACKWARD)
        in_range("decay", self.decay, 0, 1, below=True)

    def described(self) -> Facts:
        """Return the facts: what is left out biases the gradient, and backward weights are kept."""
        facts = super().described()
        left_out = [f"{self.slopes} slopes"] if self.slopes != "frozen" else []
        if self.backward != "transposed":
            left_out.append(f"{self.backward} backward weights")
            facts = facts.but(uses=WAY_BACK[:-1], keeps="its backward weights")
        if left_out:
            facts = facts.but(target=f"biased by {' and '.join(left_out)}, and by few sweeps")
        return facts

    @property
    def slopes_move(self) -> bool:
        """Whether derivatives are taken anew in every sweep."""
        return self.slopes == "moving"

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return (random backward weights, the weights as they are); nothing where they are transposed."""
        return () if self.backward == "transposed" else (drawn_like(net, key), weights(net))

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run forward, let the activities relax, and multiply them with the activity of the forward pass."""
        if self.backward == "learnt":
            before, now = state[1], weights(net)
            state = followed(state[0], before, now, self.decay), now
        graph = Graph.of(net, xs, ys, loss, self.vertices == "layers")
        back = net if self.backward == "transposed" else with_matrices(net, state[0])
        forward = graph.at(graph.values, back)
        arriving = self._arriving(graph, back, forward.pull, forward.slope)
        X = relaxed(graph.vertices(graph.values), arriving, self.sweeps, self.rate)
        grads = graph.gradient(forward.sites, forward.pull((X, forward.slope))[1])
        return state, forward.loss.mean(), grads

    def _arriving(self, graph: Graph, back: Network, frozen: Callable, slope: Array) -> Callable:
        """Return X -> what the errors of later vertices send to earlier ones."""
        if self.slopes == "moving":
            return lambda X: graph.at(X, back).pull((X, slope))[0]
        pull = graph.at(graph.values, at_rest(back)).pull if self.slopes == "none" else frozen
        return lambda X: pull((X, slope))[0]

    def modify_updates(self, updates: Network, some: Network) -> Network:
        """Return the updates; weights decay as learnt backward weights do."""
        if self.backward != "learnt":
            return updates
        return jax.tree.map(lambda u, w: u - self.decay * w if w.ndim > 1 else u, updates, some)
