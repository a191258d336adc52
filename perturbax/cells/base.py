"""Bases of the cells, `FeedForward` and `Recurrent`: their synapses, and how weights start."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Int

from perturbax.fields import in_range, of_kind, one_of, positive
from perturbax.network.layer import Layer


def uniform(key: Array, shape: Sequence[int]) -> Array:
    """Return weights uniform in +-1/sqrt(presynaptic).

    Arguments:
        key: a JAX key.
        shape: (presynaptic, ..., units), each above 0.
    """
    check_sizes(shape)
    return jr.uniform(key, tuple(shape), minval=-1.0, maxval=1.0) * shape[0] ** -0.5


def xavier(key: Array, shape: Sequence[int]) -> Array:
    """Return normal weights of variance 2 / (presynaptic + units) (Glorot, Bengio 2010).

    Arguments:
        key: a JAX key.
        shape: (presynaptic, ..., units), each above 0.
    """
    check_sizes(shape)
    return jr.normal(key, tuple(shape)) * (2 / (shape[0] + shape[-1])) ** 0.5


INITS: dict[str, Callable[[Array, Sequence[int]], Array]] = {"default": uniform, "xavier": xavier}

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky-relu": jax.nn.leaky_relu,
    "sigmoid": jax.nn.sigmoid,
}


def orthogonal(key: Array, n: int, gates: int = 0) -> Array:
    """Return recurrent weights that neither shrink nor grow any direction: orthogonal matrices.

    Saxe, McClelland, Ganguli 2014; for recurrent weights Le, Jaitly, Hinton 2015.

    Arguments:
        key: a JAX key.
        n: number of units.
        gates: 0 for one matrix `(n, n)`; else one per gate, `(n, gates, n)`.
    """
    check_sizes((n,))
    if not gates:
        return jr.orthogonal(key, n)
    per_gate = jr.orthogonal(key, n, (gates,))  # (gates, n, n)
    return jnp.moveaxis(per_gate, 0, 1)


def check_sizes(shape: Sequence[int]) -> None:
    """Raise ArgumentError for a number of units or inputs that is no whole number, or not above 0.

    Arguments:
        shape: the numbers.
    """
    for size in shape:
        of_kind("the number of units or inputs", size, int)
        positive("the number of units or inputs", size)


def product(z: Array, W: Array) -> Array:
    """Return z W, contracted over presynaptic units, `(..., n)`.

    One flat product for all gates: it compiles and multiplies fast.

    Arguments:
        z: presynaptic activity, `(pre,)`.
        W: weights, `(pre, n)` or `(pre, gates, n)`.
    """
    flat = W.reshape(len(W), -1)  # (pre, gates * n)
    return (z @ flat).reshape(W.shape[1:])


def plus(a: Array, b: Array | None) -> Array:
    """Return a + b, or a where there is no bias."""
    return a if b is None else a + b


@lru_cache
def partners(n: int, k: int, pattern: str) -> np.ndarray:
    """Return the k units that each of n units reads, `(k, n)`: [j, i] is the j-th partner of unit i.

    Arguments:
        n: number of units.
        k: number of partners.
        pattern: `random`, drawn from a fixed seed, so that every network of that size has the same; or
            `ring`, where unit i reads i - 1, ..., i - k.
    """
    if pattern == "ring":
        read = (np.arange(n)[None] - 1 - np.arange(k)[:, None]) % n
    else:
        order = np.argsort(
            np.random.default_rng((n, k)).random((n, n)), 0
        )  # each column: all units, shuffled
        read = order[:k]
    read.setflags(write=False)  # shared by all callers
    return read


def reads_no_unit(n: int) -> Bool[np.ndarray, "n n"]:
    """Return the wiring of a layer whose n units do not read each other."""
    return np.broadcast_to(np.False_, (n, n))


class FeedForward(Layer):
    """Base of the layers that read only what is below.

        a = z W + b,      W `(n_in, n)`, b `(n,)` or None

    A layer without hidden state only adds `advance`.

    Args:
        n_in: number of inputs from below.
        n: number of units.
        key: JAX key of the initial weights.
        bias: whether there is a b.
        init: how W starts: default (uniform in +-1/sqrt(n_in)) or xavier (normal, variance 2 / (n_in + n)).
    """

    W: Array
    b: Array | None

    def __init__(self, n_in: int, n: int, *, key: Array, bias: bool = True, init: str = "default"):
        one_of("init", init, INITS)
        self.W = INITS[init](key, (n_in, n))
        self.b = jnp.zeros(n) if bias else None

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state, and outputs of zero `(n,)`."""
        return (), jnp.zeros(self.W.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """Return a = z W + b, `(n,)`."""
        return plus(product(z, self.W), self.b)

    def wiring(self) -> Bool[np.ndarray, "n n"]:
        """Return that no unit reads another."""
        return reads_no_unit(self.W.shape[-1])


class Recurrent(Layer):
    """Base of the recurrent layers with one pre-activation per unit.

        a = z W + r U + b,      W `(n_in, n)`, U `(n, n)`, b `(n,)` or None

    Sparse: U `(k, n)` holds only the weights that exist. Unit i reads k partners p(1, i), ..., p(k, i):

        a_i = (z W)_i + sum_j r_{p(j, i)} U_ji + b_i

    A layer without hidden state only adds `advance`.

    Args:
        n_in: number of inputs from below.
        n: number of units.
        key: JAX key of the initial weights.
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
        in_range("sparsity", sparsity, 0, 1, below=True)
        one_of("pattern", pattern, ("random", "ring"))
        one_of("init", init, INITS)
        check_sizes((n_in, n))
        key_below, key_recurrent = jr.split(key)
        self.W = INITS[init](key_below, (n_in, n))
        if sparsity or init == "xavier":
            k = max(1, round((1 - sparsity) * n))  # partners of a unit
            self.U = gain * (jr.normal(key_recurrent, (k, n)) * k**-0.5)
        else:
            self.U = gain * orthogonal(key_recurrent, n)
        self.b = jnp.zeros(n) if bias else None
        self.sparsity, self.pattern = sparsity, pattern

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state, and outputs of zero `(n,)`."""
        return (), jnp.zeros(self.U.shape[-1])

    def drive(self, z: Array, r: Array) -> Array:
        """Return a = z W + r U + b, `(n,)`."""
        if self.sparsity:
            read = r[self._partners()]  # (k, n)
            recurrent = jnp.sum(read * self.U, 0)  # (n,)
        else:
            recurrent = product(r, self.U)  # (n,)
        return plus(product(z, self.W) + recurrent, self.b)

    def wiring(self) -> Bool[np.ndarray, "n n"] | None:
        """Return which unit reads which, `(n, n)` [reader, read]; None for a full U, where all read all."""
        if not self.sparsity:
            return None
        n = self.U.shape[-1]
        reads = np.zeros((n, n), bool)
        reads[np.arange(n)[None], self._partners()] = True
        return reads

    def _partners(self) -> Int[np.ndarray, "k n"]:
        """Return the units that each unit reads."""
        k, n = self.U.shape
        return partners(n, k, self.pattern)
