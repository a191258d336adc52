"""Layers that settle: blocks of units with symmetric weights between neighbours."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool

from perturbax.cells.base import INITS, FeedForward, check_sizes, plus
from perturbax.cells.image import Geometry, Maps, from_pixels, image_of
from perturbax.errors import ArgumentError
from perturbax.fields import in_range, one_of, setting, whole
from perturbax.network.layer import Layer

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda u: jax.nn.sigmoid(4 * u - 2),
    "clip": lambda u: jnp.clip(u, 0, 1),
    "half-clip": lambda u: jnp.clip(u / 2, 0, 1),
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky-relu": jax.nn.leaky_relu,
}


class Settling(Layer):
    """Blocks of units, each joined to the next by weights that are the same both ways (a convergent RNN).

        a_1 = z W + r_2 U_1^T + b_1,     a_l = r_{l-1} U_{l-1} + r_{l+1} U_l^T + b_l,     y = f(a)

    z is the input, r the last output of the blocks 1 .. L, one after the other in one vector of n units. With
    an input that is held, y settles where the primitive function Phi = sum_l y_l . (y_{l-1} U_{l-1} + b_l) +
    y_1 . (z W) has the slope f^-1(y): what equilibrium propagation needs (Scellier and Bengio 2017; in
    discrete time Ernoult et al. 2019). Every other rule trains it, too.

    The lowest blocks may be convolutional: y_{l-1} U_{l-1} is then P(y_{l-1} * U_{l-1}) with pooling P, and
    the way down its transpose at the same activities (Ernoult et al. 2019; Laborieux et al. 2021): averages
    go back in equal parts, a largest value to where it came from.

    With `levels` units send spikes (O'Connor, Gavves, Welling 2019; through convolution Lin, Bal, Sengupta
    2024): each follows what it receives with a membrane u, in steps that become smaller, and what it has not
    yet sent of its activity s is kept in phi, so that what it sends has the mean of s.

        u <- (1 - e_t) u + e_t a,   s = f(u),   phi <- phi + s,   q = [phi > 1/2],   phi <- phi - q
        e_t = (t + 1)^-anneal,   t = 0, 1, ...

    Only q is read by other blocks; y = (q, s) `(2 n,)`, and layers above read s. In derivatives, for rules
    that need them, q counts as s.

    Args:
        n_in: number of inputs from below.
        n: number of units, those of all blocks together; with `maps` those of the dense blocks above them.
        key: JAX key of the initial weights.
        blocks: number of hidden blocks, of equal size; or in Python the sizes of all blocks, from below.
        outputs: units of one more block on top whose outputs are those of the network; 0 for a readout
            above the last block.
        activation: f: sigmoid (1 / (1 + exp(2 - 4 a)), of slope 1), clip (a, kept within 0 and 1), half-clip
            (a / 2 likewise), tanh, relu, leaky-relu.
        maps: number of maps of each convolutional block, from below, as 32,64; nothing for none.
        image: height, width and colours of the image that the lowest map reads, as for `Conv`.
        kernel: side of the kernels of maps.
        padding: zeros around what a kernel moves over.
        pool: side of the squares of a map that are pooled; 1 for none.
        pooling: average or max.
        bias: whether there is a b; in maps one value for all places.
        init: how weights start: default (uniform in +-1/sqrt(presynaptic)) or xavier (normal, variance 2 /
            (presynaptic + postsynaptic)).
        levels: values above 0 that a unit can send for an activity within 0 and 1: 1 for spikes, more for
            graded spikes, q = ceil(levels phi - 1/2) / levels; 0 for y itself, without a membrane.
        anneal: how fast steps of membranes become smaller; 0 for u = a.
    """

    W: Array
    U: tuple[Array, ...]
    b: Array | None
    sizes: tuple[int, ...] = eqx.field(static=True)
    geometry: tuple[Geometry, ...] = eqx.field(static=True)
    pixelwise: bool = eqx.field(static=True)
    outputs: int = setting(0)
    activation: str = setting("sigmoid")
    levels: int = setting(0)
    anneal: float = setting(0.6)
    equation: ClassVar[str] = "y_l = f(y_{l-1} U_{l-1} + y_{l+1} U_l^T + b_l)"
    papers: ClassVar[tuple[str, ...]] = ("scellier2017", "ernoult2019", "oconnor2019", "lin2024")
    symmetric: ClassVar[bool] = True  # the weights from a unit to another are those back

    def __init__(
        self,
        n_in: int,
        n: int,
        *,
        key: Array,
        blocks: int | Sequence[int] = 1,
        outputs: int = 0,
        activation: str = "sigmoid",
        maps: str | Sequence[int] = "",
        image: Any = "",
        kernel: int = 5,
        padding: int = 0,
        pool: int = 2,
        pooling: str = "average",
        bias: bool = True,
        init: str = "default",
        levels: int = 0,
        anneal: float = 0.6,
    ):
        one_of("activation", activation, ACTIVATIONS)
        one_of("init", init, INITS)
        whole("outputs", outputs, 0)
        whole("levels", levels, 0)
        in_range("anneal", anneal, 0, 1)
        check_sizes((n_in, n))
        counts, self.pixelwise = counts_of_maps(maps), False
        below, moves = Maps(n_in, 1, 1), []
        if counts:
            below, self.pixelwise = image_of(n_in, image)
        for count in counts:
            moves.append(Geometry.of(below, kernel, 1, padding, pool, pooling))
            below = Maps(count, *moves[-1].after)
        self.geometry = tuple(moves)
        of_maps = [count * math.prod(move.after) for count, move in zip(counts, self.geometry, strict=True)]
        no_hidden = bool(counts) and outputs == n
        self.sizes = (*of_maps, *((n,) if no_hidden else sizes_of_blocks(n, blocks, outputs)))
        dense = zip((n_in, *self.sizes), self.sizes, strict=False)
        shapes = [(move.patch, count) for move, count in zip(self.geometry, counts, strict=True)]
        shapes += list(dense)[len(counts) :]
        keys = jr.split(key, len(shapes))
        self.W, *above = (INITS[init](k, shape) for k, shape in zip(keys, shapes, strict=True))
        self.U = tuple(above)
        self.b = jnp.zeros(sum(counts) + n) if bias else None
        self.outputs, self.activation = outputs, activation
        self.levels, self.anneal = levels, anneal

    def readout(self, n_out: int, *, key: Array, **synapses: Any) -> Layer:
        """Return what stands above: a `BlockReadout` of the last block, or the outputs of that block.

        Arguments:
            n_out: number of outputs.
            key: JAX key of initial weights.
            synapses: settings that the readout shares: bias, init.

        Raises ArgumentError for a block of outputs of another size.
        """
        if not self.outputs:
            return BlockReadout(self.sizes[-1], n_out, key=key, **synapses)
        if self.outputs != n_out:
            raise ArgumentError(f"the network has {n_out} outputs: outputs of the cell must be {n_out}, or 0")
        return Pick(n_out)

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state and outputs of zero `(n,)`; for spikes (u, phi, t), and `(2 n,)`."""
        n = sum(self.sizes)
        if not self.levels:
            return (), jnp.zeros(n)
        return (jnp.zeros(n), jnp.zeros(n), jnp.zeros(n, int)), jnp.zeros(2 * n)

    def activity(self, y: Array) -> Array:
        """Return the activity of each unit, whose products equilibrium propagation compares: y, or s.

        y: outputs `(..., n)`, or (q, s) `(..., 2 n)`.
        """
        return y[..., -sum(self.sizes) :]

    @property
    def piecewise(self) -> bool:
        """Whether weights choose: which of several values is the largest."""
        return any(move.pooling == "max" and move.pool > 1 for move in self.geometry)

    def drive(self, z: Array, r: Array) -> Array:
        """Return what all blocks receive, from below and above, `(n,)`; of r the first n, what is sent."""
        sent = r[: sum(self.sizes)]  # (n,)
        y = jnp.split(sent, np.cumsum(self.sizes)[:-1])  # one per block
        image = from_pixels(z, self.geometry[0].before) if self.pixelwise else z
        received = [self._up(0, self.W, image)]
        for i, U in enumerate(self.U):
            from_below, down = jax.vjp(lambda y, i=i, U=U: self._up(i + 1, U, y), y[i])
            received[i] = received[i] + down(y[i + 1])[0]
            received.append(from_below)
        bias = self.b
        if bias is not None and self.geometry:
            bias = bias[self._places_of_b()]  # (n,)
        return plus(jnp.concatenate(received), bias)

    def _up(self, i: int, U: Array, y: Array) -> Array:
        """Return what block i receives from below, through weights U."""
        if i >= len(self.geometry):
            return y @ U
        return self.geometry[i].pooled_at_once(U, y)

    def _places_of_b(self) -> np.ndarray:
        """Return which value of b each unit has, `(n,)`."""
        each = [math.prod(move.after) for move in self.geometry]  # units of a map
        counts = [size // n for size, n in zip(self.sizes, each, strict=False)]
        dense = sum(self.sizes[len(each) :])
        return np.repeat(np.arange(sum(counts) + dense), [*np.repeat(each, counts), *[1] * dense])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state and y = f(a); for spikes (u, phi, t) and y = (q, s)."""
        f = ACTIVATIONS[self.activation]
        if not self.levels:
            return (), f(a)
        u, phi, t = h
        e = (t[0] + 1).astype(a.dtype) ** -self.anneal  # (): all units count the same steps
        u = (1 - e) * u + e * a
        s = f(u)
        known = jax.lax.stop_gradient(s)
        phi = phi + known
        q = jnp.ceil(self.levels * phi - 0.5) / self.levels
        y = jnp.concatenate((q + (s - known), s))  # (2 n,)
        return (u, phi - q, t + 1), y

    def wiring(self) -> Bool[np.ndarray, "n n"]:
        """Return that units read those of the blocks below and above."""
        block = np.repeat(np.arange(len(self.sizes)), self.sizes)  # (n,)
        between = np.arange(len(self.sizes))
        reads = np.abs(between[:, None] - between[None]) == 1  # (blocks, blocks)
        return reads[block[:, None], block[None]]


class BlockReadout(FeedForward):
    """Linear readout of the last units below.

    y = z' W + b,   z' the last n_in values of z
    """

    equation: ClassVar[str] = "y = z' W + b, z' the last block"
    papers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_in: int, n: int, *, key: Array, **synapses: Any):
        super().__init__(n_in, n, key=key, **synapses)

    def drive(self, z: Array, r: Array) -> Array:
        """Return a = z' W + b, `(n,)`."""
        return super().drive(z[-len(self.W) :], r)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = a."""
        return (), a


class Pick(Layer):
    """The last n values below, as outputs; without weights.

    Args:
        n: number of outputs.
    """

    n: int = eqx.field(static=True)

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state, and outputs of zero `(n,)`."""
        return (), jnp.zeros(self.n)

    def drive(self, z: Array, r: Array) -> Array:
        """Return the last n values of z."""
        return z[-self.n :]

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = a."""
        return (), a

    def wiring(self) -> Bool[np.ndarray, "n n"]:
        """Return that no unit reads another."""
        return np.zeros((self.n, self.n), bool)


def counts_of_maps(maps: str | Sequence[int]) -> tuple[int, ...]:
    """Return the number of maps of each convolutional block.

    maps: text as 32,64, or the numbers.

    Raises ArgumentError for what are no whole numbers above 0.
    """
    parts = maps.split(",") if isinstance(maps, str) and maps else maps
    try:
        counts = tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        counts = (0,)
    if any(count < 1 for count in counts):
        raise ArgumentError(f"maps must be numbers of maps from below, as 32,64, not {maps!r}")
    return counts


def sizes_of_blocks(n: int, blocks: int | Sequence[int], outputs: int) -> tuple[int, ...]:
    """Return the number of units of each block, from below.

    Arguments:
        n: units of all blocks.
        blocks: number of hidden blocks of equal size, or the sizes of all blocks.
        outputs: units of the block of outputs on top; 0 for none.

    Raises ArgumentError where n is not the sum of the blocks.
    """
    if not isinstance(blocks, int):
        sizes = tuple(blocks)
        if sum(sizes) != n or (outputs and sizes[-1] != outputs):
            raise ArgumentError(f"blocks of {sizes} units do not make {n} units with {outputs} outputs")
        return sizes
    whole("blocks", blocks)
    hidden, rest = divmod(n - outputs, blocks)
    if hidden < 1 or rest:
        raise ArgumentError(
            f"{n} units less {outputs} outputs cannot be shared by {blocks} equal blocks: "
            f"units must be {outputs} more than a multiple of {blocks}"
        )
    return (hidden,) * blocks + ((outputs,) if outputs else ())
