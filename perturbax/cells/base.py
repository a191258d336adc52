"""What the cells share: their synapses, how weights start, and the products they take part in."""

from collections.abc import Sequence
from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.errors import ArgumentError
from perturbax.fields import one_of, positive
from perturbax.network.layer import Layer


def uniform(key: Array, shape: Sequence[int]) -> Array:
    """Return weights uniform in +-1/sqrt(shape[0]), shape (presynaptic, ..., units)."""
    for size in shape:
        positive("the number of units or inputs", size)
    return jr.uniform(key, tuple(shape), minval=-1.0, maxval=1.0) * shape[0] ** -0.5


def xavier(key: Array, shape: Sequence[int]) -> Array:
    """Return normal weights of variance 2 / (shape[0] + shape[-1]) (Glorot, Bengio 2010)."""
    for size in shape:
        positive("the number of units or inputs", size)
    return jr.normal(key, tuple(shape)) * (2 / (shape[0] + shape[-1])) ** 0.5


STARTS = {"default": uniform, "xavier": xavier}


def orthogonal(key: Array, n: int, parts: int = 0) -> Array:
    """Return an orthogonal matrix `(n, n)`, or `(n, parts, n)` of them, one per gate: no direction fades at
    once.

    Saxe, McClelland, Ganguli 2014; Le, Jaitly, Hinton 2015 for recurrent weights.
    """
    positive("the number of units", n)
    return jr.orthogonal(key, n) if not parts else jnp.moveaxis(jr.orthogonal(key, n, (parts,)), 0, 1)


def product(z: Array, W: Array) -> Array:
    """Return z W for z `(pre,)` and W `(pre, ..., n)`: one flat product, which contracts and multiplies
    fast.
    """
    return (z @ W.reshape(len(W), -1)).reshape(W.shape[1:])


def plus(a: Array, b: Array | None) -> Array:
    """Return a + b, where there is a bias."""
    return a if b is None else a + b


@lru_cache
def partners(n: int, k: int, pattern: str) -> np.ndarray:
    """Return the k units that each of n units reads, `(k, n)`: random ones, the same for every network, or a
    ring's.
    """
    if pattern == "ring":
        found = (np.arange(n)[None] - 1 - np.arange(k)[:, None]) % n
    else:
        found = np.argsort(np.random.default_rng((n, k)).random((n, n)), 0)[:k]
    found.setflags(write=False)  # shared by all callers
    return found


class FeedForward(Layer):
    """Base of the layers that read only what is below: a = z W + b, W `(n_in, n)`, b `(n,)` or None.

    Args:
        bias: whether there is a b.
        init: how W starts: default (uniform in +-1/sqrt(n_in)) or xavier (normal, variance 2 / (n_in + n)).
    """

    W: Array
    b: Array | None

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, init: str = "default"):
        one_of("init", init, STARTS)
        self.W = STARTS[init](key, (n_in, n))
        self.b = jnp.zeros(n) if bias else None

    def drive(self, z: Array, r: Array) -> Array:
        """Z W + b."""
        return plus(product(z, self.W), self.b)

    def wiring(self) -> np.ndarray:
        """No unit reads another."""
        return np.zeros((self.W.shape[-1],) * 2, bool)


class Recurrent(Layer):
    """Base of the recurrent layers with one pre-activation per unit: a = z W + r U + b.

    W `(n_in, n)`, U `(n, n)`, b `(n,)` or None. Sparse: U `(k, n)` holds only the weights that exist, unit i
    reads k partners, a_i = (z W)_i + sum_j r_{p(j, i)} U_ji + b_i.

    Args:
        bias: whether there is a b.
        gain: U starts as an orthogonal matrix times this; below 1 the past fades from the start. Sparse
            weights start with variance gain^2 / k.
        sparsity: share of the recurrent weights that do not exist; 0 for a full U.
        pattern: which weights of a sparse U exist: random ones (the same for every network of that size) or
            ring (unit i reads i - 1, ..., i - k).
        init: how W and U start: default (uniform in +-1/sqrt(n_in), orthogonal) or xavier (both normal, of
            variance 2 / (n_in + n) and gain^2 / n).
    """

    W: Array
    U: Array
    b: Array | None
    sparsity: float = eqx.field(static=True)
    pattern: str = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        n: int,
        *,
        key: Array,
        bias: bool = True,
        gain: float = 1.0,
        sparsity: float = 0.0,
        pattern: str = "random",
        init: str = "default",
    ):
        if not 0 <= sparsity < 1:
            raise ArgumentError(f"sparsity must lie in [0, 1), not {sparsity}")
        one_of("pattern", pattern, ("random", "ring"))
        one_of("init", init, STARTS)
        below, own = jr.split(key)
        positive("the number of units", n)
        k = max(1, round((1 - sparsity) * n))
        self.W = STARTS[init](below, (n_in, n))
        normal = sparsity or init == "xavier"
        self.U = gain * (jr.normal(own, (k, n)) * k**-0.5 if normal else orthogonal(own, n))
        self.b = jnp.zeros(n) if bias else None
        self.sparsity, self.pattern = sparsity, pattern

    def drive(self, z: Array, r: Array) -> Array:
        """Z W + r U + b."""
        own = jnp.sum(r[self._partners()] * self.U, 0) if self.sparsity else product(r, self.U)
        return plus(product(z, self.W) + own, self.b)

    def wiring(self) -> np.ndarray | None:
        """All read all, or each its partners."""
        if not self.sparsity:
            return None
        n = self.U.shape[-1]
        reads = np.zeros((n, n), bool)
        reads[np.arange(n)[None], self._partners()] = True
        return reads

    def _partners(self) -> np.ndarray:
        return partners(self.U.shape[-1], self.U.shape[-2], self.pattern)
