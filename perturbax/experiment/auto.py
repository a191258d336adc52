"""Settings of a rule that are measured before training starts: sigma by curvature, samples by signal to
noise.

Both are read off the rule's own estimates at the initial network, on batches of training data: forward passes
only.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.errors import ArgumentError
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import unmeasured
from perturbax.learning.credit import nothing
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss
from perturbax.network.network import Network
from perturbax.tasks.base import Task

GRID = tuple(2.0**-i for i in range(13, -1, -1))  # sigmas: 1.2e-4 to 1, each twice the one before
LIMIT = 0.05  # most that curvature may make up of an estimate
TARGET = 0.02  # wanted signal-to-noise ratio of an update
MOST = 64  # most samples
BATCHES, DRAWS = 4, 32  # draws of each batch, for samples


def measure(
    e: Experiment, rule: Rule, task: Task, net: Network, key: Array
) -> tuple[Rule, dict, dict[str, Any]]:
    """Return (rule, settings of the rule, facts) with every `auto` of an experiment replaced by what was
    measured.

    rule has defaults in place of `auto`, net is where training starts. Sigma comes first: noise is measured
    at it. facts[name] holds the value and all that was measured for it, facts["passes"] what that cost.
    """
    wanted, facts = unmeasured(e.rule_options), {}
    batch, spent = e.batch or 1, 0
    keys, noise = jr.split(key, (2, BATCHES))
    online = e.mode == "online"
    xs, ys = jax.vmap(lambda key: task.stream(key, 0, batch) if online else task.sample(key, batch))(keys)
    if "sigma" in wanted:
        one = dataclasses.replace(rule, samples=1) if "samples" in wanted else rule
        facts["sigma"] = best_sigma(one, task.loss, net, xs, ys, noise)
        rule = dataclasses.replace(rule, sigma=facts["sigma"]["value"])
        spent += 2 * (len(GRID) + 1) * BATCHES * one.passes()
    if "samples" in wanted:
        one = dataclasses.replace(rule, samples=1)
        facts["samples"] = enough_samples(one, task.loss, net, xs, ys, noise)
        rule = dataclasses.replace(rule, samples=facts["samples"]["value"])
        spent += DRAWS * BATCHES * one.passes()
    values = {name: facts[name]["value"] for name in wanted}
    return rule, {**e.rule_options, **values}, facts | {"passes": spent}


def best_sigma(
    rule: Rule, loss: Loss, net: Network, xs: Array, ys: Any, keys: Array, limit: float = LIMIT
) -> dict[str, Any]:
    """Return the largest sigma at which curvature makes up at most `limit` of an estimate.

        sigma = max s on the grid with share <= limit from the sigma of least share up to s;   for share see `shares`

    xs `(batches, T, B, n_in)`, ys likewise, one key per batch; measured: (sigma, share, bias) over the grid.
    Raises ArgumentError where no sigma is within the limit, between rounding at one end and curvature at the
    other.
    """
    found, bias = shares(rule, loss, net, xs, ys, keys)
    least = int(np.argmin(found))
    if not found[least] <= limit:
        seen = f"{found[least]:.0%} at sigma {GRID[least]:.2g} is the least"
        seen = seen if math.isfinite(found[least]) else "a layer has no estimate at its initial weights"
        what = f"the share of curvature in estimates of {type(rule).__name__} below {limit:.0%}"
        raise ArgumentError(f"sigma auto: no sigma keeps {what} ({seen}): name a sigma")
    i = next((i for i in range(least, len(GRID) - 1) if not found[i + 1] <= limit), len(GRID) - 1)
    measured = [list(map(float, row)) for row in zip(GRID, found, bias, strict=True)]
    return {
        "value": GRID[i],
        "share": float(found[i]),
        "bias": float(bias[i]),
        "limit": limit,
        "measured": measured,
    }


def shares(
    rule: Rule, loss: Loss, net: Network, xs: Array, ys: Any, keys: Array
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of curvature in the rule's estimate, and the part of it that is bias, over the sigmas
    of GRID.

    With noise xi of standard deviation s the estimate is a series in s. Measured with both signs of the same
    xi,

        g(s) = (ghat(s xi) + ghat(-s xi)) / 2  =  g(0) + b s^2 + O(s^4)     third derivatives: a bias
        u(s) = (ghat(s xi) - ghat(-s xi)) / 2  =  a s + O(s^3)              second derivatives: noise of zero mean
        bias(s)^2  = sum |4/3 (g(s) - g(s/2))|^2 / sum |g(s/2)|^2           since g(s) - g(s/2) = 3/4 b s^2
        share(s)^2 = bias(s)^2 + sum |u(s)|^2 / sum |g(s/2)|^2              sums over draws; the worst layer counts

    u vanishes for antithetic differences, which therefore bear more noise. Each draw is judged along its own
    directions, so bias(s) bounds the bias of the mean. Rounding, of relative size eps L / (s |g|), differs
    between these passes and counts as share: a sigma too small to be resolved fails as well. Infinite where a
    layer has no estimate. Rules that learn a guess are judged before they have learnt any.
    """
    grid = jnp.asarray((GRID[0] / 2, *GRID))

    @jax.jit
    def squares(net: Network, xs: Array, ys: Any, keys: Array) -> Any:
        def one(now: tuple) -> Any:
            def up(half: Network, s: Array) -> tuple[Network, tuple]:
                both = jax.lax.map(lambda s: _at(rule, s, loss, net, *now), jnp.stack([s, -s]))
                even, odd = (
                    jax.tree.map(lambda g, sign=sign: (g[0] + sign * g[1]) / 2, both) for sign in (1, -1)
                )
                apart = jax.tree.map(jnp.subtract, even, half)
                return even, (16 / 9 * _squares(apart), _squares(odd), _squares(half))

            return jax.lax.scan(up, nothing(net), grid)[1]

        return jax.lax.map(one, (xs, ys, keys))

    bias, odd, signal = (
        np.asarray(s, float).sum(0)[1:] for s in squares(net, xs, ys, keys)
    )  # (sigmas, layers)
    with np.errstate(all="ignore"):
        found = np.sqrt([(bias + odd) / signal, bias / signal])
    share, bias = np.where(np.isfinite(found), found, np.inf).max(-1)
    return share, bias


def enough_samples(
    rule: Rule, loss: Loss, net: Network, xs: Array, ys: Any, keys: Array, target: float = TARGET
) -> dict[str, Any]:
    """Return the smallest number of samples K, up to 64, whose mean reaches a signal-to-noise ratio.

        SNR = |E g|^2 / E|g - E g|^2,      K = ceil(target / SNR),      cosine with E g ~ sqrt(K SNR / (1 + K SNR))

    of single-sample estimates g_1 ... g_m on one batch, both moments without bias, each averaged over
    batches: E|g - E g|^2 ~ sum |g_i - gbar|^2 / (m - 1),  |E g|^2 ~ |gbar|^2 - E|g - E g|^2 / m.
    The target is modest, a cosine of 0.14, because passes are better spent otherwise: at equal passes few
    samples with a low learning rate beat many samples (averaging over updates does the same, and the network
    moves meanwhile). So K > 1 comes out only where a single sample is nearly blind. rule must have samples =
    1.
    """

    @jax.jit
    def moments(net: Network, xs: Array, ys: Any, keys: Array) -> tuple[Array, Array]:
        def one(now: tuple) -> tuple[Array, Array]:
            xs, ys, key = now

            def more(total: Network, key: Array) -> tuple[Network, Array]:
                g = rule.estimator(loss)(net, xs, ys, key)[1]
                return jax.tree.map(jnp.add, total, g), _squares(g).sum()

            zero = nothing(net)
            total, each = jax.lax.scan(more, zero, jr.split(key, DRAWS))
            return _squares(total).sum() / DRAWS**2, each.mean()

        return jax.lax.map(one, (xs, ys, keys))

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


def _at(rule: Rule, sigma: Array, loss: Loss, net: Network, xs: Array, ys: Any, key: Array) -> Network:
    return eqx.tree_at(lambda r: r.sigma, rule, sigma).estimator(loss)(net, xs, ys, key)[1]


def _squares(grads: Network) -> Array:
    """Return the squared norm of each layer that has weights."""
    layers = [jax.tree.leaves(layer) for layer in grads.layers]
    return jnp.stack([sum((jnp.sum(g * g) for g in layer), jnp.zeros(())) for layer in layers if layer])
