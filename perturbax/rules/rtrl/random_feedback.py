"""What the rules share whose learning signal may come through feedback weights: e-prop, RFLO."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.fields import in_range, one_of, setting
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import Errors
from perturbax.learning.traces import Plan, alone
from perturbax.network.layer import layer_label
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import EligibilityRule

FEEDBACK = ("symmetric", "random", "adaptive")


class FeedbackWeights(NamedTuple):
    """Feedback weights, and what it takes to let them follow the readout.

    Attributes:
        B: of every hidden layer, `(values, n_out)`.
        W: the readout's weights when they were last seen.
        set: whether B was drawn, `()` bool.
    """

    B: tuple[Array, ...]
    W: Array
    set: Array


class RandomFeedback(EligibilityRule):
    """Base of the rules whose learning signal may come through feedback weights of its own.

        symmetric   L = dL/dy sent down through the true weights, within the step
        random      L = B_l dL/dy for layer l, B_l fixed and random
        adaptive    as random, B of the last hidden layer follows the readout: dB = dW^T - decay B, and
                    decay makes W shrink alike, so that B and W^T forget how they differ

    dL/dy is the error of the output. Lillicrap et al. 2016; adaptive: Kolen and Pollack 1994, Akrout et al.
    2019.

    Attributes:
        feedback: symmetric, random or adaptive.
        decay: of B and of the readout per update, with adaptive feedback.
    """

    feedback: str = setting("symmetric")
    decay: float = 1e-3

    def __check_init__(self) -> None:
        """Check feedback and decay."""
        one_of("feedback", self.feedback, FEEDBACK)
        in_range("decay", self.decay, 0, 1, below=True)

    def described(self) -> Facts:
        """Return the facts: symmetric feedback alone needs the weights of layers above, any other adds a
        bias.
        """
        target = "gradient with every r constant"
        if self.feedback == "symmetric":
            return self.facts.but(target=target)
        return self.facts.but(
            uses=self.facts.uses[:-1],
            target=f"biased: {target}, and {self.feedback} feedback for L",
            keeps="its feedback weights",
        )

    def plan(self, net: Network, i: int, n: int) -> Plan:
        """A unit's own hidden state."""
        return alone(n)

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return feedback weights that are still to be drawn; nothing where feedback is symmetric."""
        if self.feedback == "symmetric":
            return ()
        weights = self._drawn(net, jr.key(0))
        return weights._replace(B=jax.tree.map(jnp.zeros_like, weights.B), set=jnp.zeros((), bool))

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return state, traces, and feedback weights: those kept, or drawn for the first sequence."""
        start, traces, _ = super().init_sequence(net, state, x, key)
        if self.feedback == "symmetric":
            return start, traces, ()
        fresh = self._drawn(net, key)
        return start, traces, jax.tree.map(lambda new, old: jnp.where(state.set, old, new), fresh, state)

    def final_state(self, carry: PyTree) -> PyTree:
        """Return the feedback weights."""
        return carry[2]

    def learning_signal(self, net: Network, feedback: PyTree, e: Errors) -> tuple[PyTree, list[Array]]:
        """Return the error sent down through the weights, or through B."""
        if self.feedback == "symmetric":
            return super().learning_signal(net, feedback, e)
        W, B = _readout_weights(net), list(feedback.B)
        if self.feedback == "adaptive" and net.reads is not None:
            raise LayerError(
                "adaptive feedback follows the readout of a stack: this network is a graph, take random"
            )
        if self.feedback == "adaptive" and B:
            # An update came between: what it did to W beside the decay, and B's own.
            moved = jnp.any(W != feedback.W)
            step = W - (1 - self.decay) * feedback.W
            B[-1] = jnp.where(moved, (1 - self.decay) * B[-1] + step, B[-1])
        signals = [e.error @ b.T for b in B]
        return FeedbackWeights(tuple(B), W, feedback.set), [*signals, e.error]

    def modify_updates(self, updates: Network, some: Network) -> Network:
        """Return the updates; with adaptive feedback the readout decays as B does."""
        if self.feedback != "adaptive":
            return updates
        readout: Any = some.layers[-1]
        last = jax.tree.map(lambda u, w: u - self.decay * w if w.ndim > 1 else u, updates.layers[-1], readout)
        return updates.like((*updates.layers[:-1], last), updates.decor)

    def _drawn(self, net: Network, key: Array) -> FeedbackWeights:
        """Draw feedback weights of the size that readouts start with."""
        W = _readout_weights(net)
        sizes = [layer.width for layer in net.layers[:-1]]
        keys = jr.split(key, max(1, len(sizes)))
        B = tuple(jr.normal(k, (n, W.shape[1]), W.dtype) * n**-0.5 for k, n in zip(keys, sizes, strict=False))
        return FeedbackWeights(B, W, jnp.ones((), bool))


def _readout_weights(net: Network) -> Array:
    """Return the readout's weights `(n, n_out)`."""
    last = net.layers[-1]
    W = getattr(last, "W", None)
    if W is None or W.ndim != 2:
        raise LayerError(
            f"{layer_label(len(net.layers) - 1, last)}: feedback weights need a readout with W `(n, n_out)`"
        )
    return W
