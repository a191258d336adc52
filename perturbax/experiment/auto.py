"""Settings of a rule that are measured before training starts: sigma by curvature, samples by signal to
noise.

Both are read off the rule's own estimates at the initial network, on batches of training data: forward passes
only.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.errors import ArgumentError
from perturbax.experiment.options import unmeasured
from perturbax.learning.estimate import no_gradient
from perturbax.learning.estimator import first_estimate
from perturbax.learning.products import difference_error
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss
from perturbax.network.network import Network

GRID = tuple(2.0**-i for i in range(13, -1, -1))  # sigmas: 1.2e-4 to 1, each twice the one before
LIMIT = 0.05  # most that curvature may make up of an estimate
TARGET = 0.02  # wanted signal-to-noise ratio of an update
MOST = 64  # most samples
BATCHES, DRAWS = 4, 32  # draws of each batch, for samples


def measure(
    rule: Rule,
    rule_options: dict[str, Any],
    loss: Loss,
    draw: Callable[[Array], tuple[Array, Any]],
    net: Network,
    key: Array,
) -> tuple[Rule, dict[str, Any], dict[str, Any]]:
    """Replace every `auto` among the settings of a rule by what is measured.

    Sigma comes first: noise, from which the number of samples follows, is measured at it.

    Arguments:
        rule: the rule, with defaults in place of `auto`.
        rule_options: all its settings, `auto` among them.
        loss: `(y, target) -> (B,)`.
        draw: key -> training data (xs `(T, B, n_in)`, ys). Traceable.
        net: the network that training starts from.
        key: for data and noise.

    Returns (rule, settings, facts): facts[name] holds the value and all that was measured for it,
    facts["passes"] the forward passes that were spent.
    """
    wanted = unmeasured(rule_options)
    facts: dict[str, Any] = {}
    spent = 0
    data_keys, noise_keys = jr.split(key, (2, BATCHES))
    xs, ys = jax.vmap(draw)(data_keys)  # (BATCHES, T, B, n)
    if "sigma" in wanted:
        one = dataclasses.replace(rule, samples=1) if "samples" in wanted else rule
        facts["sigma"] = best_sigma(one, loss, net, xs, ys, noise_keys)
        rule = dataclasses.replace(rule, sigma=facts["sigma"]["value"])
        spent += 2 * (len(GRID) + 1) * BATCHES * one.described().passes
    if "samples" in wanted:
        one = dataclasses.replace(rule, samples=1)
        facts["samples"] = enough_samples(one, loss, net, xs, ys, noise_keys)
        rule = dataclasses.replace(rule, samples=facts["samples"]["value"])
        spent += DRAWS * BATCHES * one.described().passes
    values = {name: facts[name]["value"] for name in wanted}
    return rule, {**rule_options, **values}, facts | {"passes": spent}


def best_sigma(
    rule: Rule, loss: Loss, net: Network, xs: Array, ys: Any, keys: Array, limit: float = LIMIT
) -> dict[str, Any]:
    """Return the largest sigma at which curvature makes up at most `limit` of an estimate.

        sigma = max s on the grid with share <= limit from the sigma of least share up to s

    For the share see `curvature_shares`.

    Arguments:
        rule: the rule, with any sigma.
        loss: `(y, target) -> (B,)`.
        net: the network that training starts from.
        xs: inputs `(batches, T, B, n_in)`.
        ys: targets, likewise.
        keys: for noise, one per batch.
        limit: the largest share.

    Returns value, rounding (the relative error it leaves in a difference of losses, as products run here),
    share, bias, limit, and measured: (sigma, share, bias) over the grid. Raises ArgumentError
    where no sigma is within the limit, between rounding at one end and curvature at the other.
    """
    share, bias = curvature_shares(rule, loss, net, xs, ys, keys)
    least = int(np.argmin(share))
    if not share[least] <= limit:
        seen = "a layer has no estimate at its initial weights"
        if math.isfinite(share[least]):
            seen = f"{share[least]:.0%} at sigma {GRID[least]:.2g} is the least"
        what = f"the share of curvature in estimates of {type(rule).__name__} below {limit:.0%}"
        raise ArgumentError(f"sigma auto: no sigma keeps {what} ({seen}): name a sigma")
    chosen = least
    while chosen + 1 < len(GRID) and share[chosen + 1] <= limit:
        chosen += 1
    measured = [list(map(float, row)) for row in zip(GRID, share, bias, strict=True)]
    at_chosen = dataclasses.replace(rule, sigma=GRID[chosen])
    return {
        "value": GRID[chosen],
        "rounding": difference_error(at_chosen, net),
        "share": float(share[chosen]),
        "bias": float(bias[chosen]),
        "limit": limit,
        "measured": measured,
    }


def curvature_shares(
    rule: Rule, loss: Loss, net: Network, xs: Array, ys: Any, keys: Array
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of curvature in a rule's estimate, and the part of it that is bias, over GRID.

    With noise xi of standard deviation s the estimate is a series in s. Measured with both signs of the same
    xi,

        g(s) = (ghat(s xi) + ghat(-s xi)) / 2  =  g(0) + b s^2 + O(s^4)     third derivatives: a bias
        u(s) = (ghat(s xi) - ghat(-s xi)) / 2  =  a s + O(s^3)              second derivatives: noise
        bias(s)^2  = sum |4/3 (g(s) - g(s/2))|^2 / sum |g(s/2)|^2           since g(s) - g(s/2) = 3/4 b s^2
        share(s)^2 = bias(s)^2 + sum |u(s)|^2 / sum |g(s/2)|^2              sums over draws; the worst layer

    u vanishes for antithetic differences, which therefore bear more noise. Each draw is judged along its own
    directions, so bias(s) bounds the bias of the mean. Rounding, of relative size eps L / (s |g|), differs
    between these passes and counts as share: a sigma too small to be resolved fails as well. Infinite where a
    layer has no estimate. Rules that learn feedback weights are judged before they have learnt any.

    The arguments are those of `best_sigma`. Returns share and bias, each `(sigmas,)`.

    Arguments:
        rule: the rule, which injects noise.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        net: the network.
        xs: inputs `(T, B, n_in)`.
        ys: targets, likewise.
        keys: keys of the noise, one for each draw.
    """
    grid = jnp.asarray((GRID[0] / 2, *GRID))  # (1 + sigmas,): each twice the one before

    @jax.jit
    def squared_norms(net: Network, xs: Array, ys: Any, keys: Array) -> Any:
        """Return those of bias, u and g(s/2), each `(batches, 1 + sigmas, layers)`."""

        def of_batch(batch: tuple) -> Any:
            def next_sigma(half: Network, sigma: Array) -> tuple[Network, tuple]:
                def estimate(signed: Array) -> Network:
                    return _estimate_at(rule, signed, loss, net, *batch)

                both = jax.lax.map(estimate, jnp.stack([sigma, -sigma]))  # leaves (2, ...)
                even = jax.tree.map(lambda g: (g[0] + g[1]) / 2, both)  # g(s)
                odd = jax.tree.map(lambda g: (g[0] - g[1]) / 2, both)  # u(s)
                change = jax.tree.map(jnp.subtract, even, half)  # g(s) - g(s/2)
                bias = 16 / 9 * _squared_norms(change)
                return even, (bias, _squared_norms(odd), _squared_norms(half))

            return jax.lax.scan(next_sigma, no_gradient(net), grid)[1]

        return jax.lax.map(of_batch, (xs, ys, keys))

    # Summed over batches; the first entry of the grid has no half of its own. Each (sigmas, layers).
    bias, odd, signal = (np.asarray(s, float).sum(0)[1:] for s in squared_norms(net, xs, ys, keys))
    with np.errstate(all="ignore"):
        ratios = np.sqrt([(bias + odd) / signal, bias / signal])  # (2, sigmas, layers)
    share, bias = np.where(np.isfinite(ratios), ratios, np.inf).max(-1)
    return share, bias


def enough_samples(
    rule: Rule, loss: Loss, net: Network, xs: Array, ys: Any, keys: Array, target: float = TARGET
) -> dict[str, Any]:
    """Return the smallest number of samples K, up to 64, whose mean reaches a signal-to-noise ratio.

        SNR = |E g|^2 / E|g - E g|^2,   K = ceil(target / SNR),   cosine with E g ~ sqrt(K SNR / (1 + K SNR))

    of single-sample estimates g_1 ... g_m on one batch, both moments without bias, each averaged over
    batches: E|g - E g|^2 ~ sum |g_i - gbar|^2 / (m - 1),  |E g|^2 ~ |gbar|^2 - E|g - E g|^2 / m.
    The target is modest, a cosine of 0.14, because passes are better spent otherwise: at equal passes few
    samples with a low learning rate beat many samples (averaging over updates does the same, and the network
    moves meanwhile). So K > 1 comes out only where a single sample is nearly blind.

    Arguments:
        rule: the rule, with samples = 1.
        loss: `(y, target) -> (B,)`.
        net: the network that training starts from.
        xs: inputs `(batches, T, B, n_in)`.
        ys: targets, likewise.
        keys: for noise, one per batch.
        target: the wanted ratio.

    Returns value (K), snr (of one sample), target, reached (whether K samples do), draws (m). Raises
    ArgumentError where all estimates are zero, or one is not finite.
    """

    @jax.jit
    def moments(net: Network, xs: Array, ys: Any, keys: Array) -> tuple[Array, Array]:
        """Return |gbar|^2 and the mean of |g_i|^2, each `(batches,)`."""

        def of_batch(batch: tuple) -> tuple[Array, Array]:
            xs, ys, key = batch

            def add_draw(total: Network, key: Array) -> tuple[Network, Array]:
                g = first_estimate(rule, loss)(net, xs, ys, key)[1]
                return jax.tree.map(jnp.add, total, g), _squared_norms(g).sum()

            total, squares = jax.lax.scan(add_draw, no_gradient(net), jr.split(key, DRAWS))
            return _squared_norms(total).sum() / DRAWS**2, squares.mean()

        return jax.lax.map(of_batch, (xs, ys, keys))

    of_mean, mean_of = (float(np.mean(s)) for s in moments(net, xs, ys, keys))
    if not (math.isfinite(mean_of) and mean_of > 0):
        raise ArgumentError(
            f"samples auto: the estimates of {type(rule).__name__} are zero or not finite: name samples"
        )
    noise = (mean_of - of_mean) * DRAWS / (DRAWS - 1)
    signal = of_mean - noise / DRAWS
    ratio = signal / noise if noise > 0 else math.inf
    value = min(MOST, max(1, math.ceil(target / ratio))) if ratio > 0 else MOST
    return {
        "value": value,
        "snr": ratio,
        "target": target,
        "reached": value * ratio >= target,
        "draws": DRAWS,
    }


def _estimate_at(
    rule: Rule, sigma: Array, loss: Loss, net: Network, xs: Array, ys: Any, key: Array
) -> Network:
    """Return the gradient estimate of a rule at another sigma, which may be traced and negative."""
    at_sigma = eqx.tree_at(lambda r: r.sigma, rule, sigma)
    return first_estimate(at_sigma, loss)(net, xs, ys, key)[1]


def _squared_norms(grads: Network) -> Array:
    """Return the squared norm of each layer that has weights, `(layers,)`."""
    layers = [jax.tree.leaves(layer) for layer in grads.layers]
    return jnp.stack([sum((jnp.sum(g * g) for g in layer), jnp.zeros(())) for layer in layers if layer])
