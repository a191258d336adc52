"""Decorrelation of what layers read: matrices D that learn, without labels, to make units uncorrelated.

A layer with a D reads x = D z in place of z; where its weights are shared over the places of an image, D has
the size of a patch, what they read at one place, and is shared likewise (Dalm, Offergeld, Ahmad, van Gerven
2024). After each update of the weights,

    D <- D - lr (C - diag(C)) D,      C = mean of x x^T over steps and examples,

so that the off-diagonal correlations C vanish (Ahmad, Schrader, van Gerven 2023; Garcia Fernandez, Keemink,
van Gerven 2024). A network stores the transpose, presynaptic first: x = z value, value = D^T.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perturbax.fields import one_of
from perturbax.network.layer import Fixed, weights
from perturbax.network.network import Network, Site
from perturbax.network.passes import activity


def add_decorrelation(net: Network, which: str, n_in: int) -> Network:
    """Return the network with a D in front of its layers: identities, which change nothing until they learn.

    Arguments:
        net: the network; matrices it has already are replaced.
        which: which layers get one: `hidden` (all above the first), `hidden+input` (all) or `off` (none).
        n_in: number of inputs of the network.

    Raises ArgumentError for another `which`, and for networks that are residual, normalised or graphs.
    """
    one_of("decorrelate", which, ("off", "hidden", "hidden+input"))
    plain = with_matrices(net, [None] * len(net.layers))
    if which == "off":
        return plain
    dtype = jnp.result_type(*jax.tree.leaves(weights(net)))
    widths = [n_in, *(layer.width for layer in net.layers[:-1])]
    matrices: list[Fixed | None] = []
    for i, (layer, width) in enumerate(zip(net.layers, widths, strict=True)):
        size = layer.patches(jnp.zeros(width)).shape[-1] if isinstance(layer, Patchwise) else width
        matrices.append(None if i == 0 and which == "hidden" else Fixed(jnp.eye(size, dtype=dtype)))
    return with_matrices(plain, matrices)


@runtime_checkable
class Patchwise(Protocol):
    """A layer whose weights are shared over the places of what it reads.

    Attributes:
        D: the matrix it reads each patch through, or None.
    """

    D: Fixed | None

    def patches(self, z: Array) -> Array:
        """Return what its weights read at each place, through D: `(places, patch)`."""
        ...

    def through(self, D: Fixed | None) -> Any:
        """Return the layer with another D."""
        ...


def matrices_of(net: Network) -> tuple[Fixed | None, ...]:
    """Return the D that each layer reads through, or None; those that places share stand in their layers."""
    pairs = zip(net.layers, net.decor, strict=True)
    return tuple(layer.D if isinstance(layer, Patchwise) else D for layer, D in pairs)


def with_matrices(net: Network, matrices: Sequence[Fixed | None]) -> Network:
    """Return the network whose layers read through other matrices.

    Arguments:
        net: the network.
        matrices: for each layer its D, or None.
    """
    pairs = list(zip(net.layers, matrices, strict=True))
    layers = [layer.through(D) if isinstance(layer, Patchwise) else layer for layer, D in pairs]
    return net.like(layers, [None if isinstance(layer, Patchwise) else D for layer, D in pairs])


def decorrelation_update(net: Network, sites: Sequence[Site]) -> tuple[Array | None, ...]:
    """Return the direction (C - diag(C)) D of each D, stored like it `(n, n)`; None for layers without one.

    C is the mean of x x^T over rows. As x is read through D already, rows times a matrix is all it takes,
    O(rows n^2): value x^T x = (x D)^T x, never one n x n matrix times another.

    Arguments:
        net: the network.
        sites: one for each layer, with z `(..., n)`, what the layer reads; all axes but the last are rows.
    """
    directions = []
    for layer, D, site in zip(net.layers, matrices_of(net), sites, strict=True):
        read = site.z
        if D is not None and isinstance(layer, Patchwise):
            read = jax.vmap(layer.patches)(read.reshape(-1, read.shape[-1]))  # (rows, places, patch)
        directions.append(None if D is None else _direction(D.value, read))
    return tuple(directions)


def _direction(value: Float[Array, "n n"], read: Float[Array, "*rows n"]) -> Float[Array, "n n"]:
    """Return the transpose of (C - diag(C)) D for value = D^T and rows that were read through D."""
    x = read.reshape(-1, read.shape[-1])  # (rows, n)
    correlated = (x @ value.T).T @ x  # (n, n): rows times value C
    own = jnp.sum(x * x, 0)[None] * value  # (n, n): rows times value diag(C)
    return (correlated - own) / x.shape[0]


def apply_decorrelation(net: Network, update: Sequence[Array | None], lr: float | Array) -> Network:
    """Return the network with D <- D - lr update for each D.

    Arguments:
        net: the network.
        update: directions as `decorrelation_update` returns them; None leaves a layer without D.
        lr: learning rate of the decorrelation.
    """
    new = [
        None if D is None or direction is None else Fixed(D.value - lr * direction)
        for D, direction in zip(matrices_of(net), update, strict=True)
    ]
    return with_matrices(net, new)


def decorrelate(net: Network, xs: Float[Array, "T B n_in"], lr: float | Array) -> Network:
    """Return the network after one update of its matrices D, with C averaged over a clean pass through xs.

    Arguments:
        net: the network; without any D it is returned as it is.
        xs: inputs, `(T, B, n_in)`.
        lr: learning rate of the decorrelation.
    """
    if all(D is None for D in matrices_of(net)):
        return net
    return apply_decorrelation(net, decorrelation_update(net, activity(net, xs)), lr)
