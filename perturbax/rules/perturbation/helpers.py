"""What rules without a clean pass share: shapes of noise, shifted weights, whole-sequence losses, running
averages.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.noise import Noise
from perturbax.learning.sequence import Loss, raised, turn
from perturbax.network.layer import join, split, weights
from perturbax.network.network import Network


def node_noise(net: Network, state: PyTree, x: Array, samples: int) -> list[jax.ShapeDtypeStruct]:
    """Return shapes of noise for the pre-activations of one step, `(samples, B, ...)` per layer."""
    sites = jax.eval_shape(net.step, state, x)[2]
    return [jax.ShapeDtypeStruct((samples, *site.a.shape), site.a.dtype) for site in sites]


def weight_noise(net: Network, samples: int) -> Network:
    """Return shapes of noise for the weights, `(samples, ...)` each."""
    return jax.tree.map(lambda w: jax.ShapeDtypeStruct((samples, *w.shape), w.dtype), weights(net))


def drawn(noise: Noise, left: PyTree, key: Array, like: PyTree) -> tuple[PyTree, PyTree]:
    """Return (state, xi) after one draw like `like`."""
    left, xi = noise.draw(left, key[None], like)
    return left, jax.tree.map(lambda e: e[0], xi)


def shifted(net: Network, shift: Network) -> Network:
    """Return the network with shift added to its weights."""
    some, rest = split(net)
    return join(jax.tree.map(jnp.add, some, shift), rest)


def mean_loss(net: Network, xs: Float[Array, "T B n_in"], ys: Any, score: Loss) -> Array:
    """Return the loss averaged over T and B, in memory that does not grow with T."""

    def body(carry: tuple, now: tuple) -> tuple[tuple, None]:
        state, total = carry
        state, out, _ = net.step(state, now[0])
        return (state, total + score(raised(out), now[1]).mean()), None

    state = net.start(xs.shape[1])
    first = jax.tree.map(lambda s: s[0], (xs, ys))
    dtype = jax.eval_shape(lambda x, y: score(raised(net.step(state, x)[1]), y), *first).dtype
    total = jax.lax.scan(body, (state, jnp.zeros((), dtype)), (xs, ys), unroll=turn(net, len(xs)))[0][1]
    return total / len(xs)


def rated(rate: Any) -> None:
    """Raise ArgumentError for a rate of an average outside (0, 1]; traced values pass."""
    if isinstance(rate, int | float) and not 0 < rate <= 1:
        raise ArgumentError(f"rate must be above 0 and at most 1, not {rate}")


class Average(NamedTuple):
    """A running average that starts from nothing: of all it has seen at first, exponential later.

    total <- total + rate (x - total),   weight <- weight + rate (1 - weight),   value = total / weight, 0 at first
    """

    total: Array
    weight: Array

    @classmethod
    def empty(cls, dtype: Any) -> "Average":
        """Nothing seen."""
        return cls(jnp.zeros((), dtype), jnp.zeros((), dtype))

    @property
    def value(self) -> Array:
        """The average."""
        return self.total / jnp.where(self.weight > 0, self.weight, 1)

    def seen(self, x: Array, rate: Any) -> "Average":
        """See one more value."""
        return Average(self.total + rate * (x - self.total), self.weight + rate * (1 - self.weight))
