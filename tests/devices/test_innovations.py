"""The noise of a device, found in its taps: weights fitted where they are not known, and its variance."""

import jax
import numpy as np
import pytest

from perturbax.devices.abilities import Weight
from perturbax.devices.innovations import innovation, no_fit
from perturbax.devices.network import DeviceLayer
from perturbax.network.network import Site

T, ROWS, B, N_IN, N = 4, 2, 500, 3, 2
W = np.asarray([[0.5, -1.0], [0.2, 0.8], [-0.7, 0.3]], np.float32)
ABOUT = (Weight((N_IN, N), "h", "z"),)
LIKE = Site(*(jax.ShapeDtypeStruct((B, n), np.float32) for n in (N_IN, 1, N)))


@pytest.fixture(scope="module")
def found():
    """A function (weights that are known, site, fit) -> (xi / var(xi), fit), one program."""
    compiled = jax.jit(
        lambda known, site, fit: innovation(DeviceLayer((known,), ("W",), ABOUT, "h"), site, fit)
    )
    return lambda known, site, fit: compiled(known.astype(np.float32), site, fit)


def seen(rng, in_force, ambient, read_noise=0.0):
    """What a layer with these weights sees, the noise in it, and the variance of that noise."""
    z = (rng.normal(size=(T, ROWS, B, N_IN)) * rng.uniform(0.1, 3, (T, ROWS, B, 1))).astype(np.float32)
    largest = np.abs(z).max(-1, keepdims=True)
    variance = ambient**2 + (read_noise * largest) ** 2
    xi = variance**0.5 * rng.standard_normal((T, ROWS, B, N))
    a = (z @ in_force + xi).astype(np.float32)
    return Site(z, np.zeros((T, ROWS, B, 1), np.float32), a), xi, variance


@pytest.mark.parametrize(("ambient", "read_noise"), [(0.3, 0.0), (0.0, 0.1), (0.2, 0.1)])
def test_the_variance_is_that_of_noise_of_one_size_and_in_proportion_to_the_largest_input(
    found, ambient, read_noise
):
    site, xi, variance = seen(np.random.default_rng(0), W, ambient, read_noise)
    scaled, _ = found(W, site, no_fit([LIKE])[0])
    model = (xi / np.asarray(scaled)).mean(-1, keepdims=True)  # (T, ROWS, B, 1)
    counts = variance > 0.06 * variance.mean()
    assert np.abs(model / variance - 1)[counts].max() < 0.06
    if read_noise:  # the control: one variance for all
        assert np.abs(np.mean(xi**2) / variance - 1)[counts].max() > 1


@pytest.mark.parametrize("ambient", [0.0, 1e-18, 1e12])
def test_noise_of_any_size_gives_finite_numbers(found, ambient):
    site, _, _ = seen(np.random.default_rng(2), 0 * W, ambient)
    scaled = np.asarray(found(0 * W, site, no_fit([LIKE])[0])[0])
    assert np.isfinite(scaled).all()
    assert scaled.any() == (ambient > 0)


def test_weights_that_drift_are_fitted_from_the_updates_before(found):
    rng, fit = np.random.default_rng(1), no_fit([LIKE])[0]
    off, in_force = [], W
    for update in range(8):
        in_force = W * (1 + update / 2) ** -0.1  # further off with every update
        site, xi, _ = seen(rng, in_force, 0.2)
        scaled, fit = found(W, site, fit)
        scaled = np.asarray(scaled)
        # what is left of the drive: the slope of the noise that was found on what the synapses saw
        z = site.z.reshape(-1, N_IN)
        slope = np.linalg.lstsq(z, (scaled * np.mean(xi**2) - xi).reshape(len(z), N), rcond=None)[0]
        off.append(np.abs(slope).max())
    assert off[0] < 1e-2  # nothing has drifted yet
    assert max(off[3:]) < np.abs(W - in_force).max() / 3
    site, xi, _ = seen(rng, in_force, 0.2)
    exact = np.asarray(found(in_force, site, fit._replace(product=0 * fit.product))[0])
    again = np.asarray(
        found(in_force, site, found(in_force, seen(rng, in_force, 0.2)[0], no_fit([LIKE])[0])[1])[0]
    )
    assert np.array_equal(exact, again)  # where the weights are known, a fit of noise alone is not taken
