"""Weight perturbation along the difference that a device really held."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from perturbax.devices.checked import Checked
from perturbax.devices.network import DeviceNetwork, as_written
from perturbax.devices.opening import holds_what_is_asked
from perturbax.errors import DeviceError
from perturbax.learning.noise import Orthogonal, Rademacher
from perturbax.network.layer import weights
from perturbax.rules.perturbation.weight_base import WeightRule

LEAST = 0.49  # of a shift that is held: one side of it may be clipped, and differences are rounded
MOST = 1.51  # of a shift that is rounded to a grid not coarser than sigma


def check_held(
    rule: WeightRule, device: str, asked: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray]
) -> None:
    """Raise DeviceError where the estimate along the weights that a device holds would not be the slope.

    One-sided differences d = held - clean of weights that are rounded or clipped have other sizes for the one
    sign than for the other, so that the other weights add E[d_j] E[1 / d_i] dL/dw_j to the estimate of weight
    i; between rows of opposite or independent shifts E[d_j] = 0. And a shift that is not held says nothing.

    Arguments:
        rule: the rule.
        device: name of the device.
        asked: the weights asked for in each row, by name, `(rows, ...)`.
        held: the weights held, likewise.
    """
    off = np.concatenate([np.ravel(np.abs(held[name] - asked[name])) for name in asked])
    if not off.any():
        return
    if rule.clean:
        raise DeviceError(
            f"{device} holds other weights than it is asked for, off by up to {off.max():.2g}, so that a "
            f"{rule.difference} difference is not the slope along them: take difference antithetic"
        )
    share = []  # of the shift asked for, of every weight and pair
    for name in asked:
        pairs = len(asked[name]) // 2  # row k is paired with row K + k
        wanted = np.abs(asked[name][:pairs] - asked[name][pairs:])  # (K, ...)
        found = np.abs(held[name][:pairs] - held[name][pairs:])  # (K, ...)
        share.append(found[wanted > 0] / wanted[wanted > 0])
    share = np.concatenate(share)
    lost, right = share < LEAST, (share >= LEAST) & (share <= MOST)
    wrong = len(share) - np.sum(lost) - np.sum(right)
    if (
        np.sum(lost) > len(share) / 2 and np.sum(right) <= wrong
    ):  # else synapses are missing, and all others move
        step = 4 * np.median(off)  # weights that are rounded are off by a quarter of a step in the median
        raise DeviceError(
            f"{device} holds less than half of the shift that it is asked for in {np.sum(lost)} of "
            f"{len(share)} weights: sigma {rule.sigma:g} is below its grid (take at least {step:.2g})"
        )


def check_first_shift(rule: WeightRule, device: Checked, start: Callable[[], DeviceNetwork]) -> None:
    """Raise DeviceError where a device does not hold shifts as large as those of a rule; see `check_held`.

    Tried by two writes, before anything is trained, on a device that holds other weights than it is asked for
    and does not say on which grid.

    Arguments:
        rule: the rule.
        device: the device.
        start: returns weights such as training starts with.
    """
    says_grid = any(about.step is not None for about in device.can.weights.values())
    if says_grid or not isinstance(rule.sigma, int | float) or holds_what_is_asked(device):
        return
    rng = np.random.default_rng(0)
    asked = {}
    for name, array in as_written(start()).items():
        shift = (rule.sigma * rng.choice([-1.0, 1.0], array.shape)).astype(array.dtype)
        asked[name] = np.stack([array + shift, array - shift])  # (2, ...)
    both = [device.write({name: rows[k] for name, rows in asked.items()}) for k in range(2)]
    held = {
        name: np.stack([rows[k] if one is None else one[name] for k, one in enumerate(both)])
        for name, rows in asked.items()
    }
    check_held(rule, device.can.name, asked, held)


def shift_seen(
    rule: WeightRule, net: DeviceNetwork, inject: DeviceNetwork, asked: DeviceNetwork, held: DeviceNetwork
) -> DeviceNetwork:
    """Return the differences within pairs that the rule is to see, like the weights, leaves `(K, ...)`.

    The rule divides them by the variance of the asked differences. So where other weights are held than asked
    for, d is scaled to make delta d / E[d^2] of it:

        signs       E[d^2] of a weight is its own d^2 (half of that between independent signs, half of which
                    are alike): a rounded or clipped shift has one size and a random sign (Spall 1992).
                    Differences below half of what was asked for count as that half.
        all others  the mean of d^2 over the array

    Where a device holds what was asked for, to the bit, d is the asked difference without the rounding of a
    subtraction. One-sided differences are of such devices alone (`check_held`).

    Arguments:
        rule: the rule.
        net: the network, its weights not shifted.
        inject: the shift asked for in each row, leaves `(rows, ...)`.
        asked: the weights asked for, leaves `(rows, ...)`.
        held: the weights held, likewise.
    """
    if rule.clean:
        return rule.pair(inject)
    by_sign = isinstance(rule.noise, Rademacher | Orthogonal)
    unlike = rule.variance / (2 * rule.sigma) ** 2  # chance that the signs of a pair are not alike

    def one(w: Array, inject: Array, asked: Array, held: Array) -> Array:
        same = held == asked  # (rows, ...)
        rows = jnp.where(same, inject, held - w[None])
        exact = same[: rule.samples] & same[rule.samples :]  # (K, ...)
        d = rule.pair(rows)  # (K, ...)
        size = jnp.maximum(d * d, rule.sigma**2)  # (K, ...)
        square = unlike * size if by_sign else jnp.mean(d * d)  # (K, ...) or ()
        scaled = d * (rule.variance / jnp.where(square > 0, square, jnp.inf))
        return jnp.where(exact if by_sign else jnp.all(exact), d, scaled)

    some: Any = weights(net)
    return jax.tree.map(one, some, inject, asked, held)
