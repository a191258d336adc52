"""Kronecker-factored real-time recurrent learning."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.learning.credit import Both, Estimate, Outer
from perturbax.learning.jacobian import Flat, linearise, reads_itself
from perturbax.learning.rule import Rule
from perturbax.network.layer import Layer, layer_label, pull_back
from perturbax.network.network import Network
from perturbax.rules.rtrl.influence import Influence
from perturbax.rules.rtrl.uoro import balance, norm, rows


class Read(NamedTuple):
    """What the synapses of a layer read: from below, from itself, and the 1 of the bias."""

    z: Array
    r: Array
    one: Array


class KFRTRL(Rule):
    """Kronecker-factored RTRL: the influence of a layer's weights as one random product, M ~ u (x) A.

        u_t = c1 p1 u_{t-1} + c2 p2 [z_t, r_t, 1],   A_t = c1 J A_{t-1} / p1 + c2 (ds_t/da_t) / p2,   c random signs
        dL_t/dw  ~  u_{t-1} (x) (dL_t/ds_{t-1} A_{t-1}) + (dL_t/da_t) z_t^T
        p1 = sqrt(|J A| / |u|),   p2 = sqrt(|ds/da| / |[z, r, 1]|)

    u is as long as what a unit reads, A `(S, ...)` like a for every carried value. Unbiased, with less
    variance than UORO. Needs drives that are linear in [z, r, 1], too; all cells here have such. Mujika et
    al. 2018.
    """

    equation: ClassVar[str] = "M ~ u (x) A, u = c1 p1 u + c2 p2 z, A = c1 J A / p1 + c2 (ds/da) / p2"
    target: ClassVar[str] = "full gradient, unbiased"
    uses: ClassVar[tuple[str, ...]] = Influence.uses
    cost: ClassVar[str] = "n^3 per step and example"
    memory: ClassVar[str] = "B x n^2, constant in T"
    papers: ClassVar[tuple[str, ...]] = ("mujika2018",)
    locality: ClassVar[str] = "network"
    accrues: ClassVar[bool] = True

    def begin(self, net: Network, x: Array) -> PyTree:
        """No influence yet; in every layer's shapes, which depend on the input's."""
        state = net.start(len(x))
        for i, (layer, site) in enumerate(
            zip(net.layers, jax.eval_shape(net.step, state, x)[2], strict=True)
        ):
            _affine(i, layer, site.z.shape[1:], site.r.shape[1:])
        S = Flat.of(net, state).vector.shape[1]
        sites = jax.eval_shape(net.step, state, x)[2]
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), sites)
        u = tuple(Read(s.z, s.r, jnp.zeros(len(x), s.z.dtype)) for s in zero)
        return u, tuple(jnp.zeros((S, *s.a.shape), s.a.dtype) for s in zero)

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network."""
        return net.start(batch), (), ()

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Every sequence starts without influence."""
        return carry[0], *kept

    def keep(self, carry: PyTree) -> PyTree:
        """Nothing but shapes."""
        return jax.tree.map(jnp.zeros_like, carry[1:])

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Two signs for every layer, step and example."""
        shape = (len(net.layers), 2, xs.shape[1])
        return carry, jax.vmap(lambda k: jr.rademacher(k, shape, jax.tree.leaves(carry[2])[0].dtype))(keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let the error meet the factors, then renew them."""
        state, u, A = carry
        now = linearise(net, state, x, score)
        J, direct = now.rows()
        grads, after = [], []
        for i, (layer, site) in enumerate(zip(net.layers, now.sites, strict=True)):
            grads.append(_spread(i, layer, u[i], jnp.einsum("bs,sb...->b...", now.back, A[i])))
            JA = jnp.einsum("kbs,sb...->kb...", J, A[i])
            read = Read(
                site.z,
                site.r if reads_itself(layer) else jnp.zeros_like(site.r),
                jnp.ones(len(site.z), site.z.dtype),
            )
            p1 = balance(norm(jnp.moveaxis(JA, 1, 0)), norm(u[i]))
            p2 = balance(norm(jnp.moveaxis(direct[i], 1, 0)), norm(read))
            (c1, c2), like = noise[i], now.signal[i]
            new = jax.tree.map(
                lambda old, r, k1=c1 * p1, k2=c2 * p2: rows(k1, old) * old + rows(k2, r) * r, u[i], read
            )
            after.append((new, rows(c1 / p1, like)[None] * JA + rows(c2 / p2, like)[None] * direct[i]))
        u, A = zip(*after, strict=True)
        parts = Both(Outer(now.sites, tuple(d[None] for d in now.signal)), net.like(grads))
        return (now.after, u, A), Estimate(now.loss, now.y, now.sites, None, parts)


def _affine(i: int, layer: Layer, z: tuple[int, ...], r: tuple[int, ...]) -> None:
    """Raise LayerError unless a drive is linear in what it reads, a constant apart; tried with numbers."""
    with jax.ensure_compile_time_eval():
        leaves, tree = jax.tree.flatten(layer)
        leaves = [jr.normal(jr.key(k), w.shape) for k, w in enumerate(leaves)]
        some, zero = tree.unflatten(leaves), (jnp.zeros(z), jnp.zeros(r))
        one, two = ((jr.normal(jr.key(k), z), jr.normal(jr.key(k + 1), r)) for k in (100, 200))
        both = jax.tree.map(lambda a, b: a + 2 * b, one, two)
        f = lambda zr: some.drive(*zr) - some.drive(*zero)  # noqa: E731
        if not jnp.allclose(f(both), f(one) + 2 * f(two), rtol=1e-3, atol=1e-3):
            raise LayerError(
                f"{layer_label(i, layer)}: kf-rtrl needs a drive that is linear in z and r (use uoro)"
            )


def _spread(i: int, layer: Layer, u: Read, signal: Array) -> Layer:
    """Return sum_b signal (x) u: what reads nothing (biases) gets its signal times u's own entry for the
    1.
    """
    bias = pull_back(i, layer, jnp.zeros_like(u.z), jnp.zeros_like(u.r), rows(u.one - 1, signal) * signal)
    return jax.tree.map(jnp.add, pull_back(i, layer, u.z, u.r, signal), bias)
