"""Noise of unit variance, drawn outside the step from keys: a function of (key, t) alone, so it can be replayed."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import one_of


class Noise(eqx.Module):
    """Where perturbations come from; write `sample`, or `init` and `draw` for noise that has a state."""

    def init(self) -> PyTree:
        """Return the state before the first step; () where there is none."""
        return ()

    @abc.abstractmethod
    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return (state, xi) for len(keys) steps at once: xi like `like`, with the axis of the keys in front."""


class Independent(Noise):
    """Fresh noise at every step, example and unit."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return zero-mean, unit-variance, independent values."""

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Draw every leaf from its own key."""
        leaves, tree = jax.tree.flatten(like)

        def one(key: Array) -> PyTree:
            own = [jr.fold_in(key, i) for i in range(len(leaves))]
            return tree.unflatten([self.sample(k, leaf.shape, leaf.dtype) for k, leaf in zip(own, leaves, strict=True)])

        return state, jax.vmap(one)(keys)


class Gaussian(Independent):
    """xi ~ N(0, 1)."""

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Standard normal values."""
        return jr.normal(key, shape, dtype)


class Rademacher(Independent):
    """xi = +1 or -1 with equal probability, one random bit each."""

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Unpack 32 signs from each random word, words along the last axis."""
        *lead, n = shape or (1,)
        words = jr.bits(key, (*lead, -(-n // 32), 1), jnp.uint32)
        places = jnp.arange(32, dtype=jnp.uint32).reshape((1,) * len(lead) + (1, 32))
        bits = (words >> places) & jnp.uint32(1)
        return (2 * bits.reshape(*lead, -1)[..., :n].astype(dtype) - 1).reshape(shape)


class Recorded(Noise):
    """Noise that was recorded: leaf `table[t]` at step t, in the shapes that the rule asks for; the last row stays."""

    table: PyTree

    def init(self) -> PyTree:
        """Start at t = 0."""
        return jnp.zeros((), int)

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Read the next len(keys) rows."""
        at = state + jnp.arange(len(keys))
        return state + len(keys), jax.tree.map(lambda rows: jnp.take(rows, at, 0, mode="clip"), self.table)


NOISES = {"rademacher": Rademacher, "gaussian": Gaussian}


def as_noise(noise: str | Noise) -> Noise:
    """Return the noise of that name; a Noise passes through."""
    if isinstance(noise, str):
        one_of("noise", noise, NOISES)
        return NOISES[noise]()
    return noise
