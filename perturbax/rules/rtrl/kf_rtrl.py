"""Kronecker-factored real-time recurrent learning."""

from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Both, Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import Flat, linearise, reads_itself
from perturbax.learning.products import full
from perturbax.learning.rule import StepRule
from perturbax.learning.trees import remembered, structure_and_shapes, tree_add
from perturbax.network.layer import Layer, layer_label, pull_back
from perturbax.network.network import Network
from perturbax.rules.rtrl.influence import influence_facts
from perturbax.rules.rtrl.rank_one import balance, norm_per_example, scale_examples


class Read(NamedTuple):
    """What the synapses of a layer read, or a factor u of the influence that is as long.

    Attributes:
        z: from below, `(B, n_below)`.
        r: from itself, `(B, n)`.
        one: the 1 of the bias, `(B,)`.
    """

    z: Array
    r: Array
    one: Array


class KFRTRL(StepRule):
    """Kronecker-factored RTRL: the influence of a layer's weights as one random product, M ~ u (x) A.

        u_t = c1 p1 u_{t-1} + c2 p2 [z_t, r_t, 1],   A_t = c1 J A_{t-1} / p1 + c2 (ds_t/da_t) / p2
        dL_t/dw  ~  u_{t-1} (x) (dL_t/ds_{t-1} A_{t-1}) + (dL_t/da_t) z_t^T
        p1 = sqrt(|J A| / |u|),   p2 = sqrt(|ds/da| / |[z, r, 1]|)

    c1, c2 are random signs; u is as long as what a unit reads, A `(S, ...)` like a for every carried
    value. Unbiased, with less variance than UORO. Needs drives linear in [z, r, 1], too; all cells here
    have such. Mujika et al. 2018.
    """

    facts: ClassVar[Facts] = influence_facts(
        equation="M ~ u (x) A, u = c1 p1 u + c2 p2 z, A = c1 J A / p1 + c2 (ds/da) / p2",
        target="full gradient, unbiased",
        cost="n^3 per step and example",
        memory="B x n^2, constant in T",
        papers=("mujika2018",),
    )

    def pairing(self) -> Credit:
        """Return that gradients of every step are summed as they come."""
        return Credit(form="summed")

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, and factors of zero; raises LayerError for a drive that is not
        linear.
        """
        sites = net.sites_like(x)
        for i, (layer, site) in enumerate(zip(net.layers, sites, strict=True)):
            _check_affine(i, layer, site.z.shape[1:], site.r.shape[1:])
        start = net.start(len(x))
        S = Flat.of(net, start).vector.shape[1]
        u = tuple(
            Read(
                jnp.zeros(s.z.shape, s.z.dtype), jnp.zeros(s.r.shape, s.r.dtype), jnp.zeros(len(x), s.z.dtype)
            )
            for s in sites
        )
        return start, u, tuple(jnp.zeros((S, *s.a.shape), s.a.dtype) for s in sites)

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw two signs for every layer, step and example."""
        shape = (len(net.layers), 2, xs.shape[1])
        return carry, jax.vmap(lambda k: jr.rademacher(k, shape, jax.tree.leaves(carry[2])[0].dtype))(keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Multiply the error with the factors, then renew them."""
        state, u, A = carry
        now = linearise(net, state, x, score)
        J, direct = now.rows()
        grads, new_u, new_A = [], [], []
        for i, (layer, site) in enumerate(zip(net.layers, now.sites, strict=True)):
            worth = jnp.einsum("bs,sb...->b...", now.back, A[i])
            grads.append(_outer_with_bias(i, layer, u[i], worth))
            JA = jnp.einsum("kbs,sb...->kb...", J, A[i])
            own = site.r if reads_itself(layer) else jnp.zeros_like(site.r)
            read = Read(site.z, own, jnp.ones(len(site.z), site.z.dtype))
            p1 = balance(norm_per_example(jnp.moveaxis(JA, 1, 0)), norm_per_example(u[i]))
            p2 = balance(norm_per_example(jnp.moveaxis(direct[i], 1, 0)), norm_per_example(read))
            c1, c2 = noise[i]  # random signs, (B,) each
            new_u.append(_mixed(c1 * p1, u[i], c2 * p2, read))
            kept = jax.vmap(partial(scale_examples, c1 / p1))(JA)
            added = jax.vmap(partial(scale_examples, c2 / p2))(direct[i])
            new_A.append(kept + added)
        parts = Both(Outer.of(now.sites, [d[None] for d in now.signal]), net.like(grads))
        carry = now.after, tuple(new_u), tuple(new_A)
        return carry, Estimate(now.loss, now.y, now.sites, None, parts)


def _mixed(k1: Array, old: Read, k2: Array, new: Read) -> Read:
    """Return k1 old + k2 new, with one number k `(B,)` per example."""
    return jax.tree.map(lambda o, n: scale_examples(k1, o) + scale_examples(k2, n), old, new)


def _check_affine(i: int, layer: Layer, z: tuple[int, ...], r: tuple[int, ...]) -> None:
    """Raise LayerError unless a drive is linear in what it reads, a constant apart."""
    if not _is_affine(*structure_and_shapes(layer), z, r):
        raise LayerError(
            f"{layer_label(i, layer)}: kf-rtrl needs a drive that is linear in z and r (use uoro)"
        )


@remembered
def _is_affine(structure: Any, leaves: tuple, z: tuple[int, ...], r: tuple[int, ...]) -> bool:
    """Whether drives of layers of this structure are linear in z and r, a constant apart: tried with numbers.

    Arguments:
        structure: of the layer.
        leaves: (shape, dtype) of its arrays.
        z: shape of what it reads from below.
        r: shape of its own output.
    """

    def both_ways() -> tuple[Array, Array]:
        values = [jr.normal(jr.key(k), shape) for k, (shape, _) in enumerate(leaves)]
        some, zero = structure.unflatten(values), (jnp.zeros(z), jnp.zeros(r))
        one, two = ((jr.normal(jr.key(k), z), jr.normal(jr.key(k + 1), r)) for k in (100, 200))
        both = jax.tree.map(lambda a, b: a + 2 * b, one, two)

        def linear_part(read: tuple[Array, Array]) -> Array:
            """Return the drive of (z, r) without its constant."""
            return some.drive(*read) - some.drive(*zero)

        return linear_part(both), linear_part(one) + 2 * linear_part(two)

    with jax.ensure_compile_time_eval(), full():
        at_once, apart = jax.jit(both_ways)()
    return np.allclose(at_once, apart, rtol=1e-3, atol=1e-3)


def _outer_with_bias(i: int, layer: Layer, u: Read, signal: Array) -> Layer:
    """Return sum_b signal (x) u: what reads nothing (biases) gets its signal times u's own entry for the
    1.
    """
    zero_z, zero_r = jnp.zeros_like(u.z), jnp.zeros_like(u.r)
    bias = pull_back(i, layer, zero_z, zero_r, scale_examples(u.one - 1, signal))
    return tree_add(pull_back(i, layer, u.z, u.r, signal), bias)
