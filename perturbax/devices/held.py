"""Weight perturbation along the difference that a device really held."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.devices.network import DeviceNetwork
from perturbax.learning.noise import Orthogonal, Rademacher
from perturbax.network.layer import weights
from perturbax.rules.perturbation.weight_base import WeightRule


def shift_seen(
    rule: WeightRule, net: DeviceNetwork, inject: DeviceNetwork, asked: DeviceNetwork, held: DeviceNetwork
) -> DeviceNetwork:
    """Return the differences within pairs that the rule is to see, like the weights, leaves `(K, ...)`.

    The rule divides them by the variance of the asked differences. So where other weights are held than asked
    for, d is scaled to make delta d / E[d^2] of it:

        signs       E[d^2] of a weight is its own d^2: a rounded or clipped shift has one size and a random
                    sign (Spall 1992). Differences below half of what was asked for count as that half.
        all others  the mean of d^2 over the array

    Where a device holds what was asked for, to the bit, d is the asked difference without the rounding of a
    subtraction.

    Arguments:
        rule: the rule.
        net: the network, its weights not shifted.
        inject: the shift asked for in each row, leaves `(rows, ...)`.
        asked: the weights asked for, leaves `(rows, ...)`.
        held: the weights held, likewise.
    """
    by_sign = isinstance(rule.noise, Rademacher | Orthogonal)

    def one(w: Array, inject: Array, asked: Array, held: Array) -> Array:
        same = held == asked  # (rows, ...)
        rows = jnp.where(same, inject, held - w[None])
        exact = same[1:] & same[:1] if rule.clean else same[: rule.samples] & same[rule.samples :]  # (K, ...)
        d = rule.pair(rows)  # (K, ...)
        least = rule.variance / 4
        square = jnp.maximum(d * d, least) if by_sign else jnp.mean(d * d)  # (K, ...) or ()
        scaled = d * (rule.variance / jnp.where(square > 0, square, jnp.inf))
        return jnp.where(exact if by_sign else jnp.all(exact), d, scaled)

    some: Any = weights(net)
    return jax.tree.map(one, some, inject, asked, held)
