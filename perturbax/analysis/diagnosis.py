"""How far a rule's estimates are from the exact gradient: cosine, bias, variance, and what a good direction
costs.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.analysis.moments import ROUNDING, SURE, Moments, cosine_at, reach
from perturbax.errors import ArgumentError
from perturbax.fields import positive
from perturbax.learning.autodiff import bptt
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss
from perturbax.network.arrays import to_named_arrays
from perturbax.network.layer import weights
from perturbax.network.network import Network

TARGET = 0.5  # the cosine whose cost is predicted
LEAST = 4  # draws that a standard error takes


class Cost(NamedTuple):
    """Forward passes of an estimate from K samples: first + (K - 1) more."""

    first: int
    more: int

    @classmethod
    def of(cls, rule: Rule) -> "Cost":
        """Samples share the clean pass where the rule has one; a rule that takes no samples is run K
        times.
        """
        one, two = (_sampled(rule, k) for k in (1, 2))
        if one is rule or two is rule:
            return cls(first=rule.passes(), more=rule.passes())
        return cls(first=one.passes(), more=two.passes() - one.passes())

    def passes(self, samples: int) -> int:
        """Passes for that many samples."""
        return self.first + (samples - 1) * self.more


@dataclasses.dataclass(frozen=True)
class Average:
    """Estimates averaged over K samples, measured over independent draws.

    Attributes:
        samples: K.
        passes: forward passes of one such estimate.
        cosine: mean cosine with the exact gradient g.
        cosine_error: its standard error.
        predicted: the cosine that bias and variance predict.
        variance: trace of the covariance, over |g|^2.
        norm: mean norm, over |g|.
        snr: signal-to-noise, |g|^2 over the trace of the covariance.
    """

    samples: int
    passes: int
    cosine: float
    cosine_error: float
    predicted: float
    variance: float
    norm: float
    snr: float


@dataclasses.dataclass(frozen=True)
class Group:
    """One array of weights, or all of them; squares are unbiased estimates (their own noise is subtracted).

    Attributes:
        name: path of the array, or `all`.
        size: number of weights.
        gradient: |g|, the norm of the exact gradient.
        bias: |E x - g| / |g|, of an estimate x; 0 where its square comes out negative.
        bias_squared: its square.
        bias_squared_error: the standard error of the square.
        biased: whether the square is above 0 by more than 3 standard errors.
        bias_bound: what the bias stays below, at 3 standard errors.
        along: <E x, g> / |g|^2; 1 without bias.
        expected: |E x|^2 / |g|^2; 1 without bias.
        variance: trace of the covariance of one sample, over |g|^2.
        reach: whether averaging reaches a cosine of 0.5: yes, never (bias alone keeps it below), unsettled,
            or unknown (no gradient).
        reach_samples: the predicted number of samples; where unsettled, at least so many; None for never.
        reach_passes: the same in forward passes.
        averages: the measurements by number of samples.
    """

    name: str
    size: int
    gradient: float
    bias: float
    bias_squared: float
    bias_squared_error: float
    biased: bool
    bias_bound: float
    along: float
    expected: float
    variance: float
    reach: str
    reach_samples: int | None
    reach_passes: int | None
    averages: tuple[Average, ...]


def diagnose(
    rule: Rule,
    loss: Loss,
    net: Network,
    xs: Array,
    ys: Any,
    key: Array,
    *,
    samples: Sequence[int] = (1, 8, 64),
    draws: int = 32,
    kept: PyTree = None,
) -> list[Group]:
    """Measure a rule's estimates against the exact gradient (BPTT) on one batch: every weight array, then
    all.

    An estimate from K samples is the mean of K independent ones of a single sample, which against one clean
    pass is what K samples give. The mean cosine of such estimates is predicted by

        cos(K) = <E x, g> / (|g| sqrt(|E x|^2 + V / K)),      V the variance of one sample.

    Bias is measured at the largest K. xs `(T, B, n_in)`; kept is what the rule has learnt (by default nothing
    yet). Raises ArgumentError for fewer than 4 draws, or no number of samples.
    """
    return meter(rule, loss, samples, draws)(
        rule.begin(net, xs[0]) if kept is None else kept, net, xs, ys, key
    )


def meter(
    rule: Rule, loss: Loss, samples: Sequence[int], draws: int, tick: Callable = lambda: None
) -> Callable:
    """Return measure(kept, net, xs, ys, key) -> groups, compiled once for all calls; tick() after every
    draw.
    """
    for k in samples:
        positive("samples", k)
    if not samples:
        raise ArgumentError("samples names no number")
    if draws < LEAST:
        raise ArgumentError(f"draws must be {LEAST} or more, not {draws}")
    samples, cost = sorted(set(samples)), Cost.of(rule)
    learn, exact = _sampled(rule, 1).learner(loss), jax.jit(bptt(loss))

    @jax.jit
    def averages(kept: PyTree, net: Network, xs: Array, ys: Any, key: Array, upto: Array) -> Network:
        """Average the first upto[0], upto[1], ... estimates: an axis of that length in front."""

        def more(j: Array, total: Network) -> Network:
            return jax.tree.map(jnp.add, total, learn(kept, net, xs, ys, jr.fold_in(key, j))[2])

        def segment(total: Network, ends: tuple) -> tuple[Network, Network]:
            total = jax.lax.fori_loop(ends[0], ends[1], more, total)
            return total, jax.tree.map(lambda s: s / ends[1], total)

        start = jnp.concatenate([jnp.zeros(1, upto.dtype), upto[:-1]])
        return jax.lax.scan(segment, jax.tree.map(jnp.zeros_like, weights(net)), (start, upto))[1]

    def measure(kept: PyTree, net: Network, xs: Array, ys: Any, key: Array) -> list[Group]:
        def draw(i: int, upto: Sequence[int]) -> dict[str, np.ndarray]:
            found = to_named_arrays(averages(kept, net, xs, ys, jr.fold_in(key, i), jnp.asarray(upto)))
            tick()
            return found

        g = to_named_arrays(exact(net, xs, ys)[1])
        first, second = (draw(i, [1] * len(samples)) for i in (0, 1))
        if all(np.array_equal(first[name], second[name]) for name in g):
            rows = [first] * LEAST  # no noise: all draws are the same
        else:
            rows = [draw(i, samples) for i in range(draws)]
        every = {name: np.stack([r[name] for r in rows]).reshape(len(rows), len(samples), -1) for name in g}
        parts = {n: [Moments.of(every[n][:, k], g[n].ravel()) for k in range(len(samples))] for n in g}
        parts["all"] = [sum(of[1:], of[0]) for of in zip(*parts.values(), strict=True)]  # pyright: ignore
        sizes = {name: leaf.size for name, leaf in g.items()} | {"all": sum(leaf.size for leaf in g.values())}
        return [_group(name, sizes[name], samples, cost, moments) for name, moments in parts.items()]

    return measure


def _sampled(rule: Rule, samples: int) -> Any:
    """Return the rule with that many samples; itself if it cannot have them."""
    if not hasattr(rule, "samples"):
        return rule
    try:
        return dataclasses.replace(rule, samples=samples)  # pyright: ignore[reportCallIssue]
    except ArgumentError:
        return rule


def _group(name: str, size: int, samples: Sequence[int], cost: Cost, moments: Sequence[Moments]) -> Group:
    best, g = moments[-1], moments[-1].g
    if not g > 0:
        return _without_gradient(name, size, samples, cost)
    square, error = (v / g for v in best.bias())
    along, one = float(best.along.mean()) / g + 1, samples[-1] * best.variance / g
    expected = max(square + 2 * along - 1, along**2)
    margin, doubt = (v / g for v in best.margin(TARGET))
    verdict, needed = reach(margin, doubt, one)
    return Group(
        name=name,
        size=size,
        gradient=math.sqrt(g),
        bias=math.sqrt(max(0.0, square)),
        bias_squared=square,
        bias_squared_error=error,
        biased=square > SURE * error + ROUNDING,
        bias_bound=math.sqrt(max(0.0, square + SURE * error)),
        along=along,
        expected=expected,
        variance=one,
        reach=verdict,
        reach_samples=needed,
        reach_passes=None if needed is None else cost.passes(needed),
        averages=tuple(
            _average(k, cost, m, cosine_at(along, expected, one, k))
            for k, m in zip(samples, moments, strict=True)
        ),
    )


def _average(samples: int, cost: Cost, m: Moments, predicted: float) -> Average:
    n, g = len(m.square), m.g
    norms = np.sqrt(np.maximum(m.square + 2 * m.along + g, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(norms > 0, (m.along + g) / (norms * math.sqrt(g)), np.nan)
    variance = m.variance / g
    return Average(
        samples=samples,
        passes=cost.passes(samples),
        cosine=float(cosines.mean()),
        cosine_error=float(cosines.std(ddof=1)) / math.sqrt(n),
        predicted=predicted,
        variance=variance,
        norm=float(norms.mean()) / math.sqrt(g),
        snr=1 / variance if variance else math.inf,
    )


def _without_gradient(name: str, size: int, samples: Sequence[int], cost: Cost) -> Group:
    """Return the group of weights whose exact gradient is zero: nothing can be said relative to it."""
    none = dict.fromkeys(("cosine", "cosine_error", "predicted", "variance", "norm", "snr"), math.nan)
    averages = tuple(Average(samples=k, passes=cost.passes(k), **none) for k in samples)
    lost = dict.fromkeys(
        ("bias", "bias_squared", "bias_squared_error", "bias_bound", "along", "expected"), math.nan
    )
    return Group(
        name=name,
        size=size,
        gradient=0.0,
        biased=False,
        variance=math.nan,
        reach="unknown",
        reach_samples=None,
        reach_passes=None,
        averages=averages,
        **lost,
    )
