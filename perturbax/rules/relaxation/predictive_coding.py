"""Predictive coding, with predictions that are fixed or move, and zero-divergence inference learning."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import one_of, positive, setting
from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS
from perturbax.learning.trees import expand_like
from perturbax.network.network import Network
from perturbax.rules.relaxation.base import WAY_BACK, Relaxation
from perturbax.rules.relaxation.graph import Around, Graph, relaxed

FORMS = ("fixed", "strict", "z-il")


class PredictiveCoding(Relaxation):
    """Predictive coding: every step predicts the next state, and errors of prediction carry credit back.

        fixed    e_t <- e_t + rate (J_{t+1}^T e_{t+1} + q_t - e_t),   all t at once, from e = 0
        strict   v_t <- v_t + rate (e_t - J_{t+1}^T e_{t+1} - precision q_t),   e_t = p_t - v_t
        z-il     strict at rate 1, each v_t once, when errors reach it; its weights learn at that moment

    e_t = p_t - v_t is how far the value v_t of a vertex has moved from its prediction p_t, J_{t+1}^T the
    transposed derivative of the next step, q_t the error of its loss. Fixed: predictions and slopes stay
    those of the forward pass. A sweep of rate 1 then hands each error on by one step, so that n sweeps are
    backpropagation truncated to n + 1 steps, and T - 1 are the full gradient; with a smaller rate r it takes
    about (T + 20) / r of them. Sweeps use only what neighbours in the graph say, and run in parallel over
    time.

    Strict: predictions, slopes and presynaptic activity follow v; gradients are divided by the precision of
    the outputs, and near those of backpropagation for a small one, not for small errors. Z-IL is
    backpropagation exactly, as far as its sweeps reach.

    Millidge, Tschantz and Buckley 2022, who take 100 sweeps of rate 0.1; strict: Whittington and Bogacz 2017;
    z-il: Song et al. 2020; Rosenbaum 2022.

    Attributes:
        form: fixed, strict or z-il.
        precision: weight of the loss against the errors of prediction, where those move (strict, z-il).
    """

    form: str = setting("fixed")
    precision: float = 1.0

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="dA = (dp/da)^T e z^T, e_t <- e_t + rate (J^T e_{t+1} + q_t - e_t)",
        target="biased by few sweeps: n of rate 1 reach n steps back; T - 1: full gradient",
        uses=WAY_BACK,
        cost="3 + 2 sweeps passes, in parallel over time; strict, z-il: 3 + 3 sweeps",
        memory="T x B x units",
        papers=("millidge2022", "whittington2017", "song2020", "rosenbaum2022"),
        passes=19,
    )

    def __check_init__(self) -> None:
        """Check form and precision; z-il has one rate."""
        super().__check_init__()
        one_of("form", self.form, FORMS)
        positive("precision", self.precision)
        if self.form == "z-il" and isinstance(self.rate, int | float) and self.rate != 1:
            raise ArgumentError(f"z-il moves values by all of their error: its rate is 1, not {self.rate}")

    def described(self) -> Facts:
        """Return the facts: moving predictions bias the gradient by the precision."""
        facts = super().described()
        if self.form == "strict":
            return facts.but(target="biased by the precision of the outputs; towards 0: full gradient")
        return facts

    @property
    def slopes_move(self) -> bool:
        """Whether derivatives are taken anew in every sweep."""
        return self.form != "fixed"

    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run forward, let the errors settle, and multiply them with presynaptic activity."""
        graph = Graph.of(net, xs, ys, loss, self.vertices == "layers")
        forward = graph.at(graph.values)
        if self.form == "fixed":
            grads = self._fixed(graph, forward)
        elif self.form == "strict":
            grads = self._strict(graph)
        else:
            grads = self._z_il(graph, forward)
        return state, forward.loss.mean(), grads

    def _fixed(self, graph: Graph, forward: Around) -> Network:
        """Let the errors settle around the forward pass."""

        def arriving(e: PyTree) -> PyTree:
            return forward.pull((e, forward.slope))[0]

        start = jax.tree.map(jnp.zeros_like, graph.values)
        e = relaxed(start, arriving, self.sweeps, self.rate)
        return graph.gradient(forward.sites, forward.pull((e, forward.slope))[1])

    def _strict(self, graph: Graph) -> Network:
        """Let the values settle, and learn where they have come to."""

        def one_sweep(_: Any, v: PyTree) -> PyTree:
            down = self._slope(graph, graph.at(v), v)[0]
            return jax.tree.map(lambda v, d: (v - self.rate * d).astype(v.dtype), v, down)

        v = jax.lax.fori_loop(0, self.sweeps, one_sweep, graph.values)
        now = graph.at(v)
        return graph.gradient(now.sites, self._slope(graph, now, v)[1])

    def _z_il(self, graph: Graph, forward: Around) -> Network:
        """Move every value once, when errors reach it, and read its signals then."""
        if graph.by_layer and (graph.net.residual or graph.net.reads is not None):
            raise LayerError("z-il by layers needs a stack, in which all ways between two layers are as long")
        distances = graph.distances()

        def one_sweep(k: Array, carry: tuple) -> tuple:
            v, read = carry
            down, signals = self._slope(graph, graph.at(v), v)
            moved, kept = [], []
            for i, distance in enumerate(distances):
                moves, speaks = distance == k + 1, distance == k
                moved.append(
                    jax.tree.map(lambda v, d, m=moves: jnp.where(expand_like(m, v), v - d, v), v[i], down[i])
                )
                kept.append(jnp.where(expand_like(speaks, read[i]), signals[i], read[i]))
            return tuple(moved), kept

        nothing = [jnp.zeros_like(site.a) for site in forward.sites]
        signals = jax.lax.fori_loop(0, self.sweeps + 1, one_sweep, (graph.values, nothing))[1]
        return graph.gradient(forward.sites, signals)

    def _slope(self, graph: Graph, now: Around, v: PyTree) -> tuple[PyTree, list[Array]]:
        """Return dF/dv, and dF/da per layer over the precision, of F = sum |e|^2 / 2 + precision L at v."""
        e = graph.vertices(jax.tree.map(jnp.subtract, now.predicted, v))
        arriving, signals = now.pull((e, self.precision * now.slope))
        return jax.tree.map(jnp.subtract, arriving, e), [s / self.precision for s in signals]
