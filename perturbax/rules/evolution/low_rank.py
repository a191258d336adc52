"""Layers whose weights are shifted by a matrix of low rank that is never formed."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.network.layer import Layer, join, split


class Shifted(Layer):
    """A layer with weights W + u v^T, at the price of W and a few columns.

        drive(W + u v^T; z, r) = drive(W; z, r) + drive(v^T; u^T z, u^T r)

    True of every drive that is linear in its weights and in (z, r), and contracts the first axis of every
    matrix with z or r: v^T are then the weights of a smaller layer, which reads z and r through u.

    Attributes:
        layer: the layer as it was.
        side: the smaller layer, whose weights are v^T.
        below: u of all matrices that read z, `(n_below, k_below)`; None where there is none.
        own: u of all matrices that read r, `(n, k_own)`; None where there is none.
    """

    layer: Layer
    side: Layer
    below: Float[Array, "pre k_below"] | None
    own: Float[Array, "n k_own"] | None

    def start(self) -> tuple[Any, Array]:
        """The layer's own."""
        return self.layer.start()

    def drive(self, z: Array, r: Array) -> Array:
        """Both layers, the small one through u."""
        small = [s if u is None else s @ u for u, s in ((self.below, z), (self.own, r))]
        return self.layer.drive(z, r) + self.side.drive(*small)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """The layer's own."""
        return self.layer.advance(h, a)


def matrix_inputs(layer: Layer, z: Any, r: Any) -> tuple[str, ...] | None:
    """Return what each matrix contracts its first axis with, z, r or nothing (-); None where that cannot be
    said.

    Found by trying: lengths of z and r that nothing else in the layer has, and matrices of either length.

    Arguments:
        layer: the layer.
        z: shape and dtype of what it reads from below, `(n_below,)`.
        r: those of its own output, `(n,)`.
    """
    some, rest = split(layer)
    leaves, tree = jax.tree.flatten(some)
    matrices = [i for i, w in enumerate(leaves) if w.ndim > 1]
    sizes = [n for w in (*jax.tree.leaves(layer), z, r) for n in getattr(w, "shape", ())]
    odd: dict[str, int] = {"z": max(sizes, default=0) + 1, "r": max(sizes, default=0) + 2}
    want = jax.eval_shape(layer.drive, z, r).shape
    ends = [jax.ShapeDtypeStruct((odd[k], *s.shape[1:]), s.dtype) for k, s in (("z", z), ("r", r))]

    def fits(lengths: dict[int, int]) -> bool:
        shapes = [
            jax.ShapeDtypeStruct((lengths[i], *w.shape[1:]) if i in lengths else w.shape, w.dtype)
            for i, w in enumerate(leaves)
        ]
        return _bilinear(tree.unflatten(shapes), rest, ends, want)

    for choice in itertools.product("zr-", repeat=len(matrices)):
        lengths = {i: odd[k] for i, k in zip(matrices, choice, strict=True) if k in odd}
        # A contraction fails at any other length; what is merely indexed does not.
        if fits(lengths) and not any(fits({**lengths, i: n + 5}) for i, n in lengths.items()):
            return choice
    return None


def _bilinear(some: PyTree, rest: Layer, ends: list, want: tuple[int, ...]) -> bool:
    """Whether a drive with these weights accepts z and r of these lengths, and is linear in them."""

    def pull(some: PyTree, a: Array) -> Any:
        return jax.linear_transpose(lambda z, r: join(some, rest).drive(z, r), *ends)(a)

    try:
        out = jax.eval_shape(lambda some, z, r: join(some, rest).drive(z, r), some, *ends)
        if out.shape != want:
            return False
        jax.eval_shape(pull, some, out)
    except Exception:  # whatever a user's drive raises: it cannot be read this way
        return False
    return True


def shifted_layer(layer: Layer, kinds: Sequence[str], noise: Sequence[Any], step: Array) -> Shifted:
    """Return the layer with step times noise on its weights.

    Matrices that read the same share the smaller layer's input, each its own part of it.

    Arguments:
        layer: the layer.
        kinds: what each matrix, a weight of two axes or more, contracts its first axis with: z, r or -, as
            `matrix_inputs` returns it.
        noise: of each weight: for a matrix `(pre, ...)` the sides (u `(pre, k)`, v `(k, m)`) of u v, m the
            product of its other axes; for others an array like the weight.
        step: what the noise is multiplied with, `()`.
    """
    some, rest = split(layer)
    leaves, tree = jax.tree.flatten(some)
    reading = iter(kinds)
    place: dict[str, list[tuple[int, Array, Array]]] = {"z": [], "r": []}
    side: list[Any] = []
    for i, (w, e) in enumerate(zip(leaves, noise, strict=True)):
        kind, move = (next(reading) if w.ndim > 1 else ""), step.astype(w.dtype)
        if kind in place:
            place[kind].append((i, e[0], move * e[1].reshape(-1, *w.shape[1:])))
        side.append(None if kind in place else move * (e if w.ndim < 2 else e[0] @ e[1]).reshape(w.shape))
    through = {}
    for kind, found in place.items():
        before, total = 0, sum(len(v) for _, _, v in found)
        for i, _, v in found:
            room = [(before, total - before - len(v)), *[(0, 0)] * (v.ndim - 1)]
            side[i], before = jnp.pad(v, room), before + len(v)
        through[kind] = jnp.concatenate([u for _, u, _ in found], -1) if found else None
    return Shifted(layer, join(tree.unflatten(side), rest), through["z"], through["r"])
