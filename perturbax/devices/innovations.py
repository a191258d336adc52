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
GAIN = 0.95  # a fit counts where it leaves less than this share of the variance
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


def innovation(layer: DeviceLayer, site: Site, fit: Fit) -> tuple[Array, Fit]:
    """Return (xi / var(xi), the sums after this update), xi = a - drive(z, r) of one layer.

    Where weights drift, or cannot be read back, e = a - drive(z, r) still holds a linear part of what the
    synapses saw. It is fitted on the updates before this one, which know nothing of this one's noise, and
    taken away where that leaves clearly less.

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
    xi = jnp.where(jnp.sum(left * left) < GAIN * jnp.sum(e * e), left, e)
    fit = Fit(FORGET * fit.square + f.T @ f, FORGET * fit.product + f.T @ e)
    variance = _variance(jnp.mean(xi * xi, 1), jnp.max(jnp.abs(f[:, :-1]), 1))  # (N,)
    scaled = xi / jnp.where(variance > 0, variance, jnp.inf)[:, None]
    return scaled.reshape(*lead, *site.a.shape[3:]), fit


def _driven(layer: DeviceLayer, site: Site) -> Array:
    """Return drive(z, r) of all steps, rows and examples, `(T, rows, B, ...)`."""
    over_batch = jax.vmap(layer.drive)
    return jax.vmap(jax.vmap(over_batch))(site.z, site.r)


def _variance(square: Array, largest: Array) -> Array:
    """Return the variance of the noise in each row, `(N,)`; square: its mean over units, largest: m."""
    m2 = largest * largest
    mean_m2, mean_s = jnp.mean(m2), jnp.mean(square)
    spread = jnp.mean((m2 - mean_m2) ** 2)
    slope = jnp.mean((m2 - mean_m2) * (square - mean_s)) / jnp.where(spread > 0, spread, jnp.inf)
    alone = jnp.mean(square * m2) / jnp.where(mean_m2 > 0, jnp.mean(m2 * m2), jnp.inf)  # with c0 = 0
    c1 = jnp.maximum(slope, 0)
    c0 = mean_s - c1 * mean_m2
    c0, c1 = jnp.where(c0 < 0, 0, c0), jnp.where(c0 < 0, alone, c1)
    return jnp.maximum(c0 + c1 * m2, LEAST * mean_s)
