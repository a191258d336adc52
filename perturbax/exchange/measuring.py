"""How many spikes of two networks differ."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from perturbax.cells.spiking import Spiking
from perturbax.errors import ArgumentError
from perturbax.exchange.neurons import SPIKING, Population
from perturbax.learning.products import full
from perturbax.network.layer import Layer, advance_batch
from perturbax.network.network import Network
from perturbax.network.passes import check_sequence_axes


class Differing(NamedTuple):
    """Spikes of two networks, unit by unit and step by step.

    Attributes:
        differing: how many differ: one network spikes, the other does not.
        of: units x steps x examples.
    """

    differing: int
    of: int


def differing_spikes(net: Network, other: Network, xs: Any) -> Differing:
    """Return how many spikes two networks differ in, over all units of their spiking layers.

    Both start from rest and run by themselves: an early difference makes later ones.

    Arguments:
        net: a network.
        other: another one, with the same spiking layers from below.
        xs: inputs `(T, B, n_in)`.

    Raises ArgumentError where the numbers of spiking units differ.
    """
    check_sequence_axes(xs)
    one, two = _spikes(net, jnp.asarray(xs)), _spikes(other, jnp.asarray(xs))
    if one.shape != two.shape:
        raise ArgumentError(f"one network has {one.shape[-1]} spiking units, the other {two.shape[-1]}")
    return Differing(int(jnp.sum(one != two)), one.size)


def spikes_of(layer: Layer) -> bool:
    """Whether the outputs of a layer are spikes."""
    return isinstance(layer, Spiking) or (isinstance(layer, Population) and layer.neurons.kind in SPIKING)


@eqx.filter_jit
def _spikes(net: Network, xs: Array) -> Bool[Array, "T B n"]:
    """Return the spikes of all spiking layers, side by side."""
    spiking = [i for i, layer in enumerate(net.layers) if spikes_of(layer)]

    def one_step(state: Any, x: Array) -> tuple[Any, Array]:
        after, _, sites = net.step(state, x)
        # Once more, as the state holds outputs as the layer above reads them, decorrelated.
        found = [advance_batch(i, net.layers[i], state[i][0], sites[i].a)[1] > 0.5 for i in spiking]
        return after, jnp.concatenate([*found, jnp.zeros((len(x), 0), bool)], 1)

    with full():  # else rounding alone, different in each network, moves spikes
        return jax.lax.scan(one_step, net.start(xs.shape[1]), xs)[1]
