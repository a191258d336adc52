"""What rules that perturb share: shapes of noise, shifted weights, losses of whole sequences, running
averages.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.blocks import steps_per_turn
from perturbax.learning.noise import Noise
from perturbax.learning.products import LOST
from perturbax.learning.sequence import Loss
from perturbax.network.layer import join, split, weights
from perturbax.network.network import Network


def node_noise_shapes(net: Network, x: Array, samples: int) -> list[jax.ShapeDtypeStruct]:
    """Return shapes of noise for the pre-activations of one step, `(samples, B, ...)` per layer.

    Arguments:
        net: the network.
        x: one input `(B, n_in)`, for its shape and dtype.
        samples: how many draws of noise, K.
    """
    return [jax.ShapeDtypeStruct((samples, *site.a.shape), site.a.dtype) for site in net.sites_like(x)]


def weight_noise_shapes(net: Network, samples: int) -> Network:
    """Return shapes of noise for the weights, `(samples, ...)` each.

    Arguments:
        net: the network.
        samples: how many draws of noise, K.
    """
    return jax.tree.map(lambda w: jax.ShapeDtypeStruct((samples, *w.shape), w.dtype), weights(net))


def draw_once(noise: Noise, noise_state: PyTree, key: Array, like: PyTree) -> tuple[PyTree, PyTree]:
    """Return (state of the noise, xi) after one draw of noise.

    Arguments:
        noise: where it comes from.
        noise_state: its state.
        key: a random key.
        like: shapes and dtypes of the noise, a tree, leaves `(K, ...)`; those of xi.
    """
    noise_state, xi = noise.draw(noise_state, key[None], like)
    return noise_state, jax.tree.map(lambda e: e[0], xi)


def shift_weights(net: Network, shift: Network) -> Network:
    """Return the network with a shift added to its weights.

    Arguments:
        net: the network.
        shift: a tree like its weights.
    """
    some, rest = split(net)
    return join(jax.tree.map(jnp.add, some, shift), rest)


def mean_loss(net: Network, xs: Float[Array, "T B n_in"], ys: Any, loss: Loss) -> Array:
    """Return the loss averaged over T and B, `()`, in memory that does not grow with T.

    Arguments:
        net: the network.
        xs: inputs, `(T, B, n_in)`.
        ys: targets, leaves `(T, B, ...)`.
        loss: (y `(B, n_out)`, target) -> `(B,)`.
    """

    def one_step(carry: tuple, now: tuple) -> tuple[tuple, None]:
        state, total = carry
        x, target = now
        state, y, _ = net.step(state, x)
        return (state, total + loss(y, target).mean()), None

    state = net.start(xs.shape[1])
    first_x, first_target = jax.tree.map(lambda s: s[0], (xs, ys))
    dtype = jax.eval_shape(lambda x, target: loss(net.step(state, x)[1], target), first_x, first_target).dtype
    start = state, jnp.zeros((), dtype)
    (_, total), _ = jax.lax.scan(one_step, start, (xs, ys), unroll=steps_per_turn(net, len(xs)))
    return total / len(xs)


def check_resolution(sigma: Any, like: PyTree) -> None:
    """Raise ArgumentError where rounding would leave less than nine tenths of the noise; traced values pass.

    A loss difference is off by about eps / sigma, measured for float32 and bfloat16
    (benchmarks/precision.py).

    Arguments:
        sigma: standard deviation of the noise.
        like: what the noise is added to.
    """
    for dtype in {leaf.dtype for leaf in jax.tree.leaves(like) if jnp.issubdtype(leaf.dtype, jnp.inexact)}:
        least = LOST * float(jnp.finfo(dtype).eps)
        if isinstance(sigma, int | float) and sigma < least:
            raise ArgumentError(
                f"sigma {sigma:g} is lost in the rounding of {dtype}: take at least {least:.2g}"
            )


class RunningAverage(NamedTuple):
    """A running average that starts from nothing: of all values seen at first, exponential later.

    total <- total + rate (x - total),   weight <- weight + rate (1 - weight),   value = total / weight

    Attributes:
        total: the average of all values, and of 0 before the first, `()`.
        weight: share of values in it, `()`, from 0 to 1.
    """

    total: Array
    weight: Array

    @classmethod
    def empty(cls, dtype: Any) -> "RunningAverage":
        """Return the average of no values.

        Arguments:
            dtype: of the average.
        """
        return cls(jnp.zeros((), dtype), jnp.zeros((), dtype))

    @property
    def value(self) -> Array:
        """The average, 0 before the first value."""
        return self.total / jnp.where(self.weight > 0, self.weight, 1)

    def with_value(self, x: Array, rate: Any) -> "RunningAverage":
        """Return the average after one more value.

        Arguments:
            x: the value, `()`.
            rate: its weight, above 0 and at most 1.
        """
        return RunningAverage(self.total + rate * (x - self.total), self.weight + rate * (1 - self.weight))
