"""E-prop: eligibility traces of hidden state, and a learning signal from the output."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import one_of, setting
from perturbax.learning.jacobian import Errors
from perturbax.learning.traces import Plan, alone
from perturbax.network.layer import layer_label
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import Local

FEEDBACK = ("symmetric", "random", "adaptive")


class Sent(NamedTuple):
    """Feedback weights of every hidden layer, `(values, n_out)`; the readout's weights when they were last
    seen.
    """

    B: tuple[Array, ...]
    W: Array
    set: Array  # whether B was drawn


class Taught(Local):
    """Base of the rules whose learning signal may come through feedback weights of its own.

        symmetric   L = dL/dy sent down through the true weights, within the step
        random      L = B_l dL/dy for layer l, B_l fixed and random
        adaptive    the same, B of the last hidden layer follows the readout: Delta B = Delta W^T - decay B, and
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
        """Refuse settings that mean nothing."""
        one_of("feedback", self.feedback, FEEDBACK)
        if isinstance(self.decay, int | float) and not 0 <= self.decay < 1:
            raise ArgumentError(f"decay must lie in [0, 1), not {self.decay}")

    def told(self) -> tuple[str, ...]:
        """Symmetric feedback alone needs the weights of layers above."""
        return self.uses if self.feedback == "symmetric" else self.uses[:-1]

    def aim(self) -> str:
        """What L adds to the bias."""
        target = "gradient with every r constant"
        return (
            target
            if self.feedback == "symmetric"
            else f"biased: {target}, and {self.feedback} feedback for L"
        )

    def plan(self, net: Network, i: int, n: int) -> Plan:
        """A unit's own hidden state."""
        return alone(n)

    def begin(self, net: Network, x: Array) -> PyTree:
        """No feedback weights drawn yet."""
        if self.feedback == "symmetric":
            return ()
        sent = self._drawn(net, jr.key(0))
        return sent._replace(B=jax.tree.map(jnp.zeros_like, sent.B), set=jnp.zeros((), bool))

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """State and traces; feedback weights, should none be kept."""
        state, traces, _ = super().init(net, batch, key)
        return state, traces, () if self.feedback == "symmetric" else self._drawn(net, key)

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Kept feedback weights stay."""
        if self.feedback == "symmetric":
            return carry
        return *carry[:2], jax.tree.map(lambda new, old: jnp.where(kept.set, old, new), carry[2], kept)

    def keep(self, carry: PyTree) -> PyTree:
        """The feedback weights."""
        return carry[2]

    def teach(self, net: Network, taught: PyTree, e: Errors) -> tuple[PyTree, list[Array]]:
        """Send the error down through the weights, or through B."""
        if self.feedback == "symmetric":
            return taught, e.q
        W, B = _weights_of(net), list(taught.B)
        if self.feedback == "adaptive" and B:
            moved = jnp.any(
                W != taught.W
            )  # an update came between: what it did to W beside the decay, and B's own
            step = W - (1 - self.decay) * taught.W
            B[-1] = jnp.where(moved, (1 - self.decay) * B[-1] + step, B[-1])
        return Sent(tuple(B), W, taught.set), [*(e.error @ b.T for b in B), e.error]

    def hold(self, updates: Network, some: Network) -> Network:
        """With adaptive feedback the readout decays as B does."""
        if self.feedback != "adaptive":
            return updates
        W: Any = some.layers[-1]
        last = jax.tree.map(lambda u, w: u - self.decay * w if w.ndim > 1 else u, updates.layers[-1], W)
        return updates.like((*updates.layers[:-1], last), updates.decor)

    def _drawn(self, net: Network, key: Array) -> Sent:
        """Draw feedback weights of the size that readouts start with."""
        W = _weights_of(net)
        sizes = [jax.eval_shape(layer.start)[1].shape[-1] for layer in net.layers[:-1]]
        keys = jr.split(key, max(1, len(sizes)))
        B = tuple(jr.normal(k, (n, W.shape[1]), W.dtype) * n**-0.5 for k, n in zip(keys, sizes, strict=False))
        return Sent(B, W, jnp.ones((), bool))


class EProp(Taught):
    """E-prop: each synapse remembers what it did to its neuron's hidden state; the output tells what that was
    worth.

        eps_t = (dh_t/dh_{t-1}) eps_{t-1} + (dh_t/da_t) z_t,   e_t = dy_t/dw along eps_t,   dL_t/dw  ~  L_t e_t

    The gradient of a network in which every r is constant: only hidden state carries credit. The learning
    signal L of a layer is the error within the step, or comes through feedback weights. Deep networks keep no
    traces across layers; a leaky readout's memory counts for the layer below it. Bellec et al. 2020.
    """

    equation: ClassVar[str] = "eps = (dh/dh) eps + (dh/da) z, dW = L (dy/dh) eps"
    target: ClassVar[str] = "gradient with every r constant; random, adaptive feedback: biased in L, too"
    papers: ClassVar[tuple[str, ...]] = ("bellec2020", "kolen1994", "akrout2019")


def _weights_of(net: Network) -> Array:
    """Return the readout's weights `(n, n_out)`."""
    last = net.layers[-1]
    W = getattr(last, "W", None)
    if W is None or W.ndim != 2:
        raise LayerError(
            f"{layer_label(len(net.layers) - 1, last)}: feedback weights need a readout with W `(n, n_out)`"
        )
    return W
