"""Unbiased online recurrent optimisation."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Both, Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import Flat, linearise, per_example
from perturbax.learning.rule import StepRule
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules.rtrl.influence import influence_facts
from perturbax.rules.rtrl.rank_one import balance, norm_per_example, scale_examples


class UORO(StepRule):
    """Unbiased online recurrent optimisation: RTRL's influence as one random outer product, M ~ s v^T.

        s_t = r0 J s_{t-1} + r1 nu,   v_t = v_{t-1} / r0 + (nu^T direct) / r1,   nu random signs
        dL_t/dw  ~  <dL_t/ds_{t-1}, s_{t-1}> v_{t-1} + (dL_t/da_t) z_t^T
        r0 = sqrt(|v| / |J s|),   r1 = sqrt(|nu^T direct| / |nu|)

    Unbiased as E nu nu^T = 1; the share of the present step is exact. Any layer, any depth. Tallec and
    Ollivier 2018.
    """

    facts: ClassVar[Facts] = influence_facts(
        equation="M ~ s v^T, s = r0 J s + r1 nu, v = v / r0 + nu^T (ds/dw) / r1",
        target="full gradient, unbiased",
        cost="5 passes and a sweep of the weights, per example",
        memory="B x weights, constant in T",
        papers=("tallec2018",),
        passes=5,
    )

    def pairing(self) -> Credit:
        """Return that gradients of every step are summed as they come."""
        return Credit(form="summed")

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, and factors of zero."""
        start = net.start(len(x))
        v = jax.tree.map(lambda w: jnp.zeros((len(x), *w.shape), w.dtype), weights(net))
        return start, jnp.zeros_like(Flat.of(net, start).vector), v

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw a sign for every carried value, step and example."""
        return carry, jax.vmap(lambda k: jr.rademacher(k, carry[1].shape, carry[1].dtype))(keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Multiply the error with the random influence, then renew it."""
        state, s, v = carry
        nu = noise  # (B, S)
        now = linearise(net, state, x, score)
        worth = jnp.sum(now.back * s, 1)  # (B,)
        past = jax.tree.map(lambda e: jnp.tensordot(worth, e, 1), v)
        Js = jax.jvp(lambda vector: now.run(vector)[0], (now.vector,), (s,))[1]
        by_a = now.pull((nu, jnp.zeros_like(now.y)))[1]  # nu^T ds/da, per layer
        layers = []
        for layer, site, d in zip(net.layers, now.sites, by_a, strict=True):
            layers.append(jax.tree.map(lambda e: e[:, 0], per_example(layer, site, d[None])))
        direct = net.like(layers)  # nu^T ds/dw, leaves (B, ...)
        r0 = balance(norm_per_example(v), norm_per_example(Js))
        r1 = balance(norm_per_example(direct), norm_per_example(nu))
        s = r0[:, None] * Js + r1[:, None] * nu
        v = jax.tree.map(
            lambda old, new: scale_examples(1 / r0, old) + scale_examples(1 / r1, new), v, direct
        )
        parts = Both(Outer.of(now.sites, [d[None] for d in now.signal]), past)
        return (now.after, s, v), Estimate(now.loss, now.y, now.sites, None, parts)
