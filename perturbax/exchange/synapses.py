"""The linear maps of a NIR graph: those with weights, which are learnt, and pooling, which has none.

All act on one example as a flat vector. What a convolution or a pool sees as an image `(channels, height,
width)` lies in that vector channel by channel, row by row.
"""

from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array

from perturbax.cells.base import plus, product
from perturbax.cells.image import Convolution, Pool, shape_behind, size_of


class Dense(eqx.Module):
    """Full weights, `nir.Linear` and `nir.Affine`: a = z W + b.

    Attributes:
        W: weights `(n_in, n)`, the transpose of what NIR holds.
        b: bias `(n,)`, or None.
    """

    W: Array
    b: Array | None

    def __call__(self, z: Array) -> Array:
        """Return a `(n,)` for z `(n_in,)`."""
        return plus(product(z, self.W), self.b)


class Scale(eqx.Module):
    """One weight per unit, `nir.Scale`: a = s z.

    Attributes:
        s: weights `(n,)`.
    """

    s: Array

    def __call__(self, z: Array) -> Array:
        """Return a `(n,)` for z `(n,)`."""
        return self.s * z


class Same(eqx.Module):
    """An edge without weights: a = z."""

    def __call__(self, z: Array) -> Array:
        """Return z."""
        return z


Synapses = Dense | Scale | Convolution


class Slice(NamedTuple):
    """A part of what a layer reads: the output of one population, or of one input.

    Attributes:
        start: where it begins in the vector that the layer reads.
        stop: where it ends.
        shape: of it as an image, or `(n,)`.
        pools: what it goes through before it meets weights.
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    pools: tuple[Pool, ...] = ()


class Term(eqx.Module):
    """Weights that read the sum of some slices: a = pool(weights(sum_s pool(z_s))).

    Attributes:
        weights: the weights, or None for 1.
        reads: the slices.
        behind: pools behind the weights.
    """

    weights: Synapses | None
    reads: tuple[Slice, ...] = eqx.field(static=True)
    behind: tuple[Pool, ...] = eqx.field(default=(), static=True)

    def __call__(self, z: Array) -> Array:
        """Return a `(n,)` for z `(n_in,)`."""
        parts = []
        for part in self.reads:
            read = z[part.start : part.stop]
            for pool in part.pools:
                read = pool(read)
            parts.append(read)
        a = added(parts)
        if self.weights is not None:
            a = self.weights(a)
        for pool in self.behind:
            a = pool(a)
        return a


class Sum(eqx.Module):
    """Several maps whose results meet in one population: a = sum_k term_k(z).

    Attributes:
        terms: the maps.
        size: number of values in z.
    """

    terms: tuple[Term, ...]
    size: int = eqx.field(static=True)

    def __call__(self, z: Array) -> Array:
        """Return a `(n,)` for z `(n_in,)`."""
        return added([term(z) for term in self.terms])


def added(parts: list[Array]) -> Array:
    """Return the sum of arrays of one shape.

    parts: the arrays, one or more.
    """
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def shape_after(synapses: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one example behind a linear map.

    Arguments:
        synapses: one of the maps above.
        shape: of one example before it.

    Raises ValueError where nothing is left of an image.
    """
    if isinstance(synapses, Dense):
        return (synapses.W.shape[1],)
    if isinstance(synapses, Scale):
        return shape
    channels = synapses.K.shape[0] if isinstance(synapses, Convolution) else shape[0]
    kernel = synapses.K.shape[2:] if isinstance(synapses, Convolution) else synapses.kernel
    dilation = synapses.dilation if isinstance(synapses, Convolution) else None
    space = shape_behind(shape, kernel, synapses.stride, synapses.padding, dilation)
    padded = [n + before + behind for n, (before, behind) in zip(shape[1:], synapses.padding, strict=True)]
    size_of((shape[0], *padded))
    return (channels, *space)
