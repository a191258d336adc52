"""Forward gradients: directional derivatives by forward-mode differentiation."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.fields import one_of, positive, setting
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Direct, Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Noise, as_noise, check_white
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.shares import ROWS, SAMPLES, OwnNoise, Share
from perturbax.network.layer import join, split
from perturbax.network.network import Network
from perturbax.rules.perturbation.base import Credited
from perturbax.rules.perturbation.helpers import draw_once, node_noise_shapes, weight_noise_shapes

TANGENTS = ("nodes", "weights")


class Forward(Credited, StepRule):
    """Forward gradient: the exact derivative of the loss along a random direction, times that direction.

        weights    dL/dw    ~  sum_t <dL_t/dw, xi> xi                      one xi per sequence
        nodes      dL/da_t ~ xi_t sum_{k < window} discount^k dL_{t+k}, dL_t = sum_{s <= t} <dL_t/da_s, xi_s>

    <.,.> comes from one forward pass of differentiation (a Jacobian-vector product), nothing runs backwards.
    Node or weight perturbation with sigma -> 0: unbiased without any sigma; nodes for the gradient that their
    credit covers (to-go: the full one). Baydin et al. 2022; nodes: Ren et al. 2023, there layer by layer.

    Attributes:
        tangents: nodes (a direction for every pre-activation, step and example) or weights (one per sequence,
            shared by the batch).
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

    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    facts: ClassVar[Facts] = Facts(
        equation="dA = dL xi z^T, dL = <dL/da, xi> by forward-mode differentiation",
        target="weights, or nodes with credit to-go: full gradient; same-step: gradient cut at every step",
        uses=("score", "derivatives"),
        cost="1 + K passes",
        memory="nodes: T x B x units; weights: K x weights",
        papers=("baydin2022", "ren2023"),
        passes=2,
    )

    def __check_init__(self) -> None:
        """Check tangents, samples and noise."""
        one_of("tangents", self.tangents, TANGENTS)
        positive("samples", self.samples)
        check_white(self.noise, "forward")

    def of_share(self, share: Share) -> Rule | None:
        """Return the rule with the directions of its own rows or samples."""
        noise = OwnNoise(self.noise, share)
        if share.of == ROWS:
            return self if self.tangents == "weights" else dataclasses.replace(self, noise=noise)
        if self.samples % share.n:
            return None
        return dataclasses.replace(self, samples=self.samples // share.n, noise=noise)

    def described(self) -> Facts:
        """Return the facts: a tangent costs about as much as a pass, replay makes everything twice."""
        facts = super().described()
        passes = 1 + self.samples
        if self.tangents == "weights":
            offline = (
                "forward gradients of weights keep one direction per sequence: online, use tangents nodes"
            )
            return facts.but(target="full gradient", passes=passes, offline=offline, keeps="")
        twice = 2 if self.credit == "replay" else 1
        return facts.but(target=self.credited_target(), passes=twice * passes)

    def pairing(self) -> Credit:
        """Return the credit; a direction of the weights meets the loss of every step, which it knows the
        slope of.
        """
        return Credit(block=1) if self.tangents == "weights" else super().pairing()

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the state of the noise."""
        if self.tangents == "weights":
            return ()
        return self.noise.init(node_noise_shapes(net, x, self.samples))

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, its tangents (none yet), and the state of the noise or the
        directions.
        """
        start = net.start(x.shape[0])
        moving = eqx.filter(start, eqx.is_inexact_array)
        slopes = jax.tree.map(lambda s: jnp.zeros((self.samples, *s.shape), s.dtype), moving)
        if self.tangents == "nodes":
            return start, slopes, state
        shapes = weight_noise_shapes(net, self.samples)
        return start, slopes, draw_once(self.noise, self.noise.init(shapes), key, shapes)[1]

    def final_state(self, carry: PyTree) -> PyTree:
        """Return the state of the noise."""
        return () if self.tangents == "weights" else carry[2]

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw directions for every pre-activation of the block."""
        if self.tangents == "weights":
            return carry, keys
        state, slopes, noise_state = carry
        noise_state, xi = self.noise.draw(noise_state, keys, node_noise_shapes(net, xs[0], self.samples))
        return (state, slopes, noise_state), xi

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Carry the tangents of the state along with it, and read off the slope of the loss."""
        state, slopes, kept = carry
        moving, still = eqx.partition(state, eqx.is_inexact_array)
        some, rest = split(net)
        nodes = self.tangents == "nodes"

        def run(moving: PyTree, varied: PyTree) -> tuple[tuple, tuple]:
            """Step with what is varied, the noise in pre-activations or the weights: -> ((state, loss),
            others).
            """
            state = eqx.combine(moving, still)
            after, y, sites = net.step(state, x, varied) if nodes else join(varied, rest).step(state, x)
            moving, fixed = eqx.partition(after, eqx.is_inexact_array)
            return (moving, score(y)), (fixed, y, sites)

        direction = noise if nodes else kept  # leaves (K, ...)
        base = [jnp.zeros(e.shape[1:], e.dtype) for e in noise] if nodes else some

        def along(slope: PyTree, xi: PyTree) -> tuple[tuple, tuple, tuple]:
            return jax.jvp(run, (moving, base), (slope, xi), has_aux=True)

        primal, slope, others = jax.vmap(along, out_axes=(None, 0, None))(slopes, direction)
        (moving, loss), (slopes, delta), (fixed, y, sites) = primal, slope, others
        parts = Outer.of(sites, noise) if nodes else Direct(kept)
        return (eqx.combine(moving, fixed), slopes, kept), Estimate(loss, y, sites, delta, parts)
