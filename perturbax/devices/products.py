"""Which weights of a layer are plain products with what it reads, by trying; and taps that repeat others."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array

from perturbax.devices.abilities import Weight
from perturbax.devices.faults import Faults
from perturbax.learning.products import full
from perturbax.network.layer import Layer, join, split, weights
from perturbax.network.network import Network


def weights_of(name: str, layer: Layer, n_below: int, n: int, faults: Faults) -> dict[str, Weight]:
    """Return what hello says of the weights of a layer.

    Arguments:
        name: of the layer.
        layer: the layer.
        n_below: values that it reads from below.
        n: values of its own that it reads.
        faults: of the device; they say what weights it can hold.
    """
    low, high = (-faults.top, faults.top) if faults.top else (None, None)
    paths, tree = tree_flatten_with_path(weights(layer))
    found = {}
    for i, (path, leaf) in enumerate(paths):
        zeros = [jnp.zeros_like(other) for _, other in paths]
        probe = jr.normal(jr.PRNGKey(i), leaf.shape, leaf.dtype)
        alone = join(tree.unflatten([*zeros[:i], probe, *zeros[i + 1 :]]), split(layer)[1])
        found[f"{name}.{keystr(path).lstrip('.')}"] = Weight(
            shape=leaf.shape,
            layer=name,
            reads=_what_it_reads(alone, probe, n_below, n),
            low=low,
            high=high,
            step=faults.step,
        )
    return found


def _what_it_reads(layer: Layer, probe: Array, n_below: int, n: int) -> str | None:
    """Return what an array of weights is multiplied with, found by trying; None where it is no plain product.

    Arguments:
        layer: a layer whose other weights are 0.
        probe: the array of weights, random numbers.
        n_below: values that the layer reads from below.
        n: values of its own that it reads.
    """
    key_below, key_own = jr.split(jr.PRNGKey(len(probe)))
    z, r = jr.normal(key_below, (n_below,), probe.dtype), jr.normal(key_own, (n,), probe.dtype)
    with full():
        a = layer.drive(z, r)
        for reads, activity in (("z", z), ("r", r)):
            if probe.ndim > 1 and len(probe) == len(activity):
                made = jnp.tensordot(activity, probe, 1)
                if made.shape == a.shape and np.allclose(made, a, rtol=1e-4, atol=1e-5):
                    return reads
    return "1" if probe.shape == a.shape and np.allclose(probe, a, rtol=1e-4, atol=1e-5) else None


def repeats_of(net: Network, names: Sequence[str], sites: Sequence[Any]) -> dict[str, str]:
    """Return the layers whose recurrent part is what the layer above them saw one step before, 0 at first.

    Arguments:
        net: the network.
        names: of its layers.
        sites: the shapes of what each layer sees.
    """
    found = {}
    for i, (_, first) in enumerate(net.start(1)[:-1]):
        if sites[i].r.shape == sites[i + 1].z.shape and not np.any(np.asarray(first)):
            found[f"{names[i]}.r"] = f"{names[i + 1]}.z"
    return found
