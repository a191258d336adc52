"""Unbiased online recurrent optimisation."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.learning.credit import Both, Estimate, Outer
from perturbax.learning.jacobian import Flat, each, linearise
from perturbax.learning.rule import Rule
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.rules.rtrl.influence import Influence


def rows(c: Array, like: Array) -> Array:
    """Return one number per example in the shape that multiplies like."""
    return c.reshape(-1, *[1] * (like.ndim - 1))


def norm(tree: PyTree) -> Array:
    """Return the norm of every example over all leaves `(B, ...)`."""
    leaves = [jnp.sum(e**2, tuple(range(1, e.ndim))) for e in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(leaves[1:], leaves[0]))


def balance(a: Array, b: Array) -> Array:
    """Return sqrt(a / b); 1 where either is zero, as any factor is right there."""
    fine = (a > 0) & (b > 0)
    return jnp.sqrt(jnp.where(fine, a, 1) / jnp.where(fine, b, 1))


class UORO(Rule):
    """Unbiased online recurrent optimisation: RTRL's influence as one random outer product, M ~ s v^T.

        s_t = r0 J s_{t-1} + r1 nu,   v_t = v_{t-1} / r0 + (nu^T direct) / r1,   nu random signs, own of every example
        dL_t/dw  ~  <dL_t/ds_{t-1}, s_{t-1}> v_{t-1} + (dL_t/da_t) z_t^T
        r0 = sqrt(|v| / |J s|),   r1 = sqrt(|nu^T direct| / |nu|)

    Unbiased as E nu nu^T = 1; the share of the present step is exact. Any layer, any depth. Tallec and
    Ollivier 2018.
    """

    equation: ClassVar[str] = "M ~ s v^T, s = r0 J s + r1 nu, v = v / r0 + nu^T (ds/dw) / r1"
    target: ClassVar[str] = "full gradient, unbiased"
    uses: ClassVar[tuple[str, ...]] = Influence.uses
    cost: ClassVar[str] = "5 passes and a sweep of the weights, per example"
    memory: ClassVar[str] = "B x weights, constant in T"
    papers: ClassVar[tuple[str, ...]] = ("tallec2018",)
    locality: ClassVar[str] = "network"
    accrues: ClassVar[bool] = True

    def passes(self) -> int:
        """BPTT's 3, a tangent and a pull-back."""
        return 5

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network, no influence yet."""
        state = net.start(batch)
        v = jax.tree.map(lambda w: jnp.zeros((batch, *w.shape), w.dtype), weights(net))
        return state, jnp.zeros_like(Flat.of(net, state).vector), v

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """A sign for every carried value, step and example."""
        return carry, jax.vmap(lambda k: jr.rademacher(k, carry[1].shape, carry[1].dtype))(keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let the error meet the random influence, then renew it."""
        state, s, v = carry
        now = linearise(net, state, x, score)
        g = jax.tree.map(lambda e: jnp.tensordot(jnp.sum(now.back * s, 1), e, 1), v)
        Js = jax.jvp(lambda vector: now.run(vector)[0], (now.vector,), (s,))[1]
        da = now.pull((noise, jnp.zeros_like(now.y)))[1]
        layers = [
            jax.tree.map(lambda e: e[:, 0], each(layer, site, d[None]))
            for layer, site, d in zip(net.layers, now.sites, da, strict=True)
        ]
        direct = net.like(layers)
        r0, r1 = (balance(a, b) for a, b in ((norm(v), norm(Js)), (norm(direct), norm(noise))))
        s = r0[:, None] * Js + r1[:, None] * noise
        v = jax.tree.map(lambda old, new: rows(1 / r0, old) * old + rows(1 / r1, new) * new, v, direct)
        parts = Both(Outer(now.sites, tuple(d[None] for d in now.signal)), g)
        return (now.after, s, v), Estimate(now.loss, now.y, now.sites, None, parts)
