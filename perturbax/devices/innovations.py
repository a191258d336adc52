"""The noise of a device, found in its taps: pre-activations minus what its weights make of what they read."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.devices.network import DeviceLayer
from perturbax.network.network import Site

FORGET = 0.9  # share of the sums of a fit that is left after an update
LEAST = 0.05  # smallest variance that is divided by, of the mean of its layer


class Fit(NamedTuple):
    """Running sums of a regression of what is left of a on what the synapses saw, of one layer.

    Attributes:
        square: sum of f f^T, `(P, P)`, f = (z, r, 1).
        product: sum of f e^T, `(P, n)`, e = a - drive(z, r).
    """

    square: Array
    product: Array


def no_fit(sites: Sequence[Site]) -> list[Fit]:
    """Return the sums before the first update; sites: their shapes, `(B, ...)`."""
    fits = []
    for site in sites:
        dtype = site.a.dtype
        P = 1 + sum(s.shape[-1] for s in (site.z, site.r))
        n = math.prod(site.a.shape[1:])
        fits.append(Fit(jnp.zeros((P, P), dtype), jnp.zeros((P, n), dtype)))
    return fits


def is_fitted(fits: Sequence[Fit]) -> Array:
    """Return whether there was an update before this one to fit, `()` bool; fits: the sums so far."""
    return fits[0].square[-1, -1] > 0


def innovation(layer: DeviceLayer, site: Site, fit: Fit) -> tuple[Array, Fit]:
    """Return (xi / var(xi), the sums after this update), xi = a - drive(z, r) of one layer.

    Where weights drift, or cannot be read back, e = a - drive(z, r) still holds a linear part of what the
    synapses saw. It is fitted on the updates before this one, which know nothing of this one's noise, and
    taken away where that leaves less: a fit of noise alone leaves more.

    Noise has the variance c0 + c1 m^2, m the largest absolute value that the layer reads in this step, with
    c0 and c1 of at least 0 by least squares: for noise of one size, and for noise in proportion to the
    largest input of a row, as crossbars have it.

    Arguments:
        layer: the weights, as they are held.
        site: what the layer saw, leaves `(T, rows, B, ...)`.
        fit: the sums so far.
    """
    lead = site.a.shape[:3]  # (T, rows, B)
    e = site.a - _driven(layer, site)  # (T, rows, B, ...)
    e = e.reshape(-1, e[0, 0, 0].size)  # (N, n), N = T rows B
    read = [s.reshape(len(e), -1) for s in (site.z, site.r)]
    f = jnp.concatenate([*read, jnp.ones((len(e), 1), e.dtype)], 1)  # (N, P)
    ridge = 1e-6 * jnp.trace(fit.square) / len(fit.square) + 1e-30
    linear = jnp.linalg.solve(fit.square + ridge * jnp.eye(len(fit.square), dtype=e.dtype), fit.product)
    left = e - f @ linear  # (N, n)
    xi = jnp.where(jnp.sum(left * left) < jnp.sum(e * e), left, e)
    fit = Fit(FORGET * fit.square + f.T @ f, FORGET * fit.product + f.T @ e)
    variance = _variance(jnp.mean(xi * xi, 1), jnp.max(jnp.abs(f[:, :-1]), 1))  # (N,)
    scaled = xi / jnp.where(variance > 0, variance, jnp.inf)[:, None]
    return scaled.reshape(*lead, *site.a.shape[3:]), fit


def _driven(layer: DeviceLayer, site: Site) -> Array:
    """Return drive(z, r) of all steps, rows and examples, `(T, rows, B, ...)`."""
    over_batch = jax.vmap(layer.drive)
    return jax.vmap(jax.vmap(over_batch))(site.z, site.r)


def _variance(square: Array, largest: Array) -> Array:
    """Return the variance of the noise in each row, `(N,)`: c0 + c1 m^2 by least squares, twice.

    The second time rows count by the inverse square of the variance that the first one found, as squares of
    Gaussian noise scatter with that; so c0 is right where m is small.

    Arguments:
        square: mean square of the noise over units, `(N,)`.
        largest: m, `(N,)`.
    """
    m2 = largest * largest
    first = _linear_in(m2, square, jnp.ones_like(m2))
    relative = jnp.where(first > 0, first / jnp.mean(first), 1)  # at least LEAST
    return _linear_in(m2, square, relative**-2)


def _linear_in(m2: Array, square: Array, count: Array) -> Array:
    """Return c0 + c1 m^2, c0 and c1 of at least 0, by least squares over rows that count so much, `(N,)`."""
    total = jnp.sum(count)
    mean_m2, mean_s = jnp.sum(count * m2) / total, jnp.sum(count * square) / total
    off = m2 - mean_m2  # (N,)
    spread = jnp.sum(count * off * off)
    slope = jnp.sum(count * off * (square - mean_s)) / jnp.where(spread > 0, spread, jnp.inf)
    fourth = jnp.sum(count * m2 * m2)
    alone = jnp.sum(count * square * m2) / jnp.where(fourth > 0, fourth, jnp.inf)  # with c0 = 0
    c1 = jnp.maximum(slope, 0)
    c0 = mean_s - c1 * mean_m2
    c0, c1 = jnp.where(c0 < 0, 0, c0), jnp.where(c0 < 0, alone, c1)
    return jnp.maximum(c0 + c1 * m2, LEAST * jnp.mean(square))
