"""Decorrelation of what layers read: matrices D that learn, without labels, to make units uncorrelated.

A layer with a D reads x = D z in place of z. After each update of the weights,

    D <- D - lr (C - diag(C)) D,      C = mean of x x^T over steps and examples,

so that the off-diagonal correlations C vanish (Ahmad, Schrader, van Gerven 2023; Garcia Fernandez, Keemink,
van Gerven 2024). A network stores the transpose, presynaptic first: x = z value, value = D^T.
"""

from collections.abc import Sequence

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
    if which == "off":
        return net.like(net.layers)
    dtype = jnp.result_type(*jax.tree.leaves(weights(net)))
    first = Fixed(jnp.eye(n_in, dtype=dtype)) if which == "hidden+input" else None
    identities = [Fixed(jnp.eye(layer.width, dtype=dtype)) for layer in net.layers[:-1]]
    return net.like(net.layers, [first, *identities])


def decorrelation_update(net: Network, sites: Sequence[Site]) -> tuple[Array | None, ...]:
    """Return the direction (C - diag(C)) D of each D, stored like it `(n, n)`; None for layers without one.

    C is the mean of x x^T over rows. As x is read through D already, rows times a matrix is all it takes,
    O(rows n^2): value x^T x = (x D)^T x, never one n x n matrix times another.

    Arguments:
        net: the network.
        sites: one for each layer, with z `(..., n)`, what the layer reads; all axes but the last are rows.
    """
    return tuple(
        None if D is None else _direction(D.value, site.z) for D, site in zip(net.decor, sites, strict=True)
    )


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
        for D, direction in zip(net.decor, update, strict=True)
    ]
    return net.like(net.layers, new)


def decorrelate(net: Network, xs: Float[Array, "T B n_in"], lr: float | Array) -> Network:
    """Return the network after one update of its matrices D, with C averaged over a clean pass through xs.

    Arguments:
        net: the network; without any D it is returned as it is.
        xs: inputs, `(T, B, n_in)`.
        lr: learning rate of the decorrelation.
    """
    if all(D is None for D in net.decor):
        return net
    return apply_decorrelation(net, decorrelation_update(net, activity(net, xs)), lr)
