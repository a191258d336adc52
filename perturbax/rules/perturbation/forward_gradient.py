"""Forward gradients: directional derivatives by forward-mode differentiation."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import one_of, positive, setting
from perturbax.learning.credit import Estimate, Outer
from perturbax.learning.noise import Noise, as_noise, plain
from perturbax.learning.sequence import Learner, Loss
from perturbax.network.layer import join, split
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import Credited
from perturbax.rules.perturbation.helpers import drawn, mean_loss, node_noise, weight_noise

TANGENTS = ("nodes", "weights")


class Forward(Credited):
    """Forward gradient: the exact derivative of the loss along a random direction, times that direction.

        weights    dL/dw    ~  <dL/dw, xi> xi                              one xi per sequence
        nodes      dL/da_t  ~  xi_t sum_{k < window} discount^k dL_{t+k},  dL_t = sum_{s <= t} <dL_t/da_s, xi_s>

    <.,.> comes from one forward pass of differentiation (a Jacobian-vector product), nothing runs backwards.
    Node or weight perturbation with sigma -> 0: unbiased without any sigma; nodes for the gradient within the
    reach of their credit (to-go: the full one). Baydin et al. 2022; nodes: Ren et al. 2023, there layer by
    layer.

    Attributes:
        tangents: nodes (a direction for every pre-activation, step and example) or weights (shared by the
            batch).
        samples: K, the number of directions that are averaged.
        credit: of nodes: same-step, window, to-go, replay or trace, as in node.
        window: number of steps in window credit, the present one included.
        discount: weight of a loss k steps later is discount^k, except in same-step credit.
        noise: rademacher, gaussian, orthogonal, low-rank, correlated, a Noise, or module:name of your own
            function.
    """

    tangents: str = setting("nodes")
    samples: int = setting(1)
    credit: str = setting("to-go")
    noise: Noise = eqx.field(converter=as_noise, default="rademacher")

    equation: ClassVar[str] = "dA = dL xi z^T, dL = <dL/da, xi> by forward-mode differentiation"
    target: ClassVar[str] = (
        "weights, or nodes with credit to-go: full gradient; same-step: gradient cut at every step"
    )
    uses: ClassVar[tuple[str, ...]] = ("score", "derivatives")
    cost: ClassVar[str] = "1 + K passes"
    memory: ClassVar[str] = "nodes: T x B x units; weights: K x weights"
    papers: ClassVar[tuple[str, ...]] = ("baydin2022", "ren2023")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        one_of("tangents", self.tangents, TANGENTS)
        positive("samples", self.samples)
        plain(self.noise, "forward")

    def aim(self) -> str:
        """Unbiased within the reach of the credit."""
        return "full gradient" if self.tangents == "weights" else self.reach()

    def passes(self) -> int:
        """A tangent costs about as much as a pass; replay makes everything twice."""
        return (1 + self.samples) * (2 if self.tangents == "nodes" and self.credit == "replay" else 1)

    def needs_sequence(self) -> str:
        """Weight directions last for the sequence, and credit to-go needs its end."""
        if self.tangents == "weights":
            return "forward gradients of weights keep one direction per sequence: online, use tangents nodes"
        return super().needs_sequence()

    def learner(self, loss: Loss) -> Learner:
        """Differentiate the whole sequence along weights, or every step along nodes."""
        if self.tangents == "nodes":
            return super().learner(loss)

        def learn(
            kept: PyTree, net: Network, xs: Array, ys: Any, key: Array
        ) -> tuple[PyTree, Array, Network]:
            some, rest = split(net)
            like = weight_noise(net, self.samples)
            xi = drawn(self.noise, self.noise.init(like), key, like)[1]

            def along(e: Network) -> tuple[Array, Array]:
                return jax.jvp(lambda some: mean_loss(join(some, rest), xs, ys, loss), (some,), (e,))

            total, slope = jax.vmap(along, out_axes=(None, 0))(xi)
            return kept, total, jax.tree.map(lambda e: jnp.tensordot(slope, e, 1) / self.samples, xi)

        return learn

    def begin(self, net: Network, x: Array) -> PyTree:
        """The state of the noise."""
        nodes = self.tangents == "nodes"
        return self.noise.init(node_noise(net, net.start(x.shape[0]), x, self.samples)) if nodes else ()

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network, and no tangents yet."""
        state = net.start(batch)
        moving = eqx.filter(state, eqx.is_inexact_array)
        return state, jax.tree.map(lambda s: jnp.zeros((self.samples, *s.shape), s.dtype), moving), ()

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Noise goes on."""
        return *carry[:2], kept

    def keep(self, carry: PyTree) -> PyTree:
        """The state of the noise."""
        return carry[2]

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Directions for every pre-activation of the block."""
        state, slopes, left = carry
        left, xi = self.noise.draw(left, keys, node_noise(net, state, xs[0], self.samples))
        return (state, slopes, left), xi

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Carry the tangents of the state along with it."""
        state, slopes, left = carry
        moving, still = eqx.partition(state, eqx.is_inexact_array)

        def run(moving: PyTree, shift: list[Array]) -> tuple[tuple, tuple]:
            after, y, sites = net.step(eqx.combine(moving, still), x, shift)
            moving, fixed = eqx.partition(after, eqx.is_inexact_array)
            return (moving, score(y)), (fixed, y, sites)

        def along(slope: PyTree, xi: list[Array]) -> tuple[tuple, tuple, tuple]:
            return jax.jvp(run, (moving, [jnp.zeros_like(e) for e in xi]), (slope, xi), has_aux=True)

        primal, slope, aux = jax.vmap(along, out_axes=(None, 0, None))(slopes, noise)
        (moving, loss), (slopes, delta), (fixed, y, sites) = primal, slope, aux
        parts = Outer(tuple(site._replace(a=None) for site in sites), tuple(noise))
        return (eqx.combine(moving, fixed), slopes, left), Estimate(loss, y, sites, delta, parts)
