"""The linear maps of a NIR graph: those with weights, which are learnt, and pooling, which has none.

All act on one example as a flat vector. What a convolution or a pool sees as an image `(channels, height,
width)` lies in that vector channel by channel, row by row.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import plus, product

MOST_VALUES = 50_000_000  # of one example
Pairs = tuple[tuple[int, int], ...]


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


class Convolution(eqx.Module):
    """Weights shared over space, `nir.Conv1d` and `nir.Conv2d`.

        a[o, x] = sum_{i, k} K[o, i, k] z[i, stride x + dilation k - padding] + b[o]

    Attributes:
        K: kernel `(out, in / groups, *kernel)`.
        b: bias `(out,)`, or None.
        shape: of one example before, `(in, *space)`.
        stride: steps between outputs, one per axis of space.
        padding: zeros in front and behind, one pair per axis.
        dilation: steps between the inputs of a kernel, one per axis.
        groups: groups of channels that do not see each other.
    """

    K: Array
    b: Array | None
    shape: tuple[int, ...] = eqx.field(static=True)
    stride: tuple[int, ...] = eqx.field(static=True)
    padding: Pairs = eqx.field(static=True)
    dilation: tuple[int, ...] = eqx.field(static=True)
    groups: int = eqx.field(static=True)

    def __call__(self, z: Array) -> Array:
        """Return a, flat, for z `(in x space,)`."""
        image = z.reshape(1, *self.shape)  # (1, in, *space)
        found = jax.lax.conv_general_dilated(
            image,
            self.K.astype(z.dtype),
            self.stride,
            self.padding,
            rhs_dilation=self.dilation,
            feature_group_count=self.groups,
        )[0]  # (out, *space)
        if self.b is not None:
            found = found + self.b.reshape(-1, *[1] * (found.ndim - 1))
        return found.reshape(-1)


class Pool(NamedTuple):
    """Sums or means over rectangles of an image, `nir.SumPool2d` and `nir.AvgPool2d`; padded zeros count.

    Attributes:
        mean: whether it is the mean.
        shape: of one example before, `(channels, height, width)`.
        kernel: height and width of a rectangle.
        stride: steps between rectangles.
        padding: zeros in front and behind, one pair per axis.
    """

    mean: bool
    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs

    def __call__(self, z: Array) -> Array:
        """Return the pooled image, flat, for z `(channels x height x width,)`."""
        image = z.reshape(self.shape)[:, None]  # (channels, 1, height, width)
        ones = jnp.ones((1, 1, *self.kernel), z.dtype)
        summed = jax.lax.conv_general_dilated(image, ones, self.stride, self.padding)
        return (summed / ones.size if self.mean else summed).reshape(-1)


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
    dilation = synapses.dilation if isinstance(synapses, Convolution) else (1,) * len(kernel)
    space, padded = [], []
    for size, k, d, s, (before, behind) in zip(
        shape[1:], kernel, dilation, synapses.stride, synapses.padding, strict=True
    ):
        padded.append(size + before + behind)
        space.append((padded[-1] - d * (k - 1) - 1) // s + 1)
    if min(space) < 1:
        raise ValueError(f"kernel {tuple(kernel)} and stride {synapses.stride} leave nothing of {shape}")
    size_of((shape[0], *padded))
    return (channels, *space)


def size_of(shape: tuple[int, ...]) -> int:
    """Return the number of values of an example.

    shape: its shape.

    Raises ValueError for more than any network here has.
    """
    size = math.prod(shape)
    if size > MOST_VALUES:
        raise ValueError(f"an example of shape {shape} has more than {MOST_VALUES} values")
    return size
