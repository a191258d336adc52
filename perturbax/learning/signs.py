"""Random signs as packed bits, 32 in a word: how noise travels until the operation that uses it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree, UInt32

from perturbax.learning.trees import expand_like

BITS = 32  # of a word


class PackedSigns(eqx.Module):
    """Signs times a scale, one bit each: a 32nd of the memory of float32.

        value_i = scale (2 bit_i - 1),   bit_i = words[i // 32] >> (i mod 32) & 1,   i the last axis

    Like an array it has a shape and a dtype, and time in front where it is a block; `expand` makes the array,
    which a compiler fuses into what reads it. All zeros, words and scale, stand for zeros.

    Attributes:
        words: the bits, `(..., ceil(n / 32))`.
        scale: what bit 1 stands for, `()` of one step, `(b,)` of a block of b steps.
        n: length of the last axis.
    """

    words: UInt32[Array, "... words"]
    scale: Array
    n: int = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values, `(..., n)`."""
        return (*self.words.shape[:-1], self.n)

    @property
    def ndim(self) -> int:
        """Number of axes of the values."""
        return self.words.ndim

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        return self.scale.dtype

    def expand(self) -> Array:
        """Return the values as an array, `(..., n)`."""
        return self._of_size(self.scale)

    def times(self, c: Array) -> Array:
        """Return c times the values as an array, `(..., n)`: c scale with the sign of each.

        Arguments:
            c: numbers for the first axes of the values, `(K, B)` say.
        """
        return self._of_size(c * expand_like(self.scale, c))

    def _of_size(self, size: Array) -> Array:
        """Return signs times numbers for their first axes."""
        places = jnp.arange(BITS, dtype=jnp.uint32).reshape((1,) * self.ndim + (BITS,))
        bits = (self.words[..., None] >> places) & jnp.uint32(1)  # (..., words, 32)
        bits = bits.reshape(*self.words.shape[:-1], -1)[..., : self.n]  # (..., n)
        size = expand_like(size, bits)
        return jnp.where(bits == 1, size, -size)

    def with_scale(self, scale: Array) -> "PackedSigns":
        """Return the same signs of another size.

        Arguments:
            scale: what +1 stands for, like the present scale.
        """
        return PackedSigns(self.words, scale, self.n)


def draw_signs(key: Array, shape: tuple[int, ...], dtype: Any) -> PackedSigns:
    """Return signs, +1 or -1 with equal probability, 32 from each random word.

    Arguments:
        key: a random key.
        shape: of the signs, `(..., n)`.
        dtype: of their values.
    """
    *lead, n = shape
    words = jr.bits(key, (*lead, -(-n // BITS)), jnp.uint32)
    return PackedSigns(words, jnp.ones((), dtype), n)


def flipped(signs: PackedSigns, where: np.ndarray) -> PackedSigns:
    """Return the signs with those turned round that a constant says.

    Arguments:
        signs: of one step, `(..., n)`.
        where: which, bool, `(..., n)`; axes of length 1 are repeated.
    """
    rest = -where.shape[-1] % BITS
    padded = np.pad(where, [(0, 0)] * (where.ndim - 1) + [(0, rest)])
    by_word = padded.reshape(*where.shape[:-1], -1, BITS).astype(np.uint32)  # (..., words, 32)
    mask = np.sum(by_word << np.arange(BITS, dtype=np.uint32), -1, dtype=np.uint32)
    return PackedSigns(signs.words ^ mask, signs.scale, signs.n)


def times(c: Array, signal: Array | PackedSigns) -> Array:
    """Return c times a signal as an array.

    Arguments:
        c: numbers for the first axes of the signal, `(K, B)` say.
        signal: `(K, B, ...)`.
    """
    return signal.times(c) if isinstance(signal, PackedSigns) else expand_like(c, signal) * signal


def is_packed(leaf: Any) -> bool:
    """Return whether something is signs that are packed: a leaf of a tree of noise.

    Arguments:
        leaf: anything.
    """
    return isinstance(leaf, PackedSigns)


def expanded(tree: PyTree) -> PyTree:
    """Return a tree with packed signs as arrays.

    Arguments:
        tree: of arrays and `PackedSigns`.
    """
    return jax.tree.map(lambda leaf: leaf.expand() if is_packed(leaf) else leaf, tree, is_leaf=is_packed)
