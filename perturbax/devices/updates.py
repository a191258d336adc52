"""Updates of weights that a device can hold only on a grid, and within a range."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from perturbax.devices.abilities import Abilities, Weight
from perturbax.devices.network import DeviceNetwork


def within_range(net: DeviceNetwork, can: Abilities) -> DeviceNetwork:
    """Return weights clipped to what the device can hold.

    Arguments:
        net: the weights.
        can: what the device said of itself.
    """

    def one(w: Array, about: Weight) -> Array:
        return w if about.low is None and about.high is None else jnp.clip(w, about.low, about.high)

    return _mapped(net, can, one)


def rounded(w: Array, step: Any, key: Array) -> Array:
    """Return weights rounded at random to the two multiples of a step beside them, so that the mean is right.

        w = step floor(w / step + u),      u uniform in [0, 1)

    An update below the step is then made now and then as a whole one, instead of never (Gupta et al. 2015).

    Arguments:
        w: weights.
        step: distance of neighbouring ones.
        key: a JAX key.
    """
    return step * jnp.floor(w / step + jr.uniform(key, w.shape, w.dtype))


def on_grid(net: DeviceNetwork, can: Abilities, key: Array) -> DeviceNetwork:
    """Return weights as a device can hold them: on its grid (`rounded`), and within its range.

    Arrays of which the device names no step stay as they are.

    Arguments:
        net: the weights.
        can: what the device said of itself.
        key: a JAX key.
    """
    keys = iter(jr.split(key, len(can.weights)))

    def one(w: Array, about: Weight) -> Array:
        key = next(keys)
        return w if about.step is None else rounded(w, about.step, key)

    return within_range(_mapped(net, can, one), can)


def _mapped(net: DeviceNetwork, can: Abilities, function: Callable[[Array, Weight], Array]) -> DeviceNetwork:
    """Return the network with function(weights, what the device says of them) of every array."""
    made = {name: function(w, can.weights[name]) for name, w in net.named().items()}
    return net.with_named(made)
