"""Linear maps over images: convolution, whose weights are shared over space, and pooling, which has none.

All act on one example as a flat vector, in which an image `(channels, *space)` lies channel by channel, row
by row.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.errors import ArgumentError
from perturbax.fields import one_of, whole

MOST_VALUES = 50_000_000  # of one example
Pairs = tuple[tuple[int, int], ...]


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
    """Sums, means or largest values over rectangles of an image; zeros of the padding count.

    Sums and means are `nir.SumPool2d` and `nir.AvgPool2d`.

    Attributes:
        kind: sum, mean or max.
        shape: of one example before, `(channels, height, width)`.
        kernel: height and width of a rectangle.
        stride: steps between rectangles.
        padding: zeros in front and behind, one pair per axis.
    """

    kind: str
    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs

    def __call__(self, z: Array) -> Array:
        """Return the pooled image, flat, for z `(channels x height x width,)`."""
        image = jnp.pad(z.reshape(self.shape), ((0, 0), *self.padding))  # (channels, height, width)
        if self.kernel == self.stride:
            return self._side_by_side(image).reshape(-1)
        if self.kind == "max":
            window, stride = (1, *self.kernel), (1, *self.stride)
            return jax.lax.reduce_window(image, -jnp.inf, jax.lax.max, window, stride, "valid").reshape(-1)
        ones = jnp.ones((1, 1, *self.kernel), z.dtype)
        summed = jax.lax.conv_general_dilated(image[:, None], ones, self.stride, "VALID")
        return (summed / ones.size if self.kind == "mean" else summed).reshape(-1)

    def _side_by_side(self, image: Array) -> Array:
        """Return an image pooled over rectangles that do not overlap, of which a rest is left out."""
        (high, wide), (channels, height, width) = self.kernel, image.shape
        rows, columns = height // high, width // wide
        whole = image[:, : rows * high, : columns * wide]
        parts = whole.reshape(channels, rows, high, columns, wide)
        over = {"sum": jnp.sum, "mean": jnp.mean, "max": jnp.max}[self.kind]
        return over(parts, (2, 4))  # (channels, rows, columns)


def shape_behind(
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the axes of space behind a kernel that moves over an image.

    Arguments:
        shape: of the image, `(channels, *space)`.
        kernel: axes of the kernel.
        stride: steps between its places, one per axis.
        padding: zeros in front and behind, one pair per axis.
        dilation: steps between the inputs of a kernel, one per axis; None for 1.

    Raises ValueError where nothing is left.
    """
    after = []
    steps = (1,) * len(kernel) if dilation is None else dilation
    for size, k, d, s, (before, behind) in zip(shape[1:], kernel, steps, stride, padding, strict=True):
        after.append((size + before + behind - d * (k - 1) - 1) // s + 1)
    if min(after) < 1:
        raise ValueError(f"kernel {tuple(kernel)} and stride {tuple(stride)} leave nothing of {tuple(shape)}")
    return tuple(after)


def size_of(shape: tuple[int, ...]) -> int:
    """Return the number of values of an example.

    shape: its shape.

    Raises ValueError for more than any network here has.
    """
    size = math.prod(shape)
    if size > MOST_VALUES:
        raise ValueError(f"an example of shape {shape} has more than {MOST_VALUES} values")
    return size


class Maps(NamedTuple):
    """Shape of an image that lies in a vector channel by channel.

    Attributes:
        channels: maps, or colours.
        height: rows of each.
        width: columns.
    """

    channels: int
    height: int
    width: int


def image_of(n_in: int, image: Any) -> tuple[Maps, bool]:
    """Return the image that so many inputs are, and whether they lie pixel by pixel, not channel by channel.

    Arguments:
        n_in: number of inputs.
        image: its shape, as `28x28`, `32x32x3` or a tuple, pixel by pixel; or `Maps`; nothing for a square of
            one colour.

    Raises ArgumentError for inputs that are no such image.
    """
    if isinstance(image, Maps):
        return image, False
    side = math.isqrt(n_in)
    try:
        parts = image.split("x") if isinstance(image, str) and image else image
        sizes = [int(part) for part in parts or (side, side)]
    except (TypeError, ValueError):
        sizes = []
    if len(sizes) not in (2, 3) or min(sizes) < 1:
        raise ArgumentError(f"image must be the shape of an image, as 28x28 or 32x32x3, not {image!r}")
    if math.prod(sizes) != n_in:
        shape = f"image of {'x'.join(map(str, sizes))}" if image else "square image"
        raise ArgumentError(
            f"{n_in} inputs are no {shape}: read images whole (--task.order whole), and name the shape that "
            "they have (--cell.image 28x20)"
        )
    colours = sizes[2] if len(sizes) == 3 else 1
    return Maps(colours, sizes[0], sizes[1]), colours > 1


def from_pixels(z: Array, shape: Maps) -> Array:
    """Return an image channel by channel that lies pixel by pixel, the colours of each side by side.

    Arguments:
        z: the image, flat.
        shape: of it.
    """
    return jnp.moveaxis(z.reshape(shape.height, shape.width, shape.channels), -1, 0).reshape(-1)


class Geometry(NamedTuple):
    """What a square kernel sees of an image, and what is pooled behind it.

    Attributes:
        before: shape of the image that is read, `(channels, height, width)`.
        between: height and width behind the kernel.
        after: height and width behind the pool.
        kernel: side of the kernel.
        stride: steps between its places.
        padding: zeros around the image.
        pool: side of the squares that are pooled.
        pooling: average or max.
    """

    before: Maps
    between: tuple[int, int]
    after: tuple[int, int]
    kernel: int
    stride: int
    padding: int
    pool: int
    pooling: str

    @classmethod
    def of(cls, before: Maps, kernel: int, stride: int, padding: int, pool: int, pooling: str) -> "Geometry":
        """Return what is left of an image at each place.

        Raises ArgumentError for a kernel, stride, padding or pool that does not fit the image.
        """
        for name, value, least in (("kernel", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
            whole(name, value, least)
        one_of("pooling", pooling, ("average", "max"))
        _, height, width = before
        if kernel > min(height, width) + 2 * padding:
            around = f" with {padding} zeros around it" if padding else ""
            raise ArgumentError(
                f"a kernel of {kernel}x{kernel} is larger than what it reads, an image of {height}x{width}"
                f"{around}"
            )
        zeros = ((padding, padding),) * 2
        rows, columns = shape_behind(before, (kernel, kernel), (stride, stride), zeros)
        between = (rows, columns)
        if not isinstance(pool, int) or not 1 <= pool <= min(between):
            raise ArgumentError(
                f"pool must be a whole number from 1 to {min(between)}, as {between[0]}x{between[1]} values "
                f"are left of an image of {height}x{width}; not {pool}"
            )
        after = (between[0] // pool, between[1] // pool)
        return cls(before, between, after, kernel, stride, padding, pool, pooling)

    @property
    def patch(self) -> int:
        """Number of values that the kernel sees at one place."""
        return self.before[0] * self.kernel**2

    def convolve(self, W: Array, b: Array | None, z: Array) -> Array:
        """Return what a kernel makes of an image, `(maps x height x width,)`, before it is pooled.

        Arguments:
            W: weights `(patch, maps)`, of the values of a patch channel by channel, row by row.
            b: bias `(maps,)`, or None.
            z: the image, flat.
        """
        K = W.T.reshape(-1, self.before[0], self.kernel, self.kernel)  # (maps, channels, kernel, kernel)
        zeros = ((self.padding, self.padding),) * 2
        return Convolution(K, b, self.before, (self.stride,) * 2, zeros, (1, 1), 1)(z)

    def pooled(self, a: Array) -> Array:
        """Return maps behind the pool, flat.

        a: maps before it, `(maps x height x width,)`.
        """
        if self.pool == 1:
            return a
        kind = "max" if self.pooling == "max" else "mean"
        side = (self.pool, self.pool)
        return Pool(kind, (-1, *self.between), side, side, ((0, 0), (0, 0)))(a)

    def patches(self, z: Array) -> Array:
        """Return what the kernel sees at each place, `(places, patch)`.

        z: the image, flat.
        """
        rows, columns = self.between
        zeros = (self.padding, self.padding)
        image = jnp.pad(z.reshape(self.before), ((0, 0), zeros, zeros))  # (channels, height, width)
        seen = []
        for i in range(self.kernel):
            for j in range(self.kernel):
                down, right = i + self.stride * rows, j + self.stride * columns
                seen.append(image[:, i : down : self.stride, j : right : self.stride])
        return jnp.stack(seen, 1).reshape(self.patch, rows * columns).T

    def pooled_at_once(self, W: Array, z: Array) -> Array:
        """Return what a kernel makes of an image and the pool of that, by one product of matrices, flat.

        In loops of compiled programs a CPU makes it many times faster than a convolution. The mean of places
        side by side is one larger kernel that moves from square to square.

        Arguments:
            W: weights `(patch, maps)`.
            z: the image, flat.
        """
        if self.pool == 1 or self.pooling == "max" or self.stride > 1:
            return self.pooled((self.patches(z) @ W).T.reshape(-1))
        side, (rows, columns) = self.pool, self.after
        channels, height, width = self.before
        reach = -(-(self.kernel + side - 1) // side)  # squares that the larger kernel meets
        rest = reach * side - self.kernel
        kernel = W.reshape(channels, self.kernel, self.kernel, -1)
        shifts = [(i, j) for i in range(side) for j in range(side)]
        moved = [jnp.pad(kernel, ((0, 0), (i, rest - i), (j, rest - j), (0, 0))) for i, j in shifts]
        larger = sum(moved[1:], moved[0]) / side**2  # (channels, reach x side, reach x side, maps)
        high, wide = rows + reach - 1, columns + reach - 1  # in squares
        lacks = [max(0, n * side - size - self.padding) for n, size in ((high, height), (wide, width))]
        around = [(self.padding, max(self.padding, lack)) for lack in lacks]
        image = jnp.pad(z.reshape(self.before), ((0, 0), *around))[:, : high * side, : wide * side]
        parts = image.reshape(channels, high, side, wide, side).transpose(0, 2, 4, 1, 3)
        squares = parts.reshape(channels * side**2, high, wide)
        places = [(i, j) for i in range(reach) for j in range(reach)]
        met = jnp.concatenate([squares[:, i : i + rows, j : j + columns] for i, j in places])
        met = met.reshape(-1, rows * columns)
        weights = larger.reshape(channels, reach, side, reach, side, -1).transpose(1, 3, 0, 2, 4, 5)
        return (weights.reshape(len(met), -1).T @ met).reshape(-1)
